import ArgumentParser
import Comparison
import Coordination
import Foundation
import Ledger
import Planning
import Playbooks
import Reporting

struct PlaybookCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "playbook",
    abstract: "Let a method choose the next runs until it has an answer.",
    discussion: """
      Playbooks:
      \(PlaybookName.allCases.map { "  \($0.rawValue.padding(toLength: 14, withPad: " ", startingAt: 0))\($0.question)" }
        .joined(separator: "\n"))

      Every step is one sweep with its own report, but for the looks of a triage; notes of each step stand under playbooks/ in the store.

      Your own is any program: it reads the evidence as JSON on standard input and prints the next move as JSON, {"run": \
      {"step", "hypothesis", "design", and as wanted "cells", "repeat", "on", "off", "env", "arguments", "layers", \
      "stages"}} or {"conclude": {"verdict", "kind", "summary", "next", and as known "layer", "stage", "cause", \
      "subject", "evidence"}}. Jobs/playbooks/rounding.py is one, and its head says what stands in the evidence.

      Example: rollcall playbook bisect Jobs/bisect.yaml
      """,
    subcommands: [
      PlaybookRunCommand.self, PlaybookEvaluateCommand.self, PlaybookTriageCommand.self, PlaybookResumeCommand.self,
      PlaybookShowCommand.self,
      PlaybookListCommand.self,
    ],
    defaultSubcommand: PlaybookRunCommand.self)
}

struct PlaybookRunCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Start a playbook over one job.",
    discussion: """
      The exit code is the conclusion's: 0 no bug, 1 a bug was found, 2 no answer, 3 a run failed. Ctrl-C detaches, and \
      `rollcall playbook resume` goes on.

      Example: rollcall playbook ladder Jobs/ladder.yaml
      """)

  @Argument(
    help: "The playbook: \(PlaybookName.allCases.map(\.rawValue).joined(separator: ", ")), or the path of your own.")
  var name: String

  @Argument(help: "The job file.", completion: .file(extensions: ["yaml", "yml"]))
  var job: String

  @OptionGroup var store: StoreOptions
  @OptionGroup var fleet: FleetOptions

  var wantsJSON: Bool { store.json }

  func run() async throws { try await Self.start(name, job: job, store: store, fleet: fleet) }

  static func start(_ name: String, job: String, store: StoreOptions, fleet: FleetOptions) async throws {
    let plan = try Planner.plan(jobFile: job)
    let name = try PlaybookMethod.name(name)
    try AntiPattern.refuse(in: plan)
    for warning in plan.warnings + AntiPattern.warnings(in: plan).map(\.description) {
      Console.error("rollcall: warning: \(warning)")
    }
    let now = Date().timeIntervalSince1970
    let title = (name as NSString).lastPathComponent.prefix { $0 != "." }
    let record = PlaybookRecord(
      id: Naming.sweep(job: "\(title)-\(plan.name)", now: now, random: .random(in: 0...UInt16.max)),
      name: name, job: plan.name, path: URL(fileURLWithPath: job).standardizedFileURL.path,
      text: try String(contentsOfFile: job, encoding: .utf8), commits: try await PlaybookMethod.commits(name, plan),
      created: now)
    // What the job lacks is said before anything is stored.
    _ = try PlaybookMethod(record)
    let fleet = try fleet.read()
    let session = try SweepSession(store)
    if let warning = PlaybookName(rawValue: name).flatMap(AntiPattern.uncheckedWeights),
      try !PlaybookSession.hasRightWeights(session.ledger)
    {
      Console.error("rollcall: warning: \(warning)")
    }
    try session.ledger.create(record, fleet: fleet)
    try await PlaybookResumeCommand.drive(record, session, json: store.json)
  }
}

struct PlaybookResumeCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "resume",
    abstract: "Go on with a playbook that was detached or whose coordinator died.",
    discussion: "Example: rollcall playbook resume last")

  @Argument(help: "The playbook: its id, the beginning of it, or `last`.")
  var playbook = "last"

  @OptionGroup var store: StoreOptions

  var wantsJSON: Bool { store.json }

  func run() async throws {
    let session = try SweepSession(store)
    try await Self.drive(try session.ledger.playbook(named: playbook), session, json: store.json)
  }

  static func drive(_ record: PlaybookRecord, _ session: SweepSession, json: Bool) async throws {
    guard let report = try await PlaybookSession(session: session).drive(record) else {
      if json { Console.print(#"{"schema": "rollcall.detached/1", "playbook": "\#(record.id)"}"#) }
      Console.error(
        "rollcall: detached; the runs go on. Come back with: rollcall playbook resume \(record.id)")
      throw ExitCode(Failure.detached)
    }
    try PlaybookShowCommand.print(report, json: json)
    if !json { Console.print("HTML report: \(session.storeDirectory)/playbooks/\(record.id)/report.html") }
    throw ExitCode(ExitPolicy.code(verdict: report.verdict, hasFailedRuns: report.hasFailedRuns))
  }
}

struct PlaybookShowCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "show",
    abstract: "Print the path that a playbook took and where it ended.",
    discussion: "Example: rollcall playbook show last --markdown")

  @Argument(help: "The playbook: its id, the beginning of it, or `last`.")
  var playbook = "last"

  @Flag(name: .long, help: "Print the notes of all steps, joined.")
  var markdown = false

  @OptionGroup var store: StoreOptions

  var wantsJSON: Bool { store.json }

  func run() async throws {
    let (ledger, _) = try store.open()
    let report = try PlaybookSession.report(try ledger.playbook(named: playbook), ledger)
    if markdown, !store.json { Console.print(report.markdown()) } else { try Self.print(report, json: store.json) }
    throw ExitCode(ExitPolicy.code(verdict: report.verdict, hasFailedRuns: report.hasFailedRuns))
  }

  static func print(_ report: PlaybookReport, json: Bool) throws {
    Console.print(json ? try report.json() : report.text())
  }
}

struct PlaybookListCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "List the playbooks that the store holds.",
    discussion: "Example: rollcall playbook list")

  @OptionGroup var store: StoreOptions

  var wantsJSON: Bool { store.json }

  func run() async throws {
    let (ledger, _) = try store.open()
    let reports = try ledger.playbooks(limit: 50).map { try PlaybookSession.report($0, ledger) }
    guard !store.json else {
      return Console.print("[" + (try reports.map { try $0.json() }).joined(separator: ",") + "]")
    }
    guard !reports.isEmpty else { return Console.error("The store holds no playbook yet.") }
    for report in reports {
      let end = report.conclusion.map { "\($0.verdict.rawValue.uppercased())  \($0.summary)" } ?? "goes on"
      Console.print("\(report.id)  \(end)")
    }
  }
}
