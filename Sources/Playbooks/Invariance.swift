import Comparison
import Diagnosis
import Foundation
import OrderedCollections
import Planning

/// Batch invariance and determinism, bitwise (seed 002, phase 8): does a token's result depend on the batch it is in?
///
/// E1, the prompt in every slot, runs twice: first a run must agree with itself, then its slots with one another. E0, the
/// prompt alone, and E2 and on, the prompt at each position among other prompts, show what it depends on: the position,
/// or only the size of the batch.
public struct Invariance: Playbook {
  /// Beyond this a difference is no rounding: another path, a wrong mask, another sequence's cache.
  private static let rounding = 0.1

  private let subject: Subject
  private let spec: PlaybookSpec.Invariance

  /// - Throws: `PlaybookError` where the job does not say how to make the batches.
  public init(_ subject: Subject) throws(PlaybookError) {
    guard let spec = subject.spec.invariance, subject.plan.axes.contains(spec.axis) else {
      throw PlaybookError(
        "The job \(subject.plan.name) does not say which batches to run: add `playbook.invariance` with an axis of the "
          + "job, and its values for `single`, `same` and `positions`.")
    }
    guard subject.plan.compare.mode == .slots else {
      throw PlaybookError(
        "The job \(subject.plan.name) does not compare slots: E1 asks whether they agree. Set `compare.mode: slots`.")
    }
    self.subject = subject
    self.spec = spec
  }

  /// E1 twice, E0, and one a position.
  public var mostRuns: Int { 3 + spec.positions.count }

  public func next(after steps: [Step]) -> Move {
    guard let same = steps.first else {
      return .run(
        Experiment(
          step: "E1-same", hypothesis: "A run agrees with itself, and its slots with one another.",
          design: "E1: the prompt in every slot, twice.",
          change: JobChange(cells: [cell(spec.same)], repetitions: 2)))
    }
    let repeats = same.outcome.pairs.filter { $0.kind == "repeat" }
    if let row = repeats.flatMap(\.rows).first(where: { $0.verdict == .fail }) {
      return .conclude(nondeterministic(row, same))
    }
    if same.outcome.verdict != .fail, let obstacle = obstacle(same.outcome) { return .conclude(obstacle) }
    guard !repeats.isEmpty else {
      return .conclude(
        Conclusion(
          verdict: .inconclusive, kind: "inconclusive", summary: "Whether a run agrees with itself was not measured.",
          evidence: same.outcome.notes, next: "See rollcall report \(same.outcome.sweep)."))
    }
    guard same.outcome.pairs.contains(where: { $0.kind == "slots" && !$0.rows.isEmpty }) else {
      return .conclude(
        Conclusion(
          verdict: .inconclusive, kind: "inconclusive", summary: "Whether the slots of a batch agree was not measured.",
          evidence: same.outcome.notes, next: "See rollcall report \(same.outcome.sweep)."))
    }
    guard steps.count > 1 else {
      return .run(
        Experiment(
          step: "E0-positions",
          hypothesis: same.outcome.verdict == .fail
            ? "The slots of one batch differ; the result depends on the position."
            : "Slots with the same prompt agree; other neighbours and another batch size change nothing either.",
          design: "E0: the prompt alone; "
            + spec.positions.indices.map { "E\($0 + 2): in slot \($0)" }.joined(separator: ", ")
            + ", other prompts beside it.",
          change: JobChange(
            cells: [cell(spec.single)] + spec.positions.map(cell), positions: Array(spec.positions.indices))))
    }
    let positions = steps[1]
    if positions.outcome.verdict != .fail, let obstacle = obstacle(positions.outcome) { return .conclude(obstacle) }
    return .conclude(judge(same, positions))
  }

  private func cell(_ value: AxisValue) -> Subject.Values {
    var values = subject.target
    values[spec.axis] = value
    return values
  }

  // MARK: Ends

  private func nondeterministic(_ row: Outcome.Row, _ step: Step) -> Conclusion {
    Conclusion(
      verdict: .fail, kind: "nondeterministic",
      summary:
        "Two runs of the same batch differ, first at \(row.place): determinism is broken, before any question of "
        + "batches.",
      layer: row.layer, stage: row.stage, cause: "nondeterminism", evidence: [step.outcome.sentence],
      next: "Find what is not deterministic at \(row.place): atomics, the all-reduce's order, seeds, autotuning.")
  }

  private func judge(_ same: Step, _ positions: Step) -> Conclusion {
    let slotsDiffer = same.outcome.verdict == .fail
    let wrong = positions.outcome.pairs.filter { $0.verdict == .fail }
    guard slotsDiffer || !wrong.isEmpty else {
      return Conclusion(
        verdict: .pass, kind: "no-bug",
        summary: "Batch-invariant: bitwise the same alone, in every slot, and at every position among other prompts.",
        evidence: table(same, positions),
        next: "If greedy decoding still flips tokens, look at the sampler and at decode calls (dumps.select: decode).")
    }
    let shown = slotsDiffer ? same.outcome.pairs.filter { $0.kind == "slots" } : wrong
    let chain = chain(shown)
    let first = chain.first
    let evidence = table(same, positions) + [amplification(chain)] + classification(chain)
    // No kernel saw two sequences, so none can depend on the batch.
    if first?.loop == .model {
      return Conclusion(
        verdict: .fail, kind: "slot-state",
        summary: "The model runs each sequence by itself, and its result still depends on the slot: no kernel sees the "
          + "batch, so it is state that the slots keep or share.",
        layer: first?.layer, stage: first?.stage, cause: "batch-variance", evidence: evidence,
        next: "Look at the slot's own KV cache and block table, at workspaces that are not cleared between two calls, "
          + "and at kernels that choose their path by a pointer's alignment.")
    }
    if let worst = first?.relL2, worst > Self.rounding {
      return Conclusion(
        verdict: .fail, kind: "slot-bug",
        summary:
          "The result depends on the batch, and by far more than rounding: a bug of the path for several sequences.",
        layer: first?.layer, stage: first?.stage, cause: "batch-variance", evidence: evidence,
        next: "Look at cu_seqlens, padding, the block table and the mask where several sequences share a batch.")
    }
    return Conclusion(
      verdict: .fail, kind: "batch-variance",
      summary: "Batch variance: kernel stack, not a model bug. "
        + (slotsDiffer
          ? "Slots with the same prompt differ: a reduction's order depends on the position in the batch."
          : wrong.count == positions.outcome.pairs.count && isAlike(wrong)
            ? "Every position gives the same, and the prompt alone another result: it depends on the size of the batch."
            : "The result depends on the position or the neighbours."),
      layer: first?.layer, stage: first?.stage, cause: "batch-variance", evidence: evidence,
      next: "Do not mend the model: use batch-invariant kernels (no split-K, one attention kernel for all lengths), or "
        + "write it down as a known limit.")
  }

  /// Whether all pairs differ from the prompt alone by the same figures.
  private func isAlike(_ pairs: [Outcome.Pair]) -> Bool {
    Set(pairs.map { $0.rows.map(\.relL2) }).count == 1
  }

  /// Each stage at its worst slot, from the first that differs on, in execution order.
  private func chain(_ pairs: [Outcome.Pair]) -> [Outcome.Row] {
    var worst: OrderedDictionary<String, Outcome.Row> = [:]
    for row in pairs.flatMap(\.rows) {
      if let known = worst[row.place], (known.relL2 ?? .infinity) >= (row.relL2 ?? .infinity) { continue }
      worst[row.place] = row
    }
    return Array(worst.values.drop { $0.verdict != .fail })
  }

  private func amplification(_ chain: [Outcome.Row]) -> String {
    let links = chain.filter { $0.verdict == .fail }.prefix(6).map { row in
      "\(row.place) cos " + (row.cos.map { String(format: "%.6g", $0) } ?? "not finite")
    }
    return "Amplification: " + links.joined(separator: " → ") + "."
  }

  /// The seed's table, by where the first difference is and how it grows.
  private func classification(_ chain: [Outcome.Row]) -> [String] {
    guard let first = chain.first else { return [] }
    var lines: [String] = []
    if first.loop == .stage {
      lines.append(
        "\(first.place) is the first, and runs once for each sequence: no kernel in it sees the batch. Either what "
          + "comes in differs already (dump finer classes before it), or its calls share state: the slots' KV cache, a "
          + "workspace, a tile chosen by the slot's address.")
    } else if Self.isAttention(first.stage) {
      lines.append("\(first.place) is the first: split-KV attention, or the layout of the slots' KV cache.")
    } else if Self.isExperts(first.stage) {
      lines.append("\(first.place) is the first: split-K in a fused expert or MLP kernel; silu and clamp amplify it.")
    }
    if Self.isAttention(first.stage), let start = first.relL2, start > 0,
      let experts = chain.first(where: { $0.layer == first.layer && Self.isExperts($0.stage) }),
      let grown = experts.relL2, grown > 2 * start
    {
      lines.append(
        "\(experts.place) drops \(Int(min(grown / start, 1e6))) times as far as attention: split-K in the fused expert "
          + "kernel, or silu and clamp at their boundaries, amplify it.")
    }
    let later = chain.filter { ($0.layer ?? 0) > (first.layer ?? 0) }.compactMap(\.relL2).max() ?? 0
    if let start = first.relL2, start > 0, later > 10 * start {
      lines.append("Later layers amplify it \(Int(min(later / start, 1e6))) times: routing or activations cascade.")
    }
    let cosines = chain.compactMap(\.cos)
    if let last = chain.last, Self.isHead(last.stage), last.verdict == .fail, let least = cosines.min(), least > 0.998 {
      lines.append(
        "No stage's cosine is below \(String(format: "%.6f", least)), and the logits differ: only tokens of nearly equal "
          + "confidence flip; what the sampler makes of it is noise.")
    }
    return lines
  }

  private static func isAttention(_ stage: String) -> Bool { has(stage, ["attention", "attn"]) }
  private static func isExperts(_ stage: String) -> Bool { has(stage, ["moe", "mlp", "expert"]) }
  private static func isHead(_ stage: String) -> Bool { has(stage, ["lmhead", "lm_head", "logits"]) }

  private static func has(_ stage: String, _ words: [String]) -> Bool {
    let stage = stage.lowercased()
    return words.contains { stage.contains($0) }
  }

  /// One line an experiment.
  private func table(_ same: Step, _ positions: Step) -> [String] {
    func line(_ name: String, _ pair: Outcome.Pair) -> String {
      let differing = Set(pair.rows.filter { $0.verdict == .fail }.compactMap(\.slot)).sorted()
      guard let first = pair.rows.first(where: { $0.verdict == .fail }) else { return "\(name): the same bytes." }
      return "\(name): slot \(differing.map(String.init).joined(separator: ", ")) differs, first at \(first.place)."
    }
    let slots = same.outcome.pairs.filter { $0.kind == "slots" }.prefix(1).map { line("E1", $0) }
    return loops(same) + slots
      + positions.outcome.pairs.enumerated().map { line("E\($0.offset + 2) against E0", $0.element) }
  }

  /// Per-sequence loops, whose calls were joined into the batch: seen by name, or a slot's drift would be invisible.
  private func loops(_ same: Step) -> [String] {
    let rows = same.outcome.pairs.first { $0.kind == "slots" }?.rows.filter { $0.loop != nil } ?? []
    guard let first = rows.first else { return [] }
    if first.loop == .model { return ["The whole model runs once for each sequence; those calls are the slots."] }
    let stages = OrderedSet(rows.map(\.stage)).joined(separator: ", ")
    return ["\(stages): one call for each sequence; those calls are the slots."]
  }
}
