import Coordination
import Foundation
import Scheduling
import Synchronization

/// Shows a person what happens while a sweep runs.
protocol ProgressDisplay: Sendable {
  func show(_ progress: Coordination.Progress)
  /// Leaves the terminal as it should stand.
  func end()
}

/// Not a terminal: only what needs a person.
struct QuietDisplay: ProgressDisplay {
  func show(_ progress: Coordination.Progress) {
    if let words = progress.alarm { Console.error("rollcall: \(words)") }
  }

  func end() {}
}

extension Coordination.Progress {
  /// One line on what needs a person, or no longer does.
  var alarm: String? {
    switch self {
    case .hostTrouble(let host, let message): "host \(host): \(shown(message))"
    case .storeFull(let message):
      "no room in the store; nothing is lost, and all goes on by itself when there is some: \(shown(message))"
    case .storeHasRoom: "there is room in the store again"
    case .hostReady, .run, .comparing: nil
    }
  }
}

/// A table on standard error that is drawn anew while a sweep runs: cells × state, hosts × GPUs, bytes gathered, time
/// left, as the store has them.
final class LiveDisplay: ProgressDisplay {
  private struct State {
    var note = ""
    var drawn = 0
    var last: ContinuousClock.Instant?
    var isOver = false
  }

  private let state = Mutex(State())
  /// The lines to show; nil: the store cannot be read now.
  private let table: @Sendable () -> [String]?

  init(table: @escaping @Sendable () -> [String]?) {
    self.table = table
  }

  /// Draws every second while `body` works: time passes even where nothing happens.
  func during<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) async throws -> Value {
    try await withThrowingTaskGroup(of: Value?.self) { group in
      group.addTask { try await body() }
      group.addTask {
        while !Task.isCancelled {
          try? await Task.sleep(for: .seconds(1))
          self.state.withLock { self.draw(&$0) }
        }
        return nil
      }
      defer { group.cancelAll() }
      while let value = try await group.next() {
        if let value { return value }
      }
      throw CancellationError()
    }
  }

  func show(_ progress: Coordination.Progress) {
    state.withLock { state in
      switch progress {
      case .hostReady(let host, let summary): state.note = "host \(host): \(shown(summary))"
      case .hostTrouble, .storeFull, .storeHasRoom:
        erase(&state)
        if let words = progress.alarm { Console.error(words) }
        state.last = nil
      case .run: break
      case .comparing(let done, let total, let pair): state.note = "comparing \(done + 1) of \(total): \(pair)"
      }
      // A thousand short runs are no thousand drawings.
      if let last = state.last, ContinuousClock.now - last < .milliseconds(200) { return }
      draw(&state)
    }
  }

  func end() {
    state.withLock { state in
      erase(&state)
      state.isOver = true
    }
  }

  private func erase(_ state: inout State) {
    if state.drawn > 0 { Console.draw("\u{1B}[\(state.drawn)A\u{1B}[J") }
    state.drawn = 0
  }

  private func draw(_ state: inout State) {
    guard !state.isOver, let lines = table(), !lines.isEmpty else { return }
    erase(&state)
    // What has left the screen at its top cannot be drawn over.
    let shown = ([lines[0], state.note] + lines.dropFirst()).filter { !$0.isEmpty }.prefix(Console.errorHeight - 1)
    let width = Console.errorWidth - 1
    Console.draw(shown.map { $0.prefix(width) + "\n" }.joined())
    state.drawn = shown.count
    state.last = .now
  }
}

/// How far one long piece of work is, on one line of standard error.
///
/// Drawn on a terminal only, after the first second, so that short work says nothing.
final class ProgressBar: Sendable {
  private struct State {
    var done = 0
    var total = 0
    var isDrawn = false
    /// When the first figures came: the rate counts from there.
    var measuringSince: ContinuousClock.Instant?
  }

  private let state = Mutex(State())
  private let verb: String
  private let width: Int
  private let start: ContinuousClock.Instant

  private init(_ verb: String, width: Int) {
    self.verb = verb
    self.width = width
    start = .now
  }

  /// Shows how far `body` is by what it reports; leaves the line empty.
  static func during<Value: Sendable>(
    _ verb: String, _ body: @escaping @Sendable (@escaping MeasuringProgress) async throws -> Value
  ) async throws -> Value {
    guard Console.isErrorTerminal else { return try await body { _, _ in } }
    let bar = ProgressBar(verb, width: Console.errorWidth)
    return try await withThrowingTaskGroup(of: Value?.self) { group in
      group.addTask { try await body { bar.set($0, of: $1) } }
      group.addTask {
        // Ends with the group; a sleep that is cut short is no error here.
        try? await Task.sleep(for: .seconds(1))
        while !Task.isCancelled {
          bar.draw()
          try? await Task.sleep(for: .milliseconds(200))
        }
        return nil
      }
      defer { bar.erase() }
      while let value = try await group.next() {
        guard let value else { continue }
        group.cancelAll()
        return value
      }
      throw CancellationError()
    }
  }

  private func set(_ done: Int, of total: Int) {
    state.withLock { state in
      if state.measuringSince == nil { state.measuringSince = .now }
      (state.done, state.total) = (done, total)
    }
  }

  private func draw() {
    state.withLock { state in
      let now = ContinuousClock.Instant.now
      let line = Self.line(
        verb, done: state.done, total: state.total, elapsed: (now - start).inSeconds,
        measuring: state.measuringSince.map { (now - $0).inSeconds })
      Console.draw("\r\u{1B}[K" + line.prefix(max(width - 1, 1)))
      state.isDrawn = true
    }
  }

  private func erase() {
    state.withLock { state in
      if state.isDrawn { Console.draw("\r\u{1B}[K") }
      state.isDrawn = false
    }
  }

  /// `comparing [#####               ] 1200 of 4800 captures, 310/s, 12 s left`; before the first figures
  /// `comparing: reading the files, 3 s`.
  ///
  /// - Parameters:
  ///   - elapsed: seconds since the beginning.
  ///   - measuring: seconds since the first figures; nil before them.
  static func line(_ verb: String, done: Int, total: Int, elapsed: Double, measuring: Double?) -> String {
    guard let measuring, total > 0 else { return "\(verb): reading the files, \(Int(elapsed)) s" }
    let share = min(1, max(0, Double(done) / Double(total)))
    let cells = 20
    let filled = Int(share * Double(cells))
    let bar = String(repeating: "#", count: filled) + String(repeating: " ", count: cells - filled)
    var text = "\(verb) [\(bar)] \(done) of \(total) captures"
    if done > 0, measuring > 0 {
      let rate = Double(done) / measuring
      text += ", \(rate >= 10 ? "\(Int(rate))" : "\((rate * 10).rounded() / 10)")/s"
      text += ", \(span(Double(total - done) / rate)) left"
    }
    return text
  }

  private static func span(_ seconds: Double) -> String {
    let whole = Int(min(seconds.rounded(.up), 359_999))
    if whole < 100 { return "\(whole) s" }
    if whole < 6_000 { return "\(whole / 60) min" }
    return "\(whole / 3600) h \(whole % 3600 / 60) min"
  }
}

extension Duration {
  fileprivate var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}
