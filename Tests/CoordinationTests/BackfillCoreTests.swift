import Launching
import Ledger
import OrderedCollections
import Planning
import Scheduling
import TestSupport
import Testing
import Transports

@testable import Coordination

/// The scheduler's promise as the coordinator keeps it, with the time that launching and ending take beside a limit.
@Suite struct BackfillCoreTests {
  /// Hosts that answer at once and runs that take their time.
  private struct World {
    var core: CoordinatorCore
    var time = 0.0
    /// By run: how long it takes.
    let durations: [String: Double]
    /// Attempt → its run and when it ends.
    var running: [String: (run: String, end: Double)] = [:]
    var ended: Set<String> = []
    /// When a run's command began.
    var began: [String: Double] = [:]

    init(
      hosts: [Fleet.Host], cells: [(gpus: Int, nodes: Int, limit: Double)], durations: [Double]
    ) {
      core = CoordinatorCore(
        hosts: hosts, stragglers: [], settings: Coordinator.Settings(), nonce: "n", at: Moment(wall: 1e9, steady: 0))
      let plan = Plan(
        name: "s", baseDirectory: "/", axes: [],
        cells: cells.enumerated().map { index, cell in
          Cell(
            id: "c\(index)", values: [:],
            run: RunSpec(command: "true", gpus: cell.gpus, nodes: cell.nodes, timeout: cell.limit))
        })
      let runs = cells.indices.map {
        RunRecord(sweep: "s", name: "r\($0)", position: $0, cell: "c\($0)", repetition: 1)
      }
      self.durations = Dictionary(uniqueKeysWithValues: durations.enumerated().map { ("r\($0)", $1) })
      tell([
        .added(
          SweepRows(
            sweep: SweepRecord(id: "s", job: "s", state: .active, created: 0), plan: plan, runs: runs, attempts: []))
      ])
    }

    private mutating func tell(_ events: [Event]) {
      var events = events
      repeat {
        let output = core.step(events, at: Moment(wall: 1e9 + time, steady: time)) { _ in }
        events = output.commands.map { .answered($0.id, answer($0)) }
        wakeAt = output.wakeAt
      } while !events.isEmpty
    }

    private var wakeAt = 0.0

    private mutating func answer(_ command: Command) -> Answer {
      switch command.action {
      case .enrol:
        .facts(
          HostFacts(
            bootID: "b", home: "/", workdir: "/w", cpuCount: 1, gpuNames: Array(repeating: "A", count: 8),
            gpuIDs: (0..<8).map(String.init), gpuDriver: nil, freeDiskBytes: 1 << 40, clockOffset: 0, versions: [:]))
      case .launch(let attempt, let run):
        begin(attempt, run.name)
      case .release: .released
      case .stop: .stopped
      case .poll(let attempts): .statuses(Dictionary(uniqueKeysWithValues: attempts.map { ($0, status(of: $0)) }))
      case .gather: .gathered(GatheredFiles(count: 0, bytes: 0, missing: []))
      }
    }

    private mutating func begin(_ attempt: AttemptRecord, _ run: String) -> Answer {
      began[run] = began[run] ?? time
      running[attempt.id] = (run, time + (durations[run] ?? 0))
      return .launched(.started, directory: "/w")
    }

    private func status(of attempt: String) -> AttemptStatus {
      guard let (_, end) = running[attempt] else { return .absent }
      guard end <= time else { return .running(outputBytes: 0) }
      return .exited(ExitRecord(code: 0, signal: nil, started: 0, ended: 0, reason: nil))
    }

    /// Until every run has begun.
    mutating func run() -> Bool {
      for _ in 0..<100_000 {
        if began.count == durations.count { return true }
        let next = min(wakeAt, running.values.map(\.end).filter { $0 > time }.min() ?? .infinity)
        guard next < .infinity else { return false }
        time = max(time + 0.001, next)
        tell([.tick])
      }
      return false
    }
  }

  /// Eight small runs that end one after the other, a large one, and small ones without end, which would all end "in
  /// time" if each of them put off that time a little.
  @Test(arguments: [1, 2], [false, true])
  func smallRunsOneAfterTheOtherDoNotPutOffALargeOneForEver(nodes: Int, hasExclusive: Bool) throws {
    let hosts = (0..<nodes).map {
      Fleet.Host(name: "h\($0)", address: .local, gpus: .count(8), isExclusive: hasExclusive && $0 == 1)
    }
    let small = 8
    let cells = (0..<200).map { index in
      index == small ? (gpus: 8, nodes: nodes, limit: 3600.0) : (gpus: 1, nodes: 1, limit: 3600.0)
    }
    // Every few seconds one of them ends.
    let durations = (0..<200).map { 20 + Double($0 % 8) * 7 }
    var world = World(hosts: hosts, cells: cells, durations: durations)
    let isDone = world.run()
    #expect(isDone)
    let start = try #require(world.began["r\(small)"])
    let overtakers = (small + 1..<200).filter { (world.began["r\($0)"] ?? .infinity) < start }
    // Whoever began with the first ones is sure to end with them; nobody later.
    #expect(overtakers.allSatisfy { world.began["r\($0)"] == 0 }, "\(overtakers)")
    #expect(start < 120, "the large one began after \(start) s")
  }
}
