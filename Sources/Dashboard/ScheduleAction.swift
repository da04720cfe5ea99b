import Ledger

/// What a person can do with a schedule, as the commands of the same names.
enum ScheduleAction: String {
  case runNow = "run-now"
  case enable
  case disable

  func title(_ name: String) -> String {
    switch self {
    case .runNow: "Run \(name) now?"
    case .enable: "Enable \(name)?"
    case .disable: "Disable \(name)?"
    }
  }

  var what: String {
    switch self {
    case .runNow: "A sweep of its job is queued; it starts when no other sweep of the schedule runs."
    case .enable: "Its times count again from now on; those that passed meanwhile are not made up for."
    case .disable: "Its times pass until it is enabled again; a sweep that runs goes on."
    }
  }

  var button: String {
    switch self {
    case .runNow: "Run now"
    case .enable: "Enable"
    case .disable: "Disable"
    }
  }

  func act(on schedule: ScheduleRecord, _ ledger: SweepLedger, _ now: Double) throws {
    switch self {
    case .runNow: try ledger.fire(schedule: schedule.name, now: now)
    case .enable: try ledger.enable(schedule: schedule.name, true, now: now)
    case .disable: try ledger.enable(schedule: schedule.name, false, now: now)
    }
  }
}
