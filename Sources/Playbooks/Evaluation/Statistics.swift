import Foundation

/// So many successes of so many tries.
public struct Proportion: Sendable, Hashable, Codable {
  public var count: Int
  public var total: Int

  public init(count: Int, total: Int) {
    self.count = count
    self.total = total
  }

  /// 0 where there is nothing to divide by.
  public var value: Double { total == 0 ? 0 : Double(count) / Double(total) }

  /// Wilson's score interval (E. B. Wilson, 1927) at 95 %; all of 0…1 where nothing was tried.
  public var interval: ClosedRange<Double> {
    guard total > 0 else { return 0...1 }
    let n = Double(total)
    let z = Normal.twoSided95
    let middle = (value + z * z / (2 * n)) / (1 + z * z / n)
    let half = z / (1 + z * z / n) * (value * (1 - value) / n + z * z / (4 * n * n)).squareRoot()
    return max(0, middle - half)...min(1, middle + half)
  }
}

/// The standard normal distribution.
enum Normal {
  /// Quantiles for a two-sided level of 0.05 and a power of 0.8.
  static let twoSided95 = 1.959_963_984_540_054
  static let power80 = 0.841_621_233_572_914

  /// Probability of |Z| ≥ |z|.
  static func twoSided(_ z: Double) -> Double { erfc(abs(z) / 2.0.squareRoot()) }
}

/// Tests of two scores.
enum ScoreTest {
  /// Two proportions of independent samples: the pooled z test, two-sided.
  static func pooled(_ a: Proportion, _ b: Proportion) -> Double {
    guard a.total > 0, b.total > 0 else { return 1 }
    let pooled = Double(a.count + b.count) / Double(a.total + b.total)
    let error = (pooled * (1 - pooled) * (1 / Double(a.total) + 1 / Double(b.total))).squareRoot()
    return error == 0 ? 1 : Normal.twoSided((b.value - a.value) / error)
  }

  /// McNemar's exact test over the samples that both sides ran: only those count that one side has right and the other
  /// wrong; two-sided.
  static func mcNemar(lost: Int, gained: Int) -> Double {
    let n = lost + gained
    guard n > 0 else { return 1 }
    let all = lgamma(Double(n + 1)) - Double(n) * log(2.0)
    var tail = 0.0
    for k in 0...min(lost, gained) { tail += exp(all - lgamma(Double(k + 1)) - lgamma(Double(n - k + 1))) }
    return min(1, 2 * tail)
  }

  /// 95 % interval of `target − reference` over the same samples: Wald's, with half a sample more in each of the four
  /// cells (Agresti and Min, 2005).
  static func pairedInterval(lost: Int, gained: Int, total: Int) -> ClosedRange<Double> {
    let n = Double(total) + 2
    let (b, c) = (Double(lost) + 0.5, Double(gained) + 0.5)
    let difference = (c - b) / n
    let variance: Double = b + c - (c - b) * (c - b) / n
    let half: Double = Normal.twoSided95 * max(0, variance).squareRoot() / n
    return max(-1, difference - half)...min(1, difference + half)
  }

  /// 95 % interval of `target − reference` over independent samples, from both Wilson intervals (Newcombe, 1998).
  static func interval(_ reference: Proportion, _ target: Proportion) -> ClosedRange<Double> {
    let difference = target.value - reference.value
    let (r, t) = (reference.interval, target.interval)
    func root(_ a: Double, _ b: Double) -> Double { (a * a + b * b).squareRoot() }
    let below = root(target.value - t.lowerBound, r.upperBound - reference.value)
    let above = root(t.upperBound - target.value, reference.value - r.lowerBound)
    return max(-1, difference - below)...min(1, difference + above)
  }

  /// Samples that show a gap of this size with a power of 0.8 at the two-sided level 0.05, where both sides run the same
  /// samples and this share of them differs (Connor, 1987); nil: no gap.
  static func pairedSampleSize(gap: Double, discordant: Double) -> Int? {
    guard gap != 0 else { return nil }
    let share = max(discordant, abs(gap))
    let root =
      Normal.twoSided95 * share.squareRoot() + Normal.power80 * max(0, share - gap * gap).squareRoot()
    return whole(root * root / (gap * gap))
  }

  /// The same for independent samples, on each side.
  static func sampleSize(_ a: Double, _ b: Double) -> Int? {
    guard a != b else { return nil }
    let mean = (a + b) / 2
    let together: Double = (2 * mean * (1 - mean)).squareRoot()
    let apart: Double = (a * (1 - a) + b * (1 - b)).squareRoot()
    let root: Double = Normal.twoSided95 * together + Normal.power80 * apart
    return whole(root * root / ((a - b) * (a - b)))
  }

  private static func whole(_ value: Double) -> Int? {
    value.isFinite && value < 1e15 ? Int(value.rounded(.up)) : nil
  }

  /// Probability of a chi-squared value of at least `value`.
  static func chiSquared(_ value: Double, degrees: Int) -> Double {
    guard degrees > 0, value > 0 else { return 1 }
    return upperGamma(Double(degrees) / 2, value / 2)
  }

  /// The regularised upper incomplete gamma function: its series below a + 1, its continued fraction above.
  private static func upperGamma(_ a: Double, _ x: Double) -> Double {
    let front = exp(a * log(x) - x - lgamma(a))
    if x < a + 1 {
      var term = 1 / a
      var sum = term
      var n = a
      while abs(term) > abs(sum) * 1e-14, n < a + 10_000 {
        n += 1
        term *= x / n
        sum += term
      }
      return min(1, max(0, 1 - sum * front))
    }
    var b = x + 1 - a
    var c = 1e300
    var d = 1 / b
    var h = d
    for i in 1..<10_000 {
      let an = -Double(i) * (Double(i) - a)
      b += 2
      d = 1 / nonZero(an * d + b)
      c = nonZero(b + an / c)
      h *= d * c
      if abs(d * c - 1) < 1e-14 { break }
    }
    return min(1, max(0, front * h))
  }

  private static func nonZero(_ value: Double) -> Double { abs(value) < 1e-300 ? 1e-300 : value }

  /// Whether the first group's values tend to be larger: rank sums within each stratum, joined, two-sided with ties
  /// (Wilcoxon, 1945; van Elteren, 1960). Strata with one group alone say nothing.
  ///
  /// - Returns: z, positive where the first group's are larger; nil where nothing can be said.
  static func rankSum(_ strata: [(first: [Double], second: [Double])]) -> Double? {
    var excess = 0.0
    var variance = 0.0
    for (first, second) in strata where !first.isEmpty && !second.isEmpty {
      let all = (first.map { ($0, true) } + second.map { ($0, false) }).sorted { $0.0 < $1.0 }
      let n = Double(all.count)
      var sum = 0.0
      var ties = 0.0
      var start = 0
      while start < all.count {
        var end = start
        while end < all.count, all[end].0 == all[start].0 { end += 1 }
        let count = Double(end - start)
        ties += count * count * count - count
        sum += Double(start + end + 1) / 2 * Double(all[start..<end].count { $0.1 })
        start = end
      }
      let (a, b) = (Double(first.count), Double(second.count))
      let weight = 1 / (n + 1)
      excess += weight * (sum - a * (n + 1) / 2)
      variance += weight * weight * a * b / 12 * (n + 1 - ties / (n * (n - 1)))
    }
    return variance > 0 ? excess / variance.squareRoot() : nil
  }
}
