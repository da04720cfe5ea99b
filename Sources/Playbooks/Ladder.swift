import Comparison
import OrderedCollections
import Planning

/// Climbs an axis, world_size by default, from the reference's value upwards and stops at the first that breaks. Before
/// the model is blamed, other all-reduce strategies are tried there (seed 000, phase 4c).
///
/// Wrong from the first value above the reference on is a structural sharding bug; wrong only from a later one is an
/// assumption about divisibility, of head counts for instance.
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
    let outcome = steps[index].outcome
    let isStructural = index == 0
    return .conclude(
      Conclusion(
        verdict: .fail, kind: isStructural ? "structural" : "divisibility",
        summary: isStructural
          ? "Wrong from \(name) on, the first value above the reference: a structural sharding bug."
          : "\(names(Array(rungs[..<index]))) are right and \(name) is wrong: an assumption about divisibility, "
            + "of head counts or of a block size.",
        subject: name, evidence: steps[...index].map(\.outcome.sentence) + refuted,
        next: isStructural
          ? "Look for a missing or doubled all-reduce, a wrong split point, a wrong stride."
          : "Check which counts \(name) must divide: heads, key/value heads, experts, scale blocks."
      ).placed(by: outcome))
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
