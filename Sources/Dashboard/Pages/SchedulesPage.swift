import Foundation
import Ledger
import Planning
import Reporting
import Scheduling

/// The schedules of the store: when they start next, and what became of their last times.
struct SchedulesPage {
  struct Entry {
    var schedule: ScheduleRecord
    /// Local times with their offset from UTC.
    var next: [String] = []
    var problem: String?
    /// The newest first, each with its sweep's verdict.
    var firings: [(record: FiringRecord, verdict: String?)]

    init(_ schedule: ScheduleRecord, _ ledger: SweepLedger, now: Double) throws {
      self.schedule = schedule
      firings = try ledger.firings(of: schedule.name, limit: 10).reversed().map { record in
        (record, try record.sweep.flatMap { try ledger.sweep(named: $0).verdict })
      }
      guard schedule.isEnabled else { return }
      do {
        guard let spec = try Planner.plan(jobFile: schedule.path).schedule else {
          problem = "its job file has no schedule any more"
          return
        }
        let fireTimes = try FireTimes(spec)
        let style = Date.ISO8601FormatStyle(timeZoneSeparator: .colon, timeZone: fireTimes.zone)
        next = fireTimes.next(5, after: now).map { Date(timeIntervalSince1970: $0).formatted(style) }
      } catch let error as CronExpression.Problem {
        problem = error.message
      } catch {
        problem = "\(error)"
      }
    }
  }

  var entries: [Entry]

  var html: String {
    var body: Markup = "<h1>Schedules</h1>"
    if entries.isEmpty { body += "<p>No schedules yet. Add one with: <code>rollcall schedule add JOB</code></p>" }
    for entry in entries { body += section(entry) }
    return Frame(title: "Schedules", place: .schedules, body: body).html
  }

  private func section(_ entry: Entry) -> Markup {
    let schedule = entry.schedule
    var body: Markup = """
      <h2>\(schedule.name)</h2><p>\(schedule.isEnabled ? "enabled" : "disabled"), <code>\(schedule.path)</code>; \
      <a href="\(link("history", schedule.name))">history of \(schedule.name)</a></p>
      """
    let actions = [.runNow, schedule.isEnabled ? .disable : .enable] as [ScheduleAction]
    let links = actions.map { action -> Markup in
      """
      <a class="do" aria-label="\(action.button)… \(schedule.name)" \
      href="\(link("schedules", schedule.name, action.rawValue))">\(action.button)…</a>
      """
    }
    body += "<p class=\"actions\">\(links)</p>"
    if let problem = entry.problem { body += "<p><b>\(problem)</b></p>" }
    if !entry.next.isEmpty {
      let times = entry.next.map { "<li>\($0)</li>" as Markup }
      body += "<p>Next:</p><ol>\(times)</ol>"
    }
    guard !entry.firings.isEmpty else { return body }
    body += Part.table(
      "Times of \(schedule.name)", ["time", "state", "verdict", "sweep", "reason"], entry.firings.map(row))
    return body
  }

  private func row(_ firing: (record: FiringRecord, verdict: String?)) -> Markup {
    let record = firing.record
    let more = record.count > 1 ? ", \(record.count) times" : ""
    let sweep: Markup = record.sweep.map { "<a href=\"\(link("sweeps", $0))\">\($0)</a>" } ?? "–"
    return """
      <tr><th scope="row">\(Part.time(record.nominal))\(more)</th><td>\(Part.state(record.state.rawValue))</td>\
      <td>\(Part.verdict(firing.verdict))</td><td>\(sweep)</td><td>\(record.why ?? "")</td></tr>
      """
  }
}
