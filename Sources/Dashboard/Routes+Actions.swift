import Foundation
import Hummingbird
import Ledger
import Reporting
import Scheduling

/// What changes something: asked first, done by a form of a session's own.
extension Routes {
  /// A page with a form, and the session that the form belongs to.
  func confirmation(
    _ question: Question, _ now: Double, _ page: (_ formToken: String) -> ConfirmationPage
  ) -> Reply {
    let known = access.session(question, now: now)
    let session = known ?? access.sessions.make(now: now)
    var reply = Reply.page(page(access.sessions.formToken(session)).html)
    if known == nil { reply.headers.append(cookie(session)) }
    return reply
  }

  func confirmRetry(
    _ question: Question, _ record: SweepRecord, run: RunRecord?, _ now: Double
  ) throws -> Reply {
    let runs = try retryable(record, run: run)
    guard !runs.isEmpty else {
      return .trouble(.conflict, "Not now", "There is no run of \(record.id) that ended badly.")
    }
    let shown = runs.prefix(20).joined(separator: ", ") + (runs.count > 20 ? ", …" : "")
    let action =
      run.map { link("sweeps", record.id, "runs", $0.name, "retry") } ?? link("sweeps", record.id, "retry")
    return confirmation(question, now) { token in
      ConfirmationPage(
        title: "Retry \(Figures.count(runs.count, "run"))?",
        what: "\(shown): each gets a new attempt, and the sweep is compared anew; its verdict and report are void "
          + "until then.",
        action: action, back: link("sweeps", record.id), button: "Retry \(Figures.count(runs.count, "run"))",
        formToken: token)
    }
  }

  func retryable(_ record: SweepRecord, run: RunRecord?) throws -> [String] {
    let runs = try run.map { [$0] } ?? ledger.runs(of: record.id)
    return runs.filter(SweepView.endedBadly).map(\.name)
  }

  func confirmSchedule(_ name: String, _ action: ScheduleAction, _ question: Question, _ now: Double) throws -> Reply {
    let schedule = try schedule(name)
    return confirmation(question, now) { token in
      ConfirmationPage(
        title: action.title(schedule.name), what: action.what,
        action: link("schedules", schedule.name, action.rawValue),
        back: link("schedules"), button: action.button, formToken: token)
    }
  }

  /// The schedule of exactly this name.
  private func schedule(_ name: String) throws -> ScheduleRecord {
    let schedule = try ledger.schedule(named: name)
    guard schedule.name == name else { throw LedgerError(code: .notFound, message: "There is no schedule \(name).") }
    return schedule
  }

  func act(_ question: Question, _ now: Double) async throws -> Reply {
    try access.checkForm(question, now: now)
    let path = question.path
    switch path.first {
    case "sweeps" where path.count > 2: return try await act(on: try record(path[1]), Array(path.dropFirst(2)))
    case "schedules" where path.count == 3:
      guard let action = ScheduleAction(rawValue: path[2]) else { return .notFound }
      try action.act(on: try schedule(path[1]), ledger, now)
      await feed.forget()
      return .redirect(link("schedules"))
    default: return .notFound
    }
  }

  private func act(on record: SweepRecord, _ path: [String]) async throws -> Reply {
    switch path {
    case ["cancel"]: try await hooks.cancel(record.id)
    case ["retry"]: try await hooks.retry(record.id, try retryable(record, run: nil))
    case let rest where rest.count == 3 && rest[0] == "runs" && rest[2] == "retry":
      let run = try ledger.runs(of: record.id).first { $0.name == rest[1] }
      guard let run else { return .notFound }
      try await hooks.retry(record.id, try retryable(record, run: run))
    default: return .notFound
    }
    await feed.forget()
    return .redirect(link("sweeps", record.id))
  }
}
