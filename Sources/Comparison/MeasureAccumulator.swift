public import Dumps
import TensorKernels
import TensorLanes

/// Accumulates `Measures` over one pair of tensors, block by block in row-major order.
///
/// Sums are double precision in 32 lanes: value i of a token row goes to lane i mod 32, lanes fold in a fixed
/// tree, rows add in order within a chunk, and chunks in order. Chunks follow from the shape alone (`chunks`), so
/// neither block size nor thread count nor CPU changes the bits.
///
/// Token rows are those of `TokenRows`. Complex elements count as two values, packed 4-bit floats likewise.
public struct MeasureAccumulator: Sendable {
  private let shape: [Int]
  private let valuesPerElement: Int
  private let grid: ChunkGrid
  /// Values before those added so far.
  private let start: Int
  /// The next value to be added.
  private var position: Int
  private var lanes = PairLanes()
  /// Of the row and of the chunk that are open.
  private var row = PairSums()
  private var chunk = PairSums()
  private var total = PairSums()
  private var maxDifference = 0.0
  /// Integers that differ do so by 1 at least, which doubles beyond 2^53 do not show.
  private var leastDifference = 0.0
  private var maxReference = 0.0
  private var worstPosition = 0
  /// First value of the first element that differs.
  private var firstPosition: Int?
  private var nonfiniteReference = 0
  private var nonfiniteTarget = 0
  private var unequalBytes = 0
  private var unequalElements = 0
  private var comparedBytes = 0
  /// Those that are closed; where they are not kept, of the open chunk alone.
  private var rows: [PairSums] = []
  private let keepsRows: Bool
  /// The worst row where they are not kept.
  private var worst: TokenMeasure?

  /// Rows beyond this many are measured, but only the worst of them is kept, and none of rows shorter than `leastRow`.
  public static let rowLimit = 1 << 20
  /// Values of a row that is judged where there are so many: noise is no share of what fewer values are.
  static let leastRow = 32

  /// - Parameters:
  ///   - shape: logical shape of both sides.
  ///   - valuesPerElement: doubles that one element decodes to.
  ///   - element: the first element to be added: the start of one of `chunks`.
  public init(shape: [Int], valuesPerElement: Int, startingAt element: Int = 0) {
    self.shape = shape
    self.valuesPerElement = max(1, valuesPerElement)
    grid = ChunkGrid(shape: shape, valuesPerElement: self.valuesPerElement)
    keepsRows = grid.rowCount > 1 && grid.rowCount <= Self.rowLimit
    start = element * self.valuesPerElement
    position = start
    if keepsRows { rows.reserveCapacity(grid.rowsOfChunk(at: start)) }
  }

  /// Ranges of elements that may be measured each on its own, in order, to be merged in order.
  public static func chunks(shape: [Int], valuesPerElement: Int) -> [Range<Int>] {
    let values = max(1, valuesPerElement)
    return ChunkGrid(shape: shape, valuesPerElement: values).chunks.map {
      ($0.lowerBound / values)..<($0.upperBound / values)
    }
  }

  /// Adds the next values of both sides.
  ///
  /// - Parameters:
  ///   - target: values that follow those added before, in row-major order.
  ///   - reference: as many.
  public mutating func add(target: [Double], reference: [Double]) {
    target.withUnsafeBytes { target in
      reference.withUnsafeBytes { reference in
        _ = add(.float64, nil, elementBytes: 8 * valuesPerElement, target, reference)
      }
    }
  }

  /// Adds the next elements of both sides, and compares their bytes.
  ///
  /// - Parameters:
  ///   - target: whole elements that follow those added before, in row-major order, little-endian.
  ///   - reference: as many, of the same type.
  /// - Returns: whether they are the same bytes.
  @discardableResult
  public mutating func add(_ dtype: DType, target: [UInt8], reference: [UInt8]) -> Bool {
    target.withUnsafeBytes { target in
      reference.withUnsafeBytes { add(dtype, target: target, reference: $0) }
    }
  }

  /// The same of bytes that stand anywhere.
  @discardableResult
  public mutating func add(
    _ dtype: DType, target: UnsafeRawBufferPointer, reference: UnsafeRawBufferPointer
  ) -> Bool {
    let format = dtype.laneFormat
    return format.table.withUnsafeBufferPointer { table in
      let unequal = add(format.lanes, table.baseAddress, elementBytes: dtype.byteCount, target, reference)
      addBytes(unequal: unequal, of: min(target.count, reference.count))
      if unequal > 0, dtype == .int64 || dtype == .uint64 { leastDifference = 1 }
      return unequal == 0
    }
  }

  /// Adds the outcome of comparing the bytes of a block.
  public mutating func addBytes(unequal: Int, of count: Int) {
    unequalBytes += unequal
    comparedBytes += count
  }

  /// Adds what was measured of the chunk that follows.
  ///
  /// - Parameter next: begun where this one ends, one whole chunk.
  public mutating func merge(_ next: MeasureAccumulator) {
    precondition(next.start == position, "chunks are merged in order")
    leastDifference = max(leastDifference, next.leastDifference)
    position = next.position
    total += next.total
    var closed = next.rows[...]
    if let first = closed.popFirst() {
      if start == 0, rows.capacity < grid.rowCount { rows.reserveCapacity(grid.rowCount) }
      row += first
      rows.append(row)
      rows.append(contentsOf: closed)
      row = PairSums()
    }
    row += next.row
    if let found = next.worst, worst.map({ !$0.relL2.isNaN && !(found.relL2 <= $0.relL2) }) ?? true { worst = found }
    if next.maxDifference > maxDifference {
      maxDifference = next.maxDifference
      worstPosition = next.worstPosition
    }
    firstPosition = firstPosition ?? next.firstPosition
    maxReference = max(maxReference, next.maxReference)
    nonfiniteReference += next.nonfiniteReference
    nonfiniteTarget += next.nonfiniteTarget
    unequalElements += next.unequalElements
    addBytes(unequal: next.unequalBytes, of: next.comparedBytes)
  }

  /// True where both are the same bytes.
  public static func areSameBytes(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    guard left.count == right.count else { return false }
    return left.withUnsafeBytes { left in
      right.withUnsafeBytes { right in
        guard let a = left.baseAddress, let b = right.baseAddress else { return true }
        return Kernels.areEqual(a, b, byteCount: right.count)
      }
    }
  }

  /// Gives the number of unequal bytes.
  private mutating func add(
    _ format: LaneFormat, _ table: UnsafePointer<Float>?, elementBytes: Int, _ target: UnsafeRawBufferPointer,
    _ reference: UnsafeRawBufferPointer
  ) -> Int {
    let count = min(target.count, reference.count) * 8 / format.bitCount
    guard grid.rowLength > 0, let a = target.baseAddress, let b = reference.baseAddress else { return 0 }
    var unequal = 0
    var done = 0
    while done < count {
      let inRow = position % grid.rowLength
      let rowEnd = position - inRow + grid.rowLength
      let chunkEnd = grid.chunkEnd(after: position)
      let length = min(count - done, min(rowEnd, chunkEnd) - position)
      let offset = done * format.bitCount / 8
      addRun(
        format,
        PairRun(
          target: a + offset, reference: b + offset, count: length, lane: inRow & 31, elementBytes: elementBytes,
          table: table))
      unequal += lanes.unequalBytes
      position += length
      done += length
      if position == rowEnd || position == chunkEnd { closeLanes(isRow: position == rowEnd) }
      if position == chunkEnd {
        total += chunk
        chunk = PairSums()
        if !keepsRows { foldRows() }
      }
    }
    return unequal
  }

  private mutating func closeLanes(isRow: Bool) {
    let sums = lanes.sums
    lanes.contents = .nothing
    chunk += sums
    row += sums
    guard isRow else { return }
    if grid.rowCount > 1, keepsRows || grid.rowLength >= Self.leastRow { rows.append(row) }
    row = PairSums()
  }

  /// Keeps the worst of the rows of the chunk that ends here. What a row is off by counts against its own norm, but no
  /// less than a tenth of the chunk's usual one.
  private mutating func foldRows() {
    defer { rows.removeAll(keepingCapacity: true) }
    // A row that is not finite is worst of all, the first of them.
    if worst?.relL2.isNaN == true { return }
    let usual = (rows.reduce(0) { $0 + $1.reference } / Double(max(rows.count, 1))).squareRoot()
    let first = position / grid.rowLength - rows.count
    for (index, row) in rows.enumerated() {
      let least = (0.1 * usual) * (0.1 * usual)
      let distance = Self.relative(row.difference, max(row.reference, least))
      guard distance.isNaN || distance > worst?.relL2 ?? -1 else { continue }
      let norms = (row.target * row.reference).squareRoot()
      worst = TokenMeasure(
        index: first + index, cos: distance.isFinite && norms > 0 ? row.dot / norms : .nan, relL2: distance)
      if distance.isNaN { return }
    }
  }

  private mutating func addRun(_ format: LaneFormat, _ run: PairRun) {
    lanes.largestDifference = maxDifference
    Kernels.addPairs(format, run, to: &lanes)
    if let index = lanes.largestDifferenceIndex {
      maxDifference = lanes.largestDifference
      worstPosition = position + index
    }
    maxReference = max(maxReference, lanes.largestReference)
    // Looked for once: the pass itself only counts.
    if firstPosition == nil, lanes.unequalElements > 0 {
      firstPosition = Self.firstUnequal(run, byteCount: run.count * format.bitCount / 8).map {
        position + $0 * valuesPerElement
      }
    }
    unequalElements += lanes.unequalElements
    nonfiniteTarget += lanes.nonfiniteTarget
    nonfiniteReference += lanes.nonfiniteReference
  }

  /// The first element of a run whose bytes differ.
  private static func firstUnequal(_ run: PairRun, byteCount: Int) -> Int? {
    var start = 0
    while start < byteCount {
      let end = min(start + 4096, byteCount)
      if !Kernels.areEqual(run.target + start, run.reference + start, byteCount: end - start) {
        let left = UnsafeRawBufferPointer(start: run.target, count: byteCount)
        let right = UnsafeRawBufferPointer(start: run.reference, count: byteCount)
        return (start..<end).first { left[$0] != right[$0] }.map { $0 / run.elementBytes }
      }
      start = end
    }
    return nil
  }

  /// Squares that a double cannot hold, or holds with few digits: of numbers beyond 1e154, or all below 1e-140.
  private var isBeyondSquares: Bool {
    if maxDifference > 0, max(maxReference, maxDifference) < 1e-140 { return true }
    return !total.target.isFinite || !total.reference.isFinite
  }

  /// Of the residual too few digits are left by the sums: the target is nearly the reference times one number.
  public var needsDirectResidual: Bool {
    guard nonfiniteReference == 0, nonfiniteTarget == 0, !isBeyondSquares, total.target > 0, total.reference > 0,
      total.difference > 0
    else { return false }
    let (square, whole) = residualSquare(alpha: total.dot / total.reference)
    return square < 1e-3 * whole
  }

  /// The measures of everything added.
  public var measures: Measures {
    let isFinite = nonfiniteReference == 0 && nonfiniteTarget == 0
    let nan = Double.nan
    let targetNorm = total.target.squareRoot()
    let referenceNorm = total.reference.squareRoot()
    let isInRange = !isBeyondSquares
    let hasBoth = targetNorm > 0 && referenceNorm > 0 && isInRange
    // Of equal sides exactly 1.
    let norms = total.target == total.reference ? total.target : targetNorm * referenceNorm
    let alpha = total.reference > 0 && isInRange ? total.dot / total.reference : nan
    let sum = total.target + total.reference
    let worst = keepsRows ? worstRow : worst
    let maxDifference = max(maxDifference, leastDifference)
    return Measures(
      cos: isFinite && hasBoth ? total.dot / norms : nan,
      maxAbs: isFinite ? maxDifference : nan,
      rel: isFinite ? maxDifference / max(maxReference, 1e-12) : nan,
      relL2: isFinite ? relL2(isInRange: isInRange) : nan,
      alpha: isFinite ? alpha : nan,
      residual: isFinite && hasBoth ? residual(alpha: alpha) : nan,
      normRatio: isFinite && isInRange && referenceNorm > 0 ? targetNorm / referenceNorm : nan,
      sglangRel: isFinite && (isInRange || maxDifference == 0)
        ? (maxDifference == 0 ? 0 : 1 - 2 * total.dot / sum) : nan,
      byteEqual: comparedBytes > 0 ? Double(comparedBytes - unequalBytes) / Double(comparedBytes) : nan,
      nonfiniteReference: nonfiniteReference, nonfiniteTarget: nonfiniteTarget,
      elementCount: (position - start) / valuesPerElement, worstToken: worst,
      tokenRelL2: rows.map { Self.relative($0.difference, $0.reference) },
      worstCoordinate: self.maxDifference > 0 ? Self.coordinate(of: worstPosition / valuesPerElement, in: shape) : [],
      tokenNorms: rows.map { $0.reference.squareRoot() },
      meanAbs: isFinite && position > start ? total.magnitude / Double(position - start) : nan,
      unequalElements: unequalElements,
      firstCoordinate: firstPosition.map { Self.coordinate(of: $0 / valuesPerElement, in: shape) },
      isZeroThroughout: isFinite && position > start && maxReference == 0 && maxDifference == 0)
  }

  /// Of the whole; NaN where squares do not tell how far the sides are apart.
  private func relL2(isInRange: Bool) -> Double {
    if maxDifference == 0 { return 0 }
    guard isInRange || total.reference.isFinite && maxReference > 1e-140 else { return .nan }
    return Self.relative(total.difference, total.reference)
  }

  /// |a - alpha b| / |a|, from the form that loses fewer digits.
  private func residual(alpha: Double) -> Double {
    max(0, residualSquare(alpha: alpha).square).squareRoot() / total.target.squareRoot()
  }

  /// |a - alpha b|², and the sum that it is the rest of.
  private func residualSquare(alpha: Double) -> (square: Double, whole: Double) {
    abs(alpha - 1) < 0.5
      ? (total.difference - (alpha - 1) * (alpha - 1) * total.reference, total.difference)
      : (total.target - alpha * total.dot, total.target)
  }

  /// |a-b| / |b| from squares: 0 where both are equal, infinite where only b is 0, NaN where b is beyond squares.
  private static func relative(_ difference: Double, _ reference: Double) -> Double {
    if difference == 0 { return 0 }
    return reference.isFinite ? (difference / reference).squareRoot() : .nan
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

  /// Indices of an element, counted in row-major order.
  public static func coordinate(of element: Int, in shape: [Int]) -> [Int] {
    var rest = element
    var result = Array(repeating: 0, count: shape.count)
    for axis in shape.indices.reversed() where shape[axis] > 0 {
      result[axis] = rest % shape[axis]
      rest /= shape[axis]
    }
    return result
  }
}
