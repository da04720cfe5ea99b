import Foundation
import Gathering
import Ledger

/// What `serve` does besides its pages: keeps the schedules, drives every open sweep, tells what came of it.
struct ServiceLoop: Sendable {
  let ledger: SweepLedger
  let artifacts: ArtifactStore
  let storeDirectory: String
  let log: @Sendable (String) -> Void

  /// Returns when it is cancelled: the runs go on at their hosts.
  /// - Throws: `LedgerError.locked` while another `serve` coordinates the store, the end of any other command is waited
  ///   for; `LedgerError.unusable` when the store is no longer at its path.
  func run() async throws {
    let lock = try await lock()
    try await lock.whileInPlace { await keep() }
  }

  private func keep() async {
    let finish = SweepFinish(ledger: ledger, artifacts: artifacts, storeDirectory: storeDirectory)
    let board = GatherBoard(store: artifacts.root)
    let drives = SweepDrives(finish: finish, board: board, log: log)
    await withDiscardingTaskGroup { group in
      group.addTask { await board.keep() }
      group.addTask { await repeatedly(every: 2) { try await NoticeDelivery(ledger: ledger).deliver() } }
      var keeper = ScheduleKeeper(ledger: ledger, artifacts: artifacts, log: log)
      let start = ContinuousClock.now
      while !Task.isCancelled {
        let now = Date().timeIntervalSince1970
        let steady = (ContinuousClock.now - start) / .seconds(1)
        do { try await keeper.look(now: now, steady: steady) } catch { log("\(Failure.describe(error).message)") }
        do { try drives.look(in: &group, now: now) } catch { log("\(Failure.describe(error).message)") }
        try? await Task.sleep(for: .milliseconds(500))
      }
      group.cancelAll()
    }
  }

  private func lock() async throws -> StoreLock {
    var isTold = false
    while true {
      do {
        return try StoreLock(store: storeDirectory, isService: true)
      } catch {
        guard error.code == .locked, !StoreLock.isServed(store: storeDirectory) else { throw error }
        if !isTold { log("\(error.message) Until then nothing is started here.") }
        isTold = true
      }
      try await Task.sleep(for: .milliseconds(500))
    }
  }

  private func repeatedly(every seconds: Double, _ body: () async throws -> Void) async {
    while !Task.isCancelled {
      do { try await body() } catch {
        if !Task.isCancelled { log("\(Failure.describe(error).message)") }
      }
      try? await Task.sleep(for: .seconds(seconds))
    }
  }
}
