import Comparison
import Coordination
import Foundation
import Gathering
import Ledger
import Planning
import Reporting
import Synchronization

/// Drives every open sweep of the store: those of one fleet together, under one coordinator.
struct SweepDrives: Sendable {
  let finish: SweepFinish
  let board: GatherBoard
  /// One line for the service's log.
  let log: @Sendable (String) -> Void
  private let book = Book()

  private var ledger: SweepLedger { finish.ledger }

  /// Who drives what.
  private final class Book: Sendable {
    struct State {
      /// Driven, or being compared.
      var busy: Set<String> = []
      /// The drive of a fleet that takes more sweeps.
      var current: [Fleet: Drive] = [:]
      /// Sweeps that are left alone until then.
      var notBefore: [String: Double] = [:]
      /// Sweeps that cannot be read, and what the log says of them.
      var told: [String: String] = [:]
    }

    let state = Mutex(State())
  }

  /// One coordinator at work.
  private final class Drive: Sendable {
    let fleet: Fleet
    let had: Mutex<Set<String>>
    let more = Mutex<[String]>([])

    init(fleet: Fleet, first: [String]) {
      self.fleet = fleet
      had = Mutex(Set(first))
    }

    func takeMore() -> [String] {
      more.withLock { waiting in
        defer { waiting = [] }
        return waiting
      }
    }
  }

  /// Pauses after trouble with a sweep's hosts or its files.
  private static let pause = 30.0

  /// Gives each open sweep that nobody drives to a coordinator; a new one runs in the group.
  func look(in group: inout DiscardingTaskGroup, now: Double) throws {
    var fresh: [Fleet: [String]] = [:]
    for sweep in try ledger.openSweeps() {
      let isFree = book.state.withLock { state in
        !state.busy.contains(sweep.id) && (state.notBefore[sweep.id] ?? 0) <= now
      }
      guard isFree else { continue }
      let fleet: Fleet
      do { fleet = try ledger.fleet(of: sweep.id) } catch {
        rest(sweep.id, because: error)
        continue
      }
      let isTaken = book.state.withLock { state in
        state.busy.insert(sweep.id)
        // A sweep that ended and was opened again needs a coordinator that does not know it.
        guard let drive = state.current[fleet], drive.had.withLock({ $0.insert(sweep.id).inserted }) else {
          return false
        }
        drive.more.withLock { $0.append(sweep.id) }
        return true
      }
      if !isTaken { fresh[fleet, default: []].append(sweep.id) }
    }
    for (fleet, sweeps) in fresh {
      let drive = Drive(fleet: fleet, first: sweeps)
      book.state.withLock { $0.current[fleet] = drive }
      group.addTask { await run(drive, sweeps) }
    }
  }

  /// Leaves a sweep that cannot be read alone for a while, and says why, once.
  private func rest(_ sweep: String, because error: any Error) {
    let why = "\(sweep): not driven: \(Failure.describe(error).message)"
    let now = Date().timeIntervalSince1970
    let isNews = book.state.withLock { state in
      state.busy.remove(sweep)
      state.notBefore[sweep] = now + Self.pause
      return state.told.updateValue(why, forKey: sweep) != why
    }
    if isNews { log(why) }
  }

  private func announce(_ sweeps: [String]) {
    let told = book.state.withLock { $0.told }
    for sweep in sweeps where told[sweep] == nil { log("\(sweep): driven") }
  }

  private func run(_ drive: Drive, _ sweeps: [String]) async {
    announce(sweeps)
    let coordinator = Coordinator(
      ledger: ledger, artifacts: finish.artifacts, board: board,
      hosts: HostConnection.ruled(
        for: drive.fleet, store: finish.storeDirectory, supervisor: SuperviseCommand.program),
      settings: .init(drive.fleet),
      report: { progress in
        switch progress {
        case .storeFull, .storeHasRoom: if let words = progress.alarm { log(words) }
        case .hostReady, .hostTrouble, .run, .comparing: break
        }
      })
    let (ended, finishing) = AsyncStream.makeStream(of: String.self)
    await withDiscardingTaskGroup { group in
      group.addTask {
        for await sweep in ended { await close(sweep, coordinator) }
      }
      do {
        try await coordinator.drive(
          sweeps,
          more: {
            let more = drive.takeMore()
            announce(more)
            return more
          },
          unreadable: { sweep, error in
            _ = drive.had.withLock { $0.remove(sweep) }
            rest(sweep, because: error)
          }, ended: { finishing.yield($0) })
      } catch is CancellationError {
        group.cancelAll()
      } catch {
        log("a coordinator stopped: \(Failure.describe(error).message)")
      }
      finishing.finish()
    }
    await coordinator.close()
    let now = Date().timeIntervalSince1970
    book.state.withLock { state in
      if state.current[drive.fleet] === drive { state.current[drive.fleet] = nil }
      // What it had not taken or not ended is driven again: at once, or after a pause where there was trouble.
      let left = drive.had.withLock { $0 }.intersection(state.busy)
      let untaken = Set(drive.takeMore())
      for sweep in left {
        state.busy.remove(sweep)
        if !untaken.contains(sweep) { state.notBefore[sweep] = now + Self.pause }
      }
    }
  }

  private func close(_ sweep: String, _ coordinator: Coordinator) async {
    do {
      let report = try await finish.finish(
        sweep: sweep, hostNotes: await coordinator.notes, progress: { _ in })
      log("\(sweep): \(report.verdict.rawValue.uppercased()). \(report.sentence)")
      book.state.withLock { state in
        state.busy.remove(sweep)
        state.notBefore[sweep] = nil
        state.told[sweep] = nil
      }
    } catch {
      guard !Task.isCancelled else { return }
      log("\(sweep): not reported: \(Failure.describe(error).message)")
      // Looked at again, by a coordinator that finds its runs final.
      let now = Date().timeIntervalSince1970
      book.state.withLock { state in
        state.busy.remove(sweep)
        state.notBefore[sweep] = now + Self.pause
      }
    }
  }
}
