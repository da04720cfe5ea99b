import Ledger
import Planning
import Scheduling

@testable import Coordination

/// A store whose committed rows survive every crash. What is committed is checked against what rows may follow rows.
struct SimulatedStore {
  struct Sweep {
    var record: SweepRecord
    var plan: Plan
    /// Its coordinator was told that all its runs are final.
    var isOver = false
  }

  var sweeps: [Sweep] = []
  var runs: [RunRecord] = []
  var attempts: [AttemptRecord] = []
  var isFull = false
  /// It takes rows, but no files.
  var hasNoRoom = false
  var violations: [String] = []

  mutating func add(_ rows: SweepRows) {
    sweeps.append(Sweep(record: rows.sweep, plan: rows.plan))
    runs += rows.runs
  }

  func rows(of sweep: Sweep) -> SweepRows {
    SweepRows(
      sweep: sweep.record, plan: sweep.plan, runs: runs.filter { $0.sweep == sweep.record.id },
      attempts: attempts.filter { $0.sweep == sweep.record.id })
  }

  func isCancelled(_ sweep: String) -> Bool {
    sweeps.contains { $0.record.id == sweep && $0.record.state == .cancelling }
  }

  func attempt(_ id: String) -> AttemptRecord? { attempts.first { $0.id == id } }
  func attempts(of run: String) -> [AttemptRecord] { attempts.filter { $0.run == run } }

  mutating func apply(_ writes: [LedgerWrite]) throws {
    if isFull { throw LedgerError(code: .diskFull, message: "full") }
    for write in writes {
      switch write {
      case .begin(let attempt): begin(attempt)
      case .attempt(let attempt): update(attempt)
      case .run(_, let name, let state, let why):
        guard let index = runs.firstIndex(where: { $0.name == name }) else { return }
        if runs[index].state.isFinal { violations.append("\(name) goes from \(runs[index].state) to \(state)") }
        runs[index].state = state
        runs[index].why = why
      case .files(_, let run, let count, _, _):
        if let index = runs.firstIndex(where: { $0.name == run }) { runs[index].fileCount = count }
      case .event: break
      }
    }
    for run in runs {
      let counted = attempts(of: run.name).filter { $0.state.isOpen || $0.state == .gathered }
      if Set(counted.map(\.number)).count > 1 { violations.append("\(run.name) has several attempts that count") }
      let isOpen = counted.contains(where: \.state.isOpen)
      if isOpen == (run.state.isFinal || run.state == .queued) {
        violations.append("\(run.name) is \(run.state) while its attempts are \(attempts(of: run.name).map(\.state))")
      }
    }
  }

  private mutating func begin(_ attempt: AttemptRecord) {
    let earlier = attempts(of: attempt.run).filter { $0.number != attempt.number }
    let last = earlier.map(\.number).max() ?? 0
    if attempts.contains(where: { $0.id == attempt.id }) || attempt.number != last + 1 {
      violations.append("\(attempt.id) is begun twice")
    }
    if earlier.contains(where: { $0.state != .lost && $0.state != .failed }) {
      violations.append("\(attempt.run) is tried again after \(earlier.map(\.state))")
    }
    attempts.append(attempt)
  }

  private mutating func update(_ attempt: AttemptRecord) {
    guard let index = attempts.firstIndex(where: { $0.id == attempt.id }) else {
      violations.append("\(attempt.id) was never begun")
      return
    }
    let old = attempts[index]
    if !old.state.isOpen, old.state != attempt.state { violations.append("\(old.id) is \(old.state), and reopened") }
    if attempt.state == .gathered, old.state != .exited {
      violations.append("\(old.id) is gathered while \(old.state)")
    }
    if old.isFenced, !old.state.isOpen, !attempt.isFenced { violations.append("\(old.id) is unfenced again") }
    attempts[index] = attempt
  }
}
