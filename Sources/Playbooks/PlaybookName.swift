/// The playbooks by the names that the command line takes.
public enum PlaybookName: String, Sendable, Hashable, Codable, CaseIterable {
  case ladder
  case bisect
  case isolate
  case ablate
  case necessity
  case quantisation
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
    case .quantisation: "Is it the quantisation, and if so the scales or the kernel?"
    case .evaluate: "Does it score less than the reference, beyond noise, and what went wrong?"
    case .harness: "Is it the evaluation, or the target?"
    }
  }

  /// - Throws: `PlaybookError` where the job lacks what the playbook needs.
  public func playbook(for subject: Subject) throws(PlaybookError) -> any Playbook {
    switch self {
    case .ladder: try Ladder(subject)
    case .bisect: try Bisect(subject)
    case .isolate: try Isolate(subject)
    case .ablate: try OneAtATime(subject, .ablate)
    case .necessity: try OneAtATime(subject, .necessity)
    case .quantisation: try Quantisation(subject)
    case .evaluate: try Evaluate(subject, .evaluate)
    case .harness: try Evaluate(subject, .harness)
    }
  }
}
