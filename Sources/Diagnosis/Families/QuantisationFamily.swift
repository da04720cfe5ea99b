import Alignment
import Comparison

/// An even, small loss of digits at the usual size.
enum QuantisationFamily {
  /// The values themselves show that one side was quantised.
  static func sure(_ evidence: RowEvidence) -> [Finding] {
    guard let grids = evidence.grids, grids.differ else { return [] }
    return [
      evidence.finding(
        "quantisation-rounding", .certain, evidence: numbers(evidence),
        summary: "\(evidence.place): \(grids.why): it was rounded before this stage on one side alone.",
        next:
          "Look for the quantiser before \(evidence.place). If it is meant, compare with a reference that has it, or "
          + "state a known good pair.")
    ]
  }

  static func findings(_ evidence: RowEvidence) -> [Finding] {
    let measures = evidence.measures
    guard measures.relL2 > 0.015, measures.relL2 < 0.15, measures.cos > 0.985, abs(measures.alpha - 1) < 0.05,
      evidence.judgement.tokens.isEmpty, evidence.divergentRanks.isEmpty
    else { return [] }
    let rows = measures.tokenRelL2.filter(\.isFinite).sorted()
    guard let least = rows.first, least > measures.relL2 / 4 else { return [] }
    let areBoth = evidence.grids.map { $0.reference.isCoarse && $0.target.isCoarse } ?? false
    return [
      evidence.finding(
        "quantisation-rounding", areBoth ? .likely : .possible, evidence: numbers(evidence),
        summary:
          "\(evidence.place): every token loses about the same few digits (cos \(figure(measures.cos))), as from "
          + "another rounding of quantised inputs or scales\(areBoth ? "; both sides lie on a quantised grid" : "").",
        next: "Run the operation alone on dumped inputs, with each side's quantiser, to tell quantiser from product.")
    ]
  }

  private static func numbers(_ evidence: RowEvidence) -> [String: Double] {
    var numbers = [
      "cos": evidence.measures.cos, "alpha": evidence.measures.alpha, "norm_ratio": evidence.measures.normRatio,
    ]
    if let grids = evidence.grids {
      numbers["target_significands"] = Double(grids.target.significands)
      numbers["reference_significands"] = Double(grids.reference.significands)
    }
    return numbers
  }
}
