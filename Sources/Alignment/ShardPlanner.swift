public import Dumps

/// The layouts chosen for both sides of one stage and tensor.
public struct ShardDecision: Sendable, Hashable, Codable {
  /// Target side, for the report.
  public var plan: ShardPlan
  public var reference: LogicalTensor
  public var target: LogicalTensor
  /// False where a rule of the job file, or one rank only, left nothing to find out.
  public var isInferred: Bool
}

/// Decides how ranks' tensors make the logical tensor: from a given rule, else from shapes, else from sampled data.
///
/// Equal ranks are replicas, whatever they hold: a result that was reduced twice is a replica `tp` times too large,
/// never a layout. Ranks that differ and whose sum is the reference are a partial; whether they should have been
/// reduced is for the diagnosis to say.
public struct ShardPlanner: Sendable {
  public var rule: ShardRule
  /// Layer, stage and tensor, for messages.
  public var place: String
  /// The layout that the same stage has in other layers: taken where the data fit none.
  public var usual: ShardLayout?
  /// Elements sampled of each side.
  public var sampleLimit = 1 << 18

  public init(rule: ShardRule, place: String) {
    self.rule = rule
    self.place = place
  }

  /// - Parameters:
  ///   - reference: the reference's tensors in rank order, one at least.
  ///   - target: the target's.
  /// - Throws: `AlignmentError` when no layout fits the shapes or the rule, `DumpError` when bytes cannot be read.
  public func plan(reference: [Tensor], target: [Tensor]) throws -> ShardDecision {
    if reference.count == target.count, reference.count > 1 {
      return try rankByRank(reference: reference, target: target)
    }
    let plain = try pairs(reference: reference, target: target, unusual: false)
    if plain.count == 1, let only = plain.first, rule != .auto || target.count == 1 && reference.count == 1 {
      var plan = report(only.target.layout, ranks: target.count)
      plan.why = ruleText ?? "one rank"
      if target.count > 1 || reference.count > 1 { plan.residual = try residuals([only])[0] }
      return ShardDecision(plan: plan, reference: only.reference, target: only.target, isInferred: false)
    }
    if !plain.isEmpty {
      let decision = try decide(plain, reference: reference, target: target)
      if decision.plan.residual.map({ $0 <= 0.1 }) ?? false || decision.plan.kind == .replicated { return decision }
    }
    // Fused blocks and repeated heads only where nothing plain fits.
    let all = try pairs(reference: reference, target: target, unusual: true)
    if all.isEmpty { throw mismatch(reference, target) }
    return try decide(all, reference: reference, target: target)
  }

  // MARK: candidates

  private func pairs(reference: [Tensor], target: [Tensor], unusual: Bool) throws -> [Sides] {
    guard !reference.isEmpty, !target.isEmpty else {
      throw AlignmentError(code: .shapeMismatch, place: place, message: "a side has no tensor")
    }
    let references = try layouts(reference.map(\.shape), unusual: unusual)
    let targets = try layouts(target.map(\.shape), unusual: unusual)
    var result: [Sides] = []
    for target in targets.map({ ($0, target) }) {
      for layout in references where layout.shape == target.0.shape {
        result.append(
          (
            reference: try LogicalTensor(parts: reference, layout: layout, place: place),
            target: try LogicalTensor(parts: target.1, layout: target.0, place: place)
          ))
      }
    }
    if result.isEmpty, rule != .auto || unusual { throw mismatch(reference, target) }
    return result
  }

  private func layouts(_ shapes: [[Int]], unusual: Bool) throws -> [ShardLayout] {
    guard let first = shapes.first else { return [] }
    if shapes.count == 1 { return [.whole(first, kind: .single)] }
    let areEqual = shapes.allSatisfy { $0 == first }
    switch rule {
    case .replicated, .partial:
      guard areEqual else {
        throw AlignmentError(
          code: .ruleMismatch, place: place,
          message: "the rule says \(ruleText ?? "") and the ranks' shapes differ: \(listed(shapes))")
      }
      return [rule == .partial ? .sum(first, ranks: shapes.count) : .whole(first, kind: .replicated)]
    case .concat(let axis):
      let resolved = axis < 0 ? axis + first.count : axis
      guard let layout = ShardLayout.concat(shapes, axis: resolved) else {
        throw AlignmentError(
          code: .ruleMismatch, place: place,
          message: "the rule says concat on axis \(axis) and the ranks' shapes do not allow it: \(listed(shapes))")
      }
      return [layout]
    case .unsupported(let text):
      throw AlignmentError(
        code: .unsupportedRule, place: place,
        message: "the shard rule “\(text)” is not supported yet; use auto, an axis, partial or replicated")
    case .auto: break
    }
    var result: [ShardLayout] = []
    if areEqual {
      result += [.whole(first, kind: .replicated), .sum(first, ranks: shapes.count)]
    }
    for axis in first.indices {
      guard let whole = ShardLayout.concat(shapes, axis: axis) else { continue }
      result.append(whole)
      guard areEqual, unusual else { continue }
      result += fused(shapes, axis: axis) + replicatedHeads(shapes, axis: axis)
    }
    return result
  }

  /// gate_up (two equal blocks) and qkv (q as wide as, or a power of two wider than, k and v).
  private func fused(_ shapes: [[Int]], axis: Int) -> [ShardLayout] {
    guard axis == shapes[0].count - 1, axis > 0 else { return [] }
    return [[1, 1], [1, 1, 1], [2, 1, 1], [4, 1, 1], [8, 1, 1]].compactMap {
      ShardLayout.blocks(shapes, axis: axis, weights: $0)
    }
  }

  /// Groups of ranks that hold the same key/value heads: neighbours (rank / copies), or strided (rank mod groups).
  private func replicatedHeads(_ shapes: [[Int]], axis: Int) -> [ShardLayout] {
    let ranks = shapes.count
    guard ranks > 2 else { return [] }
    var result: [ShardLayout] = []
    for copies in 2..<ranks where ranks % copies == 0 {
      let groups = ranks / copies
      for (parts, detail) in [
        ((0..<groups).map { $0 * copies }, "\(copies) neighbouring ranks hold the same heads"),
        (Array(0..<groups), "every \(groups)th rank holds the same heads"),
      ] {
        guard var layout = ShardLayout.concat(shapes, axis: axis, parts: parts, kind: .heads) else { continue }
        layout.detail = detail
        result.append(layout)
      }
    }
    return result
  }

  // MARK: decision

  private typealias Sides = (reference: LogicalTensor, target: LogicalTensor)

  private func residuals(_ sides: [Sides]) throws -> [Double] {
    var references: [ShardLayout: [Double]] = [:]
    return try sides.map { side in
      let sample = TensorSample(shape: side.target.shape, limit: sampleLimit)
      let reference = try references[side.reference.layout] ?? sample.values(of: side.reference)
      references[side.reference.layout] = reference
      return Agreement(target: try sample.values(of: side.target), reference: reference).distance
    }
  }

  private func decide(_ all: [Sides], reference: [Tensor], target: [Tensor]) throws -> ShardDecision {
    // Equal ranks of the reference are replicas, too.
    let replicas = all.filter { $0.reference.layout.kind == .replicated }
    let sides = try reference.count > 1 && !replicas.isEmpty && areEqual(reference) ? replicas : all
    var scores = try residuals(sides)
    // A replica stands for all ranks: the best of them counts, and equal ranks are replicas whatever they hold.
    if let whole = sides.firstIndex(where: { $0.target.layout.kind == .replicated }) {
      if try areEqual(target) {
        return decision(
          sides[whole], residual: scores[whole], margin: nil, ranks: target.count, why: "all ranks are equal")
      }
      for part in target.indices.dropFirst() {
        var side = sides[whole]
        guard side.target.parts.indices.contains(part) else { continue }
        side.target.layout = .whole(side.target.shape, kind: .replicated, part: part)
        scores[whole] = min(scores[whole], try residuals([side])[0])
      }
    }
    let order = sides.indices.sorted { (scores[$0], $0) < (scores[$1], $1) }
    let best = order[0]
    if sides.count == 1 {
      return decision(
        sides[best], residual: scores[best], margin: nil, ranks: target.count,
        why: "the only plain layout that the shapes allow")
    }
    // The plain reading stays where another is not clearly better.
    let plain = sides.firstIndex { [.replicated, .concat].contains($0.target.layout.kind) } ?? best
    let second = order.first { $0 != best } ?? best
    let margin = scores[best].isFinite && scores[second] > 0 ? 1 - scores[best] / scores[second] : 0
    if scores[best].isFinite, scores[best] <= 0.25, margin >= 0.5 {
      return decision(
        sides[best], residual: scores[best], margin: margin, ranks: target.count,
        why: "data: the runner-up, \(name(sides[second].target.layout)), leaves \(short(scores[second]))")
    }
    if scores[plain] <= 0.25 {
      return decision(
        sides[plain], residual: scores[plain], margin: margin, ranks: target.count,
        why: "the plain layout fits, and no other fits clearly better")
    }
    if let usual, let same = sides.firstIndex(where: { $0.target.layout.isLike(usual) }) {
      return decision(
        sides[same], residual: scores[same], margin: margin, ranks: target.count,
        why: "as in the other layers; no layout that the shapes allow brings the ranks near the reference")
    }
    var result = decision(
      sides[plain], residual: scores[plain], margin: margin, ranks: target.count,
      why: "no layout that the shapes allow brings the ranks near the reference; the best, "
        + "\(name(sides[best].target.layout)), leaves \(short(scores[best]))")
    // Fused blocks are a guess; a sum and a replica are equally likely before the data are seen.
    if sides.contains(where: { $0.target.layout.kind == .partial }) { result.plan.kind = .ambiguous }
    return result
  }

  private func decision(_ sides: Sides, residual: Double, margin: Double?, ranks: Int, why: String) -> ShardDecision {
    var plan = report(sides.target.layout, ranks: ranks)
    plan.residual = residual.isFinite ? residual : nil
    plan.margin = margin
    plan.why = [why, sides.target.layout.detail].compactMap { $0 }.joined(separator: "; ")
    return ShardDecision(plan: plan, reference: sides.reference, target: sides.target, isInferred: true)
  }

  /// Equal numbers of ranks on both sides: rank r is compared with rank r, side by side along the last dimension.
  private func rankByRank(reference: [Tensor], target: [Tensor]) throws -> ShardDecision {
    for (rank, pair) in zip(reference, target).enumerated() where pair.0.shape != pair.1.shape {
      throw AlignmentError(
        code: .shapeMismatch, place: place,
        message: "rank position \(rank) has shape \(pair.0.shape) in the reference and \(pair.1.shape) in the target")
    }
    let shapes = target.map(\.shape)
    let layout: ShardLayout
    let why: String
    if shapes.allSatisfy({ $0 == shapes[0] }), rule == .auto || rule == .replicated, try areEqual(reference) {
      layout = .whole(shapes[0], kind: .replicated)
      why = "all ranks of the reference are equal"
    } else if let joined = shapes[0].indices.reversed().lazy.compactMap({ ShardLayout.concat(shapes, axis: $0) }).first
    {
      layout = joined
      why = "as many ranks on both sides: compared rank by rank, side by side along the axis"
    } else {
      throw mismatch(reference, target)
    }
    let sides = (
      reference: try LogicalTensor(parts: reference, layout: layout, place: place),
      target: try LogicalTensor(parts: target, layout: layout, place: place)
    )
    var result = decision(sides, residual: .nan, margin: nil, ranks: target.count, why: why)
    result.plan.residual = try residuals([sides])[0]
    result.isInferred = false
    return result
  }

  /// True where the sampled bytes of all ranks are the same.
  private func areEqual(_ tensors: [Tensor]) throws -> Bool {
    guard let first = tensors.first, tensors.allSatisfy({ $0.shape == first.shape && $0.dtype == first.dtype }) else {
      return false
    }
    let sample = TensorSample(shape: first.shape, limit: sampleLimit)
    let head = try TensorReader(first)
    var left: [UInt8] = []
    var right: [UInt8] = []
    for tensor in tensors.dropFirst() {
      let reader = try TensorReader(tensor)
      for range in sample.ranges {
        try head.read(range, into: &left)
        try reader.read(range, into: &right)
        if left != right { return false }
      }
    }
    return true
  }

  // MARK: words

  private var ruleText: String? {
    switch rule {
    case .auto: nil
    case .concat(let axis): "rule: concat on axis \(axis)"
    case .partial: "rule: partial"
    case .replicated: "rule: replicated"
    case .unsupported(let text): "rule: \(text)"
    }
  }

  private func report(_ layout: ShardLayout, ranks: Int) -> ShardPlan {
    ShardPlan(kind: layout.kind, axis: layout.axis, ranks: ranks, residual: nil, margin: nil, why: "")
  }

  private func name(_ layout: ShardLayout) -> String {
    layout.axis.map { "\(layout.kind.rawValue) on axis \($0)" } ?? layout.kind.rawValue
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
        + "\(listed(target.map(\.shape))) fit by no concatenation, sum, replica or fused block")
  }
}
