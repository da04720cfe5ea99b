import Comparison
public import OrderedCollections
public import Planning

/// The evaluation that a job's runs make, held against that of the reference cell.
///
/// `harness` (seed 000, phase 0) runs the reference alone first: where that scores less than it should, the harness is
/// the bug and no target is run. `evaluate` trusts the reference and runs both at once.
public struct Evaluate: Playbook {
  public enum Question: Sendable {
    case evaluate
    case harness
  }

  private let subject: Subject
  private let question: Question
  private let spec: EvaluationSpec
  private let reference: Subject.Values
  private let warnings: [String]

  /// - Throws: `PlaybookError` where the job names no evaluation or no reference cell.
  public init(_ subject: Subject, _ question: Question) throws(PlaybookError) {
    guard let spec = subject.spec.evaluation else {
      throw PlaybookError(
        "The job \(subject.plan.name) does not say where its runs write their samples: add `playbook.evaluation`.")
    }
    guard let reference = subject.reference else {
      throw PlaybookError("The job \(subject.plan.name) needs a reference cell: the evaluation is run there, too.")
    }
    self.subject = subject
    self.question = question
    self.spec = spec
    self.reference = reference
    warnings = AntiPattern.warnings(in: subject.plan).map(\.description)
  }

  public var mostRuns: Int { 2 }

  public func next(after steps: [Step]) -> Move {
    guard let first = steps.first else {
      return .run(
        question == .evaluate
          ? experiment(
            "evaluation", [reference, subject.target], "The target scores less than the reference.",
            "The evaluation on the reference and on the target.")
          : experiment(
            "reference", [reference], "The harness is right: the reference scores what it should.",
            "The evaluation on the reference alone."))
    }
    if let failed = first.outcome.failedRuns.first { return .conclude(stopped(failed, first)) }
    guard let trusted = samples(of: reference, first) else { return .conclude(nothing("reference", first)) }
    guard question == .harness else { return conclude(trusted, first, first) }
    if let conclusion = suspect(trusted) { return .conclude(conclusion) }
    guard steps.count > 1 else {
      return .run(
        experiment(
          "target", [subject.target], "The harness is right; the target scores less than the reference.",
          "The same evaluation on the target."))
    }
    if let failed = steps[1].outcome.failedRuns.first { return .conclude(stopped(failed, steps[1])) }
    return conclude(trusted, first, steps[1])
  }

  private func experiment(
    _ step: String, _ cells: [Subject.Values], _ hypothesis: String, _ design: String
  ) -> Experiment {
    Experiment(step: step, hypothesis: hypothesis, design: design, change: JobChange(cells: cells))
  }

  private func samples(of values: Subject.Values, _ step: Step) -> SampleSet? {
    step.outcome.samples?.first { $0.values == values }?.set
  }

  // MARK: Ends

  private func conclude(_ trusted: SampleSet, _ first: Step, _ step: Step) -> Move {
    guard let target = samples(of: subject.target, step) else { return .conclude(nothing("target", step)) }
    let evaluation = Evaluation(reference: trusted, target: target, settings: EvaluationSettings(spec))
    var conclusion = evaluation.conclusion
    if conclusion.verdict == .fail, question == .evaluate, let doubt = harnessDoubt(trusted) {
      conclusion.verdict = .inconclusive
      conclusion.kind = "harness-suspect"
      conclusion.summary = doubt + " " + conclusion.summary
      conclusion.next = "Validate the harness first: rollcall playbook harness."
    }
    conclusion.evidence += warnings
    if let lowered = lowered(trusted) { conclusion.evidence.append(lowered) }
    return .conclude(conclusion)
  }

  /// Why the reference's own score is too low to be trusted; nil where it is not.
  private func harnessDoubt(_ set: SampleSet) -> String? {
    let score = set.score
    if let expected = spec.expected, score.interval.upperBound < expected {
      return "The reference scores \(percent(score)), less than the \(figure(expected * 100)) % it should beyond noise."
    }
    let alone = Evaluation(reference: set, target: set, settings: EvaluationSettings(spec))
    if alone.reference.isNearChance, let chance = alone.chance {
      return "The reference scores \(percent(score)), which cannot be told from guessing (\(figure(chance * 100)) %)."
    }
    return nil
  }

  private func suspect(_ set: SampleSet) -> Conclusion? {
    if set.samples.isEmpty {
      return nothing("reference", nil, set.problems.map { "\(set.name):\($0.line): \($0.message)" })
    }
    guard let doubt = harnessDoubt(set) else { return nil }
    let counts = Dictionary(grouping: set.samples.filter { !$0.isCorrect }, by: \.pattern).mapValues(\.count)
    let kinds = counts.sorted { ($1.value, $0.key.rawValue) < ($0.value, $1.key.rawValue) }
      .map { "\($0.value) answers are \($0.key.words). Likely: \($0.key.likelyCause)." }
    return Conclusion(
      verdict: .fail, kind: "harness",
      summary: doubt + " The harness is suspect (prompt format, chat template, sampling), not the target.",
      evidence: kinds + warnings + set.problems.map { "\(set.name):\($0.line): \($0.message)" },
      next: "Mend the harness until the reference scores what it should; do not lower the expected score.")
  }

  /// Anti-pattern: an expected score below what the reference can do makes every target pass.
  private func lowered(_ set: SampleSet) -> String? {
    guard let expected = spec.expected, expected < set.score.interval.lowerBound else { return nil }
    return AntiPattern(
      rule: .loweredThreshold, place: "playbook.evaluation.expected",
      message: "\(figure(expected * 100)) % is beneath what the reference scores, \(percent(set.score)), beyond noise"
    ).description
  }

  private func stopped(_ failed: String, _ step: Step) -> Conclusion {
    Conclusion(
      verdict: .inconclusive, kind: "run-failed", summary: "A run failed, so this step shows nothing: \(failed)",
      evidence: step.outcome.failedRuns + warnings,
      next: "Mend the run (rollcall logs \(step.outcome.sweep)), then start the playbook again.")
  }

  private func nothing(_ role: String, _ step: Step?, _ problems: [String] = []) -> Conclusion {
    Conclusion(
      verdict: .inconclusive, kind: "no-samples",
      summary: "The \(role)'s run wrote no sample to \(spec.samples) in its dump directory.",
      evidence: problems + (step?.outcome.notes ?? []) + warnings,
      next: "Let the run write one JSON object a line to ${{ dump_dir }}/\(spec.samples).")
  }
}

/// The samples that a run of one cell wrote.
public struct RunSamples: Sendable, Hashable, Codable {
  public var values: OrderedDictionary<String, AxisValue>
  public var set: SampleSet

  public init(values: OrderedDictionary<String, AxisValue>, set: SampleSet) {
    self.values = values
    self.set = set
  }

  /// `backend=kernel`
  var label: String { values.map { "\($0.key)=\($0.value)" }.joined(separator: " ") }

  /// Scores and kinds of answers, for a note.
  static func table(_ runs: [RunSamples]) -> String {
    guard !runs.isEmpty else { return "No run wrote samples.\n" }
    var text = "| cell | score | 95 % | \(OutputPattern.allCases.map(\.words).joined(separator: " | ")) |\n"
    text += "|---|---|---" + OutputPattern.allCases.map { _ in "|---" }.joined() + "|\n"
    for run in runs {
      let interval = run.set.score.interval
      let counts = Dictionary(grouping: run.set.samples, by: \.pattern).mapValues(\.count)
      text += "| \(run.label) | \(percent(run.set.score)) | \(figure(interval.lowerBound * 100)) to "
      text += "\(figure(interval.upperBound * 100)) | "
      text += OutputPattern.allCases.map { String(counts[$0] ?? 0) }.joined(separator: " | ") + " |\n"
    }
    for run in runs {
      text += run.set.problems.prefix(20).map { "- \(run.set.name):\($0.line): \($0.message)\n" }.joined()
      if run.set.problems.count > 20 { text += "- \(run.set.name): \(run.set.problems.count - 20) further lines\n" }
    }
    return text
  }
}

extension Outcome {
  /// The same, with what the runs' samples say in the place of what their dumps said.
  public func evaluated(_ samples: [RunSamples]) -> Outcome {
    var outcome = self
    outcome.samples = samples
    guard failedRuns.isEmpty else { return outcome }
    let isWhole = !samples.isEmpty && samples.allSatisfy { $0.set.problems.isEmpty && !$0.set.samples.isEmpty }
    outcome.verdict = isWhole ? .pass : .inconclusive
    outcome.sentence =
      samples.isEmpty
      ? "No run wrote samples."
      : samples.map { run in
        let problems = run.set.problems.isEmpty ? "" : ", \(run.set.problems.count) lines are no samples"
        return "\(run.label): \(percent(run.set.score))\(problems)"
      }.joined(separator: "; ") + "."
    return outcome
  }
}

extension PlaybookName {
  /// Its evidence is what the runs' evaluations write, not their dumps.
  public var readsSamples: Bool { self == .evaluate || self == .harness }
}
