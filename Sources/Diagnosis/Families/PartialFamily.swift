import Alignment
import Comparison

/// Ranks that differ and whose sum is the reference: a reduce is missing, or the dump was taken before it.
enum PartialFamily {
  static func findings(_ evidence: RowEvidence) -> [Finding] {
    guard let sum = evidence.sumOfRanks, evidence.worldSize > 1, !evidence.ranks.isEmpty,
      sum.distance <= max(evidence.tolerance, 0.02),
      evidence.ranks.allSatisfy({ $0.agreement.distance > 4 * sum.distance })
    else { return [] }
    let alphas = evidence.ranks.map(\.agreement.alpha)
    let numbers = [
      "sum_rel_l2": sum.relL2, "sum_alpha": sum.alpha, "rank0_cos": evidence.ranks[0].agreement.cos,
      "rank0_alpha": alphas[0], "alpha_total": alphas.reduce(0, +),
    ]
    let seen =
      "the ranks of \(evidence.place) differ and their sum is the reference "
      + "(each alone has cos \(figure(evidence.ranks[0].agreement.cos)))"
    let all = evidence.ranks.map(\.rank)
    switch evidence.aftermath {
    case .agrees:
      return [
        evidence.finding(
          "stage-mismatch", .likely, ranks: all, evidence: numbers,
          summary: "Not a bug: \(seen), and the stages after it agree: it was dumped before the all-reduce.",
          next: "Move the dump after the all-reduce, or dump the reference before it, so that both sides have had "
            + "the same operations; or state `shard: partial` for the stage.")
      ]
    case .disagrees:
      return [
        evidence.finding(
          "missing-reduce", .certain, ranks: all, evidence: numbers,
          summary: "The all-reduce is missing: \(seen), and the stages after it diverge.",
          next: "Look at the row-parallel projection that ends \(evidence.place): is reduce_results False, or the "
            + "all-reduce skipped on this path?")
      ]
    case .unknown:
      return [
        evidence.finding(
          "missing-reduce", .possible, ranks: all, evidence: numbers,
          summary: "Either the all-reduce is missing or the dump was taken before it: \(seen).",
          next: "Dump the next stage: if it agrees with the reference, the dump stage is misaligned; else the "
            + "reduce is missing."),
        evidence.finding(
          "stage-mismatch", .possible, ranks: all, evidence: numbers,
          summary: "The dump of \(evidence.place) may have been taken before the all-reduce.",
          next: "Dump the next stage, or state `shard: partial` for the stage."),
      ]
    }
  }
}
