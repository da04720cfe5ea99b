import ArgumentParser
import Foundation
import Ledger
import Scheduling

struct RetryCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "retry",
    abstract: "Try runs of a sweep again that failed, and compare anew.",
    discussion: """
      Each run gets a new attempt; the old ones stay in the record. Runs that have succeeded are not run again.

      Examples: rollcall retry world_size=8
                rollcall retry --failed --sweep tp-sweep-20261121
      """)

  @Argument(help: "The runs: names, or parts of them that no other run has.")
  var runs: [String] = []

  @Flag(name: .long, help: "All runs of the sweep that ended badly.")
  var failed = false

  @Option(name: .long, help: "The sweep: its name, the beginning of it, or `last`.")
  var sweep = "last"

  @OptionGroup var store: StoreOptions

  @Flag(name: .shortAndLong, help: "Show every row in the terminal report, also the passing ones.")
  var verbose = false

  var wantsJSON: Bool { store.json }

  func validate() throws {
    guard failed != !runs.isEmpty else { throw ValidationError("Name the runs, or give --failed.") }
  }

  func run() async throws {
    // The lock first: nobody else drives the sweep from here on.
    let session = try SweepSession(store)
    let record = try session.ledger.sweep(named: sweep)
    let all = try session.ledger.runs(of: record.id)
    let chosen =
      failed ? all.filter(Self.endedBadly) : try runs.map { try LogsCommand.find($0, in: all, sweep: record.id) }
    guard !chosen.isEmpty else { throw UsageError(message: "No run of \(record.id) ended badly.") }
    guard !session.isServed || record.ended != nil else {
      throw UsageError(message: "Sweep \(record.id) has not ended: serve drives it. Wait for its end, or cancel it.")
    }
    for run in chosen where !Self.endedBadly(run) {
      throw UsageError(message: "Run \(run.name) cannot be tried again: it is \(run.state.rawValue).")
    }
    var seen: Set<String> = []
    let names = chosen.map(\.name).filter { seen.insert($0).inserted }
    try session.ledger.reopen(sweep: record.id, runs: names, now: Date().timeIntervalSince1970)
    try await SweepOutcome.drive(session, sweep: record.id, json: store.json, verbose: verbose)
  }

  private static func endedBadly(_ run: RunRecord) -> Bool { run.state.isFinal && run.state != .succeeded }
}
