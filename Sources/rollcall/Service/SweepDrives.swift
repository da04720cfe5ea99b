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
      /// Hosts of more than one fleet, as the log says.
      var shared: Set<Fleet.Host.Address> = []
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
    let has: Mutex<Set<String>>
    let more = Mutex<[String]>([])

    init(fleet: Fleet, first: [String]) {
      self.fleet = fleet
      has = Mutex(Set(first))
    }

    /// It neither drives nor compares the sweep any more: another one may have it.
    func letGo(_ sweep: String) { _ = has.withLock { $0.remove(sweep) } }

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
      do {
        fleet = try ledger.fleet(of: sweep.id)
        try OpenFiles.check(for: fleet)
      } catch {
        rest(sweep.id, because: error)
        continue
      }
      let isTaken = book.state.withLock { state in
        state.busy.insert(sweep.id)
        guard let drive = state.current[fleet] else { return false }
        _ = drive.has.withLock { $0.insert(sweep.id) }
        drive.more.withLock { $0.append(sweep.id) }
        return true
      }
      if !isTaken { fresh[fleet, default: []].append(sweep.id) }
    }
    for (fleet, sweeps) in fresh {
      let drive = Drive(fleet: fleet, first: sweeps)
      let shared = book.state.withLock { state in
        let others = Set(state.current.values.flatMap { $0.fleet.hosts.map(\.address) })
        state.current[fleet] = drive
        return fleet.hosts.filter {
          $0.slurm == nil && others.contains($0.address) && state.shared.insert($0.address).inserted
        }
      }
      if !shared.isEmpty {
        log(
          "\(sweeps.joined(separator: ", ")): another fleet names \(shared.map(\.name).joined(separator: ", ")), too; "
            + "each counts CPU slots and gathers there for itself")
      }
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
        case .hostTrouble(let host, let message): log("host \(host): \(shown(message))")
        case .hostReady, .run, .comparing: break
        }
      })
    let (ended, finishing) = AsyncStream.makeStream(of: String.self)
    await withDiscardingTaskGroup { group in
      group.addTask {
        for await sweep in ended { await close(sweep, drive, coordinator) }
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
            drive.letGo(sweep)
            rest(sweep, because: error)
          }, ended: { finishing.yield($0) })
      } catch is CancellationError {
        group.cancelAll()
      } catch {
        log("a coordinator stopped: \(Failure.describe(error).message)")
      }
      // What it has not taken is driven at once, by another one.
      book.state.withLock { state in
        if state.current[drive.fleet] === drive { state.current[drive.fleet] = nil }
        let untaken = drive.takeMore()
        state.busy.subtract(untaken)
        drive.has.withLock { $0.subtract(untaken) }
      }
      finishing.finish()
    }
    await coordinator.close()
    let now = Date().timeIntervalSince1970
    book.state.withLock { state in
      // What it had not ended is driven again after a pause: there was trouble.
      for sweep in drive.has.withLock({ $0 }).intersection(state.busy) {
        state.busy.remove(sweep)
        state.notBefore[sweep] = now + Self.pause
      }
    }
  }

  private func close(_ sweep: String, _ drive: Drive, _ coordinator: Coordinator) async {
    do {
      let report = try await finish.finish(
        sweep: sweep, hostNotes: await coordinator.notes, progress: { _ in })
      log("\(sweep): \(report.verdict.rawValue.uppercased()). \(report.sentence)")
      book.state.withLock { state in
        drive.letGo(sweep)
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
        drive.letGo(sweep)
        state.busy.remove(sweep)
        state.notBefore[sweep] = now + Self.pause
      }
    }
  }
}
