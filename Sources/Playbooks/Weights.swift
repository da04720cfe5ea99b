import Comparison
import Diagnosis
import Planning

/// Are the weights loaded right (seed 002, phase 1)? Names, shapes and types first, then bytes, then the rules by which
/// ranks hold slices. Everything else waits for it: a wrong loader shows as any forward bug.
public struct Weights: Playbook {
  /// Causes by which a rank holds another slice than it should.
  private static let slicing: Set<String> = [
    "rank-order", "duplicate-shard", "fused-shard-layout", "head-map", "replica-divergence", "divisibility",
  ]

  private let subject: Subject

  /// - Throws: `PlaybookError` where the job dumps no weights.
  public init(_ subject: Subject) throws(PlaybookError) {
    let layouts = Set(subject.plan.cells.compactMap { $0.dumps?.layout })
    guard layouts.isSubset(of: ["weights", "safetensors"]), !layouts.isEmpty else {
      throw PlaybookError(
        "The job \(subject.plan.name) dumps no weights: `dumps.layout` must be weights or safetensors.")
    }
    self.subject = subject
  }

  public var mostRuns: Int { subject.cells.count }

  public func next(after steps: [Step]) -> Move {
    guard let step = steps.first else {
      return .run(
        Experiment(
          step: "weights", hypothesis: "The loader is right.",
          design: "Names, shapes and types, then bytes, then slices of every weight, against the reference.",
          change: .init(cells: subject.cells)))
    }
    let outcome = step.outcome
    if !outcome.failedRuns.isEmpty, let obstacle = obstacle(outcome) { return .conclude(obstacle) }
    guard let pair = outcome.judged else {
      return .conclude(
        obstacle(outcome)
          ?? Conclusion(
            verdict: .inconclusive, kind: "inconclusive", summary: "No weights were compared.",
            evidence: outcome.notes, next: "See rollcall report \(outcome.sweep)."))
    }
    let isWhole = !outcome.findings.contains { ["incomplete-ranks", "stale-dump"].contains($0.cause) }
    if isWhole, !pair.unmatched.isEmpty {
      return .conclude(
        Conclusion(
          verdict: .fail, kind: "schema",
          summary:
            "\(pair.unmatched.count) weights stand on one side only or have another shape: the loader's names come "
            + "before any number.",
          evidence: Array(pair.unmatched.prefix(8)),
          next: "Look for a prefix or a mapping that is missing (WeightsMapper), then run this again."))
    }
    guard outcome.verdict == .fail else {
      return .conclude(
        obstacle(outcome)
          ?? Conclusion(
            verdict: .pass, kind: "no-bug",
            summary: "The weights are loaded right: \(pair.rows.count) agree"
              + "\(pair.rows.allSatisfy { $0.isByteEqual == true } ? ", byte for byte" : "").",
            evidence: [outcome.sentence], next: "Go on with the forward pass: rollcall playbook ladder, then bisect."))
    }
    let cause = outcome.findings.first?.cause
    let isSlicing = cause.map(Self.slicing.contains) ?? false
    let wrong = pair.rows.filter { $0.verdict == .fail }
    return .conclude(
      Conclusion(
        verdict: .fail, kind: isSlicing ? "tensor-parallel-rule" : "bytes",
        summary: isSlicing
          ? "Names and shapes agree, but ranks hold other slices than they should."
          : "Names and shapes agree, the values do not: \(wrong.count) of \(pair.rows.count) weights are wrong.",
        evidence: [outcome.sentence] + wrong.prefix(6).map { "\($0.place) \($0.tensor)" },
        next: "Mend the loader first: mapping, shuffle, slice, quantisation type."
      ).placed(by: outcome))
  }
}
