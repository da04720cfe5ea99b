import Alignment
import Comparison

/// The right numbers in the wrong places.
enum OrderFamily {
  static func findings(_ evidence: RowEvidence) -> [Finding] {
    // Fewer blocks say the same with less.
    let fits = evidence.blockMatches
      .filter { !$0.isIdentity && $0.residual <= max(evidence.tolerance, 0.02) }
      .sorted { ($0.sources.count, $0.isByRank ? 0 : 1, $0.axis) < ($1.sources.count, $1.isByRank ? 0 : 1, $1.axis) }
    guard let match = fits.first else { return [] }
    var numbers = ["residual": match.residual, "axis": Double(match.axis), "blocks": Double(match.sources.count)]
    for (block, source) in match.sources.enumerated() where block < 16 { numbers["source_\(block)"] = Double(source) }
    let seen =
      "\(evidence.place): along dimension \(match.axis) the target's blocks are the reference's blocks "
      + "\(listed(match.sources))"
    guard match.isPermutation else {
      return [repeated(match, evidence, numbers: numbers, seen: seen)]
    }
    let moved = match.sources.indices.filter { match.sources[$0] != $0 }
    if match.axis == 0, !match.isByRank {
      return [
        evidence.finding(
          "chunk-order", .likely, evidence: numbers, summary: "\(seen); put back, they agree.",
          next: "Check that the context-parallel order is undone before this stage.")
      ]
    }
    if match.isByRank || isByRankInBlocks(match, evidence) {
      return [
        evidence.finding(
          "rank-order", .certain, ranks: match.isByRank ? moved : Array(0..<evidence.worldSize), evidence: numbers,
          summary: "\(seen); put back in rank order, they agree.",
          next: "Check the order of ranks in the gather, and which shard each rank loads.")
      ]
    }
    if match.sources == [1, 0] {
      return [
        evidence.finding(
          "halves-swapped", .certain, evidence: numbers, summary: "\(seen): the halves changed places.",
          next: "Check the order of gate and up in the fused weight.")
      ]
    }
    return [
      evidence.finding(
        match.sources.count == evidence.worldSize ? "rank-order" : "fused-shard-layout", .likely, evidence: numbers,
        summary: "\(seen); put back, they agree.",
        next: "Check the order of the fused blocks (gate and up; q, k and v) and of the ranks in the weight loader.")
    ]
  }

  /// Two fused blocks, each with its ranks in the same wrong order.
  private static func isByRankInBlocks(_ match: BlockMatch, _ evidence: RowEvidence) -> Bool {
    let size = evidence.worldSize
    guard evidence.plan.kind == .blocks, match.sources.count == 2 * size else { return false }
    return (0..<size).allSatisfy { match.sources[$0] < size && match.sources[$0 + size] == match.sources[$0] + size }
  }

  private static func repeated(
    _ match: BlockMatch, _ evidence: RowEvidence, numbers: [String: Double], seen: String
  ) -> Finding {
    let name = evidence.key.stage.lowercased()
    let isKeyValue =
      name.hasPrefix("k") || name.hasPrefix("v") || ["kv", "key", "value"].contains { name.contains($0) }
    let isOneShard = Set(match.sources).count == 1 && !(isKeyValue && match.sources.count == 2)
    return evidence.finding(
      isOneShard ? "duplicate-shard" : "head-map", .likely, evidence: numbers,
      summary: "\(seen): some are there twice.",
      next: isOneShard
        ? "Compare the ranks' weight files of the layer: every rank seems to have loaded the same shard."
        : "Check which key/value head each rank loads (rank // copies, or rank mod heads).")
  }
}
