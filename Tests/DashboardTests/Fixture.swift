import Foundation
import Ledger
import Planning
import Scheduling
import Synchronization
import TestSupport

@testable import Dashboard

/// A dashboard that listens on a free port of loopback, over a store of its own.
struct Fixture: Sendable {
  var scratch: Scratch
  var ledger: SweepLedger
  var address: ListenAddress
  var asked: Asked

  var url: String { "http://127.0.0.1:\(address.port)" }

  /// What the pages asked of the rest of the program.
  final class Asked: Sendable {
    private let state = Mutex<[String]>([])
    private let text = Mutex("")
    private let answers = Mutex<(given: Int, isHeld: Bool)>((0, false))

    /// How often a host was asked for a log.
    var logCount: Int { answers.withLock { $0.given } }

    /// Holds back what hosts answer.
    func hold(_ isHeld: Bool) { answers.withLock { $0.isHeld = isHeld } }

    func answer() async throws {
      answers.withLock { $0.given += 1 }
      while answers.withLock({ $0.isHeld }) { try await Task.sleep(for: .milliseconds(10)) }
    }

    var all: [String] { state.withLock { $0 } }

    func note(_ what: String) { state.withLock { $0.append(what) } }

    /// What the log holds.
    var log: String {
      get { text.withLock { $0 } }
      set { text.withLock { $0 = newValue } }
    }
  }

  static func with(
    token: String? = nil, hosts: Set<String> = [], host: String = "127.0.0.1",
    _ body: @escaping @Sendable (Fixture) async throws -> Void
  ) async throws {
    try await Scratch.with { scratch in
      let ledger = try SweepLedger(store: scratch.path)
      let asked = Asked()
      let hooks = DashboardHooks(
        cancel: { sweep in
          asked.note("cancel \(sweep)")
          try ledger.requestCancel(sweep: sweep, now: 2000)
        },
        retry: { sweep, runs in asked.note("retry \(sweep) \(runs.joined(separator: " "))") },
        log: { attempt, stream, offset in
          try await asked.answer()
          let bytes = Array("\(stream.rawValue) of \(attempt.id)\n\(asked.log)".utf8)
          let from = min(offset ?? 0, bytes.count)
          return .init(
            bytes: Array(bytes[from...]), offset: from, isEnd: try ledger.attempt(attempt.id)?.state.isOpen != true)
        },
        waiting: { _, _ in ["waits: no host has 8 GPUs", "local: has 0"] })
      let server = try DashboardServer(
        ledger: ledger, store: scratch.path, address: ListenAddress(host: host, port: 0),
        token: try token.map { try AccessToken($0) }, hosts: hosts, hooks: hooks)
      let (addresses, continuation) = AsyncStream.makeStream(of: ListenAddress.self)
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await server.run { continuation.yield($0) } }
        group.addTask {
          for await address in addresses {
            try await body(Fixture(scratch: scratch, ledger: ledger, address: address, asked: asked))
            return
          }
        }
        defer { group.cancelAll() }
        try await group.next()
      }
    }
  }

  /// A sweep of world size 1, 2, 8 × two backends.
  func sweep(_ id: String, job: String = "tp-sweep", backends: [String] = ["eager", "compile"]) throws -> [RunRecord] {
    let names = backends.map { "'\($0.replacing("'", with: "''"))'" }.joined(separator: ", ")
    let plan = try Planner.plan(
      text: """
        name: \(job)
        matrix:
          world_size: [1, 2, 8]
          backend: [\(names)]
        run: {command: "true"}
        """, path: "/nowhere/job.yaml")
    let runs = plan.cells.enumerated().map { index, cell in
      RunRecord(sweep: id, name: "run-\(index)", position: index, cell: cell.id, repetition: 1)
    }
    try ledger.create(sweep: id, plan: plan, fleet: FleetReader.thisMachine(), runs: runs, now: 1_700_000_000)
    return runs
  }

  /// Puts a run into a state, with an attempt.
  func set(_ run: RunRecord, _ state: RunState, why: String? = nil, host: String = "local") throws {
    var attempt = AttemptRecord(
      id: "\(run.sweep)-\(run.name)", sweep: run.sweep, run: run.name, number: 1, host: host, token: "t", gpus: 1,
      now: 1_700_000_000)
    attempt.facts = ["gpus": "NVIDIA H200, NVIDIA H200"]
    var writes: [LedgerWrite] = []
    if try ledger.attempt(attempt.id) == nil { writes.append(.begin(attempt)) }
    attempt.state = state.isFinal ? .gathered : .running
    attempt.started = 1_700_000_001
    attempt.ended = state.isFinal ? 1_700_000_042 : nil
    writes += [.attempt(attempt), .run(sweep: run.sweep, name: run.name, state: state, why: why)]
    try ledger.apply(writes)
  }

  struct Answer {
    var status: Int
    var head: String
    var body: String

    /// The value of a header; nil where there is none.
    func header(_ name: String) -> String? {
      for line in head.split(separator: "\r\n") where line.lowercased().hasPrefix(name.lowercased() + ":") {
        return line.dropFirst(name.count + 1).trimmingCharacters(in: .whitespaces)
      }
      return nil
    }

    /// The value of the form's hidden field.
    var formToken: String? {
      body.firstMatch(of: #/name="form" value="([0-9a-f]+)"/#).map { String($0.1) }
    }

    var cookie: String? { header("Set-Cookie")?.split(separator: ";").first.map(String.init) }
  }

  /// One request by curl, its path sent as it is.
  func ask(_ path: String, _ options: String..., body: String = "") async throws -> Answer {
    try await ask(path, options: options, body: body)
  }

  func ask(_ path: String, options: [String], body: String = "") async throws -> Answer {
    let result = try await runTool(
      "curl", ["-s", "-i", "--path-as-is", "--max-time", "60"] + options + [url + path], input: body)
    let halves = result.output.split(separator: "\r\n\r\n", maxSplits: 1, omittingEmptySubsequences: false)
    // 100 Continue comes before the answer.
    if halves[0].hasPrefix("HTTP/1.1 100"), halves.count > 1 {
      let rest = halves[1].split(separator: "\r\n\r\n", maxSplits: 1, omittingEmptySubsequences: false)
      return Self.answer(rest)
    }
    return Self.answer(halves)
  }

  private static func answer(_ halves: [Substring]) -> Answer {
    let words = halves[0].split(separator: " ")
    return Answer(
      status: words.count > 1 ? Int(words[1]) ?? 0 : 0, head: String(halves[0]),
      body: halves.count > 1 ? String(halves[1]) : "")
  }
}
