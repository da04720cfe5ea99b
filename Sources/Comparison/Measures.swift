/// The numbers of one pair of tensors, b the reference and a the target, in double precision.
///
/// A figure that has no value (cosine of an all-zero tensor) or is not finite is NaN here and `null` in JSON.
public struct Measures: Sendable, Hashable, Codable {
  /// <a,b> / (|a||b|)
  public var cos: Double
  /// max |a-b|
  public var maxAbs: Double
  /// max|a-b| / max(max|b|, 1e-12), the definition of ATOM's compare
  public var rel: Double
  /// |a-b| / |b|
  public var relL2: Double
  /// Least-squares scale <a,b>/<b,b>
  public var alpha: Double
  /// |a - alpha b| / |a|
  public var residual: Double
  /// |a| / |b|
  public var normRatio: Double
  /// 1 - 2<a,b>/(<a,a>+<b,b>), SGLang's comparator; 0 where max|a-b| is 0
  public var sglangRel: Double
  /// Share of bytes that are equal, 0…1; 0 where dtype or shape differ, NaN where a side is a sum of ranks, which
  /// has no bytes of its own, and where there is nothing to compare
  public var byteEqual: Double
  public var nonfiniteReference: Int
  public var nonfiniteTarget: Int
  /// Elements compared
  public var elementCount: Int
  /// The token row (`TokenRows`) that agrees least; nil for fewer than 2 rows. Of more rows than are kept one by one, its
  /// distance is that from a row of a tenth of the usual size at least.
  public var worstToken: TokenMeasure?
  /// Relative L2 of each token row in order (for the per-token strip). Empty where not kept.
  public var tokenRelL2: [Double]
  /// Coordinates of max|a-b|.
  public var worstCoordinate: [Int]
  /// Coordinates of the first element, in row-major order, of those that `unequalElements` counts; nil where there is
  /// none.
  public var firstCoordinate: [Int]?
  /// Norm of each row of the reference, beside `tokenRelL2`. Empty where not kept.
  public var tokenNorms: [Double]
  /// sum|a-b| / number of values: PyTorch's `(a - b).abs().mean()`, as `maxAbs` and `rel` of magnitudes where elements
  /// are complex.
  public var meanAbs: Double
  /// Elements that are not the same bits; where a side has no bytes of its own, or another type, whose values are not.
  public var unequalElements: Int
  /// There are elements, and each of them is zero on both sides.
  public var isZeroThroughout: Bool

  public init(
    cos: Double, maxAbs: Double, rel: Double, relL2: Double, alpha: Double, residual: Double, normRatio: Double,
    sglangRel: Double, byteEqual: Double, nonfiniteReference: Int, nonfiniteTarget: Int, elementCount: Int,
    worstToken: TokenMeasure?, tokenRelL2: [Double], worstCoordinate: [Int],
    tokenNorms: [Double] = [], meanAbs: Double = .nan, unequalElements: Int = 0,
    firstCoordinate: [Int]? = nil, isZeroThroughout: Bool = false
  ) {
    self.cos = cos
    self.maxAbs = maxAbs
    self.rel = rel
    self.relL2 = relL2
    self.alpha = alpha
    self.residual = residual
    self.normRatio = normRatio
    self.sglangRel = sglangRel
    self.byteEqual = byteEqual
    self.nonfiniteReference = nonfiniteReference
    self.nonfiniteTarget = nonfiniteTarget
    self.elementCount = elementCount
    self.worstToken = worstToken
    self.tokenRelL2 = tokenRelL2
    self.worstCoordinate = worstCoordinate
    self.tokenNorms = tokenNorms
    self.meanAbs = meanAbs
    self.unequalElements = unequalElements
    self.firstCoordinate = firstCoordinate
    self.isZeroThroughout = isZeroThroughout
  }
}

extension Measures {
  /// Every element is the same: no byte differs, or the values are equal where types have none in common.
  public var isEqual: Bool { nonfiniteReference == 0 && nonfiniteTarget == 0 && (byteEqual == 1 || maxAbs == 0) }
}

extension Measures {
  /// The same without some token rows: relative L2 and non-finite counts follow from the rows that are left, figures
  /// that do not are those of the whole.
  ///
  /// - Parameter tokens: token rows; ignored where rows were not kept.
  public func without(_ tokens: Set<Int>) -> Measures {
    guard tokenRelL2.count == tokenNorms.count, !tokenRelL2.isEmpty else { return self }
    var result = self
    var difference = 0.0
    var reference = 0.0
    for (row, distance) in tokenRelL2.enumerated() {
      if tokens.contains(row) {
        result.tokenRelL2[row] = 0
        continue
      }
      let size = tokenNorms[row]
      reference += size * size
      if distance != 0 { difference += distance * distance * size * size }
    }
    result.relL2 = difference == 0 ? 0 : (difference / reference).squareRoot()
    if difference.isFinite, reference.isFinite { (result.nonfiniteTarget, result.nonfiniteReference) = (0, 0) }
    return result
  }
}

/// One token row's agreement.
public struct TokenMeasure: Sendable, Hashable, Codable {
  public var index: Int
  public var cos: Double
  public var relL2: Double

  public init(index: Int, cos: Double, relL2: Double) {
    self.index = index
    self.cos = cos
    self.relL2 = relL2
  }
}
