import Alignment
import Comparison
import Dumps

/// Looks at token positions for one offset that all of them have.
enum PositionProbe {
  /// Elements of a side at most: positions are few.
  private static let limit = 1 << 20

  static func isPosition(_ key: CaptureKey) -> Bool {
    "\(key.stage).\(key.tensor)".lowercased().contains("position")
  }

  /// By how much the target's positions are above the reference's at every token: one number, or three for `[3, T]`
  /// (one of each axis of an image) where the axes differ. Nil where the tensors are no positions, are equal, or differ
  /// in any other way.
  static func offsets(_ outcome: PairOutcome) throws -> [Int]? {
    guard isPosition(outcome.key), let decision = outcome.decision, let measures = outcome.measures, !measures.isEqual,
      [decision.target, decision.reference].allSatisfy({ !$0.dtype.isFloatingPoint && !$0.isSum }),
      outcome.divergentRanks.isEmpty, (1...limit).contains(decision.target.elementCount)
    else { return nil }
    let sample = TensorSample(shape: outcome.shape, limit: limit)
    let target = try sample.values(of: decision.target)
    let reference = try sample.values(of: decision.reference)
    guard target.count == reference.count, !target.isEmpty else { return nil }
    let differences = zip(target, reference).map { $0 - $1 }
    let isByAxis = outcome.shape.count == 2 && outcome.shape[0] == 3 && Set(differences).count > 1
    let length = isByAxis ? differences.count / 3 : differences.count
    var offsets: [Int] = []
    for start in stride(from: 0, to: differences.count, by: max(1, length)) {
      let own = differences[start..<min(start + length, differences.count)]
      guard Set(own).count == 1, let first = own.first, let offset = Int(exactly: first) else { return nil }
      offsets.append(offset)
    }
    return offsets
  }
}
