import Comparison
import Coordination
import Dispatch
import Foundation
import Gathering
import Glibc
import Ledger
import Planning
import Reporting
import Transports

/// Drives one sweep under this process: lock, hosts, coordinator, comparison, report files. Ctrl-C detaches.
struct SweepSession {
  let storeDirectory: String
  let ledger: SweepLedger
  let artifacts: ArtifactStore
  let lock: StoreLock

  /// - Throws: `LedgerError.locked` while another process coordinates the store.
  init(_ options: StoreOptions) throws {
    (ledger, artifacts) = try options.open()
    storeDirectory = options.directory
    lock = try StoreLock(store: storeDirectory)
  }

  /// Runs to the end; nil when Ctrl-C detached it.
  ///
  /// - Parameter listensToSignals: false where the caller does: of two listeners of one signal, the end of one makes the
  ///   other deaf.
  func drive(
    sweep: String, display: any ProgressDisplay, listensToSignals: Bool = true
  ) async throws -> SweepReport? {
    let fleet = try ledger.fleet(of: sweep)
    let coordinator = Coordinator(
      ledger: ledger, artifacts: artifacts, hosts: HostConnection.ruled(for: fleet, store: storeDirectory),
      report: { display.show($0) })
    do {
      let work: @Sendable () async throws -> SweepReport = {
        try await coordinator.drive(sweep: sweep)
        let notes = await coordinator.troubles.sorted { $0.key < $1.key }
          .map { "host \($0.key) was not used: \($0.value.message)" }
        return try await finish(sweep: sweep, hostNotes: notes, display: display)
      }
      let report = listensToSignals ? try await Interruption.race(work) : try await work()
      await coordinator.close()
      display.end()
      return report
    } catch {
      display.end()
      await coordinator.close()
      if error is Interruption { return nil }
      throw error
    }
  }

  /// Compares, stores the report, writes its files.
  private func finish(sweep: String, hostNotes: [String], display: any ProgressDisplay) async throws -> SweepReport {
    let now = Date().timeIntervalSince1970
    let report = try await SweepComparison(ledger: ledger, artifacts: artifacts, progress: { display.show($0) })
      .report(sweep: sweep, hostNotes: hostNotes, now: now)
    let state: SweepRecord.State = try ledger.sweep(named: sweep).state == .cancelling ? .cancelled : .done
    try ledger.finish(
      sweep: sweep, state: state, verdict: report.verdict.rawValue, report: report.json(pretty: false),
      now: Date().timeIntervalSince1970)
    try FileManager.default.createDirectory(
      atPath: "\(storeDirectory)/sweeps/\(sweep)", withIntermediateDirectories: true)
    for format in ReportFormat.written {
      try Console.write(format.render(report), to: ReportFormat.path(format, store: storeDirectory, sweep: sweep))
    }
    return report
  }
}

/// Ctrl-C or SIGTERM came.
struct Interruption: Error {
  /// Runs `body` until it ends or a signal asks to stop; then `body` is cancelled and `Interruption` thrown.
  /// A second signal ends the process at once.
  static func race<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) async throws -> Value {
    let (signals, continuation) = AsyncStream.makeStream(of: Void.self)
    let sources = [SIGINT, SIGTERM].map { number in
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler { continuation.yield() }
      source.resume()
      return source
    }
    defer { for source in sources { source.cancel() } }
    return try await withThrowingTaskGroup(of: Value?.self) { group in
      group.addTask { try await body() }
      group.addTask {
        for await _ in signals { return nil }
        throw CancellationError()
      }
      defer { group.cancelAll() }
      guard let first = try await group.next(), let value = first else {
        for number in [SIGINT, SIGTERM] { signal(number, SIG_DFL) }
        throw Interruption()
      }
      return value
    }
  }
}
