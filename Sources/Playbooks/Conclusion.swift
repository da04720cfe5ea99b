public import Comparison
import Diagnosis

/// Where a playbook ends.
public struct Conclusion: Sendable, Hashable, Codable {
  /// FAIL: a bug is there and as narrow as this playbook makes it; PASS: no bug was found in what was looked at.
  public var verdict: Verdict
  /// A word for machines: `no-bug`, `structural`, `divisibility`, `component`, …
  public var kind: String
  /// The answer in one or two sentences.
  public var summary: String
  public var layer: Int?
  public var stage: String?
  /// Id of the signature table, where the evidence names one.
  public var cause: String?
  /// The axis value, component or commit that makes the difference.
  public var subject: String?
  /// What the answer stands on, a sentence each.
  public var evidence: [String]
  /// What to do next, in the words of the method.
  public var next: String

  public init(
    verdict: Verdict, kind: String, summary: String, layer: Int? = nil, stage: String? = nil, cause: String? = nil,
    subject: String? = nil, evidence: [String] = [], next: String
  ) {
    self.verdict = verdict
    self.kind = kind
    self.summary = summary
    self.layer = layer
    self.stage = stage
    self.cause = cause
    self.subject = subject
    self.evidence = evidence
    self.next = next
  }
}

extension Conclusion {
  /// The same with layer, stage and cause of the nearest finding of an experiment, or of the first place that is wrong
  /// there, and the finding's own words.
  ///
  /// - Parameter layer: the layer that is known already.
  /// - Parameter keepsNext: the method's next step stands, not the finding's.
  func placed(by outcome: Outcome, layer: Int? = nil, keepsNext: Bool = false) -> Conclusion {
    var placed = self
    let findings = outcome.findings
    let finding = findings.first { layer == nil || $0.layer == layer } ?? findings.first
    let failure = outcome.judged?.rows.first { $0.verdict == .fail && (layer == nil || $0.layer == layer) }
    placed.layer = layer ?? finding?.layer ?? failure?.layer
    placed.stage = finding?.stage ?? failure?.stage
    placed.cause = finding?.cause
    guard let finding else { return placed }
    placed.evidence.append(finding.summary)
    if !keepsNext { placed.next = finding.next }
    return placed
  }
}

/// What a playbook wants next.
public enum Move: Sendable, Hashable, Codable {
  case run(Experiment)
  case conclude(Conclusion)
}

/// An adaptive method: from the evidence so far to the next runs or a conclusion, and nothing else. Asked again with
/// the same evidence it gives the same answer, so that a playbook can be resumed after any interruption.
public protocol Playbook: Sendable {
  /// More runs than this it never takes.
  var mostRuns: Int { get }

  func next(after steps: [Step]) -> Move
}

extension Playbook {
  /// Conclusions that end every method alike: a run that failed, an answer that is none.
  func obstacle(_ outcome: Outcome) -> Conclusion? {
    if let first = outcome.failedRuns.first {
      return Conclusion(
        verdict: .inconclusive, kind: "run-failed",
        summary: "A run failed, so this step shows nothing: \(first)", evidence: outcome.failedRuns,
        next: "Mend the run (rollcall logs \(outcome.sweep)), then start the playbook again.")
    }
    guard outcome.verdict == .inconclusive else { return nil }
    return Conclusion(
      verdict: .inconclusive, kind: "inconclusive", summary: "A step is INCONCLUSIVE: \(outcome.sentence)",
      evidence: outcome.notes,
      next: "Take away what made it inconclusive (rollcall report \(outcome.sweep)), then start the playbook again.")
  }
}
