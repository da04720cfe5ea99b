/// One way to join the ranks' tensors into the logical tensor: what `LogicalTensor` executes.
public struct ShardLayout: Sendable, Hashable, Codable {
  /// A run of one rank's tensor along the axis, in the order of the logical tensor.
  public struct Piece: Sendable, Hashable, Codable {
    /// Position in the list of ranks.
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

  public var kind: ShardKind
  /// Dimension of the slices; nil for whole tensors and sums.
  public var axis: Int?
  public var pieces: [Piece]
  /// Shape of the logical tensor.
  public var shape: [Int]
  /// In words where the kind does not say it all, for instance the head map.
  public var detail: String?

  public init(kind: ShardKind, axis: Int?, pieces: [Piece], shape: [Int], detail: String? = nil) {
    self.kind = kind
    self.axis = axis
    self.pieces = pieces
    self.shape = shape
    self.detail = detail
  }

  /// The same way to join, whatever the shapes.
  public func isLike(_ other: ShardLayout) -> Bool {
    kind == other.kind && axis == other.axis && detail == other.detail
  }

  /// One rank's tensor as it is.
  public static func whole(_ shape: [Int], kind: ShardKind, part: Int = 0) -> ShardLayout {
    ShardLayout(kind: kind, axis: nil, pieces: [Piece(part: part, start: 0, count: shape.first ?? 1)], shape: shape)
  }

  /// The ranks' sum.
  public static func sum(_ shape: [Int], ranks: Int) -> ShardLayout {
    ShardLayout(
      kind: .partial, axis: nil,
      pieces: (0..<ranks).map { Piece(part: $0, start: 0, count: shape.first ?? 1) }, shape: shape)
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

  /// Each rank holds its slice of every fused block (q, k, v; gate, up): the logical tensor is block after block.
  ///
  /// - Parameter weights: relative widths of the blocks.
  public static func blocks(_ shapes: [[Int]], axis: Int, weights: [Int]) -> ShardLayout? {
    guard var layout = concat(shapes, axis: axis, kind: .blocks) else { return nil }
    let total = weights.reduce(0, +)
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
    layout.pieces = pieces
    layout.detail = "blocks in the ratio " + weights.map(String.init).joined(separator: ":")
    return layout
  }
}
