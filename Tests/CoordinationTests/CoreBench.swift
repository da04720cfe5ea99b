import Launching
import Ledger
import OrderedCollections
import Planning
import Scheduling
import Testing
import Transports

@testable import Coordination

/// A core with its clock and what it has asked for.
struct CoreBench {
  var core: CoordinatorCore
  var time = 0.0
  var writes: [LedgerWrite] = []
  var commands: [Command] = []
  var last = Output()
  /// What a person was told.
  var alarms: [String] = []

  init(
    hosts: [String], at address: Fleet.Host.Address = .local, addresses: [String: String] = [:], gpus: Int = 1,
    nodes: Int = 1, runs count: Int = 1,
    retries: Int = 1, state: SweepRecord.State = .active,
    attempts: [AttemptRecord] = [], stragglers: [AttemptRecord] = []
  ) {
    core = CoordinatorCore(
      hosts: hosts.map {
        Fleet.Host(name: $0, address: address, gpus: .count(1), networkAddress: addresses[$0])
      }, stragglers: stragglers,
      settings: Coordinator.Settings(), nonce: "n", at: Moment(wall: 1e9, steady: 0))
    let cells = (0..<count).map {
      Cell(id: "c\($0)", values: [:], run: RunSpec(command: "true", gpus: gpus, nodes: nodes, retries: retries))
    }
    var runs = (0..<count).map { RunRecord(sweep: "s", name: "r\($0)", position: $0, cell: "c\($0)", repetition: 1) }
    for attempt in attempts where attempt.state.isOpen {
      for index in runs.indices where runs[index].name == attempt.run { runs[index].state = .running }
    }
    tell(
      .added(
        SweepRows(
          sweep: SweepRecord(id: "s", job: "s", state: state, created: 0),
          plan: Plan(name: "s", baseDirectory: "/", axes: [], cells: cells), runs: runs, attempts: attempts)))
  }

  mutating func tell(_ events: Event..., wall: Double? = nil) { tell(events, wall: wall) }

  mutating func tell(_ events: [Event], wall: Double? = nil) {
    last = core.step(events, at: Moment(wall: wall ?? 1e9 + time, steady: time)) { writes += $0 }
    commands += last.commands
    alarms += last.progress.compactMap {
      switch $0 {
      case .hostTrouble(let host, let message): "\(host): \(message)"
      case .storeFull(let message): "store: \(message)"
      case .storeHasRoom: "store: room"
      case .hostReady, .run, .comparing: nil
      }
    }
  }

  /// Answers the newest command for which `answer` has one.
  mutating func answer(_ answer: (Command) -> Answer?) {
    for index in commands.indices.reversed() {
      guard let reply = answer(commands[index]) else { continue }
      let command = commands.remove(at: index)
      tell(.answered(command.id, reply))
      return
    }
    Issue.record("nothing of the kind was asked: \(commands)")
  }

  mutating func enrol(_ host: String) {
    answer { $0.host == host && $0.action == .enrol ? .facts(CoreBench.facts) : nil }
  }

  mutating func trouble(_ host: String, _ code: TransportError.Code = .unreachable) {
    answer { $0.host == host ? .trouble(TransportError(code: code, host: host, message: "\(code)")) : nil }
  }

  mutating func pass(_ seconds: Double) {
    time += seconds
    tell(.tick)
  }

  static let facts = HostFacts(
    bootID: "b", home: "/", workdir: "/w", cpuCount: 1, gpuNames: ["A"], gpuIDs: ["0"], gpuDriver: nil,
    freeDiskBytes: 1 << 40, clockOffset: 0, versions: [:])

  var launches: [AttemptRecord] {
    commands.compactMap { if case .launch(let attempt, _) = $0.action { attempt } else { nil } }
  }

  var stops: [String] {
    commands.compactMap {
      if case .stop(let attempt, let reason) = $0.action { "\(attempt.id) \(reason)" } else { nil }
    }
  }

  func state(of run: String) -> RunState? {
    writes.compactMap { if case .run(_, run, let state, _) = $0 { state } else { nil } }.last
  }

  /// Of all runs, in the order in which they came.
  var states: [RunState] { writes.compactMap { if case .run(_, _, let state, _) = $0 { state } else { nil } } }

  var whys: [String] { writes.compactMap { if case .run(_, _, _, let why) = $0 { why } else { nil } } }

  var gathers: Int { commands.count { if case .gather = $0.action { true } else { false } } }
}
