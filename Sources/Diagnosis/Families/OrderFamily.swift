import Alignment
import Comparison

/// The right numbers in the wrong places.
enum OrderFamily {
  static func findings(_ evidence: RowEvidence) -> [Finding] {
    let fits = evidence.blockMatches
      .filter { !$0.isIdentity && $0.residual <= max(evidence.tolerance, 0.02) }
      .sorted { ($0.isByRank ? 0 : 1, $0.residual) < ($1.isByRank ? 0 : 1, $1.residual) }
    guard let match = fits.first else { return [] }
    var numbers = ["residual": match.residual, "axis": Double(match.axis), "blocks": Double(match.sources.count)]
    for (block, source) in match.sources.enumerated() where block < 16 { numbers["source_\(block)"] = Double(source) }
    let order = listed(match.sources)
    guard match.isPermutation else {
      let isOneShard = Set(match.sources).count == 1
      return [
        evidence.finding(
          isOneShard ? "duplicate-shard" : "head-map", .likely, evidence: numbers,
          summary: "\(evidence.place): along dimension \(match.axis) the target's blocks are the reference's blocks "
            + "\(order): some are there twice.",
          next: isOneShard
            ? "Compare the ranks' weight files of the layer: every rank seems to have loaded the same shard."
            : "Check which key/value head each rank loads: rank // copies and not rank mod heads.")
      ]
    }
    if match.isByRank || match.sources.count == evidence.worldSize && match.sources.count > 2 {
      let isTokens = match.axis == 0 && !match.isByRank
      return [
        evidence.finding(
          isTokens ? "chunk-order" : "rank-order", .certain,
          ranks: match.sources.indices.filter { match.sources[$0] != $0 }, evidence: numbers,
          summary: "\(evidence.place): along dimension \(match.axis) the target's blocks are the reference's blocks "
            + "\(order); put back, they agree.",
          next: isTokens
            ? "Check that the context-parallel order is undone before this stage."
            : "Check the order of ranks in the gather, and which shard each rank loads.")
      ]
    }
    let isHalves = match.sources == [1, 0]
    return [
      evidence.finding(
        isHalves ? (evidence.worldSize == 2 ? "rank-order" : "halves-swapped") : "fused-shard-layout",
        evidence.worldSize == 2 && isHalves ? .likely : .certain, evidence: numbers,
        summary: "\(evidence.place): along dimension \(match.axis) the target's blocks are the reference's blocks "
          + "\(order); put back, they agree.",
        next: "Check the order of the fused blocks (gate and up; q, k and v) in the weight loader.")
    ]
  }
}
