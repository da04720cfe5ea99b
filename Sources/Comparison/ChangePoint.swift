import Foundation

/// Where a figure, followed over many nights, takes a step that its own noise does not explain.
///
/// Worked in logarithms, since noise of a relative error is a factor. A step is where the medians before and after are
/// further apart than several times the noise (1.4826 times the median distance from the median, which estimates a
/// standard deviation that outliers do not move), and the new median lies outside of all that was seen before. With
/// few nights before or after it, more is asked: among 1,000 series of pure noise at most a few are called a step.
public struct ChangePoint: Sendable, Hashable {
  /// The first night of the new level.
  public var index: Int
  /// Medians.
  public var before: Double
  public var after: Double
  /// Distance over what was asked for: above 1.
  public var strength: Double

  /// Nights that must lie before a step.
  public static let fewest = 5
  /// Nights that are looked at, the newest.
  private static let memory = 120

  /// The step of a series; nil where there is none.
  ///
  /// It is looked for where two levels fit best, by the sum of distances from their medians.
  ///
  /// - Parameter values: One figure a night, the oldest first, none negative. What is not finite counts as ten
  ///   times the greatest figure and no less than 10; zero as a tiny one.
  public static func find(_ values: [Double]) -> ChangePoint? {
    let forgotten = max(0, values.count - memory)
    let recent = values[forgotten...]
    let greatest = 10 * max(recent.filter(\.isFinite).max() ?? 1, 1)
    let logs = recent.map { log(max($0.isFinite ? $0 : greatest, 1e-12)) }
    var best: (index: Int, cost: Double)?
    for index in stride(from: fewest, to: logs.count, by: 1) {
      let cost = spread(logs[..<index]) + spread(logs[index...])
      if cost < best?.cost ?? .infinity { best = (index, cost) }
    }
    guard let index = best?.index else { return nil }
    let before = logs[..<index]
    let after = logs[index...]
    let old = median(before)
    let new = median(after)
    guard let least = before.min(), let most = before.max(), new < least || new > most else { return nil }
    var distances = before.map { abs($0 - old) }
    if after.count >= 3 { distances += after.map { abs($0 - new) } }
    let noise = max(1.4826 * median(distances[...]), 0.05)
    let asked = (after.count == 1 ? 8 : after.count == 2 ? 6 : 4.5) * (1 + 6 / Double(before.count))
    let strength = abs(new - old) / noise / asked
    guard strength > 1 else { return nil }
    return ChangePoint(
      index: forgotten + index, before: median(recent.prefix(index)), after: median(recent.dropFirst(index)),
      strength: strength)
  }

  private static func spread(_ values: ArraySlice<Double>) -> Double {
    let middle = median(values)
    return values.reduce(0) { $0 + abs($1 - middle) }
  }

  private static func median(_ values: ArraySlice<Double>) -> Double {
    // NaN has no place in an order; it is the greatest error.
    let sorted = values.map { $0.isNaN ? .infinity : $0 }.sorted()
    guard !sorted.isEmpty else { return .nan }
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  }
}
