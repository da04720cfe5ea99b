import Foundation

/// Numbers, times and sizes as people read them.
package enum Figures {
  /// `0.0123`, `1.2e-7`, `8`, `nan`; a dash where there is no number at all.
  static func short(_ value: Double?) -> String {
    guard let value else { return "–" }
    if value.isNaN { return "nan" }
    if value.isInfinite { return value < 0 ? "-inf" : "inf" }
    if value == 0 { return "0" }
    if abs(value) >= 0.01, abs(value) < 1e5 { return String(format: "%.4g", value) }
    let text = String(format: "%.1e", value)
    guard let mark = text.firstIndex(of: "e"), let exponent = Int(text[text.index(after: mark)...]) else {
      return text
    }
    return "\(text[..<mark])e\(exponent)"
  }

  /// Cosine to six places; a value that would round to 1 is shown by its distance, `1−5.8e-8`.
  static func cosine(_ value: Double?) -> String {
    guard let value, value.isFinite else { return short(value) }
    if value == 1 { return "1" }
    if value < 1, value > 0.999_999_5 { return "1−\(short(1 - value))" }
    return String(format: "%.6f", value)
  }

  /// `48 s`, `3 min 05 s`, `2 h 07 min`.
  package static func duration(_ seconds: Double?) -> String {
    guard let seconds, seconds.isFinite, seconds >= 0, seconds < 1e12 else { return "–" }
    if seconds < 10 { return String(format: "%.1f s", seconds) }
    let whole = Int(seconds.rounded())
    if whole < 60 { return "\(whole) s" }
    if whole < 3600 { return String(format: "%d min %02d s", whole / 60, whole % 60) }
    return String(format: "%d h %02d min", whole / 3600, whole / 60 % 60)
  }

  /// `1.5 GiB`.
  package static func bytes(_ count: Int) -> String {
    var value = Double(count)
    var unit = "B"
    for next in ["KiB", "MiB", "GiB", "TiB"] where value >= 1024 {
      value /= 1024
      unit = next
    }
    return unit == "B" ? "\(count) B" : String(format: "%.1f %@", value, unit)
  }

  /// `2026-03-29 01:30:00 UTC`
  package static func time(_ seconds: Double?) -> String {
    guard let seconds, let text = Timestamp.text(seconds) else { return "–" }
    return "\(text.prefix(10)) \(text.dropFirst(11).prefix(8)) UTC"
  }

  /// `1 run`, `12 runs`.
  package static func count(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }

  /// `[2, 3]` as `2, 3`, with the rest counted after the first twelve.
  static func list(_ numbers: [Int]) -> String {
    let shown = numbers.prefix(12).map(String.init).joined(separator: ", ")
    return numbers.count > 12 ? "\(shown) and \(numbers.count - 12) more" : shown
  }
}

extension Sequence<Int> {
  /// The sum, or the largest integer where it does not fit: counts may come from a damaged record.
  var saturatingSum: Int {
    var total = 0
    for value in self {
      let (sum, overflow) = total.addingReportingOverflow(value)
      if overflow { return value < 0 ? Int.min : Int.max }
      total = sum
    }
    return total
  }
}
