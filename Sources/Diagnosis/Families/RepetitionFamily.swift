import Alignment
import Comparison

/// Something added on every rank, or once too seldom: the difference is a multiple of a dumped tensor.
enum RepetitionFamily {
  static func findings(_ evidence: RowEvidence) -> [Finding] {
    let extra = Double(evidence.worldSize - 1)
    if let constant = evidence.tokenConstantResidual, constant <= max(0.1, evidence.differenceTolerance),
      evidence.worldSize > 1
    {
      let parts = unreducedParts(evidence, constant)
      return parts + [
        evidence.finding(
          "bias-repeated", parts.isEmpty ? .likely : .possible, evidence: ["token_constant_residual": constant],
          summary: "\(evidence.place): every token is off by the same vector, as from a bias that every rank adds "
            + "before the all-reduce.",
          next: "Add the bias of the row-parallel layer on one rank only, or after the all-reduce.")
      ]
    }
    guard
      let best = evidence.projections.filter({ $0.tensor != "update" && $0.residual <= evidence.differenceTolerance })
        .min(by: { ($0.residual, $0.stage, $0.tensor) < ($1.residual, $1.stage, $1.tensor) })
    else { return [] }
    let numbers = ["coefficient": best.coefficient, "residual": best.residual]
    let source = best.source
    let seen =
      "the difference at \(evidence.place) is \(figure(best.coefficient)) times \(source) "
      + "(residual \(figure(best.residual)))"
    let followsRanks = evidence.worldSize > 1 && abs(best.coefficient - extra) <= 0.1 * extra
    let isResidual = best.isResidual
    if followsRanks {
      return [
        evidence.finding(
          isResidual ? "residual-repeated" : "branch-repeated", .likely, evidence: numbers,
          summary: isResidual
            ? "The residual is added on every rank before the reduce: \(seen), world size minus one."
            : "A branch is counted once a rank: \(seen), world size minus one.",
          next: isResidual
            ? "Add the residual after the all-reduce, or on one rank only."
            : "Reduce the branch once: add the output of \(best.stage) after the all-reduce, or on one rank only.")
      ]
    }
    return [
      evidence.finding(
        best.coefficient < 0 ? "missing-scale" : "repeated-scale", .likely, evidence: numbers,
        summary: "One term has \(figure(1 + best.coefficient)) times its weight in the reference: \(seen).",
        next: "Look for a factor on \(source) where it is added (routed_scaling_factor).")
    ]
  }

  /// After an all-reduce the ranks are alike, whatever each added before it; ranks that differ and whose sum is off by
  /// one vector were not reduced, and each has added the bias. Partials in every layer, and ranks that are alike in the
  /// stages after, were dumped before their all-reduce.
  private static func unreducedParts(_ evidence: RowEvidence, _ constant: Double) -> [Finding] {
    guard evidence.usualKind != .partial, evidence.aftermath != .agrees,
      let sum = evidence.sumOfRanks, !evidence.ranks.isEmpty,
      evidence.ranks.allSatisfy({ $0.agreement.distance > 2 * sum.distance })
    else { return [] }
    return [
      evidence.finding(
        "missing-reduce", .likely, ranks: evidence.ranks.map(\.rank),
        evidence: ["sum_rel_l2": sum.relL2, "token_constant_residual": constant],
        summary: "The all-reduce is missing: the ranks of \(evidence.place) differ, and their sum is the reference but "
          + "for one vector, the same for every token, as of a bias that each rank has added.",
        next: "Look at the row-parallel projection that ends \(evidence.place): is reduce_results False, or the "
          + "all-reduce skipped on this path?")
    ]
  }
}
