import Dumps

/// Layouts that a rule or the dump's metadata give, and ranks compared one by one.
extension ShardPlanner {
  /// The dims text of one side: the rule's, else that of its first file.
  func dims(_ metadata: [CaptureMetadata?]) throws(AlignmentError) -> DimsText? {
    if case .dims(let text) = rule { return text }
    guard rule == .auto, let text = metadata.compactMap({ $0?.dims }).first else { return nil }
    do { return try DimsText(text) } catch {
      throw AlignmentError(
        code: .malformedDims, place: "\(place), metadata of the dump, \(error.place)",
        message: "\(error.message); mend the dumper, or give compare.shard for the stage")
    }
  }

  func rule(_ side: [Tensor]) throws(AlignmentError) -> ShardLayout? {
    side.count == 1 ? .whole(side[0].shape, kind: .single) : try rule.layout(side.map(\.shape), place: place)
  }

  func ruled(_ reference: [Tensor], _ target: [Tensor], _ probe: inout ShardProbe) throws -> ShardDecision {
    guard let left = try rule(reference), let right = try rule(target), left.shape == right.shape else {
      let seen = (try? rule(target))?.shape ?? []
      throw AlignmentError(
        code: .shapeMismatch, place: place,
        message: "by the rule \(rule.text ?? "") the target's whole shape is \(seen), and the reference's is "
          + "\((try? rule(reference))?.shape ?? [])")
    }
    var decision = given(
      try joined(reference, left, target, right), ranks: target.count,
      why: target.count == 1 && reference.count == 1 ? "one rank" : "rule: \(rule.text ?? "")", source: .given)
    try weigh(&decision, reference, target, &probe)
    return decision
  }

  /// Joins by dims text.
  ///
  /// - Returns: nil where both sides are written by as many ranks under the same text: rank by rank is stricter.
  func declared(
    _ texts: (DimsText?, DimsText?), _ reference: [Tensor], _ target: [Tensor], _ probe: inout ShardProbe
  ) throws -> ShardDecision? {
    let isSame = texts.0 == texts.1 && reference.count == target.count
    if isSame, zip(reference, target).allSatisfy({ $0.shape == $1.shape }) { return nil }
    func side(
      _ text: DimsText?, _ tensors: [Tensor], _ metadata: [CaptureMetadata?], _ other: DimsText?
    ) throws -> DimsLayout? {
      guard let text else { return nil }
      let known = metadata.count == tensors.count ? metadata : Array(repeating: nil, count: tensors.count)
      return try DimsPlanner(place: place, dims: text, metadata: known).plan(tensors, matching: other)
    }
    let left = try side(texts.0, reference, referenceMetadata, texts.1)
    guard let text = texts.1 else {
      // The reference alone says how it is joined; what the target's ranks hold is found from the data.
      let known = left?.layouts ?? []
      guard reference.count > 1 || target.count > 1, let left, !known.isEmpty else { return nil }
      let candidates = try candidates(left.tensors, target, references: known, &probe)
      guard !candidates.isEmpty else { throw mismatch(reference, target) }
      return try decide(candidates, reference: left.tensors, target: target, &probe)
    }
    // The reference comes to the target's order; what either side fuses is fused on both.
    let right = try side(text, target, targetMetadata, texts.0.map { text.fused(as: $0) })
    let rights = right?.layouts ?? []
    let references = left?.tensors ?? reference
    let targets = right?.tensors ?? target
    var choices: [ShardProbe.Sides] = []
    for right in rights {
      let lefts = left?.layouts ?? ShardHypotheses.layouts(reference.map(\.shape), logical: right.shape)
      for left in lefts where left.shape == right.shape {
        choices.append(try joined(references, left, targets, right))
      }
    }
    guard !choices.isEmpty else {
      throw AlignmentError(
        code: .shapeMismatch, place: place,
        message: "by the dims text “\(text.text)” the target's whole shape is "
          + "\(rights.first.map { "\($0.shape)" } ?? "unknown"), and the reference's ranks "
          + "\(listed(reference.map(\.shape))) do not give it")
    }
    let scores = try choices.map { try probe.distance($0, limit: choices.count > 1 ? probeLimit : sampleLimit).relL2 }
    let best = choices.indices.min { (scores[$0], $0) < (scores[$1], $1) } ?? 0
    let isRule = if case .dims = rule { true } else { false }
    let notes = (left?.notes ?? []) + (right?.notes ?? [])
    var decision = given(
      choices[best], ranks: target.count,
      why: (["\(isRule ? "rule" : "metadata"): dims “\(text.text)”"] + notes).joined(separator: "; "),
      source: isRule ? .given : .metadata)
    decision.plan.residual = scores[best].isFinite ? scores[best] : nil
    if choices.count > 1, let second = scores.indices.filter({ $0 != best }).map({ scores[$0] }).min() {
      decision.plan.margin = second > 0 ? 1 - scores[best] / second : 0
      decision.plan.why += "; of \(choices.count) ways to cut the sequences, by data"
    }
    try weigh(&decision, references, targets, &probe)
    return decision
  }

  func given(
    _ sides: ShardProbe.Sides, ranks: Int, why: String, source: ShardPlan.Source
  ) -> ShardDecision {
    var plan = report(sides.target.layout, ranks: ranks)
    plan.why = [why, sides.target.layout.detail].compactMap { $0 }.joined(separator: "; ")
    plan.source = source
    return ShardDecision(plan: plan, reference: sides.reference, target: sides.target, isInferred: false)
  }

  /// Says what the data think of a layout that was declared.
  func weigh(
    _ decision: inout ShardDecision, _ reference: [Tensor], _ target: [Tensor], _ probe: inout ShardProbe
  ) throws {
    guard target.count > 1 || reference.count > 1 else { return }
    if decision.plan.residual == nil {
      let distance = try probe.distance((decision.reference, decision.target), limit: sampleLimit).relL2
      decision.plan.residual = distance.isFinite ? distance : nil
    }
    guard let residual = decision.plan.residual, residual > 0 else { return }
    let candidates = try candidates(reference, target, &probe)
    guard !candidates.isEmpty, let other = try? decide(candidates, reference: reference, target: target, &probe),
      let found = other.plan.residual,
      other.target.layout.pieces != decision.target.layout.pieces
        || other.target.layout.kind != decision.target.layout.kind
    else { return }
    let layout = other.target.layout
    decision.plan.alternative = ShardAlternative(
      kind: other.plan.kind, axis: layout.axis, order: layout.order == .consecutive ? nil : layout.order,
      detail: layout.detail, residual: found)
    if decision.plan.isContradicted {
      decision.plan.why +=
        "; the data say otherwise: \(name(layout)) leaves \(short(found)), what was declared \(short(residual))"
    }
  }

  /// Equal numbers of ranks on both sides: rank r is compared with rank r, side by side along the last dimension.
  func rankByRank(
    _ reference: [Tensor], _ target: [Tensor], _ probe: inout ShardProbe
  ) throws -> ShardDecision {
    let shapes = target.map(\.shape)
    let layout: ShardLayout
    let why: String
    // A rule that the shapes contradict is an error here, too.
    if rule != .auto { _ = try rule(target) }
    if shapes.allSatisfy({ $0 == shapes[0] }), rule == .auto || rule == .replicated,
      try probe.areEqual(reference, limit: sampleLimit)
    {
      layout = .replicated(shapes[0], ranks: shapes.count)
      why = "all ranks of the reference are equal"
    } else if let joined = shapes[0].indices.reversed().lazy.compactMap({ ShardLayout.concat(shapes, axis: $0) }).first
    {
      layout = joined
      why = "as many ranks on both sides: compared rank by rank, side by side along the axis"
    } else {
      throw mismatch(reference, target)
    }
    var sides = try joined(reference, layout, target, layout)
    if layout.copies.isEmpty { sides.target.layout.copies = try declaredCopies(target) }
    let residual = try probe.distance(sides, limit: sampleLimit).relL2
    var result = decision(sides, residual: residual, margin: nil, ranks: target.count, why: why)
    result.isInferred = false
    result.plan.source = .given
    if residual > Self.fitLimit, let order = try probe.rankOrder(sides, limit: probeLimit), !order.isIdentity,
      order.residual <= Self.fitLimit
    {
      result.plan.rankOrder = order
      result.plan.why += "; the ranks fit in the order \(order.sources), and were left as they stand"
    }
    return result
  }

  /// Ranks that a rule or the metadata call copies: they are compared with each other, however they are joined.
  func declaredCopies(_ target: [Tensor]) throws -> [[ShardLayout.Slice]] {
    if rule == .replicated { return [target.indices.map { ShardLayout.Slice(part: $0) }] }
    guard let text = try dims(targetMetadata) else { return [] }
    let known = targetMetadata.count == target.count ? targetMetadata : Array(repeating: nil, count: target.count)
    let layout = try? DimsPlanner(place: place, dims: text, metadata: known).plan(target, matching: nil)
    return layout?.layouts.first?.copies ?? []
  }
}
