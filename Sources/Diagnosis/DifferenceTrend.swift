/// How the difference a - b itself changes with the world size, where it begins at one place at all of them.
///
/// A term that every rank adds grows with the ranks and keeps its direction; what the sharding does not touch (a scale,
/// a rotary embedding, swapped halves) gives the same difference at every world size; a wrong cut, order or local
/// statistic gives another one at each. Causes that do not follow what is seen are struck out.
enum DifferenceTrend {
  enum Shape: Sendable, Hashable {
    /// (n - 1) times one tensor.
    case everyRank
    /// (1/n - 1) times one tensor.
    case average
    /// The same at every world size.
    case constant
    /// Another tensor at every world size.
    case sharding
  }

  private static let causes: [Shape: Set<String>] = [
    .everyRank: ["branch-repeated", "residual-repeated", "bias-repeated", "double-reduce"],
    .average: ["average-reduce"],
    .constant: [
      "missing-scale", "repeated-scale", "halves-swapped", "missing-clamp", "rope-style", "position-offset",
      "norm-weight-offset", "float8-variant", "weight-shuffle", "missing-weight", "quantisation-rounding",
      "token-corruption", "row-shift", "chunk-state", "uninitialised-padding", "drift",
      "weight-differs",
    ],
    .sharding: [
      "duplicate-shard", "fused-shard-layout", "rank-order", "head-map", "shard-local-statistics", "rank-absent",
      "divisibility", "weight-shuffle", "missing-reduce", "branch-missing-reduce", "chunk-order", "replica-divergence",
      "halves-swapped", "missing-weight", "weight-differs",
    ],
  ]

  static func refined(_ results: [WorldSizeFindings]) -> [WorldSizeFindings] {
    let points = results.compactMap(\.evidence).filter { $0.worldSize > 1 }
    guard let shape = shape(points) else { return results }
    return results.map { result in
      guard result.isFailed, result.worldSize > 1 else { return result }
      return refined(result, shape: shape, points: points)
    }
  }

  /// nil where the points are fewer than two sizes, at different places, or between the laws.
  static func shape(_ points: [DivergenceEvidence]) -> Shape? {
    guard Set(points.map(\.worldSize)).count > 1, let first = points.first,
      points.allSatisfy({ $0.layer == first.layer && $0.stage == first.stage && $0.tensor == first.tensor }),
      first.difference.norm > 0
    else { return nil }
    var isCollinear = true
    var isSharding = true
    var laws: Set<Shape> = [.everyRank, .average, .constant]
    for point in points.dropFirst() where point.worldSize != first.worldSize {
      let size = point.difference.norm
      guard size > 0 else { return nil }
      let cos = point.difference.dot(first.difference) / (size * first.difference.norm)
      // The noise of both sides keeps differences apart that are no larger than a few times it.
      let share = [first, point].map { min(1, $0.noise / max($0.relL2, 1e-12)) }.max() ?? 1
      if cos < 0.995 - 2 * share * share { isCollinear = false }
      if cos > 0.97 - 2 * share { isSharding = false }
      let ratio = point.difference.dot(first.difference) / first.difference.dot(first.difference)
      let (one, many) = (Double(first.worldSize), Double(point.worldSize))
      let slack = 0.05 + share
      func follows(_ wanted: Double) -> Bool { abs(ratio - wanted) <= slack * abs(wanted) }
      if !follows((many - 1) / (one - 1)) { laws.remove(.everyRank) }
      if !follows((1 / many - 1) / (1 / one - 1)) { laws.remove(.average) }
      if !follows(1) { laws.remove(.constant) }
    }
    if isSharding, !isCollinear { return .sharding }
    return isCollinear && laws.count == 1 ? laws.first : nil
  }

  private static func refined(
    _ result: WorldSizeFindings, shape: Shape, points: [DivergenceEvidence]
  ) -> WorldSizeFindings {
    var result = result
    let allowed = causes[shape] ?? []
    let all = Set(causes.values.flatMap { $0 })
    let words =
      switch shape {
      case .everyRank: "Over \(points.count) world sizes the difference is world size minus one times one tensor."
      case .average: "Over \(points.count) world sizes the difference follows one over the world size."
      case .constant: "The difference is the same at \(points.count) world sizes, so the sharding has no part in it."
      case .sharding: "The difference is another one at each world size, so it comes from how the ranks share the work."
      }
    // A shuffle for a kernel is made of each rank's own shard, and is another one at each world size.
    if shape == .constant { result.findings.move("missing-weight", before: "weight-shuffle") }
    // What is certain stays; a guess that does not follow the trend goes.
    result.findings.removeAll { finding in
      finding.confidence == .possible && all.contains(finding.cause) && !allowed.contains(finding.cause)
    }
    let open = result.findings.indices.filter { result.findings[$0].confidence == .possible }
    for index in open where allowed.contains(result.findings[index].cause) {
      result.findings[index].evidence["world_sizes"] = Double(points.count)
      result.findings[index].summary += " " + words
    }
    let isNamed = result.findings.contains { $0.confidence != .possible }
    guard !isNamed, let evidence = result.evidence else { return result }
    let candidates = open.filter { result.findings.indices.contains($0) && allowed.contains(result.findings[$0].cause) }
    // One cause left that the trend asks for is likely; of several, all stay possible.
    if candidates.count == 1, shape != .constant {
      result.findings[candidates[0]].confidence = .likely
      result.findings.insert(result.findings.remove(at: candidates[0]), at: 0)
    } else if candidates.isEmpty, let made = made(evidence, shape: shape, words: words, sizes: points.count) {
      result.findings.insert(made, at: 0)
    }
    return result
  }

  /// A finding from the trend alone.
  private static func made(_ evidence: DivergenceEvidence, shape: Shape, words: String, sizes: Int) -> Finding? {
    let place = evidence.layer.map { "\(evidence.stage) of layer \($0)" } ?? evidence.stage
    let name: (cause: String, next: String)?
    switch shape {
    case .everyRank:
      name = (
        evidence.isContainer ? "double-reduce" : "branch-repeated",
        "Dump the branches inside \(place) to see which one is added on every rank or reduced twice."
      )
    case .average: name = ("average-reduce", "Look at the reduce inside \(place): AVG instead of SUM?")
    case .constant, .sharding: name = nil
    }
    return name.map {
      Finding(
        cause: $0.cause, layer: evidence.layer, stage: evidence.stage, confidence: .likely,
        evidence: ["world_size": Double(evidence.worldSize), "world_sizes": Double(sizes), "rel_l2": evidence.relL2],
        summary: "\(place): \(words)", next: $0.next)
    }
  }
}

extension [Finding] {
  /// Puts a cause that is only possible before another one that is no more.
  fileprivate mutating func move(_ cause: String, before other: String) {
    guard let from = firstIndex(where: { $0.cause == cause && $0.confidence == .possible }),
      let to = firstIndex(where: { $0.cause == other && $0.confidence == .possible }), to < from
    else { return }
    insert(remove(at: from), at: to)
  }
}
