import Alignment
import Comparison

/// A sum that lacks some ranks.
enum SubsetFamily {
  /// The absent rank is named by the partials that were dumped.
  static func sure(_ evidence: RowEvidence) -> [Finding] {
    guard evidence.worldSize > 1, evidence.divergentRanks.isEmpty else { return [] }
    if let match = evidence.subsets.filter({ $0.residual <= max(evidence.tolerance, 0.02) })
      .min(by: { $0.residual < $1.residual })
    {
      return [
        evidence.finding(
          "rank-absent", .certain, ranks: match.absentRanks, evidence: ["residual": match.residual],
          summary: "\(evidence.place) is the sum of the partials of \(match.stage) without rank "
            + "\(listed(match.absentRanks)).",
          next: "Check the collective on rank \(listed(match.absentRanks)): a stale or zero buffer, a flag that is "
            + "not reset, another process group.")
      ]
    }
    return []
  }

  /// Only the law speaks.
  static func possible(_ evidence: RowEvidence) -> [Finding] {
    guard evidence.worldSize > 1, evidence.divergentRanks.isEmpty else { return [] }
    // For any subset of partials cos = norm ratio = sqrt(alpha), if the ranks' partials are independent.
    let measures = evidence.measures
    let share = Double(evidence.worldSize - 1) / Double(evidence.worldSize)
    guard measures.alpha > 0.05, measures.alpha < 0.98, [.replicated, .ambiguous].contains(evidence.plan.kind) else {
      return []
    }
    let law = measures.alpha.squareRoot()
    guard abs(measures.cos - law) < 0.02, abs(measures.normRatio - law) < 0.02,
      abs(measures.alpha - share) < 0.25
    else { return [] }
    return [
      evidence.finding(
        "rank-absent", .possible,
        evidence: ["alpha": measures.alpha, "cos": measures.cos, "norm_ratio": measures.normRatio, "share": share],
        summary: "\(evidence.place) looks like a sum that lacks a rank: cos and norm ratio are both the root of alpha.",
        next: "Dump the stage before the all-reduce on every rank, so that the absent rank can be named.")
    ]
  }
}
