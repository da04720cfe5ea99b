import Alignment
import Comparison
import Diagnosis
import Dumps

/// Looks at a few values of both sides for the grid of a quantised type.
enum GridProbe {
  /// Elements of a side that are looked at.
  private static let limit = 2048
  /// A rounding to eight bits moves a tensor by 0.02 of its size at least; beyond a quarter something else is wrong.
  private static let distances = 0.01...0.25

  /// nil where the distance is not that of a rounding, or the values are too few.
  static func grids(_ outcome: PairOutcome) throws -> SideGrids? {
    guard let decision = outcome.decision, let distance = outcome.measures?.relL2, distances.contains(distance),
      outcome.dtype.isFloatingPoint, decision.target.dtype.valuesPerElement == 1,
      decision.reference.dtype.valuesPerElement == 1, !decision.target.isSum, !decision.reference.isSum
    else { return nil }
    let sample = TensorSample(shape: outcome.shape, limit: limit)
    let rowLength = min(sample.rowLength, limit)
    guard let target = SignificandGrid(try sample.values(of: decision.target), rowLength: rowLength),
      target.isCoarse || target.isFine,
      let reference = SignificandGrid(try sample.values(of: decision.reference), rowLength: rowLength)
    else { return nil }
    return SideGrids(reference: reference, target: target)
  }
}
