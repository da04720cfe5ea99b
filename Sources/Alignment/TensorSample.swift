import Dumps

/// Which elements of a tensor are looked at before it is read wholly: whole token rows, evenly spaced.
public struct TensorSample: Sendable, Hashable {
  /// Ranges of logical row-major elements, ascending.
  public var ranges: [Range<Int>]
  /// Elements of one token row; the whole tensor for fewer than two dimensions.
  public var rowLength: Int
  /// The token rows, by number, that the ranges hold from end to end.
  public var rows: [Int]

  public var elementCount: Int { ranges.reduce(0) { $0 + $1.count } }
  public func isWhole(of shape: [Int]) -> Bool { elementCount == shape.reduce(1, *) }

  /// - Parameter limit: elements at most, and one row at least (cut to `limit` where a row is longer).
  public init(shape: [Int], limit: Int = 1 << 18) {
    let tokens = TokenRows(shape: shape)
    let rowCount = tokens.count
    rowLength = tokens.length
    guard rowLength > 0 else {
      (ranges, rows) = ([], [])
      return
    }
    let wanted = max(1, min(rowCount, limit / rowLength))
    // As $0 * rowCount / wanted, whose product may not fit.
    let (step, rest) = rowCount.quotientAndRemainder(dividingBy: wanted)
    rows = (0..<wanted).map { $0 * step + $0 * rest / wanted }
    ranges = []
    for row in rows {
      let range = (row * rowLength)..<(row * rowLength + min(rowLength, limit))
      if let last = ranges.last, last.upperBound == range.lowerBound {
        ranges[ranges.count - 1] = last.lowerBound..<range.upperBound
      } else {
        ranges.append(range)
      }
    }
    if rowLength > limit { rows = [] }
  }

  /// The sampled values, in order.
  public func values(of tensor: LogicalTensor) throws -> [Double] {
    var reader = try tensor.makeReader()
    var result: [Double] = []
    result.reserveCapacity(elementCount * tensor.dtype.valuesPerElement)
    var bytes: [UInt8] = []
    var block: [Double] = []
    for range in ranges {
      try reader.read(range, bytes: &bytes, values: &block)
      result.append(contentsOf: block)
    }
    return result
  }
}

/// How one list of values agrees with another, in double precision: the quick figures behind a layout or a cause.
public struct Agreement: Sendable, Hashable, Codable {
  /// <a,b> / (|a||b|); NaN where a norm is 0 or not finite.
  public var cos: Double
  /// |a-b| / |b|
  public var relL2: Double
  /// <a,b> / <b,b>
  public var alpha: Double
  /// |a - alpha b| / |a|
  public var residual: Double
  /// |a| / |b|
  public var normRatio: Double

  /// - Parameters:
  ///   - target: a
  ///   - reference: b, as many values.
  public init(target: [Double], reference: [Double]) {
    self.init(target: target[...], reference: reference[...])
  }

  public init(target: ArraySlice<Double>, reference: ArraySlice<Double>) {
    var dot = 0.0
    var aa = 0.0
    var bb = 0.0
    var difference = 0.0
    target.withUnsafeBufferPointer { target in
      reference.withUnsafeBufferPointer { reference in
        let count = min(target.count, reference.count)
        var index = 0
        while index < count {
          let a = target[index]
          let b = reference[index]
          dot += a * b
          aa += a * a
          bb += b * b
          difference += (a - b) * (a - b)
          index += 1
        }
      }
    }
    cos = dot / (aa.squareRoot() * bb.squareRoot())
    relL2 = difference == 0 ? 0 : (difference / bb).squareRoot()
    alpha = dot / bb
    let square =
      abs(alpha - 1) < 0.5 ? difference - (alpha - 1) * (alpha - 1) * bb : aa - alpha * dot
    residual = max(0, square).squareRoot() / aa.squareRoot()
    normRatio = (aa / bb).squareRoot()
  }

  /// The relative L2 distance with what is not finite put last.
  public var distance: Double { relL2.isNaN ? .infinity : relL2 }
}
