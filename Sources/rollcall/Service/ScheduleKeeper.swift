import Coordination
import Foundation
import Gathering
import Ledger
import Planning
import Scheduling

/// Looks at the schedules: decides what has come due, starts sweeps, stops those whose window has ended, raises alarms.
struct ScheduleKeeper {
  let ledger: SweepLedger
  let artifacts: ArtifactStore
  /// One line for the service's log.
  let log: @Sendable (String) -> Void

  /// A job file as it was read.
  private struct Read {
    var modified: Date?
    var plan: Plan?
    var timetable: Timetable?
    var problem: String?
  }

  private var files: [String: Read] = [:]
  /// Those whose sweep waits for the store, and of which that is said.
  private var waiting: Set<String> = []
  /// What the clock is ahead of the steady one by, and the steady time since which it is so.
  private var clock = (offset: Double.infinity, since: 0.0)
  /// Those that were set back, as they were.
  private var broughtBack: [ScheduleRecord] = []

  /// Seconds for which the clock goes evenly before it is believed against what is stored. A machine that starts with a
  /// clock that has stood is set right within minutes.
  static let clockPatience = 600.0

  init(ledger: SweepLedger, artifacts: ArtifactStore, log: @escaping @Sendable (String) -> Void) {
    self.ledger = ledger
    self.artifacts = artifacts
    self.log = log
  }

  /// - Parameters:
  ///   - now: Seconds since 1970.
  ///   - steady: Seconds by a clock that is never set.
  mutating func look(now: Double, steady: Double) async throws {
    try sortOutClock(now: now, steady: steady)
    for schedule in try ledger.schedules() {
      let file = read(schedule)
      var open = try ledger.openFirings(of: schedule.name)
      if schedule.isEnabled, let timetable = file.timetable {
        if try decide(schedule, timetable, open, now) { open = try ledger.openFirings(of: schedule.name) }
        try alarm(schedule, timetable, file.plan, now)
      }
      try stopLate(open, now)
      try await start(schedule, file, open, now)
    }
  }

  /// A clock that was far ahead is to silence no schedule, and one that is behind is to let none begin again what it has
  /// decided.
  private mutating func sortOutClock(now: Double, steady: Double) throws {
    if abs(now - steady - clock.offset) > 60 { clock = (now - steady, steady) }
    for schedule in broughtBack where max(schedule.decidedThrough, schedule.alarmedThrough) <= now {
      try ledger.takeBack(schedule)
    }
    broughtBack.removeAll { max($0.decidedThrough, $0.alarmedThrough) <= now }
    guard steady - clock.since >= Self.clockPatience else { return }
    for schedule in try ledger.bringBack(schedulesAheadOf: now) {
      broughtBack.append(schedule)
      log("schedule \(schedule.name): the clock was more than a day ahead; it goes on from now")
    }
  }

  /// Reads the job file when it has changed; what was read last stands while the file cannot be read.
  private mutating func read(_ schedule: ScheduleRecord) -> Read {
    let attributes = try? FileManager.default.attributesOfItem(atPath: schedule.path)
    let modified = attributes?[.modificationDate] as? Date
    var file = files[schedule.name] ?? Read()
    guard file.modified != modified || (file.plan == nil && file.problem == nil) else { return file }
    file.modified = modified
    do {
      let plan = try Planner.plan(jobFile: schedule.path)
      file.problem = nil
      file.plan = plan
      file.timetable = try plan.schedule.map { try Timetable($0, name: schedule.name) }
      if plan.schedule == nil { file.problem = "\(schedule.path) has no section `schedule` any more" }
    } catch {
      file.problem = (error as? CronExpression.Problem)?.message ?? Failure.describe(error).message
    }
    if let problem = file.problem { log("schedule \(schedule.name): \(problem)") }
    files[schedule.name] = file
    return file
  }

  /// - Returns: Whether there was something to decide.
  private func decide(
    _ schedule: ScheduleRecord, _ timetable: Timetable, _ open: [FiringRecord], _ now: Double
  ) throws -> Bool {
    let running = open.first { $0.state == .running }
    let queued = open.filter { $0.state == .queued }
    let state = Timetable.State(
      decidedThrough: schedule.decidedThrough, isRunning: running != nil, queued: queued.map(\.nominal))
    let (decisions, next) = timetable.decide(state, now: now)
    guard !decisions.isEmpty else { return false }
    var fresh: [FiringRecord] = []
    var overtaken: [FiringRecord] = []
    for decision in decisions {
      switch decision {
      case .queue(let nominal):
        fresh.append(FiringRecord(schedule: schedule.name, nominal: nominal, state: .queued))
      case .skip(let first, let last, let count, let why):
        let skipped = FiringRecord(
          schedule: schedule.name, nominal: first, last: last, count: count, state: .skipped, why: why)
        if queued.contains(where: { $0.nominal == first }) {
          overtaken.append(skipped)
        } else if let waiting = fresh.firstIndex(where: { $0.nominal == first }) {
          fresh[waiting] = skipped
        } else {
          fresh.append(skipped)
        }
        log("schedule \(schedule.name): \(count) skipped: \(why)")
      case .cancelRunning:
        if let sweep = running?.sweep {
          try ledger.requestCancel(sweep: sweep, now: now)
          log("schedule \(schedule.name): \(sweep) is stopped for the next one")
        }
      }
    }
    try ledger.decide(schedule: schedule.name, through: next.decidedThrough, firings: fresh, overtaken: overtaken)
    return true
  }

  /// Starts the sweep whose turn it is.
  private mutating func start(
    _ schedule: ScheduleRecord, _ file: Read, _ open: [FiringRecord], _ now: Double
  ) async throws {
    guard !open.contains(where: { $0.state == .running }), let firing = open.first else { return }
    do {
      let plan = await JobCommit.noted(in: try Planner.plan(jobFile: schedule.path))
      let fleet = try schedule.fleet.map { try FleetReader.read(path: $0) } ?? FleetReader.thisMachine()
      let sweep = Naming.sweep(job: plan.name, now: now, random: .random(in: 0...UInt16.max))
      try SweepFiles.keep(plan, of: sweep, in: artifacts) {
        try ledger.begin(
          firing, sweep: sweep, plan: plan, fleet: fleet, runs: Naming.runs(of: plan, sweep: sweep), now: now)
      }
      waiting.remove(schedule.name)
      log("schedule \(schedule.name): \(sweep) for \(StatusTable.time(firing.nominal))")
    } catch let error as LedgerError {
      throw error
    } catch let error as GatheringError where takesNothing(error) {
      guard waiting.insert(schedule.name).inserted else { return }
      log("schedule \(schedule.name): the sweep of \(StatusTable.time(firing.nominal)) waits for the store: \(error)")
    } catch {
      let why = Failure.describe(error).message
      try ledger.fail(firing, why: why)
      let text = "\(schedule.name): the sweep of \(StatusTable.time(firing.nominal)) could not be started: \(why)"
      log(text)
      try tell(.notStarted, schedule, file.plan, text, at: firing.nominal, through: schedule.alarmedThrough, now)
    }
  }

  /// Whether the store as a whole takes nothing, and not one file of a job is what cannot be had.
  private func takesNothing(_ error: GatheringError) -> Bool {
    error.code == .noSpace || error.code == .store && (try? artifacts.probe()) == nil
  }

  /// Stops a sweep that takes longer than its window.
  private func stopLate(_ open: [FiringRecord], _ now: Double) throws {
    for firing in open where firing.state == .running {
      guard let id = firing.sweep, let window = try ledger.plan(of: id).schedule?.window else { continue }
      let sweep = try ledger.sweep(named: id)
      guard sweep.state == .active, now - sweep.created >= window else { continue }
      try ledger.requestCancel(sweep: id, now: now)
      log("\(id): stopped at the end of its window of \(StatusTable.duration(window))")
    }
  }

  private func alarm(_ schedule: ScheduleRecord, _ timetable: Timetable, _ plan: Plan?, _ now: Double) throws {
    for moment in timetable.reportTimes(after: schedule.alarmedThrough, through: now) {
      if try ledger.hasReport(schedule: schedule.name, after: moment - 86_400, through: moment) {
        try ledger.alarm(schedule: schedule.name, through: moment, notices: [])
        continue
      }
      let text = "\(schedule.name): no report by \(StatusTable.time(moment))"
      log(text)
      try tell(.reportMissing, schedule, plan, text, at: moment, through: moment, now)
    }
  }

  /// Tells all targets of the job, whatever they want to hear of its sweeps.
  private func tell(
    _ event: Notice.Event, _ schedule: ScheduleRecord, _ plan: Plan?, _ text: String, at moment: Double,
    through alarmed: Double, _ now: Double
  ) throws {
    let notices = (plan?.notify ?? []).enumerated().map { index, target in
      Notice(event, job: schedule.name, text: text).record(
        id: "\(event.rawValue)-\(schedule.name)-\(Int(moment))-\(index)", target: target, now: now)
    }
    try ledger.alarm(schedule: schedule.name, through: alarmed, notices: notices)
  }
}
