import Launching
public import Ledger
import Planning
public import Scheduling
import Transports

/// What the scheduler would decide for a sweep's queue now: the hosts as they answer, and what the store says runs
/// there.
public struct QueueView: Sendable {
  private var snapshot = Placement.Snapshot(runs: [], hosts: [])
  /// Host → what a person should know of it beside the scheduler's reasons.
  public private(set) var hostNotes: [String: String] = [:]

  /// The last decision about a run is the answer: a reservation is followed by the wait.
  public func decision(for run: String) -> Placement.Decision? { Placement.decide(snapshot).last { $0.run == run } }

  /// Asks every host of the sweep's fleet who it is.
  ///
  /// - Parameters:
  ///   - store: the store's directory.
  ///   - now: seconds since 1970.
  /// - Throws: `LedgerError`. A host that does not answer within ten seconds counts as unreachable.
  public init(_ ledger: SweepLedger, _ sweep: SweepRecord, store: String, now: Double) async throws {
    let plan = try ledger.plan(of: sweep.id)
    let fleet = try ledger.fleet(of: sweep.id)
    let drained = try DrainList(store: store).hosts()
    let answers = await Self.facts(of: fleet)
    let facts = answers.compactMapValues { try? $0.get() }
    // Other sweeps of the store take room, too.
    let clusters = Set(fleet.hosts.filter { $0.slurm != nil }.map(\.name))
    var open: [Placement.Holding] = try ledger.unfencedAttempts().map {
      SchedulerInput.holding($0, cell: nil, age: 0, now: now, isCluster: clusters.contains($0.host))
    }
    for other in try ledger.sweeps(limit: 1000) where other.ended == nil {
      let cells = Self.cells(try ledger.plan(of: other.id))
      let ofRun = Dictionary(try ledger.runs(of: other.id).map { ($0.name, $0.cell) }) { first, _ in first }
      for attempt in try ledger.attempts(of: other.id) where attempt.state == .launching || attempt.state == .running {
        let cell = ofRun[attempt.run].flatMap { cells[$0] }
        open.append(
          SchedulerInput.holding(
            attempt, cell: cell, age: now - attempt.created, now: now, isCluster: clusters.contains(attempt.host)))
      }
    }
    snapshot.now = now
    snapshot.holdings = open
    for host in fleet.hosts {
      switch answers[host.name] {
      case .success: break
      case .failure(let error): hostNotes[host.name] = "\(error)"
      case nil: hostNotes[host.name] = "it did not answer"
      }
      if host.slurm != nil, let found = facts[host.name] {
        let most = SchedulerInput.jobPlaces(of: host, found)
        let limit = most < host.cpuSlots ? found.jobLimitName ?? "a limit of the cluster" : "max_jobs"
        hostNotes[host.name] = "each a job of the cluster, \(most) at a time by \(limit)"
      }
      if let entry = drained[host.name] { hostNotes[host.name] = entry.why ?? "drained by a person" }
      snapshot.hosts.append(
        SchedulerInput.host(
          host, facts: facts[host.name], isReachable: facts[host.name] != nil, isDrained: drained[host.name] != nil,
          isFull: facts[host.name].map { $0.freeDiskBytes < HostFacts.leastFreeDisk } ?? false))
    }
    let own = try ledger.attempts(of: sweep.id)
    let cells = Self.cells(plan)
    for run in try ledger.runs(of: sweep.id) where run.state == .queued {
      guard let cell = cells[run.cell] else { continue }
      snapshot.runs.append(
        SchedulerInput.run(
          run, id: run.name, cell: cell, plan: plan, attempts: own.filter { $0.run == run.name }, order: run.position,
          isCluster: fleet.isCluster))
    }
    if plan.compare.sameHardware {
      snapshot.pinnedHardware[sweep.id] = SchedulerInput.pinned(own) { facts[$0.host] }
    }
  }

  private static func cells(_ plan: Plan) -> [String: Cell] {
    Dictionary(plan.cells.map { ($0.id, $0) }) { first, _ in first }
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
