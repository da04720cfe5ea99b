import Launching
import Ledger
import OrderedCollections
import Planning
import Scheduling
import Testing
import Transports

@testable import Coordination

/// A core that goes on for months keeps what goes on, and nothing of what has ended.
@Suite struct ForgettingTests {
  /// A host that does at once what it is asked, and a sweep that never ends: its first run holds the host's only GPU, and
  /// the second one waits for it.
  private struct Night {
    var bench = CoreBench(hosts: ["a"], runs: 2)
    /// What the ledger has of the others.
    var rows: [String: SweepRows] = [:]
    var launched: [String] = []
    /// By attempt; 0 where none is named.
    var exitCodes: [String: Int] = [:]
    private var committed = 0

    static func sweep(_ name: String, runs count: Int) -> SweepRows {
      let cell = Cell(id: "c", values: [:], run: RunSpec(command: "true", retries: 0))
      let runs = (0..<count).map {
        RunRecord(sweep: name, name: "r\($0)", position: $0, cell: "c", repetition: $0 + 1)
      }
      return SweepRows(
        sweep: SweepRecord(id: name, job: name, state: .active, created: 0),
        plan: Plan(name: name, baseDirectory: "/", axes: [], cells: [cell], repetitions: count), runs: runs,
        attempts: [])
    }

    /// Drives a sweep to its end.
    mutating func drive(_ sweep: SweepRows) {
      rows[sweep.sweep.id] = sweep
      bench.tell(.added(sweep))
      for _ in 0..<100 {
        let asked = bench.commands
        bench.commands = []
        let answers = asked.map { Event.answered($0.id, answer($0)) }
        bench.tell(answers)
        commit()
        if bench.last.finished == [sweep.sweep.id] { return }
        if bench.commands.isEmpty { bench.pass(1) }
      }
      Issue.record("\(sweep.sweep.id) does not end")
    }

    private mutating func answer(_ command: Command) -> Answer {
      switch command.action {
      case .enrol: return .facts(CoreBench.facts)
      case .launch(let attempt, _):
        launched.append(attempt.id)
        return .launched(.started, directory: "/w/\(attempt.id)")
      case .poll(let ids):
        return .statuses(
          Dictionary(
            uniqueKeysWithValues: ids.map { id in
              if id.hasPrefix("s-") { return (id, .running(outputBytes: 0)) }
              let record = ExitRecord(code: exitCodes[id] ?? 0, signal: nil, started: 1, ended: 2, reason: nil)
              return (id, .exited(record))
            }))
      case .gather: return .gathered(GatheredFiles(count: 0, bytes: 0, missing: []))
      case .stop: return .stopped
      case .release: return .released
      }
    }

    /// Brings the rows up to what was committed.
    private mutating func commit() {
      for write in bench.writes[committed...] {
        switch write {
        case .begin(let attempt): rows[attempt.sweep]?.attempts.append(attempt)
        case .attempt(let attempt):
          guard let index = rows[attempt.sweep]?.attempts.firstIndex(where: { $0.id == attempt.id }) else { continue }
          rows[attempt.sweep]?.attempts[index] = attempt
        case .run(let sweep, let name, let state, let why):
          guard let index = rows[sweep]?.runs.firstIndex(where: { $0.name == name }) else { continue }
          rows[sweep]?.runs[index].state = state
          rows[sweep]?.runs[index].why = why
        case .files, .event: continue
        }
      }
      committed = bench.writes.count
    }
  }

  /// Values that a value is made of, those of its collections among them.
  private static func size(of value: Any) -> Int {
    Mirror(reflecting: value).children.reduce(1) { $0 + size(of: $1.value) }
  }

  /// What is kept when a night's sweeps have ended and something has happened since.
  private static func size(after night: inout Night) -> Int {
    night.bench.pass(1000)
    #expect(night.bench.core.staleness.isEmpty)
    return size(of: night.bench.core)
  }

  @Test func whatIsKeptDoesNotGrowWithTheSweepsThatHaveEnded() throws {
    var night = Night()
    var sizes: [Int] = []
    for number in 0..<40 {
      night.drive(Night.sweep("n\(number)", runs: 5))
      if number < 3 || number >= 37 { sizes.append(Self.size(after: &night)) }
    }
    #expect(night.launched.count == 1 + 40 * 5)
    #expect(night.rows.values.allSatisfy { $0.runs.allSatisfy { $0.state == .succeeded } })
    #expect(night.bench.core.queue.count == 1, "others wait all the time")
    let early = try #require(sizes.prefix(3).max())
    let late = try #require(sizes.suffix(3).max())
    // A place for one more sweep, which is free now, is all there may be.
    #expect(late - early < 37, "less than a value for each sweep: \(sizes)")
    #expect(night.bench.core.sweeps.count <= 3)
  }

  @Test func aSweepThatWasForgottenIsDrivenAgainByItsRows() throws {
    var night = Night()
    night.exitCodes = ["n0-run2-try1": 3]
    for number in 0..<4 { night.drive(Night.sweep("n\(number)", runs: 3)) }
    var rows = try #require(night.rows["n0"])
    #expect(rows.runs.map(\.state) == [.succeeded, .failed, .succeeded])
    #expect(!night.bench.core.sweeps.contains { $0?.id == "n0" })
    rows.runs[1].state = .queued
    night.launched = []
    night.drive(rows)
    #expect(night.launched == ["n0-run2-try2"])
    #expect(night.rows["n0"]?.runs.map(\.state) == [.succeeded, .succeeded, .succeeded])
    #expect(night.rows["n0"]?.attempts.count == 4)
  }

  @Test func aSweepIsKeptAsLongAsAHostMayHaveSomethingOfIt() throws {
    var bench = CoreBench(hosts: ["a"], retries: 0)
    bench.enrol("a")
    bench.answer { if case .launch = $0.action { .launched(.started, directory: "/w/x") } else { nil } }
    bench.pass(10)
    bench.trouble("a")
    while bench.state(of: "r0") != .lost, bench.time < 4000 {
      bench.pass(70)
      if !bench.commands.isEmpty { bench.trouble("a") }
    }
    #expect(bench.state(of: "r0") == .lost)
    bench.pass(70)
    #expect(bench.core.sweeps[0]?.isFinished == true)
    #expect(bench.core.attempts.count == 1, "it is to be stopped when the host is back")
    bench.enrol("a")
    bench.pass(1)
    #expect(bench.stops == ["s-run1-try1 superseded"])
    bench.answer { if case .stop = $0.action { .stopped } else { nil } }
    bench.pass(1)
    #expect(bench.core.attempts.isEmpty && bench.core.runs.isEmpty)
    #expect(bench.core.staleness.isEmpty)
  }
}
