import Alignment
import Comparison

/// An even, small loss of digits at the usual size.
enum QuantisationFamily {
  static func findings(_ evidence: RowEvidence) -> [Finding] {
    let measures = evidence.measures
    guard measures.relL2 > 0.015, measures.relL2 < 0.15, measures.cos > 0.985, abs(measures.alpha - 1) < 0.05,
      evidence.judgement.tokens.isEmpty, evidence.divergentRanks.isEmpty
    else { return [] }
    let rows = measures.tokenRelL2.filter(\.isFinite).sorted()
    guard let least = rows.first, least > measures.relL2 / 4 else { return [] }
    return [
      evidence.finding(
        "quantisation-rounding", .possible,
        evidence: ["cos": measures.cos, "alpha": measures.alpha, "norm_ratio": measures.normRatio],
        summary:
          "\(evidence.place): every token loses about the same few digits (cos \(figure(measures.cos))), as from "
          + "another rounding of quantised inputs or scales.",
        next: "Run the operation alone on dumped inputs, with each side's quantiser, to tell quantiser from product.")
    ]
  }
}
