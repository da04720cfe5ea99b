import Alignment
import Comparison
import Dumps

/// Reads a pair that seems to differ by a factor of two once more, for whether every single value does.
enum FactorProbe {
  private static let blockElements = 1 << 20

  /// 2 or 0.5 where every value of the target is exactly that many times the reference's, zeros of either sign being
  /// one; nil for anything else, NaN anywhere included, and for sums of ranks.
  static func factor(_ outcome: PairOutcome) throws -> Double? {
    guard let decision = outcome.decision, let measures = outcome.measures, outcome.dtype.isFloatingPoint,
      let factor = [0.5, 2].first(where: { abs(measures.alpha - $0) < 1e-6 }), measures.residual < 1e-6
    else { return nil }
    let (target, reference) = (decision.target, decision.reference)
    guard !target.isSum, !reference.isSum, target.shape == reference.shape, target.dtype.valuesPerElement == 1,
      reference.dtype.valuesPerElement == 1
    else { return nil }
    var readers = (target: try target.makeReader(), reference: try reference.makeReader())
    var (bytes, left, right): ([UInt8], [Double], [Double]) = ([], [], [])
    for start in stride(from: 0, to: target.elementCount, by: blockElements) {
      let range = start..<min(start + blockElements, target.elementCount)
      try readers.target.read(range, bytes: &bytes, values: &left)
      try readers.reference.read(range, bytes: &bytes, values: &right)
      guard zip(left, right).allSatisfy({ $0 == factor * $1 }) else { return nil }
    }
    return factor
  }
}
