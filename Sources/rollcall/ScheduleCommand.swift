import ArgumentParser
import Dashboard
import Foundation
import Ledger
import Planning
import Scheduling

struct ScheduleCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "schedule",
    abstract: "Jobs that `rollcall serve` runs at set times.",
    discussion: """
      The times stand in the job file's section `schedule`. A local time that the clock skips runs once, at the end of \
      the gap; one that it shows twice runs once, the first time.

      Example: rollcall schedule add Jobs/batch-invariance.yaml --fleet fleet.yaml
      """,
    subcommands: [Add.self, List.self, Show.self, Enable.self, Disable.self, RunNow.self, Remove.self],
    defaultSubcommand: List.self)

  struct Add: ParsableCommand, HasJSONOutput {
    static let configuration = CommandConfiguration(
      abstract: "Keep a job's schedule, or tell where its files are now.",
      discussion: "Example: rollcall schedule add nightly.yaml")

    @Argument(help: "The job file; it is read anew for each sweep.", completion: .file(extensions: ["yaml", "yml"]))
    var job: String

    @OptionGroup var store: StoreOptions
    @OptionGroup var fleet: FleetOptions

    var wantsJSON: Bool { store.json }

    func run() throws {
      let plan = try Planner.plan(jobFile: job)
      guard let spec = plan.schedule else {
        throw InputError(
          message: "\(job): the job has no section `schedule`; add one: schedule: {cron: \"30 2 * * *\", timezone: UTC}"
        )
      }
      let timetable = try ScheduleTable.timetable(spec, plan.name)
      _ = try fleet.read()
      let now = Date().timeIntervalSince1970
      guard timetable.fireTimes.next(after: now) != nil else {
        throw InputError(message: "\(job): the cron expression \"\(spec.cron)\" means no time at all")
      }
      let ledger = try SweepLedger(store: store.directory)
      try ledger.save(
        ScheduleRecord(
          name: plan.name, path: URL(fileURLWithPath: job).standardizedFileURL.path, fleet: fleet.path, added: now))
      try ScheduleTable.print([try ledger.schedule(named: plan.name)], ledger, store, now)
    }
  }

  struct List: ParsableCommand, HasJSONOutput {
    static let configuration = CommandConfiguration(
      abstract: "The schedules and their next five times.", discussion: "Example: rollcall schedule list")

    @OptionGroup var store: StoreOptions

    var wantsJSON: Bool { store.json }

    func run() throws {
      let ledger = try SweepLedger(store: store.directory)
      try ScheduleTable.print(try ledger.schedules(), ledger, store, Date().timeIntervalSince1970)
    }
  }

  struct Show: ParsableCommand, HasJSONOutput {
    static let configuration = CommandConfiguration(
      abstract: "What became of a schedule's times.", discussion: "Example: rollcall schedule show nightly")

    @OptionGroup var one: OneSchedule

    @Option(name: .long, help: "At most this many times, the newest.")
    var limit = 50

    var wantsJSON: Bool { one.store.json }

    func run() throws {
      let (ledger, schedule) = try one.open()
      let firings = try ledger.firings(of: schedule.name, limit: limit)
      if one.store.json {
        Console.print(try JSONOutput.text(FiringDocument(schedule.name, firings, ledger)))
        return
      }
      guard !firings.isEmpty else {
        Console.print("\(schedule.name) has had no time yet.")
        return
      }
      let rows = try firings.map { firing -> [String] in
        let verdict = try firing.sweep.flatMap { try ledger.sweep(named: $0).verdict }
        let range = firing.count > 1 ? " to \(StatusTable.time(firing.last)), \(firing.count) times" : ""
        return [
          StatusTable.time(firing.nominal) + range + (firing.isManual ? ", asked for" : ""), firing.state.rawValue,
          verdict?.uppercased() ?? "-", firing.sweep ?? "-", firing.why ?? "",
        ]
      }
      Console.print(StatusTable.table([["TIME", "STATE", "VERDICT", "SWEEP", "REASON"]] + rows))
    }
  }

  struct Enable: ParsableCommand, HasJSONOutput {
    static let configuration = CommandConfiguration(
      abstract: "Let a schedule's times count again, from now on.",
      discussion: "Example: rollcall schedule enable nightly")

    @OptionGroup var one: OneSchedule

    var wantsJSON: Bool { one.store.json }

    func run() throws { try one.enable(true) }
  }

  struct Disable: ParsableCommand, HasJSONOutput {
    static let configuration = CommandConfiguration(
      abstract: "Let a schedule's times pass; a sweep that runs goes on.",
      discussion: "Example: rollcall schedule disable nightly")

    @OptionGroup var one: OneSchedule

    var wantsJSON: Bool { one.store.json }

    func run() throws { try one.enable(false) }
  }

  struct RunNow: ParsableCommand, HasJSONOutput {
    static let configuration = CommandConfiguration(
      commandName: "run-now", abstract: "Queue a sweep of a schedule's job now.",
      discussion: "Example: rollcall schedule run-now nightly")

    @OptionGroup var one: OneSchedule

    var wantsJSON: Bool { one.store.json }

    func run() throws {
      let (ledger, schedule) = try one.open()
      try ledger.fire(schedule: schedule.name, now: Date().timeIntervalSince1970)
      if one.store.json {
        Console.print(try JSONOutput.text(ScheduleAnswer(schema: "rollcall.queued/1", schedule: schedule.name)))
      } else {
        let isServed = StoreLock.isServed(store: one.store.directory)
        Console.print("\(schedule.name) is queued" + (isServed ? "." : "; it starts when rollcall serve runs."))
      }
    }
  }

  struct Remove: ParsableCommand, HasJSONOutput {
    static let configuration = CommandConfiguration(
      abstract: "Forget a schedule; its sweeps stay.", discussion: "Example: rollcall schedule remove nightly")

    @Argument(help: "The schedule: its job's name.")
    var name: String

    @OptionGroup var store: StoreOptions

    var wantsJSON: Bool { store.json }

    func run() throws {
      let ledger = try SweepLedger(store: store.directory)
      let schedule = try ledger.schedule(named: name)
      guard schedule.name == name else {
        throw UsageError(message: "To remove it, give its whole name: \(schedule.name)")
      }
      try ledger.remove(schedule: name)
      if store.json {
        Console.print(try JSONOutput.text(ScheduleAnswer(schema: "rollcall.removed/1", schedule: name)))
      }
    }
  }
}

/// `rollcall.queued/1`, `rollcall.removed/1`
private struct ScheduleAnswer: Encodable {
  var schema: String
  var schedule: String
}

/// The schedule that a command is for.
struct OneSchedule: ParsableArguments {
  @Argument(help: "The schedule: its job's name, or the beginning of it.")
  var name: String

  @OptionGroup var store: StoreOptions

  func open() throws -> (SweepLedger, ScheduleRecord) {
    let ledger = try SweepLedger(store: store.directory)
    return (ledger, try ledger.schedule(named: name))
  }

  func enable(_ isEnabled: Bool) throws {
    let (ledger, schedule) = try open()
    let now = Date().timeIntervalSince1970
    try ledger.enable(schedule: schedule.name, isEnabled, now: now)
    try ScheduleTable.print([try ledger.schedule(named: schedule.name)], ledger, store, now)
  }
}

/// How schedules are shown.
enum ScheduleTable {
  static func timetable(_ spec: ScheduleSpec, _ name: String) throws -> Timetable {
    do throws(CronExpression.Problem) { return try Timetable(spec, name: name) } catch {
      throw InputError(message: error.message)
    }
  }

  static func print(_ schedules: [ScheduleRecord], _ ledger: SweepLedger, _ store: StoreOptions, _ now: Double) throws {
    let listing = try ScheduleListing(schedules, ledger, now: now)
    if store.json {
      Console.print(try JSONOutput.text(listing))
      return
    }
    let entries = listing.schedules
    guard !entries.isEmpty else {
      Console.print("No schedules yet. Add one with: rollcall schedule add JOB")
      return
    }
    for entry in entries {
      Console.print("\(entry.name): \(entry.enabled ? "enabled" : "disabled"), \(entry.path)")
      if let problem = entry.problem {
        Console.print("  \(problem)")
      } else {
        Console.print(
          "  \(entry.cron ?? ""), \(entry.timezone ?? ""), missed: \(entry.missed ?? ""), overlap: \(entry.overlap ?? "")"
        )
      }
      for (index, time) in entry.next.enumerated() { Console.print("  \(index == 0 ? "next" : "    ")  \(time)") }
      if let last = entry.last { Console.print("  last  \(last)") }
    }
    if !StoreLock.isServed(store: store.directory) {
      Console.print("Nothing starts until this runs: rollcall serve")
    }
  }
}

/// `rollcall.firings/1`
struct FiringDocument: Encodable {
  struct Firing: Encodable {
    var nominal: String
    var last: String?
    var count: Int
    var manual: Bool
    var state: String
    var why: String?
    var sweep: String?
    var verdict: String?
  }

  var schema = "rollcall.firings/1"
  var schedule: String
  var firings: [Firing]

  init(_ schedule: String, _ records: [FiringRecord], _ ledger: SweepLedger) throws {
    self.schedule = schedule
    firings = try records.map { record in
      Firing(
        nominal: StatusTable.time(record.nominal), last: record.count > 1 ? StatusTable.time(record.last) : nil,
        count: record.count, manual: record.isManual, state: record.state.rawValue, why: record.why,
        sweep: record.sweep, verdict: try record.sweep.flatMap { try ledger.sweep(named: $0).verdict })
    }
  }
}
