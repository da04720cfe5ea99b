import Comparison
import Glibc

/// What a second pass over a pair tells: a residual that the sums of the first have too few digits of, and magnitudes of
/// complex numbers.
struct DirectSums: Sendable {
  let alpha: Double
  let isComplex: Bool
  /// Of |a - alpha b|² and of |a|².
  private var rest = 0.0
  private var target = 0.0
  /// Of complex elements: the largest |a-b| and where, the largest |b|, and the sum of |a-b|.
  private var largest = 0.0
  private var largestElement = 0
  private var largestReference = 0.0
  private var magnitude = 0.0

  init(alpha: Double, isComplex: Bool) { (self.alpha, self.isComplex) = (alpha, isComplex) }

  /// - Parameters:
  ///   - target: values of whole elements.
  ///   - reference: as many.
  ///   - element: the first of them, in row-major order.
  mutating func add(target left: [Double], reference right: [Double], from element: Int) {
    let count = min(left.count, right.count)
    left.withUnsafeBufferPointer { left in
      right.withUnsafeBufferPointer { right in
        // Short sums first: they lose fewer digits.
        for start in stride(from: 0, to: count, by: 1024) {
          var (rest, target) = (0.0, 0.0)
          for index in start..<min(start + 1024, count) {
            let difference = left[index] - alpha * right[index]
            rest += difference * difference
            target += left[index] * left[index]
          }
          self.rest += rest
          self.target += target
        }
        guard isComplex else { return }
        for index in stride(from: 0, to: count - 1, by: 2) {
          let distance = hypot(left[index] - right[index], left[index + 1] - right[index + 1])
          magnitude += distance
          largestReference = max(largestReference, hypot(right[index], right[index + 1]))
          if distance > largest { (largest, largestElement) = (distance, element + index / 2) }
        }
      }
    }
  }

  /// Adds those of the elements that follow.
  mutating func merge(_ next: DirectSums) {
    rest += next.rest
    target += next.target
    magnitude += next.magnitude
    largestReference = max(largestReference, next.largestReference)
    if next.largest > largest { (largest, largestElement) = (next.largest, next.largestElement) }
  }

  /// Measures of a tensor of `shape` with what is known better now.
  func correcting(_ measures: Measures, shape: [Int]) -> Measures {
    var measures = measures
    if rest.isFinite, target > 0 { measures.residual = (rest / target).squareRoot() }
    guard isComplex, measures.maxAbs.isFinite, measures.elementCount > 0 else { return measures }
    measures.maxAbs = largest
    measures.rel = largest / max(largestReference, 1e-12)
    measures.meanAbs = magnitude / Double(measures.elementCount)
    measures.worstCoordinate = MeasureAccumulator.coordinate(of: largestElement, in: shape)
    return measures
  }
}
