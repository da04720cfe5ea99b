import Alignment
import Comparison

/// Stages dumped whole, with nothing from inside them: what the numbers leave possible. A finer dump decides, or the
/// trend over world sizes, which strikes out what does not follow it.
enum InsideFamily {
  static func findings(_ evidence: RowEvidence) -> [Finding] {
    let measures = evidence.measures
    guard measures.relL2.isFinite, measures.relL2 > 2 * evidence.tolerance || evidence.judgement.jump ?? 0 >= 2.5,
      evidence.divergentRanks.isEmpty, evidence.inputsAgree != false,
      evidence.judgement.tokens.count * 8
        <= max(8, evidence.measures.tokenRelL2.count * 7) || evidence.judgement.tokens.isEmpty
        || evidence.measures.tokenRelL2.isEmpty
    else { return [] }
    if evidence.isContainer { return block(evidence) }
    if evidence.isNorm { return norm(evidence) }
    if evidence.isProjection { return projection(evidence) }
    if evidence.isAttention { return attention(evidence) }
    if evidence.isFeedForward { return feedForward(evidence) }
    return []
  }

  private static func numbers(_ evidence: RowEvidence) -> [String: Double] {
    var numbers = [
      "cos": evidence.measures.cos, "alpha": evidence.measures.alpha, "norm_ratio": evidence.measures.normRatio,
    ]
    if let first = evidence.firstTokensRelL2 { numbers["first_tokens_rel_l2"] = first }
    return numbers
  }

  private static func possible(_ causes: [String], _ evidence: RowEvidence, seen: String, dump: String) -> [Finding] {
    let isOneRank = max(evidence.worldSize, evidence.referenceWorldSize) == 1
    return causes.filter { !isOneRank || !ofRanks.contains($0) }.map { cause in
      evidence.finding(
        cause, .possible, evidence: numbers(evidence),
        summary: "\(seen) \(meaning[cause] ?? cause).",
        next: "\(dump) Another world size tells a fault of the sharding from one of the computation.")
    }
  }

  /// What one rank alone cannot do.
  private static let ofRanks: Set<String> = [
    "average-reduce", "branch-repeated", "double-reduce", "duplicate-shard", "rank-absent", "rank-order",
    "residual-repeated", "shard-local-statistics",
  ]

  private static let meaning = [
    "rope-style": "Another pairing of the rotary embedding (halves or neighbours) would do it",
    "position-offset": "Positions that are off would do it",
    "shard-local-statistics": "A norm of q or k over the local shard would do it",
    "halves-swapped": "Gate and up that changed places would do it",
    "missing-clamp": "A clamp that is left out would do it",
    "missing-scale": "A scale that one term lacks would do it",
    "repeated-scale": "A scale applied twice to one term would do it",
    "branch-repeated": "A branch that every rank adds before the reduce would do it",
    "double-reduce": "A second all-reduce of one branch would do it",
    "average-reduce": "A branch that is averaged instead of summed would do it",
    "fused-shard-layout": "A fused weight cut as a whole would do it",
    "rank-order": "Shards in another order of ranks would do it",
    "head-map": "Key and value heads on the wrong ranks would do it",
    "rank-absent": "A rank that is missing from the reduce would do it",
    "norm-weight-offset": "A norm that is left out, or multiplies by 1 + w or by another weight, would do it",
    "weight-shuffle": "Shuffled weights would do it",
    "float8-variant": "Float8 weights read as the other variant would do it",
    "duplicate-shard": "The same shard on every rank would do it",
    "residual-repeated": "The residual added on every rank would do it",
  ]

  private static func attention(_ evidence: RowEvidence) -> [Finding] {
    let dump = "Dump q and k after projection, norm and rotary embedding, and the attention's context."
    guard let first = evidence.firstTokensRelL2, let later = evidence.laterTokensRelL2, later > evidence.tolerance
    else {
      return possible(
        ["float8-variant", "weight-shuffle", "head-map"], evidence,
        seen: "\(evidence.place) is wrong although its input agrees.", dump: dump)
    }
    if first <= max(evidence.tolerance, later / 8) {
      if evidence.rotatedAgree == true {
        return [
          evidence.finding(
            "missing-scale", .possible, evidence: numbers(evidence),
            summary: "\(evidence.place): the first token of every sequence agrees and the others do not, and q and k "
              + "agree after the rotary embedding: the scale of the scores is another, or their mask.",
            next: "Compare the softmax scale (head size with or without the rotary part, a factor of the context's "
              + "extension) and the mask of both sides.")
        ]
      }
      // A first token attends to itself alone: its output knows v and the output projection, not q and k.
      let order =
        evidence.worldSize > 1 && evidence.measures.cos > 0.9
        ? ["position-offset", "shard-local-statistics", "rope-style"]
        : ["rope-style", "position-offset", "shard-local-statistics"]
      return possible(
        order, evidence,
        seen: "\(evidence.place): the first token of every sequence agrees and the others do not, so v and the output "
          + "projection are right and q, k or the scale of their scores is wrong.", dump: dump)
    }
    let size = Double(evidence.worldSize)
    // With half of the values in their places a sum over heads keeps about that share.
    let isMapped = evidence.worldSize > 1 && evidence.measures.cos > 0.2
    return possible(
      isMapped && abs(evidence.measures.alpha - 1 / size) < 0.25
        ? ["head-map", "fused-shard-layout", "float8-variant"]
        : evidence.measures.alpha > 1.2
          ? ["float8-variant", "double-reduce", "head-map"] : ["fused-shard-layout", "rank-order", "head-map"],
      evidence, seen: "\(evidence.place) is wrong from the first token on: v or the output projection.", dump: dump)
  }

  private static func norm(_ evidence: RowEvidence) -> [Finding] {
    possible(
      ["norm-weight-offset", "shard-local-statistics"], evidence,
      seen: "\(evidence.place) is the first to be wrong.",
      dump: "Dump its input beside it, and compare the norm's weight.")
  }

  /// A product with a weight inside an attention: q, k, v, what makes them, or what turns them.
  private static func projection(_ evidence: RowEvidence) -> [Finding] {
    let isUnlike = abs(evidence.measures.cos) < 0.25
    let term = evidence.measures.normRatio < 1 ? "missing-scale" : "repeated-scale"
    let cut = evidence.worldSize > 1 ? ["fused-shard-layout", "rank-order"] : ["fused-shard-layout"]
    return possible(
      isUnlike ? cut : [term] + cut, evidence, seen: "\(evidence.place) is the first to be wrong.",
      dump: "Dump its input, and compare its weight, scales and adapter.")
  }

  private static func feedForward(_ evidence: RowEvidence) -> [Finding] {
    let measures = evidence.measures
    let dump =
      "Dump the router, gate and up, the activation, the routed and the shared experts."
    let seen = "\(evidence.place) is wrong although its input agrees."
    let causes: [String]
    if abs(measures.cos) < 0.25 {
      causes = ["fused-shard-layout", "rank-order"]
    } else if measures.normRatio > 1.05, measures.alpha > 1.02 {
      let rows = measures.tokenRelL2.filter(\.isFinite).sorted()
      let isUneven = (rows.last ?? 0) > 3 * (rows.isEmpty ? 0 : rows[rows.count / 2])
      causes =
        isUneven
        ? ["missing-clamp", "repeated-scale", "branch-repeated"]
        : ["repeated-scale", "branch-repeated", "missing-clamp"]
    } else if measures.normRatio < 0.95, measures.alpha < 0.98 {
      causes = ["missing-scale", "rank-absent", "halves-swapped"]
    } else {
      causes = ["halves-swapped", "missing-clamp", "fused-shard-layout"]
    }
    return possible(causes, evidence, seen: seen, dump: dump)
  }

  private static func block(_ evidence: RowEvidence) -> [Finding] {
    let dump = "Dump the attention, the MLP or MoE and their inputs inside \(evidence.place)."
    let seen = "\(evidence.place) is wrong although its input agrees; only the whole block was dumped."
    // Against the update that the block adds to the residual stream.
    let update = evidence.projections.first { $0.tensor == "update" }
    guard let update else { return [] }
    var numbers = numbers(evidence)
    numbers["update_coefficient"] = update.coefficient
    numbers["update_residual"] = update.residual
    let causes: [String]
    if update.coefficient > 0.1 {
      causes = ["double-reduce", "branch-repeated", "repeated-scale", "residual-repeated"]
    } else if update.coefficient < -0.1 {
      causes = ["missing-scale", "average-reduce", "rank-absent", "weight-shuffle"]
    } else {
      causes = ["weight-shuffle", "rope-style", "fused-shard-layout"]
    }
    return possible(causes, evidence, seen: seen, dump: dump).map {
      var finding = $0
      finding.evidence.merge(numbers.filter { $0.value.isFinite }) { old, _ in old }
      return finding
    }
  }
}
