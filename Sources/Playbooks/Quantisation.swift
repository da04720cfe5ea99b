import Comparison
import Foundation
import Planning

/// Is it the quantisation, and if so the scales or the kernel (seed 000, phase 4a)? The quantised model as it is, then
/// the unquantised one, then fake quantisation: quantised and dequantised, multiplied in high precision.
public struct Quantisation: Playbook {
  private let subject: Subject
  private let spec: PlaybookSpec.Quantisation

  /// - Throws: `PlaybookError` where the job does not say how to switch.
  public init(_ subject: Subject) throws(PlaybookError) {
    guard let spec = subject.spec.quantisation else {
      throw PlaybookError(
        "The job \(subject.plan.name) does not say how its model runs unquantised: add `playbook.quantisation` with "
          + "`unquantised` and `fake`.")
    }
    self.subject = subject
    self.spec = spec
  }

  public var mostRuns: Int { subject.cells.count * 3 }

  public func next(after steps: [Step]) -> Move {
    guard let quantised = steps.first else {
      return .run(
        experiment("quantised", [], "The quantised model is wrong.", "The model as configured, against the reference."))
    }
    if quantised.outcome.verdict != .fail {
      return .conclude(
        obstacle(quantised.outcome)
          ?? Conclusion(
            verdict: .pass, kind: "no-bug", summary: "No bug: the quantised model gives what the reference gives.",
            evidence: [quantised.outcome.sentence],
            next: "If scores are lower than the unquantised model's, compare samples: rollcall playbook evaluate."))
    }
    guard steps.count > 1 else {
      return .run(
        experiment(
          "unquantised", [spec.unquantised], "Quantisation brings the bug.",
          "The unquantised model in the same configuration, against the reference."))
    }
    let plain = steps[1].outcome
    if plain.verdict == .fail { return .conclude(unrelated(steps[1])) }
    if let obstacle = obstacle(plain) { return .conclude(obstacle) }
    guard steps.count > 2 else {
      return .run(
        experiment(
          "fake-quantised", [spec.fake], "The low-precision kernel brings the bug, not the scales.",
          "Quantised and dequantised, multiplied in high precision, against the reference."))
    }
    let fake = steps[2].outcome
    if fake.verdict != .fail, let obstacle = obstacle(fake) { return .conclude(obstacle) }
    return .conclude(fake.verdict == .fail ? scales(quantised, steps) : kernel(quantised, steps))
  }

  private func experiment(_ step: String, _ on: [String], _ hypothesis: String, _ design: String) -> Experiment {
    Experiment(
      step: step, hypothesis: hypothesis, design: design,
      change: JobChange(
        cells: subject.cells,
        target: [spec.unquantised, spec.fake].map { subject.change($0, on: on.contains($0)) }))
  }

  // MARK: Ends

  private func conclusion(
    _ kind: String, _ summary: String, _ step: Step, _ steps: [Step], next: String
  ) -> Conclusion {
    Conclusion(
      verdict: .fail, kind: kind, summary: summary, evidence: steps.map(\.outcome.sentence) + suspects(step), next: next
    ).placed(by: step.outcome, keepsNext: true)
  }

  private func unrelated(_ step: Step) -> Conclusion {
    conclusion(
      "not-quantisation", "The unquantised model is wrong too: the bug is not in the quantisation.", step, [step],
      next: "rollcall playbook isolate with the unquantised model.")
  }

  private func kernel(_ step: Step, _ steps: [Step]) -> Conclusion {
    conclusion(
      "quantised-kernel", "Right with fake quantisation: the low-precision kernel is the bug, not the scales.", step,
      steps,
      next: "Take the kernel apart on dumped inputs: accumulation type, casts, shapes that are no multiple of its tile."
    )
  }

  private func scales(_ step: Step, _ steps: [Step]) -> Conclusion {
    conclusion(
      "scales", "Wrong with fake quantisation as well: the scales or the quantised weights are the bug.", step, steps,
      next:
        "Compare the scales in the checkpoint with those that the kernel gets (rollcall playbook weights); look for "
        + "`.to(dtype)` where a packed type needs `.view(dtype)`.")
  }

  /// The seed's table of suspects, by the numbers of the first wrong place, in rough order of severity.
  private func suspects(_ step: Step) -> [String] {
    guard let row = step.outcome.firstFailure, let relL2 = row.relL2 else { return [] }
    let alpha = row.alpha.map(abs) ?? 1
    let suspect =
      if alpha > 100 || alpha < 0.01 {
        "a missing or inverted scale: the magnitude is off by \(figure(alpha))"
      } else if alpha > 1.5 || alpha < 0.67 {
        "a scale that is applied wrongly: the magnitude is off by \(figure(alpha))"
      } else if let cos = row.cos, cos < 0.5 {
        "weights or scales read with the wrong layout or type: the direction is lost (cos \(figure(cos)))"
      } else if relL2 > 0.05 {
        "an incorrect block scale: \(figure(relL2 * 100)) % off, the magnitude nearly right"
      } else {
        "a wrong accumulation or cast in the kernel: \(figure(relL2 * 100)) % off"
      }
    return ["Suspect at \(row.place): \(suspect)."]
  }

  private func figure(_ value: Double) -> String { String(format: "%.3g", value) }
}
