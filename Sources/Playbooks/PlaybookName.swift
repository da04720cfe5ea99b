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
    }
  }

  /// - Parameter commits: for `commits`, the hashes from the good one to the bad one.
  /// - Throws: `PlaybookError` where the job lacks what the playbook needs.
  public func playbook(for subject: Subject, commits: [String] = []) throws(PlaybookError) -> any Playbook {
    switch self {
    case .ladder: try Ladder(subject)
    case .bisect: try Bisect(subject)
    case .isolate: try Isolate(subject)
    case .ablate: try OneAtATime(subject, .ablate)
    case .necessity: try OneAtATime(subject, .necessity)
    case .invariance: try Invariance(subject)
    case .weights: try Weights(subject)
    case .commits: try Commits(subject, range: commits)
    case .quantisation: try Quantisation(subject)
    case .evaluate: try Evaluate(subject, .evaluate)
    case .harness: try Evaluate(subject, .harness)
    }
  }
}
