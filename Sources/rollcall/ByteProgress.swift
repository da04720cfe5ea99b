import Foundation

/// One line on a terminal's standard error that says how far long work over bytes is; nothing elsewhere.
final class ByteProgress {
  private let isShown = Console.isErrorTerminal
  private let clock = ContinuousClock()
  private var next: ContinuousClock.Instant
  private var isDrawn = false

  init() { next = clock.now }

  /// - Parameter total: 0 where it is not known.
  func show(_ what: String, done: Int, total: Int) {
    guard isShown, clock.now >= next else { return }
    next = clock.now + .milliseconds(100)
    let share =
      total > 0
      ? "\(Self.size(done)) of \(Self.size(total)) (\(Int(100 * min(max(Double(done) / Double(total), 0), 1))) %)  "
      : ""
    Console.draw("\r\u{1B}[K" + (share + what).prefix(Console.width - 1))
    isDrawn = true
  }

  /// Takes the line away.
  func end() {
    if isDrawn { Console.draw("\r\u{1B}[K") }
    isDrawn = false
  }

  deinit { end() }

  static func size(_ bytes: Int) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"]
    var (value, unit) = (Double(bytes), 0)
    while value >= 1000, unit < units.count - 1 { (value, unit) = (value / 1000, unit + 1) }
    return String(format: unit == 0 ? "%.0f %@" : "%.1f %@", value, units[unit])
  }
}
