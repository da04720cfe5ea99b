/// One way to join the ranks' tensors into the logical tensor: what `LogicalTensor` executes.
public struct ShardLayout: Sendable, Hashable, Codable {
  /// A run of one rank's tensor along the axis, in the order of the logical tensor.
  public struct Piece: Sendable, Hashable, Codable {
    /// Position in the list of ranks, or in `inner` where that is not empty.
    public var part: Int
    /// First index along the axis in that rank's tensor.
    public var start: Int
    public var count: Int

    public init(part: Int, start: Int, count: Int) {
      self.part = part
      self.start = start
      self.count = count
    }
  }

  /// A run of one rank's own tensor along any axis; the whole tensor where `axis` is nil.
  public struct Slice: Sendable, Hashable, Codable {
    /// Position in the list of ranks.
    public var part: Int
    public var axis: Int?
    public var start: Int
    public var count: Int

    public init(part: Int, axis: Int? = nil, start: Int = 0, count: Int = 0) {
      self.part = part
      self.axis = axis
      self.start = start
      self.count = count
    }
  }

  /// How the ranks' slices follow each other along the axis.
  public enum Order: String, Sendable, Hashable, Codable, CaseIterable {
    /// Rank after rank.
    case consecutive
    /// Load-balanced context parallel: of 2n chunks rank r holds r and 2n - 1 - r.
    case zigzag
    /// Rank r holds the indices r, r + n, r + 2n, …
    case interleaved
    /// Copies are not neighbours: rank r holds what rank r mod groups holds.
    case strided
  }

  public var kind: ShardKind
  /// Dimension of the slices; nil for whole tensors and sums.
  public var axis: Int?
  public var pieces: [Piece]
  /// Shape of the logical tensor.
  public var shape: [Int]
  /// In words where the kind does not say it all, for instance the head map. It names no size that could differ
  /// between the layers of one model.
  public var detail: String?
  public var order: Order = .consecutive
  /// One layout inside another (context parallel over tensor parallel): where this is not empty, `pieces` count
  /// these logical tensors, which have the same ranks to draw from.
  public var inner: [ShardLayout] = []
  /// Slices that should hold the same bytes, group by group; the first of each group is the one that is read.
  public var copies: [[Slice]] = []
  /// What the ranks hold along the axis beyond the logical shape (a padded vocabulary, padded tokens): not read.
  public var padding: [Piece] = []

  public init(
    kind: ShardKind, axis: Int?, pieces: [Piece], shape: [Int], detail: String? = nil, order: Order = .consecutive
  ) {
    self.kind = kind
    self.axis = axis
    self.pieces = pieces
    self.shape = shape
    self.detail = detail
    self.order = order
  }

  /// The same way to join, whatever the shapes.
  public func isLike(_ other: ShardLayout) -> Bool {
    kind == other.kind && axis == other.axis && order == other.order && detail == other.detail
  }

  /// True where values are sums over ranks, here or inside.
  public var hasSum: Bool { kind == .partial && pieces.count > 1 || inner.contains(where: \.hasSum) }

  /// The first rank that is read.
  var firstPart: Int {
    guard let piece = pieces.first else { return 0 }
    return inner.indices.contains(piece.part) ? inner[piece.part].firstPart : piece.part
  }

  /// One rank's tensor as it is.
  public static func whole(_ shape: [Int], kind: ShardKind, part: Int = 0) -> ShardLayout {
    ShardLayout(kind: kind, axis: nil, pieces: [Piece(part: part, start: 0, count: shape.first ?? 1)], shape: shape)
  }

  /// The same tensor on every rank.
  public static func replicated(_ shape: [Int], ranks: Int) -> ShardLayout {
    var layout = whole(shape, kind: .replicated)
    if ranks > 1 { layout.copies = [(0..<ranks).map { Slice(part: $0) }] }
    return layout
  }

  /// The ranks' sum.
  public static func sum(_ shape: [Int], ranks: Int) -> ShardLayout {
    sum(shape, parts: Array(0..<ranks))
  }

  static func sum(_ shape: [Int], parts: [Int]) -> ShardLayout {
    ShardLayout(
      kind: .partial, axis: nil, pieces: parts.map { Piece(part: $0, start: 0, count: shape.first ?? 1) },
      shape: shape)
  }

  /// Slices of `axis` in the order of `parts`; nil where the shapes differ elsewhere.
  public static func concat(_ shapes: [[Int]], axis: Int, parts: [Int]? = nil, kind: ShardKind = .concat)
    -> ShardLayout?
  {
    guard var shape = shapes.first, shape.indices.contains(axis) else { return nil }
    let order = parts ?? Array(shapes.indices)
    var total = 0
    var pieces: [Piece] = []
    for part in order {
      guard shapes.indices.contains(part) else { return nil }
      let other = shapes[part]
      guard other.count == shape.count,
        other.indices.allSatisfy({ $0 == axis || other[$0] == shape[$0] })
      else { return nil }
      pieces.append(Piece(part: part, start: 0, count: other[axis]))
      let (sum, overflow) = total.addingReportingOverflow(other[axis])
      guard !overflow else { return nil }
      total = sum
    }
    shape[axis] = total
    return ShardLayout(kind: kind, axis: axis, pieces: pieces, shape: shape)
  }

  /// The pieces joined along `axis`; nil where they leave a rank's shape or the ranks differ elsewhere.
  static func pieced(_ shapes: [[Int]], axis: Int, pieces: [Piece], kind: ShardKind, order: Order = .consecutive)
    -> ShardLayout?
  {
    guard let base = concat(shapes, axis: axis) else { return nil }
    var total = 0
    for piece in pieces {
      guard shapes.indices.contains(piece.part), piece.start >= 0, piece.count >= 0,
        piece.count <= shapes[piece.part][axis], piece.start <= shapes[piece.part][axis] - piece.count
      else { return nil }
      total += piece.count
    }
    var shape = base.shape
    shape[axis] = total
    return ShardLayout(kind: kind, axis: axis, pieces: pieces, shape: shape, order: order)
  }

  /// Each rank holds its slice of every fused block (q, k, v; gate, up): the logical tensor is block after block.
  ///
  /// - Parameter weights: relative widths of the blocks.
  public static func blocks(_ shapes: [[Int]], axis: Int, weights: [Int]) -> ShardLayout? {
    guard let base = concat(shapes, axis: axis), weights.allSatisfy({ $0 > 0 }) else { return nil }
    var total = 0
    for weight in weights {
      let (sum, overflow) = total.addingReportingOverflow(weight)
      guard !overflow else { return nil }
      total = sum
    }
    guard total > 0, shapes.allSatisfy({ $0[axis] % total == 0 }) else { return nil }
    var pieces: [Piece] = []
    var offset = 0
    for weight in weights {
      for part in shapes.indices {
        let unit = shapes[part][axis] / total
        pieces.append(Piece(part: part, start: offset * unit, count: weight * unit))
      }
      offset += weight
    }
    return ShardLayout(
      kind: .blocks, axis: axis, pieces: pieces, shape: base.shape,
      detail: "blocks in the ratio " + weights.map(String.init).joined(separator: ":"))
  }
}

extension ShardLayout {
  /// The layout with rank positions looked up in `order`.
  func renumbered(_ order: [Int]) -> ShardLayout {
    guard inner.isEmpty else { return self }
    var result = self
    for index in result.pieces.indices { result.pieces[index].part = order[result.pieces[index].part] }
    for index in result.padding.indices { result.padding[index].part = order[result.padding[index].part] }
    result.copies = copies.map { group in
      group.map { slice in
        var slice = slice
        slice.part = order[slice.part]
        return slice
      }
    }
    return result
  }
}
