import Comparison
import Diagnosis
import Glibc
import Planning

/// Are the weights loaded right (seed 002, phase 1)? Names, shapes and types first, then bytes, then the rules by which
/// ranks hold slices: replicated, column, row, fused blocks, shared heads. Everything else waits for it: a wrong loader
/// shows as any forward bug.
///
/// What engines do to weights on purpose is told from faults: another type without loss (a norm in float32, e8m0 scales
/// as float32) is right; float8 weights shuffled for a kernel, (16, 16), and types that round are right only where the
/// job says so (`playbook.weights`), and else no answer.
public struct Weights: Playbook {
  /// Causes by which a rank holds another slice than it should.
  private static let slicing: Set<String> = [
    "rank-order", "duplicate-shard", "fused-shard-layout", "head-map", "replica-divergence", "divisibility",
  ]

  private let subject: Subject
  private let spec: PlaybookSpec.Weights

  /// - Throws: `PlaybookError` where the job dumps no weights.
  public init(_ subject: Subject) throws(PlaybookError) {
    let layouts = Set(subject.plan.cells.compactMap { $0.dumps?.layout })
    guard layouts.isSubset(of: ["weights", "safetensors"]), !layouts.isEmpty else {
      throw PlaybookError(
        "The job \(subject.plan.name) dumps no weights: `dumps.layout` must be weights or safetensors.")
    }
    self.subject = subject
    spec = subject.spec.weights ?? PlaybookSpec.Weights()
  }

  public var mostRuns: Int { subject.cells.count }

  /// Rules that join names, and sides from earlier sweeps, are the sweep's alone.
  private var looksAtSchema: Bool {
    guard subject.plan.compare.names == nil else { return false }
    switch subject.plan.compare.reference {
    case .cell, .path: return true
    default: return false
    }
  }

  public func next(after steps: [Step]) -> Move {
    guard let step = steps.first else {
      return .run(
        Experiment(
          step: "weights", hypothesis: "The loader is right.",
          design: "Every rank's weights after loading, and the reference's.", change: .init(cells: subject.cells)))
    }
    let outcome = step.outcome
    if !outcome.failedRuns.isEmpty, let obstacle = obstacle(outcome) { return .conclude(obstacle) }
    guard looksAtSchema || outcome.judged != nil else {
      return .conclude(
        obstacle(outcome)
          ?? Conclusion(
            verdict: .inconclusive, kind: "inconclusive", summary: "No weights were compared.",
            evidence: outcome.notes, next: "See rollcall report \(outcome.sweep)."))
    }
    if let lost = outcome.findings.first(where: { ["incomplete-ranks", "stale-dump"].contains($0.cause) }) {
      return .conclude(
        Conclusion(
          verdict: .inconclusive, kind: lost.cause, summary: "The dumps are not whole: \(lost.summary)",
          cause: lost.cause, evidence: [outcome.sentence], next: lost.next))
    }
    guard looksAtSchema else { return .conclude(judge(outcome)) }
    guard steps.count > 1 else {
      return .run(
        Experiment(
          step: "schema", hypothesis: "Names, shapes and types agree; then bytes; then the ranks' slices.",
          design: "What was gathered, tensor by tensor, and each rank's slice in the whole.",
          change: JobChange(cells: []), look: .schema))
    }
    guard let evidence = steps[1].outcome.weights else { return .conclude(judge(outcome)) }
    return .conclude(judge(evidence))
  }

  // MARK: By schema

  private func judge(_ evidence: WeightsEvidence) -> Conclusion {
    if let problem = evidence.problem {
      return inconclusive("inconclusive", problem, evidence, next: "Mend what is named, and run this again.")
    }
    if !evidence.schema.isEmpty, evidence.unreadable.isEmpty {
      return wrong(
        "schema",
        "\(evidence.schema.count) weights stand on one side only or have another shape: the loader's names come before "
          + "any number.", evidence, Array(evidence.schema.prefix(8)),
        next: "Look for a prefix or a mapping that is missing (WeightsMapper), then run this again.")
    }
    let faults = evidence.findings.filter { $0.confidence != .possible }
    if let fault = faults.first {
      let isSlicing = Self.slicing.contains(fault.cause)
      return wrong(
        isSlicing ? "tensor-parallel-rule" : "bytes",
        isSlicing
          ? "Names and shapes agree, but ranks hold other slices than they should: \(fault.summary)"
          : "Names and shapes agree, the values do not: \(fault.summary)",
        evidence, faults.map(\.summary), next: fault.next, fault)
    }
    let unexplained = evidence.unexplained
    if let first = unexplained.first {
      return wrong(
        "bytes",
        "Names and shapes agree, the values do not: \(unexplained.count) of \(evidence.common) weights are wrong, and "
          + "no known shuffle, slice or cast explains it.", evidence, Array(unexplained.prefix(8)),
        next: "Mend the loader first: mapping, shuffle, slice, quantisation type.",
        WeightsEvidence.Finding(cause: "", confidence: .likely, tensors: [first], summary: "", next: ""))
    }
    // A known order that leads from the target to the checkpoint is not the kernel's either.
    let turned = evidence.findings.filter { $0.cause == "weight-shuffle" && $0.isInTarget == false }.flatMap(\.tensors)
    let plain = (evidence.byteEqual + turned).filter { isListed($0, spec.shuffled) }
    if let first = plain.first {
      return wrong(
        "not-shuffled",
        "\(plain.count) weights that playbook.weights.shuffled names are not in the kernel's order: it would read them "
          + "wrongly.", evidence, Array(plain.prefix(8)),
        next:
          "Weight preparation, scale layout and GEMM kernel must agree: shuffle them, or take the kernel that does not "
          + "ask for it.",
        WeightsEvidence.Finding(cause: "weight-shuffle", confidence: .likely, tensors: [first], summary: "", next: ""))
    }
    if let doubt = evidence.findings.first(where: { !isSettled($0, evidence) }) {
      let key = doubt.cause == "weight-shuffle" ? "shuffled" : "rounded"
      let isKnown = ["weight-shuffle", "dtype-change"].contains(doubt.cause)
      return inconclusive(
        doubt.cause, "Whether this is meant, only the engine knows: \(doubt.summary)", evidence,
        next: doubt.next
          + (isKnown ? " Where it is meant, name these weights in playbook.weights.\(key) and run this again." : ""),
        doubt)
    }
    guard evidence.unreadable.isEmpty, evidence.common > 0 else {
      return inconclusive(
        "unreadable", evidence.unreadable.first ?? "The two sides have no weight in common.", evidence,
        next: "Gather what is missing, and run this again.")
    }
    let others = evidence.common - evidence.byteEqual.count
    return Conclusion(
      verdict: .pass, kind: "no-bug",
      summary: "No bug: the weights are loaded right, \(evidence.byteEqual.count) of \(evidence.common) byte for byte"
        + (others > 0 ? ", the others as the engine prepares them." : "."),
      evidence: evidence.lines, next: "Go on with the forward pass: rollcall playbook ladder, then bisect.")
  }

  /// What an engine may do: nothing is lost, or the job says that it is meant.
  private func isSettled(_ finding: WeightsEvidence.Finding, _ evidence: WeightsEvidence) -> Bool {
    switch finding.cause {
    case "dtype-change":
      let equal = Set(evidence.equalAfterCast)
      return finding.tensors.allSatisfy { equal.contains($0) || isListed($0, spec.rounded) }
    case "weight-shuffle":
      guard finding.isInTarget == true else { return false }
      return finding.tensors.allSatisfy { isListed($0, spec.shuffled) }
    default: return false
    }
  }

  private func isListed(_ name: String, _ patterns: [String]) -> Bool {
    let name = name.replacing(/^rank\d+\//, with: "")
    return patterns.contains { fnmatch($0, name, 0) == 0 }
  }

  private func wrong(
    _ kind: String, _ summary: String, _ evidence: WeightsEvidence, _ first: [String], next: String,
    _ finding: WeightsEvidence.Finding? = nil
  ) -> Conclusion {
    Conclusion(
      verdict: .fail, kind: kind, summary: summary, layer: finding?.layer, stage: "weights",
      cause: finding.flatMap { $0.cause.isEmpty ? nil : $0.cause }, subject: finding?.tensors.first,
      evidence: first + evidence.lines, next: next)
  }

  private func inconclusive(
    _ kind: String, _ summary: String, _ evidence: WeightsEvidence, next: String,
    _ finding: WeightsEvidence.Finding? = nil
  ) -> Conclusion {
    Conclusion(
      verdict: .inconclusive, kind: kind, summary: summary, layer: finding?.layer, cause: finding?.cause,
      subject: finding?.tensors.first, evidence: evidence.lines, next: next)
  }

  // MARK: By the sweep's comparison

  private func judge(_ outcome: Outcome) -> Conclusion {
    guard let pair = outcome.judged else {
      return Conclusion(
        verdict: .inconclusive, kind: "inconclusive", summary: "No weights were compared.", evidence: outcome.notes,
        next: "See rollcall report \(outcome.sweep).")
    }
    if !pair.unmatched.isEmpty {
      return Conclusion(
        verdict: .fail, kind: "schema",
        summary:
          "\(pair.unmatched.count) weights stand on one side only or have another shape: the loader's names come before "
          + "any number.",
        evidence: Array(pair.unmatched.prefix(8)),
        next: "Look for a prefix or a mapping that is missing (WeightsMapper), then run this again.")
    }
    guard outcome.verdict == .fail else {
      return obstacle(outcome)
        ?? Conclusion(
          verdict: .pass, kind: "no-bug",
          summary: "No bug: the weights are loaded right, \(pair.rows.count) agree"
            + "\(pair.rows.allSatisfy { $0.isByteEqual == true } ? ", byte for byte" : "").",
          evidence: [outcome.sentence], next: "Go on with the forward pass: rollcall playbook ladder, then bisect.")
    }
    let cause = outcome.findings.first?.cause
    let isSlicing = cause.map(Self.slicing.contains) ?? false
    let wrong = pair.rows.filter { $0.verdict == .fail }
    return Conclusion(
      verdict: .fail, kind: isSlicing ? "tensor-parallel-rule" : "bytes",
      summary: isSlicing
        ? "Names and shapes agree, but ranks hold other slices than they should."
        : "Names and shapes agree, the values do not: \(wrong.count) of \(pair.rows.count) weights are wrong.",
      evidence: [outcome.sentence] + wrong.prefix(6).map { "\($0.place) \($0.tensor)" },
      next: "Mend the loader first: mapping, shuffle, slice, quantisation type."
    ).placed(by: outcome)
  }
}

extension WeightsEvidence.Finding {
  /// Of the first tensor that has one.
  fileprivate var layer: Int? {
    tensors.lazy.compactMap(WeightsEvidence.layer(of:)).first
  }
}
