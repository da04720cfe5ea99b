import Comparison
import Diagnosis
import OrderedCollections
import Planning

/// Climbs an axis, world_size by default, from the reference's value upwards and stops at the first that breaks. Before
/// the model is blamed, other all-reduce strategies are tried there (seed 000, phase 4c).
///
/// Wrong from the first value above the reference on is a structural sharding bug; wrong only from a later one is an
/// assumption about divisibility, of head counts for instance. Where values between were not run, or the reference is no
/// cell of the job, that cannot be told, and is said. A cause that the dumps name for sure goes before what the rung
/// alone suggests.
public struct Ladder: Playbook {
  private let subject: Subject
  private let axis: String
  private let rungs: [AxisValue]

  /// - Throws: `PlaybookError` where there is nothing to climb.
  public init(_ subject: Subject) throws(PlaybookError) {
    let axis = subject.spec.ladder.axis
    guard subject.plan.axes.contains(axis) else {
      throw PlaybookError("The job \(subject.plan.name) has no axis `\(axis)` to climb (playbook.ladder.axis).")
    }
    let all =
      subject.spec.ladder.values
      ?? OrderedSet(subject.plan.cells.compactMap { $0.values[axis] }).sorted { $0.magnitude < $1.magnitude }
    let start = subject.reference?[axis]
    rungs = all.filter { $0 != start }
    guard !rungs.isEmpty else {
      throw PlaybookError("The axis `\(axis)` has no value but the reference's: there is nothing to climb.")
    }
    self.subject = subject
    self.axis = axis
  }

  /// One step a value, and one a strategy at the value that breaks.
  public var mostRuns: Int { 2 * (rungs.count + subject.spec.ladder.strategies.count) }

  public func next(after steps: [Step]) -> Move {
    for (index, rung) in rungs.enumerated() {
      guard index < steps.count else { return .run(climb(rung, after: index)) }
      if steps[index].outcome.verdict == .fail { return broken(index, steps) }
      if let obstacle = obstacle(steps[index].outcome) { return .conclude(obstacle) }
    }
    return .conclude(
      Conclusion(
        verdict: .pass, kind: "no-bug",
        summary: "No bug: \(names(rungs)) all give what the reference gives.",
        evidence: steps.map(\.outcome.sentence),
        next: "Sharding is not the cause. If the output is still wrong, the reference is wrong too: "
          + "compare it with another implementation."))
  }

  private func climb(_ rung: AxisValue, after index: Int) -> Experiment {
    Experiment(
      step: "\(axis)-\(rung)",
      hypothesis: index == 0
        ? "The bug is in what \(axis) changes."
        : "\(names(Array(rungs[..<index]))) are right, so the bug, if any, needs more.",
      design: "\(axis)=\(rung) against the reference.", change: JobChange(cells: cells(rung)))
  }

  /// The first value that breaks is known; is it the all-reduce?
  private func broken(_ index: Int, _ steps: [Step]) -> Move {
    let rung = rungs[index]
    let name = "\(axis)=\(rung)"
    var refuted: [String] = []
    for (offset, strategy) in subject.spec.ladder.strategies.enumerated() {
      let number = index + 1 + offset
      guard number < steps.count else {
        return .run(
          Experiment(
            step: "strategy-\(strategy)",
            hypothesis: "\(name) is wrong because of its all-reduce strategy, not of the model.",
            design: "\(name) with \(strategy), against the reference.",
            change: JobChange(cells: cells(rung), target: [subject.change(strategy, on: true)])))
      }
      let outcome = steps[number].outcome
      switch outcome.verdict {
      case .fail: refuted.append("With \(strategy) it is wrong as well.")
      case .pass where outcome.failedRuns.isEmpty:
        return .conclude(
          Conclusion(
            verdict: .fail, kind: "all-reduce-strategy",
            summary: "\(name) is right with \(strategy) and wrong without: the all-reduce strategy is the cause, "
              + "not the model.",
            subject: strategy, evidence: [steps[index].outcome.sentence, outcome.sentence],
            next: "Keep \(strategy) and report the other strategy to the library that brings it."
          ).placed(by: steps[index].outcome, keepsNext: true))
      default: if let obstacle = obstacle(outcome) { return .conclude(obstacle) }
      }
    }
    if subject.spec.ladder.strategies.isEmpty, axis == Self.worldSize {
      refuted.append("No other all-reduce strategy was tried: the job names none in playbook.ladder.strategies.")
    }
    let outcome = steps[index].outcome
    let end = outcome.findings.first.flatMap { named($0, index) } ?? end(index)
    return .conclude(
      Conclusion(
        verdict: .fail, kind: end.kind, summary: end.summary, subject: name,
        evidence: steps[...index].map { "\($0.experiment.step): \($0.outcome.sentence)" } + refuted, next: end.next
      ).placed(by: outcome, keepsNext: end.keepsNext))
  }

  static let worldSize = "world_size"

  /// Causes that a cut over more ranks brings.
  private static let structural: Set<String> = [
    "missing-reduce", "double-reduce", "average-reduce", "branch-repeated", "branch-missing-reduce",
    "residual-repeated", "bias-repeated", "rank-absent", "duplicate-shard", "fused-shard-layout", "head-map",
    "rank-order", "shard-local-statistics", "replica-divergence",
  ]

  /// The end where the dumps name the cause, which the rung alone would only suggest: of the same kind, which says at
  /// which values it is wrong. nil where they leave it open, or where it is what the rung suggests.
  private func named(
    _ finding: Finding, _ index: Int
  ) -> (kind: String, summary: String, next: String, keepsNext: Bool)? {
    guard finding.confidence != .possible else { return nil }
    let suggested = end(index)
    let name = "\(axis)=\(rungs[index])"
    let place = finding.stage.map { stage in finding.layer.map { " in layer \($0) \(stage)" } ?? " in \(stage)" } ?? ""
    let cause = "the dumps name \(finding.cause)\(place)"
    switch suggested.kind {
    case "divisibility" where finding.cause != "divisibility":
      let right = Array(rungs[..<index])
      return (
        suggested.kind,
        "\(names(right)) \(right.count > 1 ? "are" : "is") right and \(name) is the first that is wrong: \(cause).",
        finding.next, false
      )
    case "structural" where !Self.structural.contains(finding.cause):
      return (
        suggested.kind, "Wrong from \(name) on, the first value above the reference: \(cause).", finding.next, false
      )
    case "sharding":
      return (
        suggested.kind,
        "\(axis)=\(subject.reference?[axis]?.description ?? "") is right and \(name) is wrong, with nothing between them "
          + "run: \(cause).", finding.next, false
      )
    default: return nil
    }
  }

  /// What it means that this value is the first that is wrong.
  private func end(_ index: Int) -> (kind: String, summary: String, next: String, keepsNext: Bool) {
    let name = "\(axis)=\(rungs[index])"
    if index > 0 {
      let right = Array(rungs[..<index])
      return (
        "divisibility",
        "\(names(right)) \(right.count > 1 ? "are" : "is") right and \(name) is the first that is wrong: an assumption "
          + "that holds only up to there, divisibility (heads, experts, block sizes) first of all.",
        "Check which counts \(name) must divide: heads, key/value heads, experts, scale blocks.", false
      )
    }
    guard let start = subject.reference?[axis] else {
      return rungs[index].magnitude <= 1
        ? (
          "not-\(axis)", "Wrong at \(name) already: what \(axis) changes is not the cause.",
          "rollcall playbook isolate at \(name), then rollcall playbook bisect.", true
        )
        : (
          "from-the-lowest", "Wrong at \(name), the lowest that was run: whether \(axis) matters is not known.",
          "Add the lower values of \(axis) to the matrix, 1 first of all, and run the ladder again.", true
        )
    }
    let isNext = axis != Self.worldSize || rungs[index].magnitude <= 2 * start.magnitude
    guard isNext else {
      return (
        "sharding",
        "\(axis)=\(start) is right and \(name) is wrong; nothing between them was run, so a structural bug cannot be told "
          + "from an assumption about divisibility.",
        "Add the values between to the matrix (or playbook.ladder.values) and run the ladder again.", true
      )
    }
    return (
      "structural", "Wrong from \(name) on, the first value above the reference: a structural sharding bug.",
      "Look for a missing or doubled all-reduce, a wrong split point, a wrong stride.", false
    )
  }

  private func cells(_ rung: AxisValue) -> [Subject.Values] {
    var target = subject.target
    target[axis] = rung
    return (subject.reference.map { [$0] } ?? []) + [target]
  }

  private func names(_ rungs: [AxisValue]) -> String {
    "\(axis)=" + rungs.map(\.description).joined(separator: ", ")
  }
}

extension AxisValue {
  /// What a ladder sorts by.
  fileprivate var magnitude: Double {
    switch self {
    case .bool(let value): value ? 1 : 0
    case .int(let value): Double(value)
    case .double(let value): value
    case .string: .infinity
    }
  }
}
