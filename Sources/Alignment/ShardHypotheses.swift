/// The layouts that ranks' shapes allow for a logical shape. Pure: no data.
enum ShardHypotheses {
  /// Packed sequences of one length that are tried where lengths are not known.
  static let sequenceCounts = [2, 3, 4, 6, 8, 16]
  /// Query heads for each key/value head: what published models have, and the odd ones between.
  static let queryRatios = 1...16
  /// Pieces of an interleaved layout at most.
  private static let pieceLimit = 512

  /// Layouts without a logical shape to reach: those of a side that is itself sharded.
  static func plain(_ shapes: [[Int]]) -> [ShardLayout] {
    guard let first = shapes.first else { return [] }
    if shapes.count == 1 { return [.whole(first, kind: .single)] }
    var result: [ShardLayout] = []
    if shapes.allSatisfy({ $0 == first }) {
      result += [.replicated(first, ranks: shapes.count), .sum(first, ranks: shapes.count)]
    }
    return result + first.indices.compactMap { ShardLayout.concat(shapes, axis: $0) }
  }

  /// Every layout whose logical shape is `logical`; the plain ones first, no two alike.
  static func layouts(_ shapes: [[Int]], logical: [Int]) -> [ShardLayout] {
    guard let first = shapes.first, first.count == logical.count else { return [] }
    if shapes.count == 1, first == logical { return [.whole(first, kind: .single)] }
    let areEqual = shapes.allSatisfy { $0 == first }
    var result: [ShardLayout] = []
    if areEqual, first == logical {
      result += [.replicated(first, ranks: shapes.count), .sum(first, ranks: shapes.count)]
      result += sumsOverCopies(first, ranks: shapes.count)
    }
    let axes = logical.indices.filter { axis in
      logical.indices.allSatisfy { $0 == axis || first[$0] == logical[$0] }
    }
    for axis in axes {
      guard let plain = ShardLayout.concat(shapes, axis: axis) else { continue }
      if plain.shape == logical, shapes.count > 1 {
        result.append(plain)
        if areEqual { result += fused(shapes, axis: axis) }
        result += context(shapes, axis: axis)
        if areEqual { result += interleaved(shapes, axis: axis) }
      } else if plain.shape[axis] > logical[axis] {
        if areEqual, shapes.count > 1 { result += shared(shapes, axis: axis, logical: logical[axis]) }
        result += padded(shapes, plain, axis: axis, logical: logical[axis])
      }
    }
    var seen: Set<[ShardLayout.Piece]> = []
    return result.filter { layout in
      layout.shape == logical && (layout.axis == nil || seen.insert(layout.pieces).inserted)
    }
  }

  /// Partial sums of which several ranks hold the same term.
  private static func sumsOverCopies(_ shape: [Int], ranks: Int) -> [ShardLayout] {
    (2..<max(2, ranks)).filter { ranks % $0 == 0 }.flatMap { copies in
      [false, true].compactMap { isStrided in
        guard let groups = ShardLayout.copyGroups(ranks: ranks, copies: copies, isStrided: isStrided) else {
          return nil
        }
        var layout = ShardLayout.sum(shape, parts: groups.map { $0[0] })
        layout.copies = groups.map { group in group.map { ShardLayout.Slice(part: $0) } }
        layout.order = isStrided ? .strided : .consecutive
        layout.detail = "\(copies) ranks hold the same term"
        return layout
      }
    }
  }

  /// gate_up (two equal blocks), qkv (q a whole number of times as wide as k and v), and packed sequences.
  private static func fused(_ shapes: [[Int]], axis: Int) -> [ShardLayout] {
    var weights = [[1, 1]] + queryRatios.map { [$0, 1, 1] }
    if axis < shapes[0].count - 1 || shapes[0].count == 1 {
      weights += sequenceCounts.map { Array(repeating: 1, count: $0) }
    }
    return weights.compactMap { ShardLayout.blocks(shapes, axis: axis, weights: $0) }
  }

  /// Context parallel over one sequence or over several of one length: zigzag, and in natural order where the ranks do
  /// not divide a sequence (where they do, it is one of the fused).
  private static func context(_ shapes: [[Int]], axis: Int) -> [ShardLayout] {
    guard axis < shapes[0].count - 1 || shapes[0].count == 1 else { return [] }
    let whole = shapes.reduce(0) { $0 + $1[axis] }
    return ([1] + sequenceCounts).filter { whole % $0 == 0 }.flatMap { count -> [ShardLayout] in
      let sequences = Array(repeating: whole / count, count: count)
      let isNatural = count > 1 && (whole / count) % shapes.count != 0
      return (isNatural ? [true, false] : [true]).flatMap { zigzag -> [ShardLayout] in
        ShardLayout.ChunkSplit.allCases.compactMap {
          .contextParallel(shapes, axis: axis, sequences: sequences, zigzag: zigzag, split: $0)
        }
      }
    }
  }

  /// Rank r holds indices r, r + n, …: experts or tokens dealt out in turn.
  private static func interleaved(_ shapes: [[Int]], axis: Int) -> [ShardLayout] {
    let width = shapes[0][axis]
    guard width > 1, width <= pieceLimit / shapes.count,
      var layout = ShardLayout.blocks(shapes, axis: axis, weights: Array(repeating: 1, count: width))
    else { return [] }
    (layout.kind, layout.order, layout.detail) = (.concat, .interleaved, "dealt out in turn")
    return [layout]
  }

  /// The ranks hold more than the whole: some of it several times.
  private static func shared(_ shapes: [[Int]], axis: Int, logical: Int) -> [ShardLayout] {
    let ranks = shapes.count
    let width = shapes[0][axis]
    let total = width * ranks
    var result: [ShardLayout] = []
    for copies in 2..<(ranks + 1) where ranks % copies == 0 {
      if logical * copies == total {
        // Neighbours are what engines do; grids of data and tensor parallel ranks are strided.
        result += [false, true].compactMap {
          .replicatedSlices(shapes, axis: axis, copies: copies, isStrided: $0)
        }
        if let layout = ShardLayout.fusedCopies(shapes, axis: axis, blocks: [(1, copies), (1, copies)]) {
          result.append(layout)
        }
      }
      // With d the head size and a query heads a rank: width = (a + 2) d, logical = (n a + 2 n / copies) d.
      let numerator = 2 * (logical * copies - total)
      let denominator = copies * (total - logical)
      if numerator > 0, denominator > 0, numerator % denominator == 0 {
        let query = numerator / denominator
        if let layout = ShardLayout.fusedCopies(shapes, axis: axis, blocks: [(query, 1), (1, copies), (1, copies)]) {
          result.append(layout)
        }
      }
    }
    if axis == 0, (total - logical) % (ranks - 1) == 0 {
      let common = (total - logical) / (ranks - 1)
      result += [false, true].compactMap {
        .experts(shapes, axis: axis, shared: common, isSharedFirst: $0)
      }
    }
    return result
  }

  /// Vocabulary or tokens padded so that they divide over the ranks.
  private static func padded(_ shapes: [[Int]], _ plain: ShardLayout, axis: Int, logical: Int) -> [ShardLayout] {
    let areEqual = shapes.allSatisfy { $0 == shapes[0] }
    guard shapes.count > 1, areEqual, axis == 0 || axis == shapes[0].count - 1, plain.shape[axis] - logical < logical
    else { return [] }
    // One sequence that was padded until it divides over the chunks; the padding lies at its end.
    let zigzag: ShardLayout? =
      (axis < shapes[0].count - 1 || shapes[0].count == 1) && plain.shape[axis] % (2 * shapes.count) == 0
      ? .contextParallel(shapes, axis: axis, sequences: [plain.shape[axis]], zigzag: true, split: .firstLonger) : nil
    return [plain.cut(to: logical), zigzag?.cut(to: logical)].compactMap { $0 }
  }
}
