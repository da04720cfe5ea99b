import ArgumentParser
import Coordination
import Foundation
import Ledger
import Reporting

/// The forms a sweep report comes in.
enum ReportFormat: String, CaseIterable, ExpressibleByArgument {
  case text
  case html
  case markdown
  case json
  case junit

  /// Those that every finished sweep has beside its files.
  static let written: [ReportFormat] = [.html, .markdown, .json]

  var fileExtension: String {
    switch self {
    case .text: "txt"
    case .html: "html"
    case .markdown: "md"
    case .json: "json"
    case .junit: "xml"
    }
  }

  func render(_ report: SweepReport) -> String {
    switch self {
    case .text: report.text(verbose: true, style: Style(color: false, width: 120))
    case .html: report.html()
    case .markdown: report.markdown()
    case .json: report.json(pretty: true)
    case .junit: report.junit()
    }
  }

  static func path(_ format: ReportFormat, store: String, sweep: String) -> String {
    "\(store)/sweeps/\(sweep)/report.\(format.fileExtension)"
  }
}

struct ReportCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "report",
    abstract: "Print a finished sweep's report, or write it to a file.",
    discussion: """
      The exit code is the sweep's own.

      Example: rollcall report last --format html -o report.html
      """)

  @Argument(help: "The sweep: its name, the beginning of it, or `last`.")
  var sweep = "last"

  @Option(name: .long, help: "text, html, markdown, json or junit.")
  var format = ReportFormat.text

  @Option(name: .shortAndLong, help: "Write to this file in place of standard output.", completion: .file())
  var output: String?

  @Flag(name: .long, help: "Read and compare the gathered files again; the stored report stays as it is.")
  var again = false

  @OptionGroup var store: StoreOptions

  var wantsJSON: Bool { store.json }

  func run() async throws {
    let (ledger, artifacts) = try store.open()
    let record = try ledger.sweep(named: sweep)
    let stored = try Self.stored(record, ledger)
    let report =
      again
      ? try await SweepComparison(ledger: ledger, artifacts: artifacts).report(sweep: record.id, now: stored.ended ?? 0)
      : stored
    let rendered =
      format == .text && output == nil && !store.json
      ? report.text(verbose: true, style: Style(color: Console.wantsColour, width: Console.width))
      : (store.json ? ReportFormat.json : format).render(report)
    if let output {
      try Console.write(rendered, to: output)
    } else {
      Console.print(rendered)
    }
    throw ExitCode(ExitPolicy.code(for: report))
  }

  static func stored(_ record: SweepRecord, _ ledger: SweepLedger) throws -> SweepReport {
    guard let document = try ledger.report(of: record.id) else {
      throw UsageError(
        message: "Sweep \(record.id) is \(record.state.rawValue) and has no report yet; rollcall resume \(record.id) "
          + "goes on with it.")
    }
    return try SweepReport(json: document)
  }
}
