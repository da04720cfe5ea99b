import Alignment
import Comparison
import Dumps

/// Looks at a few values of both sides for a coarser type that they were rounded to before they were stored.
enum PrecisionProbe {
  /// Elements of a side that are looked at.
  private static let limit = 2048

  /// The coarser of both sides' types; nil where one side's values fill their type (which is a finding of its own where
  /// the other's do not), and where the distance is no more than that type's rounding.
  static func type(_ outcome: PairOutcome) throws -> DType? {
    let stored = [DType.float16, .float32, .float64]
    guard let decision = outcome.decision, let distance = outcome.measures?.relL2,
      stored.contains(decision.target.dtype), stored.contains(decision.reference.dtype),
      distance > Judge.roundingFloor(outcome.noisyType),
      let target = RoundedValues.type(of: try values(of: decision.target), storedAs: decision.target.dtype),
      let reference = RoundedValues.type(of: try values(of: decision.reference), storedAs: decision.reference.dtype)
    else { return nil }
    return Judge.roundingFloor(target) > Judge.roundingFloor(reference) ? target : reference
  }

  /// Of a sum those of its terms: the ranks' values were rounded, and what they add up to was not.
  private static func values(of tensor: LogicalTensor) throws -> [Double] {
    guard tensor.isSum else { return try TensorSample(shape: tensor.shape, limit: limit).values(of: tensor) }
    return try tensor.parts.flatMap { part in
      try TensorSample(shape: part.shape, limit: limit / tensor.parts.count).values(
        of: LogicalTensor(parts: [part], layout: .whole(part.shape, kind: .single), place: "a term of a sum"))
    }
  }
}
