import Alignment
import Comparison

/// Token rows that keep their norm and change their direction: rotary embeddings.
enum RotationFamily {
  static func findings(_ evidence: RowEvidence) -> [Finding] {
    let name = evidence.key.stage.lowercased()
    let isNamed = ["rope", "rotary", "rot"].contains { name.contains($0) }
    // A stage that only turns needs less to be believed; a small error of any kind keeps norms, too.
    guard let deviation = evidence.tokenNormDeviation, deviation <= evidence.tolerance,
      evidence.measures.relL2 > (isNamed ? 2 : 4) * evidence.tolerance, isNamed || evidence.mayRotate,
      let first = evidence.measures.tokenRelL2.first
    else { return [] }
    let numbers = ["token0_rel_l2": first, "norm_deviation": deviation, "cos": evidence.measures.cos]
    let confidence: Finding.Confidence = isNamed ? .likely : .possible
    if first <= evidence.tolerance {
      return [
        evidence.finding(
          "rope-style", confidence, evidence: numbers,
          summary: "\(evidence.place): every token keeps its norm, token 0 agrees and the others turn: another pairing "
            + "of the rotary embedding.",
          next: "Check neox (halves) against interleaved (neighbours) in the rotary embedding.")
      ]
    }
    return [
      evidence.finding(
        "position-offset", confidence, evidence: numbers,
        summary: "\(evidence.place): every token keeps its norm and turns, token 0 too: positions are off.",
        next: "Check the positions that reach the rotary embedding: start_pos, the cache length, an offset of one.")
    ]
  }
}
