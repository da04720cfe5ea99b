import ArgumentParser
import Foundation
import Ledger

struct GoldenCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "golden",
    abstract: "Baselines: the sweep that a job's later ones are held against.",
    discussion: """
      `compare: {reference: golden}` compares each cell with the same cell of the baseline. Any other sweep that does \
      not pass is compared with it, too. A baseline's dumps are never pruned.

      Example: rollcall golden set last --why "agreed with the release of May"
      """,
    subcommands: [Set.self, Show.self], defaultSubcommand: Show.self)

  struct Set: ParsableCommand, HasJSONOutput {
    static let configuration = CommandConfiguration(
      abstract: "Pin a sweep as its job's baseline.",
      discussion: "Example: rollcall golden set last --why \"agreed with the release of May\"")

    @Argument(help: "The sweep: its name, the beginning of it, or `last`.")
    var sweep: String

    @Option(name: .long, help: "Why; it stands in the record.")
    var why: String

    @Option(name: .long, help: "Who; default: the user's name.")
    var who: String?

    @Flag(name: .long, help: "Also a sweep that did not pass.")
    var force = false

    @OptionGroup var store: StoreOptions

    var wantsJSON: Bool { store.json }

    func validate() throws {
      guard why.contains(where: { !$0.isWhitespace }) else { throw ValidationError("--why must say something.") }
    }

    func run() throws {
      let ledger = try SweepLedger(store: store.directory)
      let record = try ledger.sweep(named: sweep)
      guard record.ended != nil else { throw UsageError(message: "Sweep \(record.id) has not ended.") }
      guard record.verdict == "pass" || force else {
        throw UsageError(
          message:
            "Sweep \(record.id) is \(record.verdict?.uppercased() ?? "without a verdict"); to pin it in spite of "
            + "that, add --force.")
      }
      let golden = GoldenRecord(
        job: record.job, at: Date().timeIntervalSince1970, sweep: record.id, who: who ?? NSUserName(), why: why)
      try ledger.pin(golden)
      try GoldenDocument([golden]).print(store)
    }
  }

  struct Show: ParsableCommand, HasJSONOutput {
    static let configuration = CommandConfiguration(
      abstract: "The baseline of each job, or all that one has had.",
      discussion: "Example: rollcall golden show nightly")

    @Argument(help: "The job's name.")
    var job: String?

    @OptionGroup var store: StoreOptions

    var wantsJSON: Bool { store.json }

    func run() throws {
      let ledger = try SweepLedger(store: store.directory)
      try GoldenDocument(try job.map(ledger.goldens(of:)) ?? ledger.goldens()).print(store)
    }
  }
}

/// `rollcall.golden/1`
struct GoldenDocument: Encodable {
  struct Entry: Encodable {
    var job: String
    var sweep: String
    var at: String
    var who: String
    var why: String
  }

  var schema = "rollcall.golden/1"
  var golden: [Entry]

  init(_ records: [GoldenRecord]) {
    golden = records.map {
      Entry(job: $0.job, sweep: $0.sweep, at: StatusTable.time($0.at), who: $0.who, why: $0.why)
    }
  }

  func print(_ store: StoreOptions) throws {
    if store.json {
      Console.print(try JSONOutput.text(self))
    } else if golden.isEmpty {
      Console.print("No baseline yet. Pin one with: rollcall golden set SWEEP --why TEXT")
    } else {
      Console.print(
        StatusTable.table(
          [["JOB", "SWEEP", "SINCE", "WHO", "WHY"]] + golden.map { [$0.job, $0.sweep, $0.at, $0.who, $0.why] }))
    }
  }
}
