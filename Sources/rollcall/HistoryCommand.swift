import ArgumentParser
import Comparison
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

  @OptionGroup var store: StoreOptions

  var wantsJSON: Bool { store.json }

  func validate() throws {
    guard (1...10_000).contains(nights) else { throw ValidationError("--nights must be from 1 to 10000.") }
  }

  func run() throws {
    let ledger = try SweepLedger(store: store.directory)
    let history = try JobHistory(ledger, job: job, nights: nights, stage: stage, layer: layer)
    if store.json {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
      encoder.nonConformingFloatEncodingStrategy = .convertToString(
        positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
      Console.print(String(decoding: try encoder.encode(history), as: UTF8.self))
      return
    }
    var rows = [["NIGHT", "SWEEP", "VERDICT", "PAIR", "WORST", "LAYER", "STAGE", "NOISE"]]
    for night in history.nights {
      let head = [night.started, night.sweep + (night.golden ? " (golden)" : ""), night.verdict.uppercased()]
      if night.pairs.isEmpty { rows.append(head + ["-", "-", "-", "-", "-"]) }
      for (index, pair) in night.pairs.enumerated() {
        rows.append(
          (index == 0 ? head : ["", "", ""]) + [
            pair.pair, JobHistory.figure(pair.worst), pair.layer.map(String.init) ?? "-", pair.stage,
            pair.noise.map(JobHistory.figure) ?? "-",
          ])
      }
    }
    Console.print(StatusTable.table(rows))
    Console.print(history.steps.isEmpty ? "No step." : "Steps:")
    for step in history.steps.prefix(20) { Console.print("  " + step.sentence) }
    if history.steps.count > 20 { Console.print("  and \(history.steps.count - 20) more; --json has all") }
  }
}

/// `rollcall.history/1`: what the nights of a job measured.
struct JobHistory: Encodable {
  struct Pair: Encodable {
    var pair: String
    /// The largest relative L2.
    var worst: Double
    var layer: Int?
    var stage: String
    /// The largest that honest noise was said to give there.
    var noise: Double?
  }

  struct Night: Encodable {
    var sweep: String
    var started: String
    var verdict: String
    var golden: Bool
    var pairs: [Pair]
  }

  struct Step: Encodable {
    var pair: String
    var stage: String
    var layer: Int?
    /// The first sweep of the new level.
    var sweep: String
    var before: Double
    var after: Double
    var strength: Double
    var sentence: String
  }

  var schema = "rollcall.history/1"
  var job: String
  /// The oldest first.
  var nights: [Night]
  /// The clearest first.
  var steps: [Step]

  private struct Place: Hashable {
    var pair: String
    var stage: String
    var layer: Int32
  }

  init(_ ledger: SweepLedger, job: String, nights count: Int, stage: String?, layer: Int?) throws {
    let sweeps = try ledger.ended(job: job, limit: count).reversed()
    guard !sweeps.isEmpty else {
      let known = try ledger.jobs()
      throw UsageError(
        message: "No sweep of a job \"\(job)\" has ended in this store"
          + (known.isEmpty ? "." : "; there are: \(known.joined(separator: ", "))."))
    }
    let golden = try ledger.goldens(of: job).first?.sweep
    self.job = job
    self.nights = []
    var figures: [Place: [(sweep: SweepRecord, value: Double)]] = [:]
    for sweep in sweeps {
      let series = try ledger.series(of: sweep.id).filter { stage == nil || $0.stage == stage }
      var worst: [String: Pair] = [:]
      for record in series {
        for index in record.layers.indices where layer == nil || Int(record.layers[index]) == layer {
          let value = Double(record.relL2[index])
          let place = Place(pair: record.pair, stage: record.stage, layer: record.layers[index])
          figures[place, default: []].append((sweep, value))
          let order = value.isNaN ? .infinity : value
          let floor = Double(record.floor[index])
          if let known = worst[record.pair], (known.worst.isNaN ? .infinity : known.worst) >= order { continue }
          worst[record.pair] = Pair(
            pair: record.pair, worst: value, layer: place.layer < 0 ? nil : Int(place.layer), stage: record.stage,
            noise: floor.isNaN ? nil : floor)
        }
      }
      self.nights.append(
        Night(
          sweep: sweep.id, started: StatusTable.time(sweep.created), verdict: sweep.verdict ?? "-",
          golden: sweep.id == golden, pairs: worst.values.sorted { $0.pair < $1.pair }))
    }
    steps = figures.compactMap { key, nights in
      guard let found = ChangePoint.find(nights.map(\.value)) else { return nil }
      let sweep = nights[found.index].sweep
      let layer = key.layer < 0 ? nil : Int(key.layer)
      let place = (layer.map { "layer \($0) " } ?? "") + key.stage
      return Step(
        pair: key.pair, stage: key.stage, layer: layer, sweep: sweep.id, before: found.before,
        after: found.after, strength: found.strength,
        sentence: "\(key.pair), \(place): relative L2 \(Self.figure(found.before)) → \(Self.figure(found.after)) "
          + "since \(sweep.id) (\(found.index) sweeps before it, \(nights.count - found.index) from it on)")
    }.sorted { ($0.strength, $1.sentence) > ($1.strength, $0.sentence) }
  }

  static func figure(_ value: Double) -> String {
    value == 0 ? "0" : String(format: "%.3g", value)
  }
}
