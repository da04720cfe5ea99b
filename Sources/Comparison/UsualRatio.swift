/// The factor that most values are off by.
///
/// Deep in a model the noise of all layers before is as large as a factor of a few per cent in one of them, and hides it
/// from the onset rule. Noise has no direction, though: among thousands of values as many are larger as are smaller, so
/// the middle of the ratios stays at 1. The best factor of the whole (`Measures.alpha`) alone does not tell: it may be
/// that of one channel, which holds nearly all of the norm and is rounded the same way in every token.
public enum UsualRatio {
  /// What is nearer to 1 is no factor that anybody sets; honest runs of bfloat16 stay within 2^-11.
  public static let least = 0x1p-9
  /// Fewer values say nothing.
  private static let fewest = 256

  /// The middle of target / reference over the larger half of the values; nil where there are too few.
  ///
  /// - Parameters:
  ///   - target: a
  ///   - reference: b, as many values. Which are large is asked of both sides alike: chosen by one of them alone, they
  ///     would be those that its noise made larger.
  public static func of(target: [Double], reference: [Double]) -> Double? {
    let pairs = zip(target, reference).filter { $0 * $1 > 0 && $0.isFinite && $1.isFinite }
    guard pairs.count >= fewest else { return nil }
    let sizes = pairs.map { abs($0 + $1) }
    let usual = sizes.ranked(sizes.count / 2)
    let ratios = zip(pairs, sizes).filter { $0.1 >= usual }.map { $0.0.0 / $0.0.1 }
    return ratios.ranked(ratios.count / 2)
  }

  /// True where `ratio` is a factor that noise does not explain, and the one of the whole tensor.
  ///
  /// - Parameter floor: relative L2 that honest noise gives. A target that is scaled to a given norm (as in a
  ///   normalisation) loses half the square of its distance, so twice that is allowed for.
  public static func isFactor(_ ratio: Double, measures: Measures, floor: Double) -> Bool {
    let limit = max(least, floor, 2 * measures.relL2 * measures.relL2)
    return abs(ratio - 1) > limit && abs(measures.alpha - 1) > limit
      && abs(measures.alpha - ratio) <= 0.5 * abs(ratio - 1)
  }
}
