import ArgumentParser
import Coordination
import Foundation
import Launching
import Ledger
import Planning
import Scheduling
import Transports

struct ExplainCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "explain",
    abstract: "Say why a run waits, host by host, or how it came to its end.",
    discussion: """
      Asks the hosts how they are now and the scheduler what it would decide; starts nothing.

      Example: rollcall explain world_size=8
      """)

  @Argument(help: "The run: its name or a part of it that no other run of the sweep has.")
  var run: String

  @Option(name: .long, help: "The sweep: its name, the beginning of it, or `last`.")
  var sweep = "last"

  @OptionGroup var store: StoreOptions

  var wantsJSON: Bool { store.json }

  /// `rollcall.explain/1`.
  private struct Document: Encodable {
    struct Host: Encodable {
      var host: String
      var why: String
    }

    struct Event: Encodable {
      var at: String
      var kind: String
      var attempt: String?
      var detail: String
    }

    var schema = "rollcall.explain/1"
    var sweep: String
    var run: String
    var state: RunState
    /// The answer in one sentence.
    var answer: String
    var hosts: [Host] = []
    var events: [Event]
  }

  func run() async throws {
    let ledger = try SweepLedger(store: store.directory)
    let record = try ledger.sweep(named: sweep)
    let runs = try ledger.runs(of: record.id)
    let run = try LogsCommand.find(self.run, in: runs, sweep: record.id)
    let last = try ledger.attempts(of: record.id).last { $0.run == run.name }
    let events = try ledger.events(of: record.id, limit: 100_000).filter { $0.run == run.name }
    var document = Document(
      sweep: record.id, run: run.name, state: run.state, answer: Self.answer(run, last),
      events: events.suffix(20).map {
        .init(at: StatusTable.time($0.at), kind: $0.kind, attempt: $0.attempt, detail: shown($0.detail))
      })
    if run.state == .queued { try await explainWaiting(run, record, ledger, &document) }
    if store.json {
      Console.print(try JSONOutput.text(document))
      return
    }
    var lines = ["\(run.name): \(document.answer)"] + document.hosts.map { "  \($0.host): \($0.why)" }
    if !document.events.isEmpty {
      lines += ["", "what happened"] + document.events.map { "  \($0.at)  \($0.kind)  \($0.detail)" }
    }
    Console.print(lines.joined(separator: "\n"))
  }

  private static func answer(_ run: RunRecord, _ attempt: AttemptRecord?) -> String {
    let place = attempt.map { " attempt \($0.number) on \($0.host)" } ?? ""
    let why = run.why.map { ": " + shown($0) } ?? ""
    switch run.state {
    case .queued: return "waits"
    case .launching: return "is being launched:\(place)"
    case .running: return "runs:\(place)"
    case .gathering: return "has ended; its files are being fetched:\(place)"
    case .succeeded, .failed, .timedOut, .stalled, .cancelled, .lost: return "\(run.state.rawValue)\(why)"
    }
  }

  private func explainWaiting(
    _ run: RunRecord, _ record: SweepRecord, _ ledger: SweepLedger, _ document: inout Document
  ) async throws {
    let view = try await PlacementView.read(ledger, record, store: store.directory)
    document.hosts = view.hostNotes.sorted { $0.key < $1.key }.map { .init(host: $0.key, why: shown($0.value)) }
    switch view.decision(for: run.name) {
    case .place(_, let hosts, _):
      let place = hosts.joined(separator: ", ")
      document.answer =
        StoreLock.isHeld(store: store.directory)
        ? "may start now on \(place); if it was tried there before, it waits for its next try"
        : "could start on \(place), but nobody drives its sweep: rollcall resume \(record.id)"
    case .impossible(_, let reason): document.answer = "cannot run: \(reason)"
    case .wait(_, let reasons):
      document.answer = "waits: \(Explanation.summary(reasons))"
      document.hosts = reasons.map { reason in
        .init(
          host: reason.host,
          why: Explanation.text(reason.why) + (view.hostNotes[reason.host].map { " (\(shown($0)))" } ?? ""))
      }
    case .reserve, nil: document.answer = "waits"
    }
  }
}

/// What the scheduler would decide for a sweep's queue now: the hosts as they answer, and what the store says runs
/// there.
struct PlacementView {
  private var snapshot: Placement.Snapshot
  /// Host → what a person should know of it beside the scheduler's reasons.
  var hostNotes: [String: String] = [:]

  /// The last decision about a run is the answer: a reservation is followed by the wait.
  func decision(for run: String) -> Placement.Decision? { Placement.decide(snapshot).last { $0.run == run } }

  /// - Throws: `LedgerError`. A host that does not answer within ten seconds counts as unreachable.
  static func read(_ ledger: SweepLedger, _ sweep: SweepRecord, store: String) async throws -> PlacementView {
    let plan = try ledger.plan(of: sweep.id)
    let fleet = try ledger.fleet(of: sweep.id)
    let drained = try DrainList(store: store).hosts()
    let cells = Dictionary(plan.cells.map { ($0.id, $0) }) { first, _ in first }
    // Other sweeps of the store take room, too.
    var open = try ledger.unfencedAttempts()
    for other in try ledger.sweeps(limit: 1000) where other.ended == nil {
      open += try ledger.attempts(of: other.id).filter { $0.state == .launching || $0.state == .running }
    }
    let own = try ledger.attempts(of: sweep.id)
    let answers = await facts(of: fleet)
    var view = PlacementView(snapshot: Placement.Snapshot(runs: [], hosts: []))
    for host in fleet.hosts {
      let held = open.filter { $0.host == host.name }
      var facts: HostFacts?
      switch answers[host.name] {
      case .success(let told): facts = told
      case .failure(let error): view.hostNotes[host.name] = "\(error)"
      case nil: view.hostNotes[host.name] = "it did not answer"
      }
      let total: Int? =
        switch host.gpus {
        case .count(let count): count
        case .auto: facts?.gpuIDs.count
        }
      if let entry = drained[host.name] { view.hostNotes[host.name] = entry.why ?? "drained by a person" }
      let isTaken = host.isExclusive && !held.isEmpty
      view.snapshot.hosts.append(
        Placement.Host(
          name: host.name, labels: host.labels,
          state: facts == nil ? .unreachable : drained[host.name] == nil ? .ready : .draining, totalGPUs: total,
          freeGPUs: isTaken ? 0 : max(0, (total ?? 0) - held.reduce(0) { $0 + $1.gpus }), cpuSlots: host.cpuSlots,
          freeCPUSlots: isTaken ? 0 : max(0, host.cpuSlots - held.count { $0.gpus == 0 }),
          hardware: facts.map { $0.gpuNames.first ?? $0.versions["cpu"] ?? "" } ?? ""))
    }
    for run in try ledger.runs(of: sweep.id) where run.state == .queued {
      guard let cell = cells[run.cell] else { continue }
      let failedOn = own.filter { $0.run == run.name && ($0.state == .lost || $0.state == .failed) && $0.isCharged }
      view.snapshot.runs.append(
        Placement.QueuedRun(
          id: run.name, gpus: cell.run.gpus, nodes: cell.run.nodes, labels: cell.run.hosts, order: run.position,
          comparison: plan.compare.sameHardware ? sweep.id : nil, excludedHosts: Set(failedOn.map(\.host))))
    }
    if plan.compare.sameHardware, let used = own.first(where: { $0.state != .failed && $0.state != .lost }) {
      let gpu = used.facts["gpus"].flatMap { $0.split(separator: ",").first.map(String.init) }
      // An attempt that has told nothing took what its host is.
      let host = view.snapshot.hosts.first { $0.name == used.host }
      view.snapshot.pinnedHardware[sweep.id] =
        used.facts.isEmpty ? host?.hardware ?? "" : gpu ?? used.facts["cpu"] ?? ""
    }
    return view
  }

  private static func facts(of fleet: Fleet) async -> [String: Result<HostFacts, any Error>] {
    await withTaskGroup(of: (String, Result<HostFacts, any Error>).self) { group in
      for connection in HostConnection.connections(for: fleet) {
        group.addTask { (connection.host.name, await enrol(connection)) }
      }
      return await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
    }
  }

  private static func enrol(_ connection: HostConnection) async -> Result<HostFacts, any Error> {
    do {
      let facts = try await withThrowingTaskGroup(of: HostFacts.self) { group in
        group.addTask { try await connection.launcher.enrol() }
        group.addTask {
          try await Task.sleep(for: .seconds(10))
          throw TransportError(code: .timedOut, host: connection.host.name, message: "no answer within 10 s")
        }
        defer { group.cancelAll() }
        guard let facts = try await group.next() else { throw CancellationError() }
        return facts
      }
      // Only one that answers is waited for.
      await connection.transport.close()
      return .success(facts)
    } catch {
      return .failure(error)
    }
  }
}
