/// The factor that most values are off by.
///
/// Deep in a model the noise of all layers before is as large as a factor of a few per cent in one of them, and hides it
/// from the onset rule. Noise has no direction, though: among thousands of values as many are larger as are smaller, so
/// the middle of the ratios stays at 1. Where the tokens of a small model are nearly alike (an attention that looks
/// everywhere) they share their noise, and its part along the values is as large as the stages before show it, or
/// larger by the onset's factor. The best factor of the whole (`Measures.alpha`) alone does not tell: it may be
/// that of one channel, which holds nearly all of the norm and is rounded the same way in every token.
public enum UsualRatio {
  /// What is nearer to 1 is no factor that anybody sets; honest runs of bfloat16 stay within 2^-11.
  public static let least = 0x1p-9
  /// What a share must be times those before to stand out.
  private static let onset = 2.5
  private static let certain = 0.4
  /// Standard deviations beyond which nothing is chance.
  private static let deviations = 4.0
  /// Values to one draw of noise of their own: of a token, and of a few together (a decode step).
  private static let ofOneToken = 4
  private static let ofAll = 8
  /// Fewer values say nothing.
  static let fewest = 256

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
  /// - Parameter directed: the largest share of a distance that lay along the values in the stages before; 0 where there
  ///   were none. A factor that makes up this share of the distance itself is one whatever was before.
  public static func isFactor(_ ratio: Double, measures: Measures, floor: Double, directed: Double = 0) -> Bool {
    let shared = min(onset * directed, certain) * measures.relL2
    // Tokens that are alike share their noise, which is then one draw of as many values as a token has; of fewer where
    // these come from less (the values of a few kv heads, the large activations of a gated unit).
    let width = measures.elementCount / max(1, measures.tokenRelL2.count)
    let draws = max(1, min(width / ofOneToken, measures.elementCount / ofAll))
    let chance = deviations * measures.relL2 / Double(draws).squareRoot()
    let limit = max(least, floor, 2 * measures.relL2 * measures.relL2, shared, chance)
    return abs(ratio - 1) > limit && abs(measures.alpha - 1) > limit
      && abs(measures.alpha - ratio) <= 0.5 * abs(ratio - 1)
  }
}
