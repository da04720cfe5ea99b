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
    if case .hostTrouble(let host, let message) = progress { Console.error("rollcall: host \(host): \(message)") }
  }

  func end() {}
}

/// A table on standard error that is drawn anew at each change: one line a run that is under way or ended badly,
/// counts for the rest.
final class LiveDisplay: ProgressDisplay {
  private struct State {
    var names: [String]
    var runs: [String: (state: RunState, host: String?, why: String?, since: Date)] = [:]
    var note = ""
    var drawn = 0
  }

  private let state: Mutex<State>

  init(runs: [String]) {
    state = Mutex(State(names: runs))
  }

  func show(_ progress: Coordination.Progress) {
    state.withLock { state in
      switch progress {
      case .hostReady(let host, let summary): state.note = "host \(host): \(summary)"
      case .hostTrouble(let host, let message):
        erase(&state)
        Console.error("host \(host): \(message)")
      case .run(let name, let run, let host, let why):
        state.runs[name] = (run, host ?? state.runs[name]?.host, why, Date())
      case .comparing(let done, let total, let pair): state.note = "comparing \(done + 1) of \(total): \(pair)"
      }
      draw(&state)
    }
  }

  func end() {
    state.withLock { erase(&$0) }
  }

  private func erase(_ state: inout State) {
    if state.drawn > 0 { Console.draw("\u{1B}[\(state.drawn)A\u{1B}[J") }
    state.drawn = 0
  }

  private func draw(_ state: inout State) {
    erase(&state)
    var lines: [String] = []
    let width = state.names.map(\.count).max() ?? 0
    var counts: [RunState: Int] = [:]
    for name in state.names {
      let run = state.runs[name]
      counts[run?.state ?? .queued, default: 0] += 1
      guard let run, ![.queued, .succeeded].contains(run.state) else { continue }
      let padded = name.padding(toLength: width, withPad: " ", startingAt: 0)
      lines.append("  \(padded)  \(run.state.rawValue)  \(run.host ?? "")  \(run.why ?? "")")
    }
    let summary = RunState.allCases.compactMap { state in counts[state].map { "\($0) \(state.rawValue)" } }
    let shown = lines.prefix(20) + [summary.joined(separator: ", "), state.note].filter { !$0.isEmpty }
    for line in shown { Console.draw(line.prefix(Console.width - 1) + "\n") }
    state.drawn = shown.count
  }
}
