import Comparison
import Diagnosis
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
    var conclusion = Conclusion(
      verdict: .fail, kind: kind, summary: summary,
      evidence: steps.map { "\($0.experiment.step): \($0.outcome.sentence)" } + suspects(step), next: next
    ).placed(by: step.outcome, keepsNext: true)
    // The runs have shown that it comes with the quantisation; what the numbers alone may look like is no cause then.
    if kind != "not-quantisation", let cause = conclusion.cause, !Self.causes.contains(cause) {
      conclusion.cause = nil
      if let summary = step.outcome.findings.first?.summary { conclusion.evidence.removeAll { $0 == summary } }
    }
    return conclusion
  }

  /// Of the signature table, what quantisation can bring.
  private static let causes: Set<String> = [
    "float8-variant", "missing-scale", "repeated-scale", "quantisation-rounding", "weight-shuffle", "missing-clamp",
    "non-finite", "dtype-change",
  ]

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

  /// In rough order of severity, as the seed's table has them.
  private enum Suspect: Int {
    case scaleMissing, scaleMisapplied, layout, blockScale, kernel
  }

  private static let suspectLimit = 6

  /// The seed's table of suspects by the numbers of each place that is wrong by itself: the gravest first, and of one
  /// kind the one that is furthest off.
  private func suspects(_ step: Step) -> [String] {
    let rows = step.outcome.judged?.rows ?? []
    let first = step.outcome.firstFailure
    let wrong = rows.filter { row in
      guard row.verdict == .fail, let relL2 = row.relL2, row == first || !row.isInput else { return false }
      // What only carries on what comes in is no suspect of its own.
      let input = Self.input(of: row, rows)
      return row == first || relL2 > Self.jump * (input ?? 0) && input != nil
    }
    let suspects = wrong.enumerated().filter { index, row in
      // A module that has an earlier suspect inside: what came into it is what came in before that one, or less.
      let input = Self.input(of: row, rows)
      return !wrong[..<index].contains { inner in
        guard inner.layer == row.layer, inner.stage != row.stage, let input, let before = Self.input(of: inner, rows)
        else { return false }
        return input <= before * 1.5
      }
    }.map(\.element)
    let ranked = suspects.enumerated().sorted { a, b in
      let (left, right) = (kind(a.element), kind(b.element))
      if left != right { return left.rawValue < right.rawValue }
      let (near, far) = (b.element.relL2 ?? 0, a.element.relL2 ?? 0)
      return far == near ? a.offset < b.offset : far > near
    }
    let shown = ranked.prefix(Self.suspectLimit).enumerated().map { index, row in
      (ranked.count > 1 ? "Suspect \(index + 1)" : "Suspect") + " at \(row.element.place): \(words(row.element))."
    }
    return shown + (ranked.count > shown.count ? ["\(ranked.count - shown.count) more places are wrong."] : [])
  }

  /// How far off the input of its stage is; nil where none was measured.
  private static func input(of row: Outcome.Row, _ rows: [Outcome.Row]) -> Double? {
    rows.lazy.filter { $0.layer == row.layer && $0.stage == row.stage && $0.isInput }.compactMap(\.relL2).max()
  }

  /// Honest outputs are no further off than this many times their input.
  private static let jump = 2.5

  private func kind(_ row: Outcome.Row) -> Suspect {
    let alpha = row.alpha.map(abs) ?? 1
    if alpha > 100 || alpha < 0.01 { return .scaleMissing }
    if alpha > 1.5 || alpha < 0.67 { return .scaleMisapplied }
    if let cos = row.cos, cos < 0.5 { return .layout }
    return (row.relL2 ?? 0) > 0.05 ? .blockScale : .kernel
  }

  private func words(_ row: Outcome.Row) -> String {
    let (alpha, relL2) = (row.alpha.map(abs) ?? 1, row.relL2 ?? 0)
    return switch kind(row) {
    case .scaleMissing: "a missing or inverted scale: the magnitude is off by \(figure(alpha))"
    case .scaleMisapplied: "a scale that is applied wrongly: the magnitude is off by \(figure(alpha))"
    case .layout:
      "weights or scales read with the wrong layout or type: the direction is lost (cos \(figure(row.cos ?? 0)))"
    case .blockScale: "an incorrect block scale: \(figure(relL2 * 100)) % off, the magnitude nearly right"
    case .kernel: "a wrong accumulation or cast in the kernel: \(figure(relL2 * 100)) % off"
    }
  }

  private func figure(_ value: Double) -> String { String(format: "%.3g", value) }
}
