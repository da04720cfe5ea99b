public import Dumps

/// The layouts chosen for both sides of one stage and tensor.
public struct ShardDecision: Sendable, Hashable, Codable {
  /// Target side, for the report.
  public var plan: ShardPlan
  public var reference: LogicalTensor
  public var target: LogicalTensor
  /// False where a rule of the job file, the dump's metadata, or one rank only left nothing to find out.
  public var isInferred: Bool
  /// Elements read to decide, of both sides; see ``ShardPlanner/readLimit(ranks:)``.
  public var sampledElements = 0
}

/// Decides how ranks' tensors make the logical tensor: from a given rule, else from the dump's own metadata, else from
/// shapes and sampled data.
///
/// Equal ranks are replicas, whatever they hold: a result that was reduced twice is a replica `tp` times too large,
/// never a layout. Ranks that differ and whose sum is the reference are a partial; whether they should have been
/// reduced is for the diagnosis to say. Slices that fit only in another order of the ranks are compared in the order
/// in which they stand, and the order that would fit is in the plan.
public struct ShardPlanner: Sendable {
  public var rule: ShardRule
  /// Layer, stage and tensor, for messages.
  public var place: String
  /// The layout that the same stage has in other layers: taken where the data fit none, or several.
  public var usual: ShardLayout?
  /// What the producers wrote beside the tensors, in rank order; empty where there is nothing.
  public var referenceMetadata: [CaptureMetadata?] = []
  public var targetMetadata: [CaptureMetadata?] = []
  /// Elements sampled of each side for the layouts that come to the final.
  public var sampleLimit = 1 << 16
  /// Elements sampled of each side for every layout that the shapes allow.
  public var probeLimit = 1 << 13

  /// A layout fits where it leaves at most this relative distance.
  static let fitLimit = 0.25
  /// A layout is clearly nearer where the runner-up leaves at least twice as much.
  private static let marginLimit = 0.5
  /// Layouts probed at most; shapes allow far fewer.
  private static let candidateLimit = 96
  private static let finalists = 3
  /// Sums and replicas among them, with the comparisons of their copies.
  private static let sums = 24
  /// Layouts whose ranks are tried in another order.
  private static let orderTrials = 24

  public init(rule: ShardRule, place: String) {
    self.rule = rule
    self.place = place
  }

  /// Elements that deciding reads at most, of both sides together, whatever the tensors' sizes.
  ///
  /// Every layout is probed once (a sum reads each rank, a replica is tried as each rank), a few are sampled again,
  /// and the order of ranks is tried by rotating them: linear in the number of ranks. A declared layout costs the
  /// search once more, for what the data say. Padding is not in it: where a layout leaves some, all of it is read.
  public func readLimit(ranks: Int) -> Int {
    // Three elements of each piece at least; interleaved layouts and packed sequences have the most.
    let probe = 2 * (probeLimit + 3 * (512 + 32 * ranks))
    let probes = Self.candidateLimit + Self.orderTrials * (ranks + 1) / 4 + (Self.sums + 1) * ranks
    return 2 * (probe * probes + sampleLimit * 10 * (ranks + 1))
  }

  /// - Parameters:
  ///   - reference: the reference's tensors in rank order, one at least.
  ///   - target: the target's.
  /// - Throws: `AlignmentError` when no layout fits the shapes or the rule, `DumpError` when bytes cannot be read.
  public func plan(reference: [Tensor], target: [Tensor]) throws -> ShardDecision {
    guard !reference.isEmpty, !target.isEmpty else {
      throw AlignmentError(code: .shapeMismatch, place: place, message: "a side has no tensor")
    }
    var probe = ShardProbe()
    var decision = try plan(reference, target, &probe)
    decision.plan.padding = try probe.padding((decision.reference, decision.target), limit: sampleLimit)
    if let order = decision.plan.order, order == .consecutive { decision.plan.order = nil }
    decision.sampledElements = probe.elementsRead
    return decision
  }

  private func plan(_ reference: [Tensor], _ target: [Tensor], _ probe: inout ShardProbe) throws -> ShardDecision {
    let texts = (try dims(referenceMetadata), try dims(targetMetadata))
    if texts.0 != nil || texts.1 != nil {
      if let decision = try declared(texts, reference, target, &probe) { return decision }
    }
    if reference.count == target.count, reference.count > 1, zip(reference, target).allSatisfy({ $0.shape == $1.shape })
    {
      return try rankByRank(reference, target, &probe)
    }
    if rule != .auto { return try ruled(reference, target, &probe) }
    if reference.count == 1, target.count == 1 {
      guard reference[0].shape == target[0].shape else { throw mismatch(reference, target) }
      let sides = try joined(
        reference, .whole(reference[0].shape, kind: .single), target, .whole(target[0].shape, kind: .single))
      return given(sides, ranks: 1, why: "one rank", source: .given)
    }
    let candidates = try candidates(reference, target, &probe)
    guard !candidates.isEmpty else { throw mismatch(reference, target) }
    return try decide(candidates, reference: reference, target: target, &probe)
  }

  // MARK: given layouts

  /// The dims text of one side: the rule's, else that of its first file.
  private func dims(_ metadata: [CaptureMetadata?]) throws(AlignmentError) -> DimsText? {
    if case .dims(let text) = rule { return text }
    guard rule == .auto, let text = metadata.compactMap({ $0?.dims }).first else { return nil }
    do { return try DimsText(text) } catch {
      throw AlignmentError(
        code: .malformedDims, place: "\(place), metadata of the dump, \(error.place)",
        message: "\(error.message); mend the dumper, or give compare.shard for the stage")
    }
  }

  private func rule(_ side: [Tensor]) throws(AlignmentError) -> ShardLayout? {
    side.count == 1 ? .whole(side[0].shape, kind: .single) : try rule.layout(side.map(\.shape), place: place)
  }

  private func ruled(_ reference: [Tensor], _ target: [Tensor], _ probe: inout ShardProbe) throws -> ShardDecision {
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
  private func declared(
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

  private func given(
    _ sides: ShardProbe.Sides, ranks: Int, why: String, source: ShardPlan.Source
  ) -> ShardDecision {
    var plan = report(sides.target.layout, ranks: ranks)
    plan.why = [why, sides.target.layout.detail].compactMap { $0 }.joined(separator: "; ")
    plan.source = source
    return ShardDecision(plan: plan, reference: sides.reference, target: sides.target, isInferred: false)
  }

  /// Says what the data think of a layout that was declared.
  private func weigh(
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

  // MARK: candidates

  /// Pairs of layouts with one logical shape: plain ones of the reference with every one of the target, and like with
  /// like.
  private func candidates(
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
      references = ShardHypotheses.plain(reference.map(\.shape))
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
    return result
  }

  /// The ranks that hold a part of the tensor, in the order of the one parallel axis that tells them apart: all of them
  /// as they stand where the dump says nothing. Data-parallel groups without elements are idle, not slices.
  private static func participants(_ tensors: [Tensor], _ metadata: [CaptureMetadata?]) -> [Int] {
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

  private func haveEqualCopies(
    _ layout: ShardLayout, _ tensors: [Tensor], _ probe: inout ShardProbe
  ) throws -> Bool {
    for group in layout.copies where try !probe.areEqual(group.map { tensors[$0.part] }, limit: probeLimit) {
      return false
    }
    return true
  }

  private func joined(
    _ reference: [Tensor], _ left: ShardLayout, _ target: [Tensor], _ right: ShardLayout
  ) throws(AlignmentError) -> ShardProbe.Sides {
    (
      reference: try LogicalTensor(parts: reference, layout: left, place: place),
      target: try LogicalTensor(parts: target, layout: right, place: place)
    )
  }

  // MARK: decision

  private func decide(
    _ candidates: [ShardProbe.Sides], reference: [Tensor], target: [Tensor], _ probe: inout ShardProbe
  ) throws -> ShardDecision {
    let sides = candidates
    if let whole = sides.firstIndex(where: { $0.target.layout.kind == .replicated }),
      try probe.areEqual(sides[whole].target.layout.copies.flatMap { $0 }.map { target[$0.part] }, limit: sampleLimit)
    {
      // Equal ranks are replicas whatever they hold.
      return decision(
        sides[whole], residual: try probe.distance(sides[whole], limit: sampleLimit).relL2, margin: nil,
        ranks: target.count, why: "all ranks are equal")
    }
    var scores = try sides.map { try probe.distance($0, limit: probeLimit) }
    try scoreReplicas(sides, &scores, limit: probeLimit, &probe)
    let plain = sides.firstIndex { [.replicated, .concat].contains($0.target.layout.kind) } ?? 0
    let first = sides.indices.sorted { (scores[$0].relL2, $0) < (scores[$1].relL2, $1) }
    let final = (Array(first.prefix(Self.finalists - 1)) + [plain]).reduce(into: [Int]()) {
      if !$0.contains($1) { $0.append($1) }
    }
    for index in final { scores[index] = try probe.distance(sides[index], limit: sampleLimit) }
    try scoreReplicas(
      sides.enumerated().map { final.contains($0.offset) ? $0.element : nil }, &scores,
      limit: sampleLimit, &probe)
    let order = sides.indices.sorted { (scores[$0].relL2, $0) < (scores[$1].relL2, $1) }
    let best = order[0]
    let distance = scores[best].relL2
    if sides.count == 1, sides[0].target.layout.axis == nil || distance <= Self.fitLimit {
      return decision(
        sides[best], residual: distance, margin: nil, ranks: target.count,
        why: "the only layout that the shapes allow")
    }
    guard distance <= Self.fitLimit else {
      return try unfit(sides, scores, best: best, plain: plain, ranks: target.count, &probe)
    }
    let second = order.dropFirst().first ?? best
    let margin = second == best ? nil : scores[second].relL2 > 0 ? 1 - distance / scores[second].relL2 : 0
    if margin.map({ $0 >= Self.marginLimit }) ?? true {
      return decision(
        sides[best], residual: distance, margin: margin, ranks: target.count,
        why: "data: the runner-up, \(name(sides[second].target.layout)), leaves \(short(scores[second].relL2))")
    }
    // Nearly a tie: what other layers have, else the plain reading, and it is said to be open.
    let tied = order.filter { scores[$0].relL2 <= distance / Self.marginLimit }
    if let usual, let same = tied.first(where: { sides[$0].target.layout.isLike(usual) }) {
      return decision(
        sides[same], residual: scores[same].relL2, margin: margin, ranks: target.count,
        why: "as in the other layers; other layouts fit as well")
    }
    let taken = tied.contains(plain) ? plain : best
    var result = decision(
      sides[taken], residual: scores[taken].relL2, margin: margin, ranks: target.count,
      why: "\(name(sides[taken].target.layout)) fits, and as well do "
        + tied.filter { $0 != taken }.prefix(3).map { name(sides[$0].target.layout) }.joined(separator: ", "))
    result.plan.kind = .ambiguous
    return result
  }

  /// A replica stands for all ranks: the best of them counts.
  private func scoreReplicas(
    _ sides: [ShardProbe.Sides?], _ scores: inout [ShardProbe.Distance], limit: Int,
    _ probe: inout ShardProbe
  ) throws {
    guard let whole = sides.firstIndex(where: { $0?.target.layout.kind == .replicated }), let side = sides[whole] else {
      return
    }
    for part in side.target.layout.copies.first?.map(\.part).dropFirst() ?? [] {
      var other = side
      other.target.layout = .whole(side.target.shape, kind: .replicated, part: part)
      let distance = try probe.distance(other, limit: limit)
      if distance.relL2 < scores[whole].relL2 { scores[whole] = distance }
    }
  }

  /// No layout brings the ranks near the reference: the values are wrong, or the ranks stand in another order.
  private func unfit(
    _ sides: [ShardProbe.Sides], _ scores: [ShardProbe.Distance], best: Int, plain: Int, ranks: Int,
    _ probe: inout ShardProbe
  ) throws -> ShardDecision {
    let usual = sides.firstIndex { side in self.usual.map { side.target.layout.isLike($0) } ?? false }
    let byScale = sides.indices.filter { sides[$0].target.layout.axis != nil }
      .sorted { (scores[$0].scaleFree, $0) < (scores[$1].scaleFree, $1) }
    var trials: [Int] = []
    for index in [usual, plain, sides.firstIndex { $0.target.layout.kind == .concat }].compactMap({ $0 }) + byScale
    where !trials.contains(index) && trials.count < Self.orderTrials { trials.append(index) }
    var orders: [Int: RankOrder] = [:]
    for index in trials {
      guard let order = try probe.rankOrder(sides[index], limit: probeLimit / 4), !order.isIdentity,
        order.residual <= Self.fitLimit, order.residual <= scores[index].relL2 / 2
      else { continue }
      orders[index] = order
    }
    func made(_ index: Int, why: String) -> ShardDecision {
      var result = decision(
        sides[index], residual: scores[index].relL2,
        margin: margin(scores[index].relL2, sides.indices.filter { $0 != index }.map { scores[$0].relL2 }),
        ranks: ranks, why: why)
      result.plan.rankOrder = orders[index]
      if let order = orders[index] {
        result.plan.why +=
          "; the slices fit in the order \(order.sources) (\(short(order.residual))), and were left as they stand"
      }
      return result
    }
    if let usual {
      return made(
        usual, why: "as in the other layers; no layout that the shapes allow brings the ranks near the reference")
    }
    if let index = orders.min(by: { ($0.value.residual, $0.key) < ($1.value.residual, $1.key) })?.key {
      return made(index, why: "\(name(sides[index].target.layout)) fits in another order of the ranks only")
    }
    if byScale.count == sides.count, byScale.count > 1, scores[byScale[0]].scaleFree <= Self.fitLimit,
      scores[byScale[0]].scaleFree <= Self.marginLimit * scores[byScale[1]].scaleFree
    {
      return made(byScale[0], why: "data: fits but for a factor")
    }
    var result = made(
      plain,
      why: "no layout that the shapes allow brings the ranks near the reference; the best, "
        + "\(name(sides[best].target.layout)), leaves \(short(scores[best].relL2))")
    // Fused blocks are a guess; a sum and a replica are equally likely before the data are seen.
    if sides.contains(where: { $0.target.layout.kind == .partial }) { result.plan.kind = .ambiguous }
    return result
  }

  private func margin(_ distance: Double, _ others: [Double]) -> Double? {
    guard let second = others.min() else { return nil }
    return distance.isFinite && second > 0 ? max(0, 1 - distance / second) : 0
  }

  private func decision(
    _ sides: ShardProbe.Sides, residual: Double, margin: Double?, ranks: Int, why: String
  ) -> ShardDecision {
    var plan = report(sides.target.layout, ranks: ranks)
    plan.residual = residual.isFinite ? residual : nil
    plan.margin = margin
    plan.why = [why, sides.target.layout.detail].compactMap { $0 }.joined(separator: "; ")
    plan.source = .inferred
    return ShardDecision(plan: plan, reference: sides.reference, target: sides.target, isInferred: true)
  }

  /// Equal numbers of ranks on both sides: rank r is compared with rank r, side by side along the last dimension.
  private func rankByRank(
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
  private func declaredCopies(_ target: [Tensor]) throws -> [[ShardLayout.Slice]] {
    if rule == .replicated { return [target.indices.map { ShardLayout.Slice(part: $0) }] }
    guard let text = try dims(targetMetadata) else { return [] }
    let known = targetMetadata.count == target.count ? targetMetadata : Array(repeating: nil, count: target.count)
    let layout = try? DimsPlanner(place: place, dims: text, metadata: known).plan(target, matching: nil)
    return layout?.layouts.first?.copies ?? []
  }

  // MARK: words

  private func report(_ layout: ShardLayout, ranks: Int) -> ShardPlan {
    ShardPlan(
      kind: layout.kind, axis: layout.axis, ranks: ranks, residual: nil, margin: nil, why: "", order: layout.order)
  }

  private func name(_ layout: ShardLayout) -> String {
    let axis = layout.axis.map { " on axis \($0)" } ?? ""
    return layout.kind.rawValue + axis + (layout.detail.map { " (\($0))" } ?? "")
  }

  private func short(_ value: Double) -> String {
    guard value.isFinite else { return "no finite residual" }
    return "a residual of \((value * 10_000).rounded() / 10_000)"
  }

  private func listed(_ shapes: [[Int]]) -> String { shapes.map { "\($0)" }.joined(separator: ", ") }

  private func mismatch(_ reference: [Tensor], _ target: [Tensor]) -> AlignmentError {
    AlignmentError(
      code: .shapeMismatch, place: place,
      message: "the reference's shape \(listed(reference.map(\.shape))) and the target's "
        + "\(listed(target.map(\.shape))) fit by no concatenation, sum, replica, fused block or padding")
  }
}
