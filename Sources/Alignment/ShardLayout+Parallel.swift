/// The layouts of the parallel strategies, made from the ranks' shapes.
extension ShardLayout {
  /// How a length that the chunks do not divide is cut into them.
  enum ChunkSplit: CaseIterable {
    /// The first ones are one longer (SGLang's in-sequence split, `numpy.array_split`).
    case firstLonger
    /// All are as long as the longest but for the last (`torch.chunk`).
    case lastShorter

    func lengths(_ length: Int, _ chunks: Int) -> [Int] {
      switch self {
      case .firstLonger: (0..<chunks).map { length / chunks + ($0 < length % chunks ? 1 : 0) }
      case .lastShorter:
        (0..<chunks).map { index in
          let size = (length - 1) / chunks + 1
          return max(0, min(size, length - index * size))
        }
      }
    }
  }

  /// Context parallel over packed sequences: each rank holds its chunk of every sequence, one after another.
  ///
  /// In natural order rank r holds chunk r of n; in zigzag order chunks r and 2n - 1 - r of 2n. What the ranks hold
  /// beyond the sequences (a padded tail, equal on all) follows in rank order.
  ///
  /// - Parameters:
  ///   - sequences: whole lengths; one that the chunks do not divide is cut in the way that fits the shapes.
  /// - Returns: nil where shapes or lengths do not fit.
  public static func contextParallel(_ shapes: [[Int]], axis: Int, sequences: [Int], zigzag: Bool) -> ShardLayout? {
    ChunkSplit.allCases.lazy.compactMap { split in
      contextParallel(shapes, axis: axis, sequences: sequences, zigzag: zigzag, split: split)
    }.first
  }

  static func contextParallel(
    _ shapes: [[Int]], axis: Int, sequences: [Int], zigzag: Bool, split: ChunkSplit
  ) -> ShardLayout? {
    let ranks = shapes.count
    guard ranks > 0, shapes.allSatisfy({ $0.indices.contains(axis) }) else { return nil }
    let chunks = zigzag ? 2 * ranks : ranks
    var pieces: [Piece] = []
    var offsets = Array(repeating: 0, count: ranks)
    func add(_ part: Int, _ count: Int) -> Bool {
      guard count <= shapes[part][axis] - offsets[part] else { return false }
      if count > 0 { pieces.append(Piece(part: part, start: offsets[part], count: count)) }
      offsets[part] += count
      return true
    }
    var isUneven = false
    for length in sequences {
      guard length >= 0 else { return nil }
      if length % chunks != 0 { isUneven = true }
      let lengths = split.lengths(length, chunks)
      for part in 0..<ranks { guard add(part, lengths[part]) else { return nil } }
      guard zigzag else { continue }
      // The chunks of the way back stand behind those of the way there.
      for part in (0..<ranks).reversed() { guard add(part, lengths[chunks - 1 - part]) else { return nil } }
    }
    let tails = Set(shapes.indices.map { shapes[$0][axis] - offsets[$0] })
    guard tails.count == 1, let tail = tails.first, tail == 0 || !isUneven else { return nil }
    for part in 0..<ranks { guard add(part, tail) else { return nil } }
    guard var layout = pieced(shapes, axis: axis, pieces: pieces, kind: .concat, order: zigzag ? .zigzag : .consecutive)
    else { return nil }
    if zigzag { layout.detail = "zigzag context parallel" }
    if sequences.count > 1 {
      layout.detail = (layout.detail ?? "context parallel") + ", \(sequences.count) sequences one by one"
    }
    return layout
  }

  /// Groups of ranks that hold the same slice: neighbours (rank / copies), or strided (rank mod groups).
  ///
  /// - Returns: nil where the ranks do not divide by `copies`, or shapes differ.
  public static func replicatedSlices(
    _ shapes: [[Int]], axis: Int, copies: Int, isStrided: Bool = false
  ) -> ShardLayout? {
    let ranks = shapes.count
    guard copies > 1, ranks % copies == 0, let groups = copyGroups(ranks: ranks, copies: copies, isStrided: isStrided),
      var layout = concat(shapes, axis: axis, parts: groups.map { $0[0] }, kind: .heads),
      groups.allSatisfy({ group in group.allSatisfy { shapes[$0] == shapes[group[0]] } })
    else { return nil }
    layout.copies = groups.map { group in group.map { Slice(part: $0) } }
    layout.order = isStrided ? .strided : .consecutive
    layout.detail =
      isStrided
      ? "every \(groups.count)th rank holds the same heads" : "\(copies) neighbouring ranks hold the same heads"
    return layout
  }

  /// Ranks by what they hold; nil where ranks do not divide by `copies`.
  static func copyGroups(ranks: Int, copies: Int, isStrided: Bool) -> [[Int]]? {
    guard copies > 0, ranks % copies == 0 else { return nil }
    let groups = ranks / copies
    return (0..<groups).map { group in
      (0..<copies).map { isStrided ? group + $0 * groups : group * copies + $0 }
    }
  }

  /// Fused blocks of which some are the same on neighbouring ranks: q, k and v of grouped-query attention with fewer
  /// key/value heads than ranks.
  ///
  /// - Parameter blocks: a rank's relative widths, and how many neighbouring ranks hold the same slice.
  public static func fusedCopies(
    _ shapes: [[Int]], axis: Int, blocks: [(weight: Int, copies: Int)]
  ) -> ShardLayout? {
    guard let first = shapes.first, first.indices.contains(axis), shapes.allSatisfy({ $0 == first }),
      blocks.allSatisfy({ $0.weight > 0 })
    else { return nil }
    var total = 0
    for block in blocks {
      let (sum, overflow) = total.addingReportingOverflow(block.weight)
      guard !overflow else { return nil }
      total = sum
    }
    guard total > 0, first[axis] % total == 0 else { return nil }
    let unit = first[axis] / total
    var pieces: [Piece] = []
    var same: [[Slice]] = []
    var offset = 0
    for block in blocks {
      guard let groups = copyGroups(ranks: shapes.count, copies: block.copies, isStrided: false) else { return nil }
      let (start, count) = (offset * unit, block.weight * unit)
      offset += block.weight
      pieces += groups.map { Piece(part: $0[0], start: start, count: count) }
      if block.copies > 1 {
        same += groups.map { group in group.map { Slice(part: $0, axis: axis, start: start, count: count) } }
      }
    }
    guard var layout = pieced(shapes, axis: axis, pieces: pieces, kind: .heads) else { return nil }
    layout.copies = same
    let copies = blocks.map(\.copies).max() ?? 1
    layout.detail =
      "blocks in the ratio \(blocks.map { "\($0.weight)" }.joined(separator: ":")) a rank, \(copies) neighbouring ranks "
      + "hold the same key/value heads"
    return layout
  }

  /// Expert parallel with shared experts: rank r holds experts r·E/n … and a copy of every shared one.
  ///
  /// - Parameters:
  ///   - shared: shared experts, in elements along the axis.
  ///   - isSharedFirst: the shared ones stand before the routed ones, on ranks and in the logical tensor.
  public static func experts(_ shapes: [[Int]], axis: Int, shared: Int, isSharedFirst: Bool) -> ShardLayout? {
    guard let first = shapes.first, first.indices.contains(axis), shapes.allSatisfy({ $0 == first }), shared > 0,
      first[axis] > shared
    else { return nil }
    let routed = first[axis] - shared
    let sharedStart = isSharedFirst ? 0 : routed
    let common = Piece(part: 0, start: sharedStart, count: shared)
    let slices = shapes.indices.map { Piece(part: $0, start: isSharedFirst ? shared : 0, count: routed) }
    guard
      var layout = pieced(
        shapes, axis: axis, pieces: isSharedFirst ? [common] + slices : slices + [common], kind: .concat)
    else { return nil }
    layout.copies = [shapes.indices.map { Slice(part: $0, axis: axis, start: sharedStart, count: shared) }]
    layout.detail = "expert parallel, shared experts \(isSharedFirst ? "first" : "last") on every rank"
    return layout
  }

  /// The layout cut to `count` along its axis; what is left over is padding.
  ///
  /// - Returns: nil where there is no axis, or nothing to cut.
  func cut(to count: Int) -> ShardLayout? {
    guard let axis, inner.isEmpty, count > 0, count < shape[axis] else { return nil }
    var result = self
    result.shape[axis] = count
    result.pieces = []
    var left = count
    for piece in pieces {
      let kept = min(left, piece.count)
      if kept > 0 { result.pieces.append(Piece(part: piece.part, start: piece.start, count: kept)) }
      if kept < piece.count {
        result.padding.append(Piece(part: piece.part, start: piece.start + kept, count: piece.count - kept))
      }
      left -= kept
    }
    result.detail = [detail, "padded"].compactMap { $0 }.joined(separator: ", ")
    return result
  }
}
