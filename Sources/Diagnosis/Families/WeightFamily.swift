import Alignment
import Comparison

/// Outputs of the usual size and a wrong direction, with right inputs: the forward pass alone only hints at weights.
enum WeightFamily {
  /// What is said of a parameter itself.
  static func differing(_ evidence: RowEvidence) -> [Finding] {
    let (measures, rows) = (evidence.measures, evidence.judgement.tokens)
    let place = "\(evidence.place): the parameter \(evidence.key.tensor)"
    if measures.normRatio == 0 {
      return [
        evidence.finding(
          "missing-weight", .likely, evidence: ["norm_ratio": 0], summary: "\(place) is zero everywhere.",
          next: "Look for its name, prefix and all, among those that the loader knows.")
      ]
    }
    return [
      evidence.finding(
        "weight-differs", .likely, evidence: ["cos": measures.cos, "alpha": measures.alpha],
        summary: "\(place) itself differs" + (rows.isEmpty ? "" : ", in rows \(listed(rows.sorted()))")
          + "; nothing was computed yet.",
        next: "Compare the checkpoints that both sides load, then what the loader does to this parameter; "
          + "`rollcall schema` looks for shuffles, casts and offsets.")
    ]
  }

  static func findings(_ evidence: RowEvidence) -> [Finding] {
    let measures = evidence.measures
    if measures.normRatio == 0, evidence.inputsAgree != false, evidence.divergentRanks.isEmpty {
      return [
        evidence.finding(
          "missing-weight", .possible, evidence: ["norm_ratio": 0],
          summary: "\(evidence.place) is zero everywhere although its inputs agree: a weight that was never loaded, or "
            + "an output that was never written.",
          next: "Dump the layer's weights on every rank and compare them with the checkpoint, names first.")
      ]
    }
    guard measures.cos.isFinite, measures.cos < 0.9, evidence.inputsAgree != false, evidence.divergentRanks.isEmpty
    else { return [] }
    let numbers = ["cos": measures.cos, "norm_ratio": measures.normRatio, "alpha": measures.alpha]
    let next =
      "Rule out weight loading: dump the layer's weights on every rank and compare them with the checkpoint, names "
      + "and shapes first."
    var result: [Finding] = []
    // Nearer to one over the world size than to nothing in common.
    let share = 1 / Double(evidence.worldSize)
    if evidence.worldSize > 1, measures.cos > max(share / 2, share - 0.1), measures.cos < share + 0.1,
      abs(measures.normRatio - 1) < 0.25
    {
      result.append(
        evidence.finding(
          "duplicate-shard", .possible, evidence: numbers,
          summary:
            "\(evidence.place): cos is about one over the world size at the usual norm, as when every rank loads "
            + "the same shard.",
          next: next))
    }
    if abs(measures.cos) < 0.2 {
      let shuffle = evidence.finding(
        "weight-shuffle", .possible, evidence: numbers,
        summary: "\(evidence.place) has nothing in common with the reference although its inputs agree: shuffled "
          + "weights or scales.",
        next: next)
      let missing = evidence.finding(
        "missing-weight", .possible, evidence: numbers,
        summary: "\(evidence.place) has nothing in common with the reference although its inputs agree: a weight that "
          + "was never loaded.",
        next: next)
      // The same numbers in other places give outputs of the same size; what stands in memory does not.
      result += abs(measures.normRatio - 1) < 0.25 ? [shuffle, missing] : [missing, shuffle]
    }
    return result
  }
}
