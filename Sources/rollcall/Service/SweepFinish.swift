import Comparison
import Coordination
import Foundation
import Gathering
import Glibc
import Ledger
import Planning
import Reporting

/// What follows when all runs of a sweep are final: compare, store the report with its history and its notices, write
/// the report's files.
struct SweepFinish {
  let ledger: SweepLedger
  let artifacts: ArtifactStore
  let storeDirectory: String

  func finish(
    sweep: String, hostNotes: [String], progress: @escaping @Sendable (Coordination.Progress) -> Void
  ) async throws -> SweepReport {
    let now = Date().timeIntervalSince1970
    let record = try ledger.sweep(named: sweep)
    let plan = try ledger.plan(of: sweep)
    var notes = hostNotes
    if record.state == .cancelling, let window = plan.schedule?.window, now - record.created >= window {
      notes.insert("partial: it was stopped at the end of its window of \(StatusTable.duration(window))", at: 0)
    }
    let report = try await SweepComparison(ledger: ledger, artifacts: artifacts, progress: progress)
      .report(sweep: sweep, hostNotes: notes, now: now)
    let state: SweepRecord.State = record.state == .cancelling ? .cancelled : .done
    let ended = Date().timeIntervalSince1970
    let former = try ledger.ended(job: record.job, limit: 1, before: record.created).first
    let notices = plan.notify.enumerated().compactMap { index, target in
      Notice(report, former: former?.verdict, target: target).map { notice in
        // A sweep that is tried again ends again, and is told again.
        notice.record(id: "\(sweep)-\(Int(ended))-\(index)", target: target, now: ended)
      }
    }
    // Those of a former end are void.
    for format in ReportFormat.written { unlink(ReportFormat.path(format, store: storeDirectory, sweep: sweep)) }
    try ledger.finish(
      sweep: sweep, state: state, verdict: report.verdict.rawValue, report: report.json(pretty: false),
      series: History.series(report, created: record.created), notices: notices, now: ended)
    try FileManager.default.createDirectory(
      atPath: "\(storeDirectory)/sweeps/\(sweep)", withIntermediateDirectories: true)
    try ReportFormat.keep(report, store: storeDirectory)
    return report
  }
}
