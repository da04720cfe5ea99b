import Alignment
import Comparison
import Dumps

/// Looks at a few rows of a pair whose best factor is not 1, for the factor that most values are off by.
enum RatioProbe {
  /// Elements of a side that are looked at.
  private static let limit = 1 << 16

  /// nil where the best factor is 1, where the distance leaves no doubt, and for 8 bits and less, whose steps are wider
  /// than any such factor.
  static func ratio(_ outcome: PairOutcome) throws -> Double? {
    guard let decision = outcome.decision, let measures = outcome.measures,
      abs(measures.alpha - 1) > UsualRatio.least, measures.relL2 < 0.25
    else { return nil }
    let (target, reference) = (decision.target, decision.reference)
    guard target.shape == reference.shape,
      [target.dtype, reference.dtype].allSatisfy({
        $0.isFloatingPoint && $0.byteCount > 1 && $0.valuesPerElement == 1
      })
    else { return nil }
    let sample = TensorSample(shape: target.shape, limit: limit)
    return UsualRatio.of(target: try sample.values(of: target), reference: try sample.values(of: reference))
  }
}
