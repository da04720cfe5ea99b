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
      distance > Judge.roundingFloor(outcome.noisyType), !decision.target.isSum, !decision.reference.isSum
    else { return nil }
    let sample = TensorSample(shape: outcome.shape, limit: limit)
    guard
      let target = RoundedValues.type(of: try sample.values(of: decision.target), storedAs: decision.target.dtype),
      let reference = RoundedValues.type(
        of: try sample.values(of: decision.reference), storedAs: decision.reference.dtype)
    else { return nil }
    return Judge.roundingFloor(target) > Judge.roundingFloor(reference) ? target : reference
  }
}
