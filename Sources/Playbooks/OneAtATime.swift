import Comparison
import OrderedCollections
import Planning

/// One change a run, each against the same base, never two at once.
///
/// `ablate` (seed 000, phase 6) switches off one suspected component a run: what makes a wrong target right is needed
/// for the bug. `necessity` (seed 002, phase 7) reverts one fix a run: what makes a right target wrong is critical, the
/// others are fine-tuning and may wait.
public struct OneAtATime: Playbook {
  public enum Question: Sendable {
    case ablate
    case necessity
  }

  private let subject: Subject
  private let question: Question
  private let names: [String]

  /// - Throws: `PlaybookError` where the job names no component.
  public init(_ subject: Subject, _ question: Question) throws(PlaybookError) {
    self.subject = subject
    self.question = question
    let given = question == .ablate ? subject.spec.ablate : subject.spec.necessity
    names = given ?? Array(subject.spec.components.keys)
    guard !names.isEmpty else {
      throw PlaybookError("The job \(subject.plan.name) names nothing to switch: add `playbook.components`.")
    }
  }

  public var mostRuns: Int { subject.cells.count * (names.count + 1) }

  public func next(after steps: [Step]) -> Move {
    guard let base = steps.first else {
      return .run(
        Experiment(
          step: "base", hypothesis: question == .ablate ? "The bug shows." : "With all fixes the target is right.",
          design: "Everything on, against the reference.", change: change(without: nil)))
    }
    let expected: Verdict = question == .ablate ? .fail : .pass
    guard base.outcome.verdict == expected, question == .ablate || base.outcome.failedRuns.isEmpty else {
      return .conclude(
        (base.outcome.verdict == .fail ? nil : obstacle(base.outcome))
          ?? (question == .ablate ? notReproduced(base) : notFixed(base)))
    }
    guard steps.count > names.count else {
      let name = names[steps.count - 1]
      return .run(
        Experiment(
          step: "without-\(name)",
          hypothesis: question == .ablate ? "\(name) is needed for the bug." : "\(name) is critical.",
          design: "Everything but \(name), against the reference.", change: change(without: name)))
    }
    let outcomes = zip(names, steps.dropFirst().map(\.outcome))
    for (_, outcome) in outcomes where outcome.verdict != .fail {
      if let obstacle = obstacle(outcome) { return .conclude(obstacle) }
    }
    let flipped = outcomes.filter { $0.1.verdict != expected }.map(\.0)
    return .conclude(question == .ablate ? ablated(flipped, base, outcomes) : reverted(flipped, outcomes))
  }

  private func change(without name: String?) -> JobChange {
    JobChange(cells: subject.cells, target: names.map { subject.change($0, on: $0 != name) })
  }

  // MARK: Ends

  private typealias Outcomes = Zip2Sequence<[String], [Outcome]>

  private func table(_ outcomes: Outcomes) -> [String] {
    outcomes.map { "Without \($0): \($1.verdict.rawValue.uppercased()). \($1.sentence)" }
  }

  private func ablated(_ flipped: [String], _ base: Step, _ outcomes: Outcomes) -> Conclusion {
    let list = flipped.joined(separator: ", ")
    return Conclusion(
      verdict: .fail, kind: flipped.isEmpty ? "none-needed" : "needed",
      summary: flipped.isEmpty
        ? "Wrong without any one of \(names.joined(separator: ", ")): none of them alone is needed for the bug."
        : "Right without \(list)\(flipped.count > 1 ? ", each by itself" : ""): needed for the bug.",
      subject: flipped.first, evidence: table(outcomes),
      next: flipped.isEmpty
        ? "Two may hide one another: rollcall playbook isolate starts from none."
        : "Look into \(list); confirm a fix with rollcall playbook necessity."
    ).placed(by: base.outcome, keepsNext: true)
  }

  private func reverted(_ critical: [String], _ outcomes: Outcomes) -> Conclusion {
    let tuning = names.filter { !critical.contains($0) }
    return Conclusion(
      verdict: .pass, kind: critical.isEmpty ? "no-bug" : "necessity",
      summary: (critical.isEmpty ? "No bug without any one of the fixes. " : "")
        + "Critical: \(critical.isEmpty ? "none" : critical.joined(separator: ", ")). "
        + "Fine-tuning: \(tuning.isEmpty ? "none" : tuning.joined(separator: ", ")).",
      subject: critical.first, evidence: table(outcomes),
      next: critical.isEmpty
        ? "No single fix is necessary: they may cover one another; revert them in pairs before anything is dropped."
        : "Land \(critical.joined(separator: ", ")) first; the others may wait or go into their own change.")
  }

  private func notReproduced(_ base: Step) -> Conclusion {
    Conclusion(
      verdict: .pass, kind: "no-bug", summary: "No bug: the target gives what the reference gives; nothing to ablate.",
      evidence: [base.outcome.sentence], next: "Reproduce the bug in this job first.")
  }

  private func notFixed(_ base: Step) -> Conclusion {
    Conclusion(
      verdict: .fail, kind: "not-fixed",
      summary: "With all fixes on, the target is still wrong: \(base.outcome.sentence)",
      evidence: [base.outcome.sentence], next: "There is another bug: rollcall playbook bisect, with all fixes on."
    ).placed(by: base.outcome, keepsNext: true)
  }
}
