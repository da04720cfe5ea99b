public import Planning

/// The playbooks by the names that the command line takes.
public enum PlaybookName: String, Sendable, Hashable, Codable, CaseIterable {
  case ladder
  case bisect
  case isolate
  case ablate
  case necessity
  case quantisation
  case invariance
  case weights
  case commits
  case evaluate
  case harness
  case triage
  case triageBisect = "triage-bisect"

  /// What it answers, for `--help` and reports.
  public var question: String {
    switch self {
    case .ladder: "From which world size on is it wrong, and is it the model or the all-reduce?"
    case .bisect: "In which layer, and in which stage of it, does it begin?"
    case .isolate: "Which component brings it?"
    case .ablate: "Which component does it need?"
    case .necessity: "Which of several fixes are critical?"
    case .invariance: "Does a token's result depend on the batch it is in, or change from run to run?"
    case .weights: "Are the weights loaded right: names, bytes, slices?"
    case .commits: "Which commit of a range is the first bad one?"
    case .quantisation: "Is it the quantisation, and if so the scales or the kernel?"
    case .evaluate: "Does it score less than the reference, beyond noise, and what went wrong?"
    case .harness: "Is it the evaluation, or the target?"
    case .triage: "Which part of a served model is wrong: prefill or decode, embedding, head, a silent fallback?"
    case .triageBisect: "The same, then to the layer where it is in one."
    }
  }

  /// - Parameter commits: for `commits`, the hashes from the good one to the bad one.
  /// - Throws: `PlaybookError` where the job lacks what the playbook needs.
  public func playbook(for plan: Plan, commits: [String] = []) throws(PlaybookError) -> any Playbook {
    switch self {
    case .ladder: try Ladder(Subject(plan))
    case .bisect: try Bisect(Subject(plan))
    case .isolate: try Isolate(Subject(plan))
    case .ablate: try OneAtATime(Subject(plan), .ablate)
    case .necessity: try OneAtATime(Subject(plan), .necessity)
    case .invariance: try Invariance(Subject(plan))
    case .weights: try Weights(Subject(plan))
    case .commits: try Commits(Subject(plan), range: commits)
    case .quantisation: try Quantisation(Subject(plan))
    case .evaluate: try Evaluate(Subject(plan), .evaluate)
    case .harness: try Evaluate(Subject(plan), .harness)
    case .triage: try TriagePlaybook(plan, bisects: false)
    case .triageBisect: try TriagePlaybook(plan, bisects: true)
    }
  }
}
