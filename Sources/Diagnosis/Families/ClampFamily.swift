import Alignment
import Comparison

/// Only large values changed, and all of them grew, by no common factor (which rounding hides in many values).
enum ClampFamily {
  /// Fewer are single values that went wrong, no limit that is missing.
  private static let least = 8

  static func findings(_ evidence: RowEvidence) -> [Finding] {
    guard let changed = evidence.changedShare, let grown = evidence.grownShare, changed > 0, changed < 0.5,
      grown > 0.97, let rest = evidence.unchanged, evidence.changedCount ?? 0 >= least,
      // What is off everywhere crosses the limit of noise first in a few: a missing limit leaves the others alone.
      rest.relL2 <= 4 * evidence.noise, rest.relL2 * 2 <= evidence.measures.relL2,
      evidence.measures.residual > evidence.measures.relL2 / 3,
      evidence.judgement.tokens.count * 4 < evidence.measures.tokenRelL2.count * 3 || changed < 0.2
    else { return [] }
    return [
      evidence.finding(
        "missing-clamp", .likely, evidence: ["changed_share": changed, "grown_share": grown],
        summary:
          "\(evidence.place): \(figure(changed * 100)) % of the values changed and nearly all of these grew; the "
          + "rest agrees: a limit is missing.",
        next: "Check the clamp of the activation (SwiGLU limit) on this path.")
    ]
  }
}
