import ArgumentParser
import Coordination
import Foundation
import Gathering
import Launching
import Ledger
import Planning
import Scheduling
import Transports

struct LogsCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "logs",
    abstract: "Print what runs have printed: from the store once it is gathered, from their hosts before.",
    discussion: """
      One run and one stream are printed as they are. Several runs, or both streams, are printed line by line, each \
      line with the run and the stream that it comes from. Of a log that is gathered the store has the last 4 MiB.

      Examples: rollcall logs world_size=8 --follow
                rollcall logs --both --follow
      """)

  @Argument(help: "The runs: names, or parts of them that no other run has. Without them: all runs of the sweep.")
  var runs: [String] = []

  @Option(name: .long, help: "The sweep: its name, the beginning of it, or `last`.")
  var sweep = "last"

  @Flag(name: .long, help: "Standard error in place of standard output.")
  var stderr = false

  @Flag(name: .long, help: "Standard output and standard error.")
  var both = false

  @Option(name: .long, help: "Only the lines of this rank: those that begin with [rankN] or rank N:")
  var rank: Int?

  @Flag(name: .shortAndLong, help: "Go on until the runs end.")
  var follow = false

  @OptionGroup var store: StoreOptions

  var wantsJSON: Bool { store.json }

  func validate() throws {
    if let rank, rank < 0 { throw ValidationError("Ranks are counted from 0.") }
    if follow, store.json { throw ValidationError("--json prints one document; it cannot --follow.") }
    if both, stderr { throw ValidationError("Either --both or --stderr.") }
  }

  /// `rollcall.logs/1`.
  private struct Document: Encodable {
    struct Stream: Encodable {
      var run: String
      var stream: String
      var text: String
      /// The store kept the last part of it alone.
      var truncated: Bool
    }

    var schema = "rollcall.logs/1"
    var sweep: String
    var streams: [Stream] = []
  }

  func run() async throws {
    let (ledger, artifacts) = try store.open()
    let record = try ledger.sweep(named: sweep)
    let all = try ledger.runs(of: record.id)
    let chosen = runs.isEmpty ? all : try runs.map { try Self.find($0, in: all, sweep: record.id) }
    let names = both ? ["stdout.log", "stderr.log"] : [stderr ? "stderr.log" : "stdout.log"]
    let plan = try ledger.plan(of: record.id)
    var followers = chosen.flatMap { RunLogFollower.all($0, plan, names: names) }
    let isLabelled = followers.count > 1
    if !isLabelled, !follow, let run = chosen.first?.name,
      try ledger.attempts(of: record.id).allSatisfy({ $0.run != run })
    {
      let state = all.first { $0.name == run }?.state ?? .queued
      throw UsageError(message: "Run \(run) has not started yet: it is \(state.rawValue).")
    }
    let connections = HostConnection.connections(for: try ledger.fleet(of: record.id))
    let logs = RunLogs(artifacts: artifacts, sweep: record.id)
    let width = followers.map(\.label.count).max() ?? 0
    var stored = Array(repeating: [UInt8](), count: followers.count)
    var hasSpoken = false
    var hasRankSpoken = false
    var ended: Set<Int> = []
    var troubles: [String: String] = [:]
    while ended.count < followers.count {
      try Console.checkOutput()
      var isQuiet = true
      // Asked before reading: what is written in between comes with the next round.
      let states = Dictionary(try ledger.runs(of: record.id).map { ($0.name, $0.state) }) { $1 }
      for index in followers.indices where !ended.contains(index) {
        let isFinal = states[followers[index].run]?.isFinal ?? true
        var piece = RunLogFollower.Piece.nothingYet
        do {
          piece = try await followers[index].next(ledger, record.id, logs, connections)
        } catch let error as TransportError where isLabelled || follow {
          // One host that cannot be reached silences no other, and is named once.
          if troubles.updateValue(error.message, forKey: error.host) != error.message {
            Console.error("rollcall: host \(error.host): \(shown(error.message))")
          }
          if error.isPermanent || !follow { ended.insert(index) }
        } catch let error as LaunchError where isLabelled || follow {
          if troubles.updateValue(error.message, forKey: error.host) != error.message {
            Console.error("rollcall: host \(error.host): \(shown(error.message))")
          }
          if !follow { ended.insert(index) }
        }
        switch piece {
        case .bytes(let bytes, let isNewAttempt):
          isQuiet = false
          hasSpoken = true
          if let place = followers[index].wholeLog {
            Console.error(
              "rollcall: \(followers[index].label): only the last \(RunLogs.keptBytes >> 20) MiB of its "
                + "\(followers[index].name) were gathered; while its host keeps it, all of it is \(shown(place))")
          }
          if store.json {
            stored[index] += bytes
            continue
          }
          if isNewAttempt {
            // What its last attempt did not end is no beginning of a line of this one.
            if let line = followers[index].lastLine(), showLine(line, followers[index], isLabelled, width) {
              hasRankSpoken = true
            }
            Console.error("rollcall: \(followers[index].label) was tried again; its output begins anew")
          }
          if show(bytes, &followers[index], isLabelled: isLabelled, width: width) { hasRankSpoken = true }
        case .end where isFinal || !follow: ended.insert(index)
        case .nothingYet where isFinal || !follow: ended.insert(index)
        case .end, .nothingYet: continue
        }
      }
      if isQuiet, ended.count < followers.count { try await Task.sleep(for: .milliseconds(500)) }
    }
    for index in followers.indices {
      if let line = followers[index].lastLine(), showLine(line, followers[index], isLabelled, width) {
        hasRankSpoken = true
      }
    }
    if store.json {
      var document = Document(sweep: record.id)
      for (follower, bytes) in zip(followers, stored) {
        let text = ofRank(in: String(decoding: bytes, as: UTF8.self))
        hasRankSpoken = hasRankSpoken || !text.isEmpty
        document.streams.append(
          .init(
            run: follower.label, stream: Self.word(follower.name), text: text, truncated: follower.wholeLog != nil))
      }
      Console.print(try JSONOutput.text(document))
    }
    if let rank, hasSpoken, !hasRankSpoken {
      Console.error("rollcall: no line begins with [rank\(rank)] or rank \(rank): in what was printed")
    }
    for connection in connections { await connection.transport.close() }
  }

  private static func word(_ name: String) -> String { name == "stdout.log" ? "out" : "err" }

  /// - Returns: Whether any of it was to be shown.
  private func show(_ bytes: [UInt8], _ follower: inout RunLogFollower, isLabelled: Bool, width: Int) -> Bool {
    if !isLabelled, rank == nil, !Console.isOutputTerminal {
      // Into a file or a pipe: byte by byte as the run wrote it.
      Console.write(bytes: bytes)
      return true
    }
    return follower.lines(of: bytes).reduce(false) { showLine($1, follower, isLabelled, width) || $0 }
  }

  private func showLine(_ line: String, _ follower: RunLogFollower, _ isLabelled: Bool, _ width: Int) -> Bool {
    guard isChosen(line) else { return false }
    let clean = isLabelled || Console.isOutputTerminal ? Self.harmless(line) : line
    let name = follower.label.padding(toLength: width, withPad: " ", startingAt: 0)
    let label = both ? "\(name) \(Self.word(follower.name)) | " : "\(name) | "
    Console.print(isLabelled ? label + clean : clean)
    return true
  }

  private func isChosen(_ line: some StringProtocol) -> Bool {
    rank.map { line.hasPrefix("[rank\($0)]") || line.hasPrefix("rank \($0):") } ?? true
  }

  private func ofRank(in text: String) -> String {
    guard rank != nil else { return text }
    // By bytes: of characters "\r\n" is one.
    let lines = text.utf8.split(separator: UInt8(ascii: "\n")).map { Substring($0) }
    return lines.filter { isChosen($0) }.map { $0 + "\n" }.joined()
  }

  /// Without what a terminal would obey; tabs stay.
  static func harmless(_ line: String) -> String {
    guard line.unicodeScalars.contains(where: { $0.properties.generalCategory == .control && $0 != "\t" }) else {
      return line
    }
    let kept = line.unicodeScalars.filter { $0 == "\t" || $0.properties.generalCategory != .control }
    return String(String.UnicodeScalarView(kept))
  }

  static func find(_ name: String, in runs: [RunRecord], sweep: String) throws -> RunRecord {
    if let exact = runs.first(where: { $0.name == name }) { return exact }
    let found = runs.filter { $0.name.contains(name) }
    guard let first = found.first else {
      throw UsageError(
        message: "Sweep \(sweep) has no run \"\(name)\"; its runs are: \(runs.map(\.name).joined(separator: ", "))")
    }
    guard found.count == 1 else {
      throw UsageError(message: "\"\(name)\" names several runs: \(found.map(\.name).joined(separator: ", "))")
    }
    return first
  }
}
