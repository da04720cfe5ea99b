import Comparison
public import Planning

/// Triage of a served model as a playbook: three looks without a run, then, where it is asked for and the bug is in the
/// layers, the bisection of the same job.
public struct TriagePlaybook: Playbook {
  private let bisect: Bisect?

  /// - Throws: `PlaybookError` where the job names no served model, or cannot be bisected though that is asked for.
  public init(_ plan: Plan, bisects: Bool) throws(PlaybookError) {
    guard plan.playbook?.triage != nil else {
      throw PlaybookError("The job \(plan.name) names no served model: add `playbook.triage` with `url` and `model`.")
    }
    bisect = bisects ? try Bisect(Subject(plan)) : nil
  }

  public var mostRuns: Int { bisect?.mostRuns ?? 0 }

  public func next(after steps: [Step]) -> Move {
    let looks: [Experiment.Look] = [.completions, .logs, .ends]
    let evidence = TriageEvidence(steps)
    if !steps.isEmpty, evidence.healthProblem != nil { return .conclude(Triage(evidence).conclusion) }
    guard steps.count >= looks.count else { return .run(Self.experiment(looks[steps.count])) }
    let found = Triage(evidence).conclusion
    guard let bisect, found.verdict == .fail, ["prefill", "decode"].contains(found.kind) else {
      return .conclude(found)
    }
    switch bisect.next(after: Array(steps.dropFirst(looks.count))) {
    case .run(let experiment): return .run(experiment)
    case .conclude(let end): return .conclude(joined(found, end))
    }
  }

  /// Wrong answers stay wrong, whatever the layers show.
  private func joined(_ found: Conclusion, _ end: Conclusion) -> Conclusion {
    var joined = end
    joined.evidence = [found.summary] + found.evidence + end.evidence
    guard end.verdict == .pass else { return joined }
    joined.verdict = .fail
    joined.kind = found.kind
    joined.summary = found.summary + " The layers that were dumped are right, though: " + end.summary
    joined.next =
      "Does the job run what is served (build, arguments, prompts)? Then look at decode calls (dumps.select: decode), "
      + "the head and the sampler."
    return joined
  }

  private static func experiment(_ look: Experiment.Look) -> Experiment {
    let (hypothesis, design) =
      switch look {
      case .completions:
        (
          "The served model answers known prompts wrongly.",
          "/v1/completions at temperature 0, each prompt twice."
        )
      case .logs: ("A kernel was silently replaced by another.", "A search of the server's logs.")
      case .ends:
        (
          "The bug stands at either end of the model.",
          "Embedding rows looked up in the checkpoint; lm_head's product in double on sampled rows."
        )
      case .schema: ("The weights are loaded right.", "What was gathered, tensor by tensor.")
      }
    return Experiment(
      step: look.rawValue, hypothesis: hypothesis, design: design, change: JobChange(cells: []), look: look)
  }
}

extension TriageEvidence {
  /// What all looks together saw.
  init(_ steps: [Step]) {
    self.init()
    for step in steps {
      guard let seen = step.outcome.seen else { continue }
      switch step.experiment.look {
      case .completions: (healthProblem, answers) = (seen.healthProblem, seen.answers)
      case .logs: logs = seen.logs
      case .ends: (embedding, head) = (seen.embedding, seen.head)
      case .schema, nil: break
      }
    }
  }
}

extension Outcome {
  /// What one look saw, in the form of every other step.
  public init(_ look: Experiment.Look, _ seen: TriageEvidence) {
    let (verdict, sentence): (Verdict, String) =
      switch look {
      case .completions: Self.answers(seen)
      case .logs: Self.logs(seen.logs)
      case .ends: Self.ends(seen)
      case .schema: (.inconclusive, "Nothing was looked at.")
      }
    self.init(sweep: "", verdict: verdict, sentence: sentence, runCount: 0)
    self.seen = seen
  }

  private static func answers(_ seen: TriageEvidence) -> (Verdict, String) {
    if let problem = seen.healthProblem { return (.inconclusive, "Not served: \(problem)") }
    let kinds = seen.answers.map { Triage.kind(of: $0.text, to: $0.prompt) }
    let sentence = "\(kinds.count { $0 == .right }) of \(kinds.count) are right."
    if kinds.contains(.unanswered) || kinds.isEmpty { return (.inconclusive, sentence) }
    return (kinds.allSatisfy { $0 == .right } ? .pass : .fail, sentence)
  }

  private static func logs(_ scan: LogScan) -> (Verdict, String) {
    if let hit = scan.fallbacks.first { return (.inconclusive, "There are signs of it: \(hit.file):\(hit.line).") }
    return scan.problems.first.map { (.inconclusive, $0) } ?? (.pass, "No sign of it.")
  }

  private static func ends(_ seen: TriageEvidence) -> (Verdict, String) {
    let states = [seen.embedding.state, seen.head.state]
    let verdict: Verdict =
      states.contains(.wrong) || states.contains(.nonFinite)
      ? .fail : states.contains(.unknown) ? .inconclusive : .pass
    return (verdict, "Embedding \(states[0].rawValue), lm_head \(states[1].rawValue).")
  }

  /// What the weights are to one another, in the form of every other step.
  public init(_ weights: WeightsEvidence) {
    let isWrong = !weights.schema.isEmpty || weights.findings.contains { $0.confidence != .possible }
    let isWhole = weights.problem == nil && weights.unreadable.isEmpty
    let isEqual = weights.byteEqual.count + weights.equalAfterCast.count == weights.common
    self.init(
      sweep: "", verdict: isWhole && isWrong ? .fail : isWhole && isEqual ? .pass : .inconclusive,
      sentence: weights.lines.joined(separator: " "), runCount: 0)
    self.weights = weights
  }

  /// The lines of a look's note.
  var lines: [String]? {
    if let weights { return weights.lines }
    guard let seen else { return nil }
    let parts = [("Embedding", seen.embedding), ("lm_head", seen.head)]
    return (seen.healthProblem.map { [$0] } ?? []) + Triage.answers(seen) + Triage.logs(seen)
      + parts.filter { $0.1 != TriageEvidence().head }.map { "\($0.0): \($0.1.detail)" }
  }
}
