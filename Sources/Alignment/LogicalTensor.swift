public import Dumps

/// The tensor that the ranks' tensors stand for, readable in row-major order without being assembled in memory.
public struct LogicalTensor: Sendable, Hashable, Codable {
  /// The ranks' tensors, in the order that the layout's pieces count.
  public var parts: [Tensor]
  public var layout: ShardLayout

  public var shape: [Int] { layout.shape }
  public var dtype: DType { parts[layout.pieces.first?.part ?? 0].dtype }
  public var elementCount: Int { shape.reduce(1, *) }
  /// True where the values are sums in double precision, which have no bytes of their own.
  public var isSum: Bool { layout.kind == .partial && layout.pieces.count > 1 }

  /// - Throws: `AlignmentError` when types differ, or pieces or shapes do not fit.
  public init(parts: [Tensor], layout: ShardLayout, place: String) throws(AlignmentError) {
    self.parts = parts
    self.layout = layout
    guard let first = layout.pieces.first, layout.pieces.allSatisfy({ parts.indices.contains($0.part) }) else {
      throw AlignmentError(code: .shapeMismatch, place: place, message: "the layout names ranks that are not there")
    }
    let dtype = parts[first.part].dtype
    if let other = layout.pieces.first(where: { parts[$0.part].dtype != dtype }) {
      throw AlignmentError(
        code: .shapeMismatch, place: place,
        message: "ranks disagree about the element type: \(dtype.rawValue) and \(parts[other.part].dtype.rawValue)")
    }
    for piece in layout.pieces where !fits(piece) {
      throw AlignmentError(
        code: .shapeMismatch, place: place,
        message: "shape \(parts[piece.part].shape) of rank position \(piece.part) does not fit \(layout.shape)")
    }
    if let axis = layout.axis {
      let total = layout.pieces.reduce(0) { $0 + $1.count }
      guard layout.shape.indices.contains(axis), total == layout.shape[axis] else {
        throw AlignmentError(
          code: .shapeMismatch, place: place,
          message: "the ranks' slices give \(total) along dimension \(axis), the logical shape is \(layout.shape)")
      }
    }
  }

  private func fits(_ piece: ShardLayout.Piece) -> Bool {
    let part = parts[piece.part].shape
    guard let axis = layout.axis else { return part == layout.shape }
    guard part.count == layout.shape.count, part.indices.contains(axis), piece.start >= 0, piece.count >= 0 else {
      return false
    }
    return piece.start + piece.count <= part[axis]
      && part.indices.allSatisfy { $0 == axis || part[$0] == layout.shape[$0] }
  }

  /// Opens the files.
  ///
  /// - Parameter audit: is told the checksums of what is read.
  public func makeReader(audit: StorageAudit? = nil) throws -> LogicalReader { try LogicalReader(self, audit: audit) }
}

/// Reads ranges of a logical tensor's elements; memory is bounded by the range.
public struct LogicalReader: Sendable {
  private let tensor: LogicalTensor
  /// By position in `tensor.parts`; nil for parts that no piece needs.
  private let readers: [TensorReader?]
  /// Elements of all dimensions after the axis.
  private let inner: Int
  private var scratch: [UInt8] = []
  private var term: [Double] = []

  init(_ tensor: LogicalTensor, audit: StorageAudit?) throws {
    self.tensor = tensor
    var readers: [TensorReader?] = Array(repeating: nil, count: tensor.parts.count)
    for piece in tensor.layout.pieces where readers[piece.part] == nil {
      readers[piece.part] = try TensorReader(tensor.parts[piece.part], audit: audit)
    }
    self.readers = readers
    inner = tensor.layout.axis.map { tensor.shape[($0 + 1)...].reduce(1, *) } ?? 1
  }

  /// The one tensor whose bytes are those of this one, where its checksum is wanted: `readBytes` leaves it to the
  /// caller, who may know it already.
  public var plainReader: TensorReader? {
    guard tensor.layout.axis == nil, !tensor.isSum else { return nil }
    return readers[tensor.layout.pieces[0].part].flatMap { $0.notesChecksums ? $0 : nil }
  }

  /// Values of elements `range` in row-major order (`DType.valuesPerElement` doubles each).
  ///
  /// - Parameters:
  ///   - bytes: the elements' bytes; left empty for sums, whose values are added in double precision in rank order.
  public mutating func read(_ range: Range<Int>, bytes: inout [UInt8], values: inout [Double]) throws {
    if tensor.isSum {
      bytes.removeAll(keepingCapacity: true)
      for (index, piece) in tensor.layout.pieces.enumerated() {
        try readPart(piece.part, range)
        let dtype = tensor.dtype
        let count = range.count * dtype.valuesPerElement
        if index == 0 {
          resize(&values, to: count)
          decode(dtype, into: &values)
        } else {
          resize(&term, to: count)
          decode(dtype, into: &term)
          for index in values.indices { values[index] += term[index] }
        }
      }
      return
    }
    try readBytes(range, into: &bytes)
    let dtype = tensor.dtype
    resize(&values, to: range.count * dtype.valuesPerElement)
    bytes.withUnsafeBytes { bytes in
      values.withUnsafeMutableBufferPointer { dtype.decode(bytes, into: $0) }
    }
  }

  /// Bytes of elements `range`, in row-major order; not for sums.
  public mutating func readBytes(_ range: Range<Int>, into bytes: inout [UInt8]) throws {
    guard let axis = tensor.layout.axis else {
      resize(&bytes, to: range.count * tensor.dtype.byteCount)
      try reader(tensor.layout.pieces[0].part).read(range, into: &bytes)
      return
    }
    let size = tensor.dtype.byteCount
    let width = tensor.shape[axis] * inner
    resize(&bytes, to: range.count * size)
    guard width > 0, !range.isEmpty else { return }
    let groups = (range.lowerBound / width)..<((range.upperBound - 1) / width + 1)
    // Whole rows of each rank once, then the pieces to their places; within one row straight reads.
    if groups.count == 1 {
      try readWithin(groups.lowerBound, range, axis: axis, into: &bytes)
      return
    }
    for part in readers.indices where readers[part] != nil {
      let partWidth = tensor.parts[part].shape[axis] * inner
      try readPart(part, (groups.lowerBound * partWidth)..<(groups.upperBound * partWidth))
      var offset = 0
      for piece in tensor.layout.pieces {
        defer { offset += piece.count * inner }
        guard piece.part == part else { continue }
        for group in groups {
          let from = (group - groups.lowerBound) * partWidth + piece.start * inner
          let to = group * width + offset - range.lowerBound
          let skip = max(0, -to)
          let count = min(piece.count * inner, range.count - to)
          guard skip < count else { continue }
          copy(from: (from + skip) * size, to: (to + skip) * size, count: (count - skip) * size, into: &bytes)
        }
      }
    }
  }

  /// A range inside one index of the dimensions before the axis.
  private mutating func readWithin(_ group: Int, _ range: Range<Int>, axis: Int, into bytes: inout [UInt8]) throws {
    let size = tensor.dtype.byteCount
    let width = tensor.shape[axis] * inner
    let wanted = (range.lowerBound - group * width)..<(range.upperBound - group * width)
    var offset = 0
    for piece in tensor.layout.pieces {
      let span = offset..<(offset + piece.count * inner)
      offset = span.upperBound
      let common = span.clamped(to: wanted)
      guard !common.isEmpty else { continue }
      let partWidth = tensor.parts[piece.part].shape[axis] * inner
      let start = group * partWidth + piece.start * inner + common.lowerBound - span.lowerBound
      try readPart(piece.part, start..<(start + common.count))
      copy(from: 0, to: (common.lowerBound - wanted.lowerBound) * size, count: common.count * size, into: &bytes)
    }
  }

  /// Reads a rank's elements into `scratch` and notes their checksum.
  private mutating func readPart(_ part: Int, _ range: Range<Int>) throws {
    let reader = try reader(part)
    try reader.read(range, into: &scratch)
    reader.note(range, bytes: scratch)
  }

  private func decode(_ dtype: DType, into values: inout [Double]) {
    scratch.withUnsafeBytes { bytes in values.withUnsafeMutableBufferPointer { dtype.decode(bytes, into: $0) } }
  }

  private func reader(_ part: Int) throws -> TensorReader {
    guard let reader = readers[part] else {
      throw AlignmentError(code: .shapeMismatch, place: "rank position \(part)", message: "has no tensor")
    }
    return reader
  }

  private func copy(from: Int, to: Int, count: Int, into bytes: inout [UInt8]) {
    scratch.withUnsafeBytes { source in
      bytes.withUnsafeMutableBytes { target in
        UnsafeMutableRawBufferPointer(rebasing: target[to..<(to + count)])
          .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[from..<(from + count)]))
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
