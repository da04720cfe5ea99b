public import Dumps

/// The tensor that the ranks' tensors stand for, readable in row-major order without being assembled in memory.
public struct LogicalTensor: Sendable, Hashable, Codable {
  /// The ranks' tensors, in the order that the layout's pieces count.
  public var parts: [Tensor]
  public var layout: ShardLayout

  public var shape: [Int] { layout.shape }
  public var dtype: DType { parts[layout.firstPart].dtype }
  public var elementCount: Int { shape.reduce(1, *) }
  /// True where the values are sums in double precision, which have no bytes of their own.
  public var isSum: Bool { layout.hasSum }

  /// - Throws: `AlignmentError` when types differ, or pieces or shapes do not fit.
  public init(parts: [Tensor], layout: ShardLayout, place: String) throws(AlignmentError) {
    self.parts = parts
    self.layout = layout
    var dtype: DType?
    try Self.check(layout, parts: parts, dtype: &dtype, place: place, depth: 0)
  }

  private static func check(
    _ layout: ShardLayout, parts: [Tensor], dtype: inout DType?, place: String, depth: Int
  ) throws(AlignmentError) {
    func failure(_ message: String) -> AlignmentError {
      AlignmentError(code: .shapeMismatch, place: place, message: message)
    }
    // A dims text has one level for each parallel axis.
    guard depth <= 16 else { throw failure("the layout is nested too deeply") }
    let shapes = layout.inner.isEmpty ? parts.map(\.shape) : layout.inner.map(\.shape)
    guard !layout.pieces.isEmpty, layout.pieces.allSatisfy({ shapes.indices.contains($0.part) }) else {
      throw failure("the layout names ranks that are not there")
    }
    for piece in layout.pieces {
      if layout.inner.isEmpty {
        let other = parts[piece.part].dtype
        if let dtype, dtype != other {
          throw failure("ranks disagree about the element type: \(dtype.rawValue) and \(other.rawValue)")
        }
        dtype = other
      }
      guard fits(piece, shapes[piece.part], layout) else {
        throw failure("shape \(shapes[piece.part]) of rank position \(piece.part) does not fit \(layout.shape)")
      }
    }
    if let axis = layout.axis {
      let total = layout.pieces.reduce(0) { $0 + $1.count }
      guard layout.shape.indices.contains(axis), total == layout.shape[axis] else {
        throw failure("the ranks' slices give \(total) along dimension \(axis), the logical shape is \(layout.shape)")
      }
    }
    for inner in layout.inner { try check(inner, parts: parts, dtype: &dtype, place: place, depth: depth + 1) }
  }

  private static func fits(_ piece: ShardLayout.Piece, _ part: [Int], _ layout: ShardLayout) -> Bool {
    guard let axis = layout.axis else { return part == layout.shape }
    guard part.count == layout.shape.count, part.indices.contains(axis), piece.start >= 0, piece.count >= 0,
      piece.count <= part[axis], piece.start <= part[axis] - piece.count
    else { return false }
    return part.indices.allSatisfy { $0 == axis || part[$0] == layout.shape[$0] }
  }

  /// Opens the files.
  ///
  /// - Parameter audit: is told the checksums of what is read.
  public func makeReader(audit: StorageAudit? = nil) throws -> LogicalReader {
    try LogicalReader(parts: parts, layout: layout, dtype: dtype, audit: audit)
  }
}
