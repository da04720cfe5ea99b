import ArgumentParser
import Coordination
import Foundation
import Ledger
import Planning
import Playbooks
import Reporting

/// The forms a sweep report comes in.
enum ReportFormat: String, CaseIterable, ExpressibleByArgument {
  case text
  case html
  case markdown
  case json
  /// JSON Lines.
  case jsonl
  case junit

  /// Those that every finished sweep has beside its files.
  static let written: [ReportFormat] = [.html, .markdown, .json]

  var fileExtension: String {
    switch self {
    case .text: "txt"
    case .html: "html"
    case .markdown: "md"
    case .json: "json"
    case .jsonl: "jsonl"
    case .junit: "xml"
    }
  }

  func render(_ report: SweepReport) -> String {
    switch self {
    case .text: report.text(verbose: true, style: Style(color: false, width: 120))
    case .html: report.html()
    case .markdown: report.markdown()
    case .json: report.json(pretty: true)
    case .jsonl: report.jsonLines()
    case .junit: report.junit()
    }
  }

  static func path(_ format: ReportFormat, store: String, sweep: String) -> String {
    "\(store)/sweeps/\(sweep)/report.\(format.fileExtension)"
  }

  /// Writes those files of a finished sweep that are not there: it may have been killed when its report was just stored.
  static func keep(_ report: SweepReport, store: String) throws {
    for format in written {
      let path = path(format, store: store, sweep: report.id)
      if !FileManager.default.fileExists(atPath: path) { try Console.write(format.render(report), to: path) }
    }
  }
}

struct ReportCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "Print a finished sweep's report, or write it to a file.",
    discussion: """
      The exit code is the sweep's own. With --again the sweep is judged anew, by other rules where --noise or --job
      gives them: from its stored measures where these fit, which opens no dump, else from the gathered files; the
      notes say which. The stored report stays as it is.

      Example: rollcall report last --format html -o report.html
      Example: rollcall report last --again --noise strict
      """)

  @Argument(help: "The sweep: its name, the beginning of it, or `last`; or a playbook, whose notes are joined.")
  var sweep = "last"

  @Option(name: .long, help: "text, html, markdown, json, jsonl (one object a line) or junit.")
  var format = ReportFormat.text

  @Option(name: .shortAndLong, help: "Write to this file in place of standard output.", completion: .file())
  var output: String?

  @Flag(name: .long, help: "Judge the sweep again; the stored report stays as it is.")
  var again = false

  @Option(name: .long, help: "With --again: \(NoiseArgument.help.abstract)")
  var noise: NoiseArgument?

  @Option(
    name: .long, help: "With --again: a changed job file, whose `compare` section is taken.", completion: .file())
  var job: String?

  @Flag(name: .long, help: "With --again: read the gathered files even where stored measures would do.")
  var read = false

  @Flag(
    name: .long,
    help: "Show the evidence of each finding: its place in every compared cell, the stages around it, and the layout.")
  var explain = false

  @OptionGroup var store: StoreOptions

  var wantsJSON: Bool { store.json }

  func validate() throws {
    guard !explain || format == .text && !store.json else {
      throw ValidationError("--explain belongs to the text report; HTML and JSON hold the rows themselves.")
    }
    guard again || noise == nil && job == nil && !read else {
      throw ValidationError("--noise, --job and --read judge a sweep again: add --again.")
    }
  }

  /// The rules to judge by; nil: the sweep's own.
  private func rules(_ plan: Plan) throws -> CompareSpec? {
    guard noise != nil || job != nil else { return nil }
    var rules = plan.compare
    if let job {
      let changed = try Planner.plan(jobFile: job)
      guard changed.cells.map(\.values) == plan.cells.map(\.values) else {
        throw UsageError(
          message: "\(job) has another matrix than the sweep: only its `compare` section may be changed.")
      }
      rules = changed.compare
    }
    if let noise { rules.noise = noise.spec }
    return rules
  }

  func run() async throws {
    let (ledger, artifacts) = try store.open()
    let record: SweepRecord
    do { record = try ledger.sweep(named: sweep) } catch let error as LedgerError where error.code == .notFound {
      guard !again, let playbook = try? ledger.playbook(named: sweep) else { throw error }
      return try print(try PlaybookSession.report(playbook, ledger))
    }
    let stored = try Self.stored(record, ledger)
    let report =
      again
      ? try await SweepComparison(ledger: ledger, artifacts: artifacts).report(
        sweep: record.id, now: stored.ended ?? 0,
        again: SweepComparison.Repetition(rules: try rules(try ledger.plan(of: record.id)), readsDumps: read))
      : stored
    let format = store.json ? ReportFormat.json : format
    if format == .text, output == nil || explain {
      let style = Style(color: output == nil && Console.wantsColour, width: output == nil ? Console.width : 120)
      let text = report.text(verbose: true, explains: explain, style: style)
      if let output { try Console.write(text, to: output) } else { Console.print(text) }
    } else if let output {
      try Console.write(format.render(report), to: output)
    } else if format == .json {
      report.writeJSON(pretty: true) { Console.write(bytes: $0) }
    } else if format == .jsonl {
      report.writeJSONLines { Console.write(bytes: $0) }
    } else {
      Console.print(format.render(report))
    }
    throw ExitCode(ExitPolicy.code(for: report))
  }

  /// A playbook's path; only sweeps come as JUnit and as JSON Lines.
  private func print(_ report: PlaybookReport) throws {
    let text: String
    switch store.json ? .json : format {
    case .json: text = try report.json()
    case .markdown: text = report.markdown()
    case .text: text = report.text()
    case .html: text = report.html()
    case .junit, .jsonl:
      throw UsageError(message: "\(report.id) is a playbook: its report comes as text, html, markdown or json.")
    }
    if let output { try Console.write(text, to: output) } else { Console.print(text) }
    throw ExitCode(ExitPolicy.code(verdict: report.verdict, hasFailedRuns: report.hasFailedRuns))
  }

  static func stored(_ record: SweepRecord, _ ledger: SweepLedger) throws -> SweepReport {
    guard let document = try ledger.report(of: record.id) else {
      throw UsageError(
        message: "Sweep \(record.id) is \(record.state.rawValue) and has no report yet: that comes at its end. Where "
          + "nothing drives it, rollcall resume \(record.id) goes on with it.")
    }
    return try SweepReport(json: document)
  }
}
