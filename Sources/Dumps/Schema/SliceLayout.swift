/// How the tensors of several ranks may lie in the whole tensor: judged by shapes here, proven by bytes.
struct SliceLayout: Hashable {
  enum Kind: String, Hashable {
    case replicated
    /// Slices of the first dimension of a weight matrix, or of a vector: a column-parallel layer.
    case column
    /// Slices of the last dimension of a weight matrix: a row-parallel layer.
    case row
    /// Slices of another dimension.
    case axis
    /// Fused blocks (gate and up; q, k and v), each of them sliced.
    case blocks
    /// Several ranks hold the same slice (key and value heads).
    case heads
    /// Slices whose last one is filled up.
    case padded
  }

  /// A piece of the whole along the axis, and where it stands in the rank's tensor.
  private struct Piece: Hashable {
    var whole: Int
    var part: Int
    var count: Int
  }

  var kind: Kind
  var axis: Int?
  /// Relative sizes of fused blocks.
  private(set) var weights: [Int] = []
  /// By rank.
  private let pieces: [[Piece]]

  /// True where rank r's tensor is one piece, so that ranks can be told apart by it.
  var isPlain: Bool { pieces.allSatisfy { $0.count == 1 } && kind != .replicated }

  /// All layouts that the shapes allow, the plainest first; empty where none does.
  static func candidates(whole: [Int], parts: [[Int]]) -> [SliceLayout] {
    guard parts.allSatisfy({ $0.count == whole.count }) else { return [] }
    if parts.allSatisfy({ $0 == whole }) {
      return [SliceLayout(kind: .replicated, axis: nil, pieces: parts.map { _ in [] })]
    }
    // Larger counts stand only in empty tensors, and their products would overflow.
    guard parts.count <= 1 << 20, (parts + [whole]).allSatisfy({ $0.allSatisfy { $0 <= 1 << 40 } }) else { return [] }
    let axes = whole.indices.filter { axis in parts.contains { $0[axis] != whole[axis] } }
    guard axes.count == 1, let axis = axes.first else { return [] }
    let counts = parts.map { $0[axis] }
    let size = whole[axis]
    let plain: Kind =
      axis == 0 && whole.count <= 2 ? .column : axis == 1 && whole.count == 2 ? .row : .axis
    var layouts: [SliceLayout] = []
    if counts.reduce(0, +) == size {
      var start = 0
      var pieces: [[Piece]] = []
      for count in counts {
        pieces.append([Piece(whole: start, part: 0, count: count)])
        start += count
      }
      layouts.append(SliceLayout(kind: plain, axis: axis, pieces: pieces))
    }
    guard let count = counts.first, count > 0, counts.allSatisfy({ $0 == count }) else { return layouts }
    let total = count * counts.count
    if total == size {
      for weights in [[1, 1], [1, 1, 1], [2, 1, 1], [4, 1, 1], [6, 1, 1], [7, 1, 1], [8, 1, 1], [16, 1, 1]] {
        let units = weights.reduce(0, +)
        guard count.isMultiple(of: units) else { continue }
        layouts.append(blocks(weights, unit: count / units, ranks: counts.count, axis: axis))
      }
    } else if total > size, total.isMultiple(of: size), size.isMultiple(of: count) {
      let copies = total / size
      layouts.append(
        SliceLayout(
          kind: .heads, axis: axis,
          pieces: counts.indices.map { [Piece(whole: $0 / copies * count, part: 0, count: count)] }))
    } else if total > size, total - size < count {
      layouts.append(
        SliceLayout(
          kind: .padded, axis: axis,
          pieces: counts.indices.map { [Piece(whole: $0 * count, part: 0, count: min(count, size - $0 * count))] }))
    }
    return layouts
  }

  private static func blocks(_ weights: [Int], unit: Int, ranks: Int, axis: Int) -> SliceLayout {
    let pieces = (0..<ranks).map { rank in
      var (whole, part) = (0, 0)
      return weights.map { weight in
        let count = weight * unit
        defer { (whole, part) = (whole + count * ranks, part + count) }
        return Piece(whole: whole + rank * count, part: part, count: count)
      }
    }
    return SliceLayout(kind: .blocks, axis: axis, weights: weights, pieces: pieces)
  }

  /// What rank `rank` should hold, and what it holds, piece by piece. Both slices of a plain layout are one pair.
  func pairs(_ whole: Tensor, _ part: Tensor, rank: Int) -> [(whole: Tensor, part: Tensor)] {
    guard let axis else { return [(whole, part)] }
    return pieces[rank].map {
      (whole.narrowed(axis, $0.whole, $0.count), part.narrowed(axis, $0.part, $0.count))
    }
  }

  /// Whether every rank holds exactly what this layout says.
  ///
  /// - Parameter read: is given each block of it, until one differs.
  func fits(_ whole: Tensor, _ parts: [Tensor], read: ([UInt8]) -> Void) throws(DumpError) -> Bool {
    for (rank, part) in parts.enumerated() {
      for pair in pairs(whole, part, rank: rank) {
        guard try pair.whole.hasBytes(of: pair.part, read: read) else { return false }
      }
    }
    return true
  }

  /// For each rank the rank whose slice it holds, by bytes; nil where one holds no slice of this layout.
  ///
  /// - Parameter order: the slices are looked for in this order.
  func sources(_ whole: Tensor, _ parts: [Tensor], in order: KnownOrder? = nil) throws(DumpError) -> [Int]? {
    guard isPlain, kind != .padded else { return nil }
    var result: [Int] = []
    for part in parts {
      var found: Int?
      for rank in parts.indices {
        guard let slice = pairs(whole, parts[rank], rank: rank).first?.whole, slice.shape == part.shape else {
          continue
        }
        guard let view = order.map({ $0.applied(to: slice) }) ?? slice else { continue }
        if try view.hasBytes(of: part) {
          found = rank
          break
        }
      }
      guard let found else { return nil }
      result.append(found)
    }
    return result
  }
}
