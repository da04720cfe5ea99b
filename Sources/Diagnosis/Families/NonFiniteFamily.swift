import Alignment
import Comparison

/// NaN and infinity.
enum NonFiniteFamily {
  static func findings(_ evidence: RowEvidence) -> [Finding] {
    let measures = evidence.measures
    let bad = evidence.ranks.filter { $0.nonfinite > 0 }
    let count = max(measures.nonfiniteTarget, bad.map(\.nonfinite).max() ?? 0)
    guard count > 0 else { return [] }
    let ranks = bad.map(\.rank)
    let tokens = measures.tokenRelL2.indices.filter { !measures.tokenRelL2[$0].isFinite }
    let onRanks = ranks.isEmpty ? "" : " on rank \(listed(ranks))"
    return [
      evidence.finding(
        "non-finite", .certain, ranks: ranks, tokens: Array(tokens.prefix(64)),
        evidence: [
          "nonfinite_target": Double(count), "nonfinite_reference": Double(measures.nonfiniteReference),
        ],
        summary: "\(evidence.place) is the first stage with NaN or infinity: \(count) values\(onRanks).",
        next: "Dump finer stages inside \(evidence.place) and look at the inputs of the first operation that "
          + "produces NaN or infinity: quantisation scales, masks, division by a norm.")
    ]
  }
}
