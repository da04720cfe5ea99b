import Alignment
import Comparison

/// Positions, as a stage is given them, that are all off by the same.
enum PositionFamily {
  static func findings(_ evidence: RowEvidence) -> [Finding] {
    guard let offsets = evidence.positionOffsets, let first = offsets.first else { return [] }
    let numbers = Dictionary(
      uniqueKeysWithValues: offsets.enumerated().map {
        (offsets.count == 1 ? "offset" : "offset_\($0.offset)", Double($0.element))
      })
    let words =
      offsets.count == 1 ? "\(first)" : "\(offsets.map(String.init).joined(separator: ", ")) on its axes"
    return [
      evidence.finding(
        "position-offset", .certain, evidence: numbers,
        summary: "\(evidence.place): every token's position is off by \(words).",
        next: "Check where positions are counted from: start_pos, the cache length, an offset that only one side adds.")
    ]
  }
}
