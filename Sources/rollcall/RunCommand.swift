import ArgumentParser
import Coordination
import Foundation
import Ledger
import Planning
import Reporting
import Transports

struct RunCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Plan, schedule, launch, gather, compare and report one job.",
    discussion: """
      Ctrl-C detaches: the runs go on at their hosts, and `rollcall resume` picks them up.

      Example: rollcall run Jobs/tp-sweep.yaml --fleet fleet.yaml
      """)

  @Argument(help: "The job file.", completion: .file(extensions: ["yaml", "yml"]))
  var job: String

  @OptionGroup var store: StoreOptions
  @OptionGroup var fleet: FleetOptions

  @Flag(name: .shortAndLong, help: "Show every row in the terminal report, also the passing ones.")
  var verbose = false

  @Flag(name: .long, help: "Show the evidence of each finding, over all compared cells.")
  var explain = false

  var wantsJSON: Bool { store.json }

  func run() async throws {
    let plan = await JobCommit.noted(in: try Planner.plan(jobFile: job))
    let fleet = try fleet.read()
    for warning in plan.warnings { Console.error("rollcall: warning: \(warning)") }
    let session = try SweepSession(store)
    let now = Date().timeIntervalSince1970
    let sweep = Naming.sweep(job: plan.name, now: now, random: UInt16.random(in: 0...UInt16.max))
    let runs = Naming.runs(of: plan, sweep: sweep)
    try SweepFiles.keep(plan, of: sweep, in: session.artifacts) {
      try session.ledger.create(sweep: sweep, plan: plan, fleet: fleet, runs: runs, now: now)
    }
    try await SweepOutcome.drive(session, sweep: sweep, json: store.json, verbose: verbose, explain: explain)
  }
}

struct ResumeCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "resume",
    abstract: "Go on with a sweep that was detached or whose coordinator died.",
    discussion: "Example: rollcall resume last")

  @Argument(help: "The sweep: its name, the beginning of it, or `last`.")
  var sweep = "last"

  @OptionGroup var store: StoreOptions

  @Flag(name: .shortAndLong, help: "Show every row in the terminal report, also the passing ones.")
  var verbose = false

  @Flag(name: .long, help: "Show the evidence of each finding, over all compared cells.")
  var explain = false

  var wantsJSON: Bool { store.json }

  func run() async throws {
    let session = try SweepSession(store)
    let record = try session.ledger.sweep(named: sweep)
    if record.state == .done || record.state == .cancelled {
      try SweepOutcome.print(
        try ReportCommand.stored(record, session.ledger), store: session.storeDirectory, json: store.json,
        verbose: verbose, explain: explain)
    }
    try await SweepOutcome.drive(session, sweep: record.id, json: store.json, verbose: verbose, explain: explain)
  }
}

/// What `run` and `resume` do once there is a sweep.
enum SweepOutcome {
  static func drive(
    _ session: SweepSession, sweep: String, json: Bool, verbose: Bool, explain: Bool = false
  ) async throws {
    let driven: SweepReport?
    do {
      driven = try await report(session, sweep)
    } catch let error as TransportError {
      Console.error("rollcall: \(sweep) waits for its hosts; once they can be used: rollcall resume \(sweep)")
      throw error
    }
    guard let report = driven else {
      if json { Console.print(#"{"schema": "rollcall.detached/1", "sweep": "\#(sweep)"}"#) }
      Console.error("rollcall: detached; the runs go on. Come back with: rollcall resume \(sweep)")
      throw ExitCode(Failure.detached)
    }
    try print(report, store: session.storeDirectory, json: json, verbose: verbose, explain: explain)
  }

  /// nil: detached.
  static func report(_ session: SweepSession, _ sweep: String) async throws -> SweepReport? {
    guard Console.isErrorTerminal else { return try await session.drive(sweep: sweep, display: QuietDisplay()) }
    Console.error("sweep \(sweep)")
    let display = LiveDisplay {
      guard let record = try? session.ledger.sweep(named: sweep) else { return nil }
      return try? SweepTable.read(
        session.ledger, sweep: record, store: session.storeDirectory, isCoordinated: true
      ).lines
    }
    return try await display.during { try await session.drive(sweep: sweep, display: display) }
  }

  /// Prints the report and leaves with its exit code.
  static func print(_ report: SweepReport, store: String, json: Bool, verbose: Bool, explain: Bool = false) throws {
    if json {
      report.writeJSON(pretty: true) { Console.write(bytes: $0) }
    } else {
      let style = Style(color: Console.wantsColour, width: Console.width)
      Console.print(report.text(verbose: verbose, explains: explain, style: style))
      try? ReportFormat.keep(report, store: store)
      Console.print("HTML report: \(ReportFormat.path(.html, store: store, sweep: report.id))")
    }
    throw ExitCode(ExitPolicy.code(for: report))
  }
}
