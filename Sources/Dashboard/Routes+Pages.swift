import Foundation
import Hummingbird
import Ledger
import Reporting
import Scheduling

/// What is read as a page.
extension Routes {
  func read(_ question: Question, _ now: Double) async throws -> Reply {
    let path = question.path
    switch path.count {
    case 0: return .page(try await feed.page("sweeps") { try sweeps(now) })
    case 1 where path[0] == "hosts":
      return .page(try await feed.page("hosts") { HostsPage(hosts: try HostView.all(ledger, store: store)).html })
    case 1 where path[0] == "schedules":
      return .page(
        try await feed.page("schedules") {
          SchedulesPage(entries: try ledger.schedules().map { try .init($0, ledger, now: now) }).html
        })
    case 3 where path[0] == "schedules":
      guard let action = ScheduleAction(rawValue: path[2]) else { return .notFound }
      return try confirmSchedule(path[1], action, question, now)
    case 2 where path[0] == "history":
      return .page(
        try await feed.page("history \(path[1])") {
          HistoryPage(history: try JobHistory(ledger, job: path[1], nights: HistoryPage.nights)).html
        })
    case 2... where path[0] == "sweeps": return try await sweep(question, try record(path[1]), now)
    case 2... where path[0] == "api": return try await document(path, question, now)
    default: return .notFound
    }
  }

  func sweeps(_ now: Double) throws -> String {
    let sweeps = try ledger.sweeps(limit: SweepsPage.limit + 1)
    let shown = Array(sweeps.prefix(SweepsPage.limit))
    return SweepsPage(
      sweeps: shown, counts: try ledger.runCounts(of: shown.map(\.id)), isCoordinated: watch.isHeld, now: now,
      hasMore: sweeps.count > shown.count
    ).html
  }

  /// The sweep of exactly this name.
  func record(_ name: String) throws -> SweepRecord {
    let record = try ledger.sweep(named: name)
    guard record.id == name else { throw LedgerError(code: .notFound, message: "There is no sweep \(name).") }
    return record
  }

  func view(_ record: SweepRecord, _ now: Double) throws -> SweepView {
    try SweepView(ledger, record, isCoordinated: watch.isHeld, now: now)
  }

  func run(_ name: String, in view: SweepView) throws -> RunRecord {
    guard let run = view.runs.first(where: { $0.name == name }) else {
      throw LedgerError(code: .notFound, message: "There is no run \(name).")
    }
    return run
  }

  func sweep(_ question: Question, _ record: SweepRecord, _ now: Double) async throws -> Reply {
    let path = question.path.dropFirst(2)
    switch (path.first, path.count) {
    case (nil, _):
      let isStill = question.query["refresh"] == "off"
      return .page(
        try await feed.page("sweep \(isStill) \(record.id)") {
          try SweepPage(view: try view(record, now), ledger, isStill: isStill).html
        })
    case ("events", 1): return await events(record.id)
    case ("report", 1): return try report(record)
    case ("cancel", 1):
      guard record.state == .active else {
        return .trouble(.conflict, "Not now", "Sweep \(record.id) is \(record.state.rawValue).")
      }
      return confirmation(question, now) { token in
        ConfirmationPage(
          title: "Cancel \(record.id)?",
          what: "Its runs are stopped at their hosts. What has been gathered is kept and reported.",
          action: link("sweeps", record.id, "cancel"), back: link("sweeps", record.id), button: "Cancel the sweep",
          formToken: token)
      }
    case ("retry", 1): return try confirmRetry(question, record, run: nil, now)
    case ("runs", 2...):
      let view = try view(record, now)
      let run = try run(question.path[3], in: view)
      switch Array(question.path.dropFirst(4)) {
      case []: return try await self.run(run, view, question)
      case ["log"]: return try await log(run, view, question)
      case ["log", "events"]: return await logEvents(run, view, question)
      case ["retry"]: return try confirmRetry(question, record, run: run, now)
      default: return .notFound
      }
    default: return .notFound
    }
  }

  func run(_ run: RunRecord, _ view: SweepView, _ question: Question) async throws -> Reply {
    var page = RunPage(view: view, run: run, events: [], waiting: nil)
    page.events = try ledger.events(of: run.sweep, limit: 100_000).filter { $0.run == run.name }.suffix(100)
    if run.state == .queued, question.query["explain"] == "1" {
      page.waiting = try await hooks.waiting(view.sweep, run)
    }
    return .page(page.html)
  }

  /// The report as it was written when the sweep ended, else as the store's record gives it.
  func report(_ record: SweepRecord) throws -> Reply {
    guard let document = try ledger.report(of: record.id) else {
      return .trouble(.notFound, "No report yet", "Sweep \(record.id) is \(record.state.rawValue).")
    }
    let file = "\(store)/sweeps/\(record.id)/report.html"
    if let data = FileManager.default.contents(atPath: file) { return .report(String(decoding: data, as: UTF8.self)) }
    return .report(try SweepReport(json: document).html())
  }
}
