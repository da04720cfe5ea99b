import Dumps

/// The pairs of layouts that the shapes allow.
extension ShardPlanner {
  /// Pairs of layouts with one logical shape: plain ones of the reference with every one of the target, and like with
  /// like.
  func candidates(
    _ reference: [Tensor], _ target: [Tensor], references known: [ShardLayout]? = nil, _ probe: inout ShardProbe
  ) throws -> [ShardProbe.Sides] {
    let shapes = target.map(\.shape)
    let order = Self.participants(target, targetMetadata)
    let empty = order.filter { target[$0].elementCount == 0 }
    guard empty.isEmpty || empty.count == order.count else {
      throw AlignmentError(
        code: .ruleMismatch, place: place,
        message:
          "rank positions \(empty.map(String.init).joined(separator: ", ")) hold no elements and the others do, and "
          + "the dump does not say why; give compare.shard for the stage")
    }
    let references: [ShardLayout]
    if let known {
      references = known
    } else if reference.count > 1, try probe.areEqual(reference, limit: sampleLimit) {
      references = [.replicated(reference[0].shape, ranks: reference.count)]
    } else if target.count == 1, reference.count > 1 {
      references = ShardHypotheses.layouts(reference.map(\.shape), logical: target[0].shape)
    } else {
      let mayBeReplicas = try mayBeReplicas(reference, &probe)
      references = ShardHypotheses.plain(reference.map(\.shape)).filter { mayBeReplicas || $0.kind != .replicated }
    }
    var result: [ShardProbe.Sides] = []
    var seen: Set<[Int]> = []
    for left in references {
      let rights =
        ShardHypotheses.layouts(order.map { shapes[$0] }, logical: left.shape).map { $0.renumbered(order) }
      for right in rights where result.count < Self.candidateLimit {
        if right.kind == .partial, !right.copies.isEmpty, !(try haveEqualCopies(right, target, &probe)) { continue }
        result.append(try joined(reference, left, target, right))
      }
      // The reference may lie in blocks, too.
      guard known == nil, reference.count > 1, target.count > 1, left.axis != nil, seen.insert(left.shape).inserted
      else { continue }
      for right in rights where right.axis != nil && right.kind != .concat && right.inner.isEmpty {
        let same = ShardHypotheses.layouts(reference.map(\.shape), logical: left.shape).first { $0.isLike(right) }
        if let same, result.count < Self.candidateLimit {
          result.append(try joined(reference, same, target, right))
        }
      }
    }
    if known == nil, references.map(\.kind) != [.replicated] {
      try addSharedHeads(reference, target, order, to: &result, &probe)
    }
    return result
  }

  /// Both sides sharded, and heads that several ranks of one of them hold: of each form the reading with the most copies
  /// that are copies, else that with the fewest, if it reads all of one side. With fewer it would be the same once more,
  /// with more it would not look at all that the ranks hold.
  private func addSharedHeads(
    _ reference: [Tensor], _ target: [Tensor], _ order: [Int], to result: inout [ShardProbe.Sides],
    _ probe: inout ShardProbe
  ) throws {
    let pairs = ShardHypotheses.sharedHeads(reference.map(\.shape), order.map { target[$0].shape })
    var settled: Set<ShardHypotheses.SharedHeads.Form> = []
    for (index, pair) in pairs.enumerated()
    where result.count < Self.candidateLimit && !settled.contains(pair.form) {
      let right = pair.right.renumbered(order)
      let isLast = !pairs[(index + 1)...].contains { $0.form == pair.form }
      let readsAll = pair.left.copies.isEmpty || pair.right.copies.isEmpty
      if !(isLast && readsAll) {
        guard try haveEqualCopies(pair.left, reference, &probe), try haveEqualCopies(right, target, &probe) else {
          continue
        }
      }
      settled.insert(pair.form)
      let isKnown = result.contains {
        $0.reference.layout.pieces == pair.left.pieces && $0.target.layout.pieces == right.pieces
      }
      if !isKnown { result.append(try joined(reference, pair.left, target, right)) }
    }
  }

  /// The ranks that hold a part of the tensor, in the order of the one parallel axis that tells them apart: all of them
  /// as they stand where the dump says nothing. Data-parallel groups without elements are idle, not slices.
  static func participants(_ tensors: [Tensor], _ metadata: [CaptureMetadata?]) -> [Int] {
    let all = Array(tensors.indices)
    guard metadata.count == tensors.count else { return all }
    var kept = all
    for axis in ["dp", "attn_dp", "moe_dp"] {
      let groups = Dictionary(grouping: kept) { metadata[$0]?.parallel[axis]?.rank }
      guard groups[nil] == nil, groups.count > 1 else { continue }
      let full = groups.values.filter { group in group.contains { tensors[$0].elementCount > 0 } }
      if full.count == 1 { kept = full[0].sorted() }
    }
    let axes = Set(metadata.flatMap { $0.map { Array($0.parallel.keys) } ?? [] })
    let orders = axes.compactMap { axis -> [Int]? in
      let ranks = kept.compactMap { part in metadata[part]?.parallel[axis].map { (part: part, rank: $0.rank) } }
      guard ranks.count == kept.count, ranks.map(\.rank).sorted() == Array(kept.indices) else { return nil }
      return ranks.sorted { $0.rank < $1.rank }.map(\.part)
    }
    return Set(orders).count == 1 ? orders[0] : kept
  }

  /// Whether most ranks hold nearly what the first or the last holds: one that drifted leaves the others replicas,
  /// slices of one shape are none.
  private func mayBeReplicas(_ tensors: [Tensor], _ probe: inout ShardProbe) throws -> Bool {
    guard tensors.count > 1, tensors.allSatisfy({ $0.shape == tensors[0].shape }) else { return false }
    for part in [0, tensors.count - 1] {
      let own = ShardLayout.whole(tensors[0].shape, kind: .replicated, part: part)
      var near = 0
      for other in tensors.indices {
        let sides = try joined(tensors, own, tensors, .whole(tensors[0].shape, kind: .replicated, part: other))
        if try probe.distance(sides, limit: probeLimit / 4).relL2 <= Self.fitLimit { near += 1 }
      }
      if 2 * near > tensors.count { return true }
    }
    return false
  }

  func haveEqualCopies(
    _ layout: ShardLayout, _ tensors: [Tensor], _ probe: inout ShardProbe
  ) throws -> Bool {
    for group in layout.copies {
      let copies = group.compactMap { slice in
        slice.axis.map { tensors[slice.part].narrowed(axis: $0, start: slice.start, count: slice.count) }
          ?? tensors[slice.part]
      }
      guard copies.count == group.count, try probe.areEqual(copies, limit: probeLimit) else { return false }
    }
    return true
  }

  func joined(
    _ reference: [Tensor], _ left: ShardLayout, _ target: [Tensor], _ right: ShardLayout
  ) throws(AlignmentError) -> ShardProbe.Sides {
    (
      reference: try LogicalTensor(parts: reference, layout: left, place: place),
      target: try LogicalTensor(parts: target, layout: right, place: place)
    )
  }
}
