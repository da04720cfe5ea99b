import GRDB
import Scheduling

extension SweepLedger {
  /// Queues runs of a sweep again that ended badly, and opens the sweep again where it had ended: its verdict and its
  /// report are void. Attempts stay as they are, but count against `retries` no more; the next one has the next number.
  ///
  /// For whoever holds the store's lock: no coordinator may be at work on the sweep.
  /// - Throws: `LedgerError.notFound` for a run that is not there or did not end badly; nothing is changed then.
  public func reopen(sweep: String, runs: [String], now: Double) throws {
    let retryable = RunState.allCases.filter { $0.isFinal && $0 != .succeeded }.map { "'\($0.rawValue)'" }
    let events = runs.map { EventRecord(at: now, sweep: sweep, run: $0, kind: "retry-requested") }
    try write(events: events) { database in
      try database.execute(
        sql: "UPDATE sweep SET state = 'active', ended = NULL, verdict = NULL, report = NULL WHERE id = ?",
        arguments: [sweep])
      for run in runs {
        try database.execute(
          sql: """
            UPDATE run SET state = 'queued', why = NULL, file_count = 0, byte_count = 0, missing = '[]'
            WHERE sweep = ? AND name = ? AND state IN (\(retryable.joined(separator: ", ")))
            """, arguments: [sweep, run])
        guard database.changesCount == 1 else {
          throw LedgerError(code: .notFound, message: "Sweep \(sweep) has no run \(run) that ended badly.")
        }
        try database.execute(
          sql: "UPDATE attempt SET charged = 0 WHERE sweep = ? AND run = ?", arguments: [sweep, run])
      }
    }
  }
}
