import Alignment
import Comparison
import Dumps
import Reporting

/// A comparison that is measured and not yet judged: all that judging needs, so that another noise policy or
/// threshold opens no dump again.
public struct MeasuredComparison: Sendable {
  var matching: MatchingSummary
  var outcomes: [PairOutcome]
  /// What could not be read while measuring.
  var unreadable: [Unreadable]
  /// What the diagnosis looked at so far.
  var evidence: [StoredEvidence] = []
  /// Seconds since 1970 of its measuring, where it comes from a file; nil where the dumps are at hand.
  public internal(set) var storedAt: Double?

  /// Collects the evidence that the diagnosis asks for under the policies one is likely to turn to, so that judging
  /// by them needs no dump. The policy of `request` is among them.
  ///
  /// Own limits may have their first failing row elsewhere; its cause is then not looked for, and a note says so.
  public mutating func collectEvidence(for request: ComparisonRequest) throws {
    let book = EvidenceBook(evidence, canRead: storedAt == nil)
    for policy in [request.policy, .measured(NoiseFloors()), .strict, .atom, .triage] {
      var request = request
      request.policy = policy
      _ = try ReportBuilder(request: request, matching: matching, outcomes: outcomes, book: book).report(
        unreadable: unreadable)
    }
    evidence = book.all
  }
}
