import Dumps

/// What rounding alone gives, before anything was measured.
///
/// A value that is stored in a type of spacing eps is off by at most eps/2, evenly: eps/√12 of itself on average. Each
/// side stores about twelve times a layer (norms, projections, reduce, residual), independently, and the errors add as
/// a random walk: after d layers √(2·12·d)·eps/√12 = √(2d)·eps. A sum of n products kept in float32 adds √n·2^-24, and
/// one of n partials that are stored before the reduce √n roundings over the root of their number, which is one more.
public enum RoundingTheory {
  /// Relative L2 that two honest runs may differ by at the end of a layer.
  ///
  /// - Parameters:
  ///   - rounding: the spacing of the coarsest type on the way (2^-8 for bfloat16).
  ///   - depth: layers so far, 1 for the first.
  ///   - reductionLength: products that one output sums up, in float32.
  public static func expected(rounding: Double, depth: Int, reductionLength: Int = 4096) -> Double {
    let stored = rounding * Double(2 * max(1, depth)).squareRoot()
    let summed = Double(max(1, reductionLength)).squareRoot() * 0x1p-24 * Double(2 * max(1, depth)).squareRoot()
    return (stored * stored + summed * summed).squareRoot()
  }
}
