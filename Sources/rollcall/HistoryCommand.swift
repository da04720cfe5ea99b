import ArgumentParser
import Dashboard
import Foundation
import Ledger

struct HistoryCommand: ParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "history",
    abstract: "A job's verdicts and noise over its sweeps, and where a figure took a step.",
    discussion: """
      Each line is a sweep: its verdict, and of each pair the largest relative L2 with its layer and stage. A step is \
      named where a figure leaves its level by more than its own noise explains.

      Examples: rollcall history batch-invariance
                rollcall history tp-sweep --layers
                rollcall history tp-sweep --stage MoE --layer 3
      """)

  @Argument(help: "The job's name.")
  var job: String

  @Option(name: .long, help: "At most this many sweeps, the newest.")
  var nights = 30

  @Option(name: .long, help: "Only this stage.")
  var stage: String?

  @Option(name: .long, help: "Only this layer.")
  var layer: Int?

  @Flag(name: .long, help: "A line a layer, over all nights, in place of a line a night.")
  var layers = false

  @OptionGroup var store: StoreOptions

  var wantsJSON: Bool { store.json }

  func validate() throws {
    guard (1...10_000).contains(nights) else { throw ValidationError("--nights must be from 1 to 10000.") }
  }

  func run() throws {
    let ledger = try SweepLedger(store: store.directory)
    let history = try JobHistory(ledger, job: job, nights: nights, stage: stage, layer: layer)
    if store.json {
      Console.print(try JSONOutput.text(history))
      return
    }
    Console.print(StatusTable.table(layers ? Self.layers(history) : Self.nights(history)))
    Console.print(history.steps.isEmpty ? "No step." : "Steps:")
    for step in history.steps.prefix(20) { Console.print("  " + step.sentence) }
    if history.steps.count > 20 { Console.print("  and \(history.steps.count - 20) more; --json has all") }
  }

  private static func layers(_ history: JobHistory) -> [[String]] {
    [["PAIR"] + JobHistory.Layer.columns.map { $0.uppercased() }] + history.layers.map { [$0.pair] + $0.cells }
  }

  private static func nights(_ history: JobHistory) -> [[String]] {
    var rows = [["NIGHT", "SWEEP", "VERDICT", "PAIR", "WORST", "LAYER", "STAGE", "NOISE"]]
    for night in history.nights {
      let head = [night.started, night.sweep + (night.golden ? " (golden)" : ""), night.verdict.uppercased()]
      if night.pairs.isEmpty { rows.append(head + ["-", "-", "-", "-", "-"]) }
      for (index, pair) in night.pairs.enumerated() {
        rows.append(
          (index == 0 ? head : ["", "", ""]) + [
            pair.pair, JobHistory.figure(pair.worst), pair.layer.map(String.init) ?? "-", pair.stage,
            pair.noise.map { JobHistory.figure($0) } ?? "-",
          ])
      }
    }
    return rows
  }
}
