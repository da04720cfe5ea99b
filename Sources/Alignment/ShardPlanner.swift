public import Dumps

/// The layouts chosen for both sides of one stage and tensor.
public struct ShardDecision: Sendable, Hashable, Codable {
  /// Target side, for the report.
  public var plan: ShardPlan
  public var reference: LogicalTensor
  public var target: LogicalTensor
  /// False where a rule of the job file, the dump's metadata, or one rank only left nothing to find out.
  public var isInferred: Bool
  /// Why the layout is open, so that its measures would say nothing: both sides are sharded and nothing joins them.
  public var doubt: String?
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
  static let marginLimit = 0.5
  /// Layouts probed at most; shapes allow far fewer.
  static let candidateLimit = 96
  static let finalists = 3
  /// Sums and replicas among them, with the comparisons of their copies.
  static let sums = 24
  /// Layouts whose ranks are tried in another order.
  static let orderTrials = 24

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
    decision.plan.padding = try probe.padding(decision.target, limit: sampleLimit)
    decision.plan.referencePadding = try probe.padding(decision.reference, limit: sampleLimit)
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
    guard !candidates.isEmpty else {
      guard areSharded(reference, target), try !probe.areEqual(reference, limit: sampleLimit) else {
        throw mismatch(reference, target)
      }
      throw AlignmentError(
        code: .unknownLayout, place: place,
        message: "\(mismatch(reference, target).message), and neither side has the whole; \(Self.nextForShards)")
    }
    return try decide(candidates, reference: reference, target: target, &probe)
  }

  /// Both sides over several ranks, and not as many: neither says what the whole is.
  func areSharded(_ reference: [Tensor], _ target: [Tensor]) -> Bool {
    reference.count > 1 && target.count > 1 && reference.count != target.count
  }

  // MARK: words

  static let nextForShards = "compare each with a run on one rank, or give compare.shard for the stage"

  func report(_ layout: ShardLayout, ranks: Int) -> ShardPlan {
    ShardPlan(
      kind: layout.kind, axis: layout.axis, ranks: ranks, residual: nil, margin: nil, why: "", order: layout.order)
  }

  func name(_ layout: ShardLayout) -> String {
    let axis = layout.axis.map { " on axis \($0)" } ?? ""
    return layout.kind.rawValue + axis + (layout.detail.map { " (\($0))" } ?? "")
  }

  func short(_ value: Double) -> String {
    guard value.isFinite else { return "no finite residual" }
    return "a residual of \((value * 10_000).rounded() / 10_000)"
  }

  /// Shapes in words.
  public func listed(_ shapes: [[Int]]) -> String { shapes.map { "\($0)" }.joined(separator: ", ") }

  func mismatch(_ reference: [Tensor], _ target: [Tensor]) -> AlignmentError {
    AlignmentError(
      code: .shapeMismatch, place: place,
      message: "the reference's shape \(listed(reference.map(\.shape))) and the target's "
        + "\(listed(target.map(\.shape))) fit by no concatenation, sum, replica, fused block or padding")
  }
}
