import Alignment
import Comparison

/// Ranks that should hold the same bytes and do not.
enum ReplicaFamily {
  static func findings(_ evidence: RowEvidence) -> [Finding] {
    guard !evidence.divergentRanks.isEmpty, !evidence.ranks.isEmpty else { return [] }
    let far = evidence.ranks.filter { $0.agreement.distance > evidence.tolerance }
    let near = evidence.ranks.count - far.count
    let worst = evidence.ranks.map(\.agreement.distance).filter(\.isFinite).max() ?? .nan
    let numbers = ["worst_rank_rel_l2": worst, "ranks_that_agree": Double(near)]
    if far.isEmpty {
      return [
        evidence.finding(
          "replica-divergence", .likely, ranks: evidence.divergentRanks, evidence: numbers,
          summary: "The ranks of \(evidence.place) should hold the same bytes; rank "
            + "\(listed(evidence.divergentRanks)) differ from rank 0, within noise of the reference.",
          next: "Look for a reduce whose order differs by rank, an operation outside the collective, or state that "
            + "is kept per rank.")
      ]
    }
    guard near > 0 else { return unreduced(evidence, numbers: numbers) }
    return [
      evidence.finding(
        "replica-divergence", .certain, ranks: far.map(\.rank), evidence: numbers,
        summary: "Rank \(listed(far.map(\.rank))) of \(evidence.place) is off while \(near) "
          + "rank\(near == 1 ? " agrees" : "s agree") with the reference.",
        next: "Compare the weights and the inputs of rank \(listed(far.map(\.rank))) with those of rank "
          + "\(evidence.ranks.first { $0.agreement.distance <= evidence.tolerance }?.rank ?? 0).")
    ]
  }

  /// All ranks are off, each in its own way: something was not reduced before it was added to what all ranks hold.
  private static func unreduced(_ evidence: RowEvidence, numbers: [String: Double]) -> [Finding] {
    let extra = Double(evidence.worldSize - 1)
    let ranks = evidence.ranks.map(\.rank)
    let fit = evidence.sumProjections
      .filter { abs($0.coefficient - extra) <= 0.05 * extra && $0.residual <= max(0.05, 3 * evidence.tolerance) }
      .min { ($0.residual, $0.stage, $0.tensor) < ($1.residual, $1.stage, $1.tensor) }
    guard let fit else {
      let seen =
        "All ranks of \(evidence.place) are off and no two are alike, though they should be replicas: something was "
        + "not reduced"
      let next = "Dump finer stages before \(evidence.place) on every rank, to see which term differs by rank."
      let whole = evidence.finding(
        "missing-reduce", .possible, ranks: ranks, evidence: numbers, summary: "\(seen).", next: next)
      // Were it the whole output, the ranks' sum would be the reference.
      let branch = evidence.finding(
        "branch-missing-reduce", .possible, ranks: ranks, evidence: numbers,
        summary: "\(seen), and their sum is not the reference: one branch, added to what was reduced.", next: next)
      return evidence.isContainer ? [whole, branch] : [branch, whole]
    }
    let isInput = fit.isResidual
    var figures = numbers
    figures["coefficient"] = fit.coefficient
    figures["residual"] = fit.residual
    return [
      evidence.finding(
        isInput ? "missing-reduce" : "branch-missing-reduce", .likely, ranks: ranks, evidence: figures,
        summary: "A term of \(evidence.place) is not reduced: the ranks differ, and their sum is the reference plus "
          + "\(figure(fit.coefficient)) times \(fit.source), which every rank holds whole.",
        next: isInput
          ? "Look at the row-parallel projection inside \(evidence.place) whose all-reduce is skipped."
          : "Reduce the branch that is added to \(fit.stage): it is row-parallel and added as a partial.")
    ]
  }
}
