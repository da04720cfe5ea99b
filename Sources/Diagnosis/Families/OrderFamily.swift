import Alignment
import Comparison

/// The right numbers in the wrong places.
enum OrderFamily {
  static func findings(_ evidence: RowEvidence) -> [Finding] {
    if let foreign = evidence.foreignSlices.first {
      let ranks = Set(evidence.foreignSlices.map(\.rank)).sorted()
      if let other = exchanged(evidence) {
        return [
          evidence.finding(
            "halves-swapped", .certain, ranks: ranks, evidence: ["residual": foreign.residual],
            summary: "\(evidence.place): "
              + (ranks.count == evidence.worldSize ? "every rank holds its" : "rank \(listed(ranks)) holds its")
              + " own slice of \(other) instead: the two changed places.",
            next: "Check the order of \(evidence.key.stage) and \(other) where their weights are loaded.")
        ]
      }
      return [
        evidence.finding(
          "fused-shard-layout", .certain, ranks: ranks,
          evidence: ["residual": foreign.residual, "slice": Double(foreign.slice)],
          summary:
            "\(evidence.place): rank \(foreign.rank) holds slice \(foreign.slice) of \(foreign.stage): the fused "
            + "weight was cut as a whole, not block by block.",
          next: "Check how the fused weight (qkv, gate_up) of this layer is cut: each block by itself, not the whole.")
      ]
    }
    // Fewer blocks say the same with less.
    let fits = evidence.blockMatches
      .filter { !$0.isIdentity && $0.residual <= max(evidence.tolerance, 0.02) && !isOneShiftOfRows($0, evidence) }
      .sorted { ($0.sources.count, $0.isByRank ? 0 : 1, $0.axis) < ($1.sources.count, $1.isByRank ? 0 : 1, $1.axis) }
    guard let match = fits.first else { return fusedBefore(evidence) ?? rows(evidence) }
    var numbers = ["residual": match.residual, "axis": Double(match.axis), "blocks": Double(match.sources.count)]
    for (block, source) in match.sources.enumerated() where block < 16 { numbers["source_\(block)"] = Double(source) }
    let seen =
      "\(evidence.place): along dimension \(match.axis) the target's blocks are the reference's blocks "
      + "\(listed(match.sources))"
    guard match.isPermutation else {
      return [repeated(match, evidence, numbers: numbers, seen: seen)]
    }
    let moved = match.sources.indices.filter { match.sources[$0] != $0 }
    if let ranks = swappedRanks(match, evidence) {
      let words = ranks.count == evidence.worldSize ? "" : " on rank \(listed(ranks))"
      return [
        evidence.finding(
          "halves-swapped", .certain, ranks: ranks, evidence: numbers,
          summary: "\(seen): the halves changed places\(words).",
          next: "Check the order of gate and up in the fused weight\(words).")
      ]
    }
    if match.axis == 0, !evidence.isParameter, !match.isByRank || zigzag(match.sources) != nil {
      let degree = zigzag(match.sources)
      return [
        evidence.finding(
          "chunk-order", degree == nil ? .likely : .certain, evidence: numbers,
          summary: degree.map {
            "\(seen): the zigzag order of \($0) context-parallel ranks (each holds a chunk from the front and one from "
              + "the back)."
          } ?? "\(seen); put back, they agree.",
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

  /// Blocks of one token row each, all moved by the same: the token family tells it.
  private static func isOneShiftOfRows(_ match: BlockMatch, _ evidence: RowEvidence) -> Bool {
    let count = match.sources.count
    guard match.axis == 0, !evidence.isParameter, !match.isByRank, count > 2,
      count == evidence.measures.tokenRelL2.count
    else { return false }
    return match.sources.indices.allSatisfy { match.sources[$0] == (match.sources[0] + $0) % count }
  }

  /// The stage whose own slice every rank holds that holds another's; nil where one holds any other.
  private static func exchanged(_ evidence: RowEvidence) -> String? {
    guard let stage = evidence.foreignSlices.first?.stage else { return nil }
    let own = evidence.foreignSlices.filter { $0.stage == stage && $0.slice == $0.rank }
    return Set(own.map(\.rank)) == Set(evidence.foreignSlices.map(\.rank)) ? stage : nil
  }

  /// The degree of a zigzag order: rank r holds chunk r and chunk 2n-1-r.
  private static func zigzag(_ sources: [Int]) -> Int? {
    guard sources.count >= 4, sources.count % 2 == 0 else { return nil }
    let degree = sources.count / 2
    let order = (0..<degree).flatMap { [$0, sources.count - 1 - $0] }
    return sources == order ? degree : nil
  }

  /// The plain concatenation of ranks that were cut wrongly is the reference, so the fused stage itself looks right and
  /// the one that takes its halves apart does not.
  private static func fusedBefore(_ evidence: RowEvidence) -> [Finding]? {
    guard let stage = evidence.wholeFusedStage, evidence.measures.relL2 > 2 * evidence.tolerance else { return nil }
    var finding = evidence.finding(
      "fused-shard-layout", .likely,
      summary: "\(evidence.place) is wrong, and \(stage) before it, twice as wide, is cut over the ranks as a whole: a "
        + "rank then takes apart halves that are not its own gate and up.",
      next: "Check how the fused weight (gate_up) of \(stage) is cut: each block by itself, not the whole.")
    finding.stage = stage
    return [finding]
  }

  /// Token rows that are other rows of the reference, in runs: chunks of one sequence or of several.
  private static func rows(_ evidence: RowEvidence) -> [Finding] {
    let sources = evidence.rowSources
    let found = sources.compactMap { $0 }
    guard sources.count > 3, found.count == sources.count, Set(found).count == found.count,
      found != Array(found.indices)
    else { return [] }
    var runs: [(start: Int, source: Int)] = []
    for (row, source) in found.enumerated() where runs.isEmpty || found[row - 1] + 1 != source {
      runs.append((row, source))
    }
    // One shift of all rows is told by the token family.
    guard runs.count > 2, runs.count <= max(4, found.count / 2) else { return [] }
    let moved = found.indices.filter { found[$0] != $0 }
    let lengths = runs.indices.map { ($0 + 1 < runs.count ? runs[$0 + 1].start : found.count) - runs[$0].start }
    let movedLengths = runs.indices.filter { runs[$0].start != runs[$0].source }.map { lengths[$0] }
    let isWeight = evidence.isParameter
    if isWeight || movedLengths.allSatisfy({ $0 == 1 }) {
      return [
        evidence.finding(
          isWeight ? "weight-shuffle" : "row-shift", .likely, tokens: isWeight ? [] : Array(moved.prefix(64)),
          evidence: ["moved_rows": Double(moved.count)],
          summary:
            "\(evidence.place): rows \(listed(moved)) of the target are rows \(listed(moved.map { found[$0] })) of "
            + "the reference; put back, all agree.",
          next: isWeight
            ? "Check the order in which the loader lays out the rows of this weight."
            : "Check the gather of token ids and positions, and what sorts or permutes tokens before this stage.")
      ]
    }
    return [
      evidence.finding(
        "chunk-order", Set(movedLengths).count == 1 ? .certain : .likely, tokens: Array(moved.prefix(64)),
        evidence: ["runs": Double(runs.count), "moved_tokens": Double(moved.count)],
        summary:
          "\(evidence.place): every token row of the target is a row of the reference, in \(runs.count) runs that "
          + "stand in another order (rows \(listed(runs.map(\.source)))… follow one another).",
        next: "Check that the context-parallel order is undone before this stage, sequence by sequence.")
    ]
  }

  /// Two fused blocks, each with its ranks in the same wrong order.
  private static func isByRankInBlocks(_ match: BlockMatch, _ evidence: RowEvidence) -> Bool {
    let size = evidence.worldSize
    guard evidence.plan.kind == .blocks, match.sources.count == 2 * size else { return false }
    return (0..<size).allSatisfy { match.sources[$0] < size && match.sources[$0 + size] == match.sources[$0] + size }
  }

  /// The ranks whose two fused blocks, side by side or each with the other ranks', stand with the second before the
  /// first; nil where there is none, or any other order.
  private static func swappedRanks(_ match: BlockMatch, _ evidence: RowEvidence) -> [Int]? {
    let size = evidence.worldSize
    guard size > 1, match.axis > 0 || evidence.isParameter, match.sources.count == 2 * size else { return nil }
    for places in [{ (2 * $0, 2 * $0 + 1) }, { ($0, size + $0) }] as [(Int) -> (Int, Int)] {
      let blocks = (0..<size).map { (match.sources[places($0).0], match.sources[places($0).1]) }
      let swapped = (0..<size).filter { blocks[$0] == (size + $0, $0) }
      if !swapped.isEmpty, (0..<size).allSatisfy({ swapped.contains($0) || blocks[$0] == ($0, size + $0) }) {
        return swapped
      }
    }
    return nil
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
