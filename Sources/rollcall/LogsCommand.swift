import ArgumentParser
import Coordination
import Foundation
import Gathering
import Launching
import Ledger
import Planning
import Scheduling
import Transports

struct LogsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "logs",
    abstract: "Print a run's output: from the store once it is gathered, from its host before.",
    discussion: "Example: rollcall logs world_size=8 --follow")

  @Argument(help: "The run: its name or a part of it that no other run of the sweep has.")
  var run: String

  @Option(name: .long, help: "The sweep: its name, the beginning of it, or `last`.")
  var sweep = "last"

  @Flag(name: .long, help: "Standard error in place of standard output.")
  var stderr = false

  @Option(name: .long, help: "Only the lines of this rank: those that begin with [rankN] or rank N:")
  var rank: Int?

  @Flag(name: .shortAndLong, help: "Go on until the run ends.")
  var follow = false

  @OptionGroup var store: StoreOptions

  func run() async throws {
    let (ledger, artifacts) = try store.open()
    let record = try ledger.sweep(named: sweep)
    let run = try Self.find(self.run, in: try ledger.runs(of: record.id), sweep: record.id)
    let name = stderr ? "stderr.log" : "stdout.log"
    var offset = 0
    let connections = HostConnection.connections(for: try ledger.fleet(of: record.id))
    var remainder = ""
    while true {
      let state = try ledger.runs(of: record.id).first { $0.name == run.name }?.state ?? run.state
      guard let attempt = try ledger.attempts(of: record.id).last(where: { $0.run == run.name }) else {
        throw UsageError(message: "Run \(run.name) has not started yet: it is \(state.rawValue).")
      }
      if attempt.state == .gathered,
        let text = RunLogs(artifacts: artifacts, sweep: record.id).text(of: attempt, name)
      {
        show(String(text.utf8.dropFirst(offset)) ?? text, &remainder)
        break
      }
      guard let host = connections.first(where: { $0.host.name == attempt.host }) else { break }
      let piece = try await host.launcher.log(of: attempt.id, name: name, offset: offset, limit: 1 << 20)
      offset += piece.count
      show(String(decoding: piece, as: UTF8.self), &remainder)
      if piece.isEmpty {
        if !follow || state.isFinal { break }
        try await Task.sleep(for: .seconds(1))
      }
    }
    for connection in connections { await connection.transport.close() }
  }

  private func show(_ text: String, _ remainder: inout String) {
    guard let rank else {
      Console.write(text)
      return
    }
    let lines = (remainder + text).split(separator: "\n", omittingEmptySubsequences: false)
    remainder = String(lines.last ?? "")
    for line in lines.dropLast() where line.hasPrefix("[rank\(rank)]") || line.hasPrefix("rank \(rank):") {
      Console.print(String(line))
    }
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
