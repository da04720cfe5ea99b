/// Accumulates `Measures` over one pair of tensors, block by block in row-major order.
///
/// Sums are double precision in eight lanes: element i of a token row goes to lane i mod 8, lanes fold in a fixed
/// tree, rows add in order. So neither block size nor thread count nor CPU changes the bits.
///
/// A token row is an index of dimension 0; a tensor with fewer than two dimensions is one row. Complex elements
/// count as two values, packed 4-bit floats likewise.
public struct MeasureAccumulator: Sendable {
  /// What one row, or the whole tensor, adds up to; a the target, b the reference.
  private struct Sums {
    var dot = 0.0
    var target = 0.0
    var reference = 0.0
    var difference = 0.0

    static func += (left: inout Sums, right: Sums) {
      left.dot += right.dot
      left.target += right.target
      left.reference += right.reference
      left.difference += right.difference
    }
  }

  private struct Lanes {
    var dot = SIMD8<Double>(repeating: 0)
    var target = SIMD8<Double>(repeating: 0)
    var reference = SIMD8<Double>(repeating: 0)
    var difference = SIMD8<Double>(repeating: 0)

    var folded: Sums {
      Sums(dot: fold(dot), target: fold(target), reference: fold(reference), difference: fold(difference))
    }

    private func fold(_ lanes: SIMD8<Double>) -> Double {
      let four = lanes.lowHalf + lanes.highHalf
      let two = four.lowHalf + four.highHalf
      return two.x + two.y
    }
  }

  private let shape: [Int]
  private let valuesPerElement: Int
  /// Values of one row.
  private let rowLength: Int
  private let rowCount: Int
  /// Values added so far.
  private var position = 0
  private var lanes = Lanes()
  private var total = Sums()
  private var maxDifference = 0.0
  private var maxReference = 0.0
  private var worstPosition = 0
  private var nonfiniteReference = 0
  private var nonfiniteTarget = 0
  private var unequalBytes = 0
  private var comparedBytes = 0
  private var rows: [Sums] = []
  private let keepsRows: Bool

  /// Rows beyond this many are measured but not kept one by one.
  public static let rowLimit = 1 << 20

  /// - Parameters:
  ///   - shape: logical shape of both sides.
  ///   - valuesPerElement: doubles that one element decodes to.
  public init(shape: [Int], valuesPerElement: Int) {
    self.shape = shape
    self.valuesPerElement = max(1, valuesPerElement)
    let elements = shape.reduce(1, *)
    let isRows = shape.count >= 2 && shape[0] > 0
    rowCount = isRows ? shape[0] : 1
    rowLength = elements / rowCount * self.valuesPerElement
    keepsRows = isRows && rowCount > 1 && rowCount <= Self.rowLimit
    if keepsRows { rows.reserveCapacity(rowCount) }
  }

  /// Adds the next values of both sides.
  ///
  /// - Parameters:
  ///   - target: values that follow those added before, in row-major order.
  ///   - reference: as many.
  public mutating func add(target: [Double], reference: [Double]) {
    let count = min(target.count, reference.count)
    guard rowLength > 0 else { return }
    target.withUnsafeBufferPointer { target in
      reference.withUnsafeBufferPointer { reference in
        var start = 0
        while start < count {
          let inRow = position % rowLength
          let end = min(count, start + rowLength - inRow)
          addRun(target, reference, start..<end, lane: inRow & 7)
          position += end - start
          start = end
          if position % rowLength == 0 { closeRow() }
        }
      }
    }
  }

  /// Adds the outcome of comparing the bytes of a block.
  public mutating func addBytes(unequal: Int, of count: Int) {
    unequalBytes += unequal
    comparedBytes += count
  }

  private mutating func closeRow() {
    let sums = lanes.folded
    total += sums
    if keepsRows { rows.append(sums) }
    lanes = Lanes()
  }

  private mutating func addRun(
    _ target: UnsafeBufferPointer<Double>, _ reference: UnsafeBufferPointer<Double>, _ range: Range<Int>, lane: Int
  ) {
    var index = range.lowerBound
    var lane = lane
    // Up to the next lane 0.
    while lane != 0, index < range.upperBound {
      addOne(target[index], reference[index], lane: lane, at: index - range.lowerBound)
      index += 1
      lane = (lane + 1) & 7
    }
    var local = lanes
    var positionOfBlock = index
    while index + 8 <= range.upperBound {
      let a = load(target, index)
      let b = load(reference, index)
      let difference = a - b
      local.dot += a * b
      local.target += a * a
      local.reference += b * b
      local.difference += difference * difference
      positionOfBlock = index
      // One sum says whether anything needs a closer look: x - x is 0 unless x is not finite.
      let probe = (a - a) + (b - b)
      let isFinite = probe == SIMD8<Double>(repeating: 0)
      let top = largest(difference)
      if !isFinite || top > maxDifference {
        lookCloser(a, b, at: positionOfBlock - range.lowerBound)
      }
      let topReference = largest(b)
      if topReference > maxReference { maxReference = topReference }
      index += 8
    }
    lanes = local
    while index < range.upperBound {
      addOne(target[index], reference[index], lane: lane, at: index - range.lowerBound)
      index += 1
      lane = (lane + 1) & 7
    }
  }

  private func load(_ values: UnsafeBufferPointer<Double>, _ index: Int) -> SIMD8<Double> {
    SIMD8(
      values[index], values[index + 1], values[index + 2], values[index + 3], values[index + 4], values[index + 5],
      values[index + 6], values[index + 7])
  }

  private func largest(_ values: SIMD8<Double>) -> Double {
    var result = 0.0
    for lane in 0..<8 {
      let size = abs(values[lane])
      if size > result { result = size }
    }
    return result
  }

  private mutating func lookCloser(_ a: SIMD8<Double>, _ b: SIMD8<Double>, at offset: Int) {
    for lane in 0..<8 { note(a[lane], b[lane], at: offset + lane) }
  }

  private mutating func addOne(_ a: Double, _ b: Double, lane: Int, at offset: Int) {
    lanes.dot[lane] += a * b
    lanes.target[lane] += a * a
    lanes.reference[lane] += b * b
    lanes.difference[lane] += (a - b) * (a - b)
    note(a, b, at: offset)
  }

  private mutating func note(_ a: Double, _ b: Double, at offset: Int) {
    if !a.isFinite { nonfiniteTarget += 1 }
    if !b.isFinite { nonfiniteReference += 1 }
    let difference = abs(a - b)
    if difference > maxDifference {
      maxDifference = difference
      worstPosition = position + offset
    }
    if abs(b) > maxReference { maxReference = abs(b) }
  }

  /// The measures of everything added.
  public var measures: Measures {
    let isFinite = nonfiniteReference == 0 && nonfiniteTarget == 0
    let nan = Double.nan
    let targetNorm = total.target.squareRoot()
    let referenceNorm = total.reference.squareRoot()
    let hasBoth = targetNorm > 0 && referenceNorm > 0
    let alpha = total.reference > 0 ? total.dot / total.reference : nan
    let sum = total.target + total.reference
    let worst = keepsRows ? worstRow : nil
    return Measures(
      cos: isFinite && hasBoth ? total.dot / (targetNorm * referenceNorm) : nan,
      maxAbs: isFinite ? maxDifference : nan,
      rel: isFinite ? maxDifference / max(maxReference, 1e-12) : nan,
      relL2: isFinite ? Self.relative(total.difference, total.reference) : nan,
      alpha: isFinite ? alpha : nan,
      residual: isFinite && hasBoth ? residual(alpha: alpha) : nan,
      normRatio: isFinite && referenceNorm > 0 ? targetNorm / referenceNorm : nan,
      sglangRel: isFinite ? (maxDifference == 0 ? 0 : 1 - 2 * total.dot / sum) : nan,
      byteEqual: comparedBytes > 0 ? Double(comparedBytes - unequalBytes) / Double(comparedBytes) : nan,
      nonfiniteReference: nonfiniteReference, nonfiniteTarget: nonfiniteTarget,
      elementCount: position / valuesPerElement, worstToken: worst,
      tokenRelL2: rows.map { Self.relative($0.difference, $0.reference) },
      worstCoordinate: maxDifference > 0 ? coordinate(of: worstPosition / valuesPerElement) : [],
      tokenNorms: rows.map { $0.reference.squareRoot() })
  }

  /// |a - alpha b| / |a|, from the form that loses fewer digits.
  private func residual(alpha: Double) -> Double {
    let square =
      abs(alpha - 1) < 0.5
      ? total.difference - (alpha - 1) * (alpha - 1) * total.reference
      : total.target - alpha * total.dot
    return max(0, square).squareRoot() / total.target.squareRoot()
  }

  /// |a-b| / |b| from squares: 0 where both are equal, infinite where only b is 0.
  private static func relative(_ difference: Double, _ reference: Double) -> Double {
    if difference == 0 { return 0 }
    return (difference / reference).squareRoot()
  }

  private var worstRow: TokenMeasure? {
    var worst: (index: Int, relL2: Double)?
    for (index, row) in rows.enumerated() {
      let relL2 = Self.relative(row.difference, row.reference)
      guard let known = worst else {
        worst = (index, relL2)
        continue
      }
      // A row that is not finite is worst of all, the first of them.
      if known.relL2.isNaN { break }
      if relL2.isNaN || relL2 > known.relL2 { worst = (index, relL2) }
    }
    guard let worst else { return nil }
    let row = rows[worst.index]
    let norms = (row.target * row.reference).squareRoot()
    let isFinite = worst.relL2.isFinite && norms > 0
    return TokenMeasure(index: worst.index, cos: isFinite ? row.dot / norms : .nan, relL2: worst.relL2)
  }

  private func coordinate(of element: Int) -> [Int] {
    var rest = element
    var result = Array(repeating: 0, count: shape.count)
    for axis in shape.indices.reversed() where shape[axis] > 0 {
      result[axis] = rest % shape[axis]
      rest /= shape[axis]
    }
    return result
  }
}
