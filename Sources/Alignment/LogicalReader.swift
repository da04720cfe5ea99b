public import Dumps

/// Reads ranges of a logical tensor's elements; memory is bounded by the range.
public struct LogicalReader: Sendable {
  /// Where a piece comes from: a rank's file, or a logical tensor of its own.
  fileprivate enum Source: Sendable {
    case file(TensorReader)
    case joined(LogicalReader)

    var shape: [Int] {
      switch self {
      case .file(let reader): reader.tensor.shape
      case .joined(let reader): reader.layout.shape
      }
    }
  }

  fileprivate let layout: ShardLayout
  private let dtype: DType
  /// By piece's `part`; nil for those that no piece needs.
  private var sources: [Source?]
  /// Elements of all dimensions after the axis.
  private let inner: Int
  private var byteScratch: [UInt8] = []
  private var valueScratch: [Double] = []

  init(parts: [Tensor], layout: ShardLayout, dtype: DType, audit: StorageAudit?) throws {
    self.layout = layout
    self.dtype = dtype
    var sources: [Source?] = Array(repeating: nil, count: layout.inner.isEmpty ? parts.count : layout.inner.count)
    for piece in layout.pieces where sources[piece.part] == nil {
      sources[piece.part] =
        layout.inner.isEmpty
        ? .file(try TensorReader(parts[piece.part], audit: audit))
        : .joined(try LogicalReader(parts: parts, layout: layout.inner[piece.part], dtype: dtype, audit: audit))
    }
    self.sources = sources
    inner = layout.axis.map { layout.shape[($0 + 1)...].reduce(1, *) } ?? 1
  }

  /// The one tensor whose bytes are those of this one: `readBytes` leaves noting their checksum to the caller, who may
  /// know it already.
  public var plainReader: TensorReader? {
    guard layout.axis == nil, !layout.hasSum, case .file(let reader)? = sources[layout.pieces[0].part] else {
      return nil
    }
    return reader
  }

  /// Values of elements `range` in row-major order (`DType.valuesPerElement` doubles each).
  ///
  /// - Parameters:
  ///   - bytes: the elements' bytes; left empty for sums, whose values are added in double precision in rank order.
  public mutating func read(_ range: Range<Int>, bytes: inout [UInt8], values: inout [Double]) throws {
    if layout.hasSum {
      bytes.removeAll(keepingCapacity: true)
      try readValues(range, into: &values)
      return
    }
    try readBytes(range, into: &bytes)
    resize(&values, to: range.count * dtype.valuesPerElement)
    bytes.withUnsafeBytes { bytes in
      values.withUnsafeMutableBufferPointer { dtype.decode(bytes, into: $0) }
    }
  }

  /// Bytes of elements `range`, in row-major order; not for sums.
  public mutating func readBytes(_ range: Range<Int>, into bytes: inout [UInt8]) throws {
    var scratch = byteScratch
    byteScratch = []
    defer { byteScratch = scratch }
    try join(range, unit: dtype.byteCount, into: &bytes, scratch: &scratch)
  }

  fileprivate mutating func readValues(_ range: Range<Int>, into values: inout [Double]) throws {
    var scratch = valueScratch
    valueScratch = []
    defer { valueScratch = scratch }
    guard layout.kind == .partial, layout.pieces.count > 1 else {
      try join(range, unit: dtype.valuesPerElement, into: &values, scratch: &scratch)
      return
    }
    for (index, piece) in layout.pieces.enumerated() {
      if index == 0 {
        try fetch(piece.part, range, into: &values)
      } else {
        try fetch(piece.part, range, into: &scratch)
        for index in values.indices { values[index] += scratch[index] }
      }
    }
  }

  /// - Parameter unit: values of `Value` an element.
  private mutating func join<Value: Fetched>(
    _ range: Range<Int>, unit: Int, into target: inout [Value], scratch: inout [Value]
  ) throws {
    resize(&target, to: range.count * unit)
    guard let axis = layout.axis else {
      try fetch(layout.pieces[0].part, range, into: &target, isNoted: false)
      return
    }
    let width = layout.shape[axis] * inner
    guard width > 0, !range.isEmpty else { return }
    let groups = (range.lowerBound / width)..<((range.upperBound - 1) / width + 1)
    // Whole rows of each rank once, then the pieces to their places; within one row straight reads.
    if groups.count == 1 {
      try joinWithin(groups.lowerBound, range, axis: axis, unit: unit, into: &target, scratch: &scratch)
      return
    }
    for part in sources.indices {
      guard let source = sources[part] else { continue }
      let partWidth = source.shape[axis] * inner
      try fetch(part, (groups.lowerBound * partWidth)..<(groups.upperBound * partWidth), into: &scratch)
      var offset = 0
      for piece in layout.pieces {
        defer { offset += piece.count * inner }
        guard piece.part == part else { continue }
        for group in groups {
          let from = (group - groups.lowerBound) * partWidth + piece.start * inner
          let to = group * width + offset - range.lowerBound
          let skip = max(0, -to)
          let count = min(piece.count * inner, range.count - to)
          guard skip < count else { continue }
          copy(scratch, from: (from + skip) * unit, to: (to + skip) * unit, count: (count - skip) * unit, into: &target)
        }
      }
    }
  }

  /// A range inside one index of the dimensions before the axis.
  private mutating func joinWithin<Value: Fetched>(
    _ group: Int, _ range: Range<Int>, axis: Int, unit: Int, into target: inout [Value], scratch: inout [Value]
  ) throws {
    let width = layout.shape[axis] * inner
    let wanted = (range.lowerBound - group * width)..<(range.upperBound - group * width)
    var offset = 0
    for piece in layout.pieces {
      let span = offset..<(offset + piece.count * inner)
      offset = span.upperBound
      let common = span.clamped(to: wanted)
      guard !common.isEmpty, let source = sources[piece.part] else { continue }
      let partWidth = source.shape[axis] * inner
      let start = group * partWidth + piece.start * inner + common.lowerBound - span.lowerBound
      try fetch(piece.part, start..<(start + common.count), into: &scratch)
      copy(
        scratch, from: 0, to: (common.lowerBound - wanted.lowerBound) * unit, count: common.count * unit, into: &target)
    }
  }

  /// - Parameter isNoted: whether the checksum of bytes from a file is noted here.
  private mutating func fetch<Value: Fetched>(
    _ part: Int, _ range: Range<Int>, into values: inout [Value], isNoted: Bool = true
  ) throws {
    guard var source = sources[part] else {
      throw AlignmentError(code: .shapeMismatch, place: "rank position \(part)", message: "has no tensor")
    }
    if case .joined = source { sources[part] = nil }
    defer { sources[part] = source }
    try Value.fetch(from: &source, range, into: &values, isNoted: isNoted)
  }

  private func copy<Value>(_ scratch: [Value], from: Int, to: Int, count: Int, into target: inout [Value]) {
    scratch.withUnsafeBufferPointer { source in
      target.withUnsafeMutableBufferPointer { target in
        _ = UnsafeMutableBufferPointer(rebasing: target[to..<(to + count)])
          .update(fromContentsOf: UnsafeBufferPointer(rebasing: source[from..<(from + count)]))
      }
    }
  }

  private func resize<Value: ExpressibleByIntegerLiteral>(_ values: inout [Value], to count: Int) {
    if values.count > count {
      values.removeLast(values.count - count)
    } else if values.count < count {
      values = Array(repeating: 0, count: count)
    }
  }
}

/// What a part is read as: bytes as they stand, or numbers.
private protocol Fetched: ExpressibleByIntegerLiteral {
  static func fetch(
    from source: inout LogicalReader.Source, _ range: Range<Int>, into values: inout [Self], isNoted: Bool
  ) throws
}

extension UInt8: Fetched {
  fileprivate static func fetch(
    from source: inout LogicalReader.Source, _ range: Range<Int>, into values: inout [UInt8], isNoted: Bool
  ) throws {
    switch source {
    case .file(let reader):
      try reader.read(range, into: &values)
      if isNoted { reader.note(range, bytes: values) }
    case .joined(var reader):
      try reader.readBytes(range, into: &values)
      source = .joined(reader)
    }
  }
}

extension Double: Fetched {
  fileprivate static func fetch(
    from source: inout LogicalReader.Source, _ range: Range<Int>, into values: inout [Double], isNoted: Bool
  ) throws {
    switch source {
    case .file(let reader): try reader.readDoubles(range, into: &values)
    case .joined(var reader):
      try reader.readValues(range, into: &values)
      source = .joined(reader)
    }
  }
}
