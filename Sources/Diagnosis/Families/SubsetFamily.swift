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

  /// A rank that holds zeros alone where the reference holds none: its slice, or its term of a sum.
  static func silent(_ evidence: RowEvidence) -> [Finding] {
    // Not 0 of 0, which is NaN: where the reference has zeros, too, nothing is absent.
    let silent = evidence.ranks.filter { $0.agreement.normRatio == 0 }
    let others = evidence.ranks.filter { $0.agreement.normRatio != 0 }
    // One replica among others is off, and nothing is absent.
    guard !silent.isEmpty, !others.isEmpty, evidence.plan.kind != .replicated else { return [] }
    // A rank may have nothing to add to a sum, as one whose experts no token chose.
    let isAlone = others.allSatisfy { $0.agreement.distance <= evidence.tolerance }
    let ranks = silent.map(\.rank)
    return [
      evidence.finding(
        "rank-absent", isAlone ? .likely : .possible, ranks: ranks,
        evidence: ["ranks_that_agree": isAlone ? Double(others.count) : 0],
        summary: "\(evidence.place) holds nothing but zeros on rank \(listed(ranks))"
          + (isAlone ? ", and what the other ranks hold is right." : "."),
        next: "Look at what rank \(listed(ranks)) computed or loaded there: weights that were never filled, a buffer "
          + "that was not written, a branch that this rank skips.")
    ]
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
