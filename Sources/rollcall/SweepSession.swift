import Comparison
import Coordination
import Gathering
import Ledger
import Reporting

/// Drives one sweep under this process: lock, hosts, coordinator, comparison, report files. Ctrl-C detaches. Where
/// `serve` coordinates the store, the sweep is its, and this waits for the report.
struct SweepSession {
  let storeDirectory: String
  let ledger: SweepLedger
  let artifacts: ArtifactStore
  /// nil: `serve` has it.
  private let lock: StoreLock?

  /// - Throws: `LedgerError.locked` while another process than `serve` coordinates the store.
  init(_ options: StoreOptions) throws {
    (ledger, artifacts) = try options.open()
    storeDirectory = options.directory
    lock = try Self.lock(storeDirectory)
  }

  private static func lock(_ store: String) throws -> StoreLock? {
    do {
      return try StoreLock(store: store)
    } catch {
      guard error.code == .locked, StoreLock.isServed(store: store) else { throw error }
      return nil
    }
  }

  /// Whether sweeps are handed over.
  var isServed: Bool { lock == nil }

  /// Runs to the end; nil when Ctrl-C detached it.
  func drive(sweep: String, display: any ProgressDisplay) async throws -> SweepReport? {
    if let lock { return try await driveHere(sweep: sweep, lock, display: display) }
    while true {
      let ended: SweepRecord?
      do {
        ended = try await Interruption.race { try await waitForCoordinator(sweep) }
      } catch is Interruption {
        display.end()
        return nil
      }
      if let ended {
        display.end()
        return try ReportCommand.stored(ended, ledger)
      }
      // It has gone: nobody drives the sweep now, unless somebody else was faster.
      do {
        return try await driveHere(sweep: sweep, StoreLock(store: storeDirectory), display: display)
      } catch let error as LedgerError where error.code == .locked {}
    }
  }

  /// The sweep when it has ended; nil when nobody coordinates the store.
  private func waitForCoordinator(_ sweep: String) async throws -> SweepRecord? {
    while true {
      let record = try ledger.sweep(named: sweep)
      if record.ended != nil { return record }
      guard StoreLock.isHeld(store: storeDirectory) else { return nil }
      try await Task.sleep(for: .milliseconds(300))
    }
  }

  private func driveHere(
    sweep: String, _ lock: StoreLock, display: any ProgressDisplay
  ) async throws -> SweepReport? {
    lock.name(sweep: sweep)
    let record = try ledger.sweep(named: sweep)
    // Ended while we waited for the lock: it is not to end twice, with other words and the same notices.
    guard record.ended == nil else {
      display.end()
      return try ReportCommand.stored(record, ledger)
    }
    let fleet = try ledger.fleet(of: sweep)
    try OpenFiles.check(for: fleet)
    let board = GatherBoard(store: artifacts.root)
    let coordinator = Coordinator(
      ledger: ledger, artifacts: artifacts, board: board,
      hosts: HostConnection.ruled(for: fleet, store: storeDirectory, supervisor: SuperviseCommand.program),
      settings: .init(fleet), report: { display.show($0) })
    do {
      let report = try await Interruption.race {
        try await lock.whileInPlace {
          async let _: Void = board.keep()
          try await coordinator.drive(sweep: sweep)
          let notes = await coordinator.notes
          return try await SweepFinish(ledger: ledger, artifacts: artifacts, storeDirectory: storeDirectory)
            .finish(sweep: sweep, hostNotes: notes, progress: { display.show($0) })
        }
      }
      await coordinator.close()
      display.end()
      // What cannot be told now is told by `serve`; nobody waits here for the notices of other sweeps, nor, who asks to
      // stop, for those of this one: its report stands.
      do {
        try await Interruption.race { try await NoticeDelivery(ledger: ledger).deliver(of: sweep) }
      } catch is Interruption {}
      return report
    } catch {
      display.end()
      await coordinator.close()
      if error is Interruption { return nil }
      throw error
    }
  }
}
