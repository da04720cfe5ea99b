import Gathering
import Launching
import Ledger
import Planning
import Synchronization
import Transports

/// Carries out the core's commands at the hosts.
struct HostActions: Sendable {
  let connections: [String: HostConnection]
  let artifacts: ArtifactStore
  private let board: GatherBoard
  private let plans: SweepPlans
  private let gathers: [String: GatherQueue]
  private let breakOffs = BreakOffs()

  /// - Parameters:
  ///   - plans: Of the sweeps that are driven.
  ///   - gathersPerHost: At once, of those that transfer anything.
  init(
    connections: [String: HostConnection], artifacts: ArtifactStore, board: GatherBoard, plans: SweepPlans,
    gathersPerHost: Int
  ) {
    self.connections = connections
    self.artifacts = artifacts
    self.plans = plans
    self.board = board
    gathers = connections.mapValues {
      GatherQueue(transport: $0.transport, store: artifacts, board: board, limit: gathersPerHost)
    }
  }

  /// - Throws: `GatheringError` of the store, unless it is full or the fault is of one run's paths alone, since without it
  ///   nothing can go on and nothing may count as lost; `CancellationError`.
  func perform(_ command: Command) async throws -> Answer { try await perform(command, storeFaults: 0) }

  /// A fault of the store may pass: too many open files, a file server that is away for a moment.
  private static let patience: [Duration] = [.seconds(1), .seconds(2), .seconds(4)]

  private func perform(_ command: Command, storeFaults: Int) async throws -> Answer {
    guard let connection = connections[command.host] else {
      return .trouble(TransportError(code: .configuration, host: command.host, message: "it is not in the fleet"))
    }
    do {
      guard case .gather = command.action else { return try await answer(command.action, connection) }
      return try await breakOffs.during(command.id) { try await answer(command.action, connection) }
    } catch let error as LaunchPreparationError {
      return .unprepared(error.message)
    } catch let error as GatheringError where error.code == .store && storeFaults < Self.patience.count {
      try await Task.sleep(for: Self.patience[storeFaults])
      return try await perform(command, storeFaults: storeFaults + 1)
    } catch let error as GatheringError where error.code == .noSpace {
      return .storeFull("\(error)")
    } catch let error as GatheringError where error.code == .store {
      do throws(GatheringError) {
        try artifacts.probe()
      } catch {
        guard error.code == .noSpace else { throw error }
        return .storeFull("\(error)")
      }
      // The store takes the files of others: a path of this run alone is not as it should be.
      return .notGathered("\(error)")
    } catch let error as GatheringError where error.code == .fileChanged {
      return .stillWritten("\(error)")
    } catch {
      try Task.checkCancellation()
      guard let error = error as? GatheringError else { return .trouble(HostTrouble.of(error, host: command.host)) }
      // Of this attempt's files, not of its host.
      guard let cause = error.transport, cause.code != .outputTooLarge else { return .notGathered("\(error)") }
      return .trouble(HostTrouble.of(cause, host: command.host))
    }
  }

  /// Has a gather end where it is, with the answer `brokenOff`: whole files stay in the store.
  func breakOff(_ command: Int) { breakOffs.breakOff(command) }

  private func answer(_ action: Command.Action, _ connection: HostConnection) async throws -> Answer {
    let launcher = connection.launcher
    switch action {
    case .enrol: return .facts(try await launcher.enrol())
    case .poll(let attempts): return .statuses(try await launcher.status(of: attempts))
    case .launch(let attempt, let run):
      guard let (plan, cells) = plans[run.sweep], let cell = cells[run.cell] else {
        throw LaunchPreparationError(message: "the plan has no cell \(run.cell)")
      }
      let files: [ShippedFile]
      do {
        files = try Launch.files(cell, plan, sweep: run.sweep, in: artifacts)
      } catch let error as GatheringError where error.code != .store {
        throw LaunchPreparationError(message: "the job's files, as the store keeps them: \(error)")
      }
      let directory = try await launcher.directory(of: attempt.id)
      let spec = Launch.spec(attempt, run: run, cell: cell, host: connection.host, directory: directory)
      return .launched(try await launcher.launch(spec, files: files), directory: directory)
    case .stop(let attempt, let reason):
      do {
        try await launcher.stop(attempt.id, reason: reason)
      } catch let error as LaunchError where error.code == .alive || error.code == .noSpace {
        return .notStopped(error.message)
      }
      return .stopped
    case .release(let attempt):
      do {
        try await launcher.release(attempt.id)
      } catch let error as LaunchError where error.code == .absent {
        // It ended first.
      } catch let error as LaunchError where error.code == .noSpace {
        return .notReleased(error.message)
      }
      return .released
    case .gather(let attempt, let run, let shares):
      let directory: String
      if let known = attempt.directory {
        directory = known
      } else {
        directory = try await launcher.directory(of: attempt.id)
      }
      guard let queue = gathers[connection.host.name] else { return .notGathered("its host is not in the fleet") }
      let item = GatherQueue.Item(
        attempt: attempt.id, directory: directory, sweep: attempt.sweep, run: attempt.run)
      let cell = plans[attempt.sweep]?.cells[run.cell]
      let manifest: Manifest
      if attempt.share == nil {
        manifest =
          if let cell, cell.dumps == nil {
            try await queue.gatherDumpless(item)
          } else {
            try await queue.gather(item)
          }
      } else {
        try await queue.alone {
          try await board.during(sweep: attempt.sweep, run: attempt.run, attempt: attempt.id) { meter in
            try await Gatherer(meter: meter).fetchShare(
              attemptDirectory: directory, transport: connection.transport, store: artifacts, sweep: attempt.sweep,
              run: attempt.run)
          }
        }
        guard !shares.isEmpty else { return .gathered(GatheredFiles(count: 0, bytes: 0, missing: [])) }
        manifest = try artifacts.layOut(shares: shares, sweep: attempt.sweep, run: attempt.run)
      }
      var missing = manifest.refused.map { "refused file: \($0)" }
      if let cell { missing += Launch.missing(manifest.entries, cell) }
      return .gathered(
        GatheredFiles(
          count: manifest.entries.count, bytes: manifest.entries.reduce(0) { $0 + $1.byteCount }, missing: missing))
    }
  }
}

/// The gathers under way that may be broken off, by their commands.
private final class BreakOffs: Sendable {
  private let signals = Mutex<[Int: AsyncStream<Never>.Continuation]>([:])

  func breakOff(_ command: Int) { signals.withLock { $0[command] }?.finish() }

  /// Gives `brokenOff` when `body` has ended early for that.
  func during(_ command: Int, _ body: @escaping @Sendable () async throws -> Answer) async throws -> Answer {
    let (silence, signal) = AsyncStream.makeStream(of: Never.self)
    signals.withLock { $0[command] = signal }
    defer { signals.withLock { $0[command] = nil } }
    return try await withThrowingTaskGroup(of: Answer.self) { group in
      group.addTask { try await body() }
      group.addTask {
        for await _ in silence {}
        try Task.checkCancellation()
        return .brokenOff
      }
      defer { group.cancelAll() }
      return try await group.next() ?? .brokenOff
    }
  }
}

/// The plans of the sweeps that are driven, by the names of the sweeps.
final class SweepPlans: Sendable {
  typealias Entry = (plan: Plan, cells: [String: Cell])
  private let entries = Mutex<[String: Entry]>([:])

  func add(_ plan: Plan, of sweep: String) {
    let cells = Dictionary(plan.cells.map { ($0.id, $0) }) { first, _ in first }
    entries.withLock { $0[sweep] = (plan, cells) }
  }

  /// A sweep has ended: nothing of it is launched or gathered any more.
  func remove(_ sweep: String) { _ = entries.withLock { $0.removeValue(forKey: sweep) } }

  subscript(sweep: String) -> Entry? { entries.withLock { $0[sweep] } }
}
