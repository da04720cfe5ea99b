import Dumps

/// Which layout the data speak for.
extension ShardPlanner {
  func decide(
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
  func scoreReplicas(
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
  func unfit(
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
    if sides.contains(where: { $0.target.layout.kind == .partial }) {
      result.plan.kind = .ambiguous
    } else if areSharded(sides[plain].reference.parts, sides[plain].target.parts),
      !sides.contains(where: { $0.reference.layout.kind == .replicated })
    {
      result.doubt =
        "\(result.plan.why); both sides are sharded, over other numbers of ranks: \(Self.nextForShards)"
    }
    return result
  }

  func margin(_ distance: Double, _ others: [Double]) -> Double? {
    guard let second = others.min() else { return nil }
    return distance.isFinite && second > 0 ? max(0, 1 - distance / second) : 0
  }

  func decision(
    _ sides: ShardProbe.Sides, residual: Double, margin: Double?, ranks: Int, why: String
  ) -> ShardDecision {
    var plan = report(sides.target.layout, ranks: ranks)
    plan.residual = residual.isFinite ? residual : nil
    plan.margin = margin
    plan.why = [why, sides.target.layout.detail].compactMap { $0 }.joined(separator: "; ")
    plan.source = .inferred
    return ShardDecision(plan: plan, reference: sides.reference, target: sides.target, isInferred: true)
  }
}
