import ArgumentParser
import Foundation
import Gathering
import Ledger
import Scheduling

struct StatusCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "status",
    abstract: "List the sweeps, or the runs of one.",
    discussion: """
      With --watch: cells and their states, hosts and their GPUs, bytes gathered, time left.

      Examples: rollcall status
                rollcall status last --watch
      """)

  @Argument(help: "The sweep: its name, the beginning of it, or `last`. Without it: all sweeps.")
  var sweep: String?

  @Flag(name: .long, help: "Show again every second until the sweep ends.")
  var watch = false

  @Option(name: .long, help: "List at most this many sweeps.")
  var limit = 50

  @OptionGroup var store: StoreOptions

  var wantsJSON: Bool { store.json }

  func validate() throws {
    guard limit > 0 else { throw ValidationError("--limit must be 1 or more.") }
  }

  private static let clear = "\u{1B}[H\u{1B}[2J"

  func run() async throws {
    let ledger = try SweepLedger(store: store.directory)
    guard let name = sweep else {
      let sweeps = try ledger.sweeps(limit: limit)
      Console.print(
        store.json
          ? try StatusDocument(sweeps).json
          : StatusTable.sweeps(
            sweeps, driven: StoreLock.driven(store: store.directory), store: store.directory))
      return
    }
    // `last` may be another one soon.
    let id = try ledger.sweep(named: name).id
    var former: [String] = []
    while true {
      let record = try ledger.sweep(named: id)
      let table = try SweepTable.read(
        ledger, sweep: record, store: store.directory,
        isCoordinated: StoreLock.driven(store: store.directory).contains(id))
      let isLast = !watch || record.ended != nil
      if store.json {
        if isLast { Console.print(try StatusDocument(table).json) }
      } else if isLast {
        if watch, Console.isOutputTerminal { Console.write(Self.clear) }
        Console.print(StatusTable.runs(record, table.runs, table.attempts, coordinated: table.isCoordinated))
        if let gathering = table.gatherSummary { Console.print(gathering) }
        Console.print("\n" + table.hostLines(limit: 100).joined(separator: "\n"))
      } else if Console.isOutputTerminal {
        let width = Console.width
        Console.write(Self.clear)
        Console.print(table.lines.map { String($0.prefix(width)) }.joined(separator: "\n"))
      } else if table.cellLines(limit: .max) != former {
        // Not a terminal: what has changed, not what it looks like each second.
        former = table.cellLines(limit: .max)
        Console.print(table.lines.joined(separator: "\n"))
      }
      try Console.checkOutput()
      if isLast { return }
      try await Task.sleep(for: .seconds(1))
    }
  }
}

/// Tables of `status`.
enum StatusTable {
  static func sweeps(_ sweeps: [SweepRecord], driven: StoreLock.Driven, store: String) -> String {
    guard !sweeps.isEmpty else { return "No sweeps yet in \(store). Start one with: rollcall run JOB" }
    let rows = sweeps.map { sweep in
      [
        sweep.id, state(sweep, driven.contains(sweep.id)), sweep.verdict?.uppercased() ?? "-", time(sweep.created),
        elapsed(sweep),
      ]
    }
    return table([["SWEEP", "STATE", "VERDICT", "STARTED", "ELAPSED"]] + rows)
  }

  static func runs(_ sweep: SweepRecord, _ runs: [RunRecord], _ attempts: [AttemptRecord], coordinated: Bool) -> String
  {
    let byRun = Dictionary(grouping: attempts, by: \.run)
    let rows = runs.map { run -> [String] in
      let last = byRun[run.name]?.last
      let hosts = (byRun[run.name] ?? []).filter { $0.number == last?.number }.map(\.host)
      let seconds = last.flatMap { attempt in
        attempt.started.map { (attempt.ended ?? Date().timeIntervalSince1970) - $0 }
      }
      return [
        run.name, run.state.rawValue, hosts.isEmpty ? "-" : hosts.joined(separator: ", "), String(last?.number ?? 0),
        seconds.map(duration) ?? "-",
        String(run.fileCount), shown(run.why ?? run.missing.first ?? ""),
      ]
    }
    let head = "\(sweep.id): \(state(sweep, coordinated))\(sweep.verdict.map { ", " + $0.uppercased() } ?? "")"
    return head + "\n" + table([["RUN", "STATE", "HOST", "TRY", "ELAPSED", "FILES", "REASON"]] + rows)
  }

  private static func state(_ sweep: SweepRecord, _ coordinated: Bool) -> String {
    sweep.state == .active && !coordinated ? "detached" : sweep.state.rawValue
  }

  static func time(_ seconds: Double) -> String {
    Date(timeIntervalSince1970: seconds).formatted(.iso8601)
  }

  private static func elapsed(_ sweep: SweepRecord) -> String {
    duration((sweep.ended ?? Date().timeIntervalSince1970) - sweep.created)
  }

  static func duration(_ seconds: Double) -> String {
    let whole = Int(max(0, seconds).rounded())
    if whole < 60 { return "\(whole)s" }
    if whole < 3600 { return "\(whole / 60)m \(whole % 60)s" }
    return "\(whole / 3600)h \(whole % 3600 / 60)m"
  }

  static func table(_ rows: [[String]]) -> String {
    let columns = rows.first?.count ?? 0
    let widths = (0..<columns).map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      zip(row, widths).map { $0.padding(toLength: $1, withPad: " ", startingAt: 0) }.joined(separator: "  ")
        .trimmingSuffix(while: \.isWhitespace)
    }.joined(separator: "\n")
  }
}

extension String {
  fileprivate func trimmingSuffix(while predicate: (Character) -> Bool) -> String {
    var kept = self[...]
    while let last = kept.last, predicate(last) { kept.removeLast() }
    return String(kept)
  }
}

/// `rollcall.status/1`.
struct StatusDocument: Encodable {
  struct Run: Encodable {
    var name: String
    var state: RunState
    var why: String?
    /// Of a gang over several hosts the first: that of node 0.
    var host: String?
    /// All hosts of the last attempt, in the order of their nodes.
    var hosts: [String]?
    var attempt: Int?
    var files: Int
    var bytes: Int
    var missing: [String]
  }

  struct Sweep: Encodable {
    var id: String
    var job: String
    var state: String
    var verdict: String?
    var created: String
    var ended: String?
    /// Bytes gathered.
    var bytes: Int?
    /// An estimate; absent where there is no ground for one.
    var secondsLeft: Double?
    var runs: [Run]?
    var hosts: [SweepTable.HostLine]?
    /// Under way.
    var gathering: [GatherBoard.Entry]?

    enum CodingKeys: String, CodingKey {
      case id
      case job
      case state
      case verdict
      case created
      case ended
      case bytes
      case secondsLeft = "seconds_left"
      case runs
      case hosts
      case gathering
    }
  }

  var schema = "rollcall.status/1"
  var sweeps: [Sweep]

  init(_ records: [SweepRecord]) {
    sweeps = records.map { Self.sweep($0, runs: nil) }
  }

  init(_ table: SweepTable) {
    let byRun = Dictionary(grouping: table.attempts, by: \.run)
    sweeps = [
      Self.sweep(
        table.sweep,
        runs: table.runs.map { run in
          let last = byRun[run.name]?.last
          let hosts = (byRun[run.name] ?? []).filter { $0.number == last?.number }
            .sorted { ($0.share?.node ?? 0) < ($1.share?.node ?? 0) }.map(\.host)
          return Run(
            name: run.name, state: run.state, why: run.why, host: hosts.first, hosts: last == nil ? nil : hosts,
            attempt: last?.number,
            files: run.fileCount, bytes: run.byteCount, missing: run.missing)
        })
    ]
    sweeps[0].bytes = table.bytes
    sweeps[0].secondsLeft = table.secondsLeft
    sweeps[0].hosts = table.hosts
    sweeps[0].gathering = table.gathers
  }

  private static func sweep(_ record: SweepRecord, runs: [Run]?) -> Sweep {
    Sweep(
      id: record.id, job: record.job, state: record.state.rawValue, verdict: record.verdict,
      created: StatusTable.time(record.created), ended: record.ended.map(StatusTable.time), runs: runs)
  }

  var json: String {
    get throws {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
      return String(decoding: try encoder.encode(self), as: UTF8.self)
    }
  }
}
