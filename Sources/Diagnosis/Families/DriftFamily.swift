import Alignment
import Comparison

/// Slow growth without a jump.
enum DriftFamily {
  static func findings(_ evidence: RowEvidence) -> [Finding] {
    guard let jump = evidence.judgement.jump, jump < 2.5, evidence.judgement.tokens.isEmpty,
      evidence.measures.relL2.isFinite
    else { return [] }
    return [
      evidence.finding(
        "drift", .possible, evidence: ["cos": evidence.measures.cos],
        summary: "\(evidence.place) is too far off, and no stage before it jumps: the distance grew slowly.",
        next: "Compare with the noise of repeated runs, and measure task accuracy before you look for a bug.")
    ]
  }
}
