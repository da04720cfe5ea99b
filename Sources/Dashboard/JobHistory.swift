import Comparison
import Foundation
public import Ledger

/// `rollcall.history/1`: what the nights of a job measured.
public struct JobHistory: Encodable, Sendable {
  public struct Pair: Encodable, Sendable {
    public var pair: String
    /// The largest relative L2; nil: it is not finite.
    public var worst: Double?
    public var layer: Int?
    public var stage: String
    /// The largest that honest noise was said to give there.
    public var noise: Double?
  }

  public struct Night: Encodable, Sendable {
    public var sweep: String
    public var started: String
    public var verdict: String
    public var golden: Bool
    public var pairs: [Pair]
  }

  /// What a layer's worst stage gave, one figure a night; null where the night did not measure the layer.
  public struct Layer: Encodable, Sendable {
    public struct Figure: Encodable, Sendable {
      /// nil: not finite.
      public var relL2: Double?
      /// What honest noise was said to give there.
      public var noise: Double?
      public var verdict: String

      enum CodingKeys: String, CodingKey {
        case relL2 = "rel_l2"
        case noise
        case verdict
      }

      init(_ point: SeriesRecord.Point) {
        relL2 = JobHistory.finite(Double(point.relL2))
        noise = JobHistory.finite(Double(point.floor))
        verdict = "\(point.verdict)"
      }
    }

    public var pair: String
    /// nil: what belongs to no layer.
    public var layer: Int?
    public var nights: [Figure?]

    fileprivate init(_ line: Line, nights count: Int) {
      pair = line.pair
      layer = line.layer < 0 ? nil : Int(line.layer)
      nights = Array(repeating: nil, count: count)
    }

    /// As a table shows it: layer, median, largest and last relative L2, noise at the last, nights failed.
    public static let columns = ["layer", "median", "largest", "last", "noise at the last", "nights failed"]

    public var cells: [String] {
      let figures = nights.compactMap { $0 }
      let values = figures.map { $0.relL2 ?? .infinity }.sorted()
      func shown(_ value: Double?) -> String {
        value.map { JobHistory.figure(JobHistory.finite($0)) } ?? "–"
      }
      return [
        name, shown(values.isEmpty ? nil : values[values.count / 2]), shown(values.last),
        shown(figures.last.map { $0.relL2 ?? .infinity }), shown(figures.last?.noise), String(failures),
      ]
    }

    var name: String { layer.map { "layer \($0)" } ?? "other" }
    var failures: Int { nights.count { $0?.verdict == "fail" } }

    /// Keeps the worse of a night's figures: the one that failed, else the largest.
    fileprivate mutating func take(_ figure: Figure, night: Int) {
      func rank(_ figure: Figure) -> (Int, Double) {
        (["pass", "inconclusive", "fail"].firstIndex(of: figure.verdict) ?? 0, figure.relL2 ?? .infinity)
      }
      if let known = nights[night], rank(known) >= rank(figure) { return }
      nights[night] = figure
    }
  }

  public struct Step: Encodable, Sendable {
    public var pair: String
    public var stage: String
    public var layer: Int?
    /// The first sweep of the new level.
    public var sweep: String
    /// Medians; nil: not finite.
    public var before: Double?
    public var after: Double?
    public var strength: Double
    public var sentence: String
  }

  public var schema = "rollcall.history/1"
  public var job: String
  /// The oldest first.
  public var nights: [Night]
  /// By pair and layer; a layer's nights are those of `nights`.
  public var layers: [Layer]
  /// The clearest first.
  public var steps: [Step]

  private struct Place: Hashable {
    var pair: String
    var stage: String
    var layer: Int32
  }

  fileprivate struct Line: Hashable {
    var pair: String
    var layer: Int32
  }

  /// - Throws: `LedgerError.notFound` for a job without a sweep that has ended, and for a stage or layer that none of the
  ///   nights has.
  public init(_ ledger: SweepLedger, job: String, nights count: Int, stage: String? = nil, layer: Int? = nil) throws {
    let sweeps = try ledger.ended(job: job, limit: count).reversed()
    guard !sweeps.isEmpty else {
      let known = try ledger.jobs()
      var words = "No sweep of a job \"\(job)\" has ended in this store"
      if known.contains(job) {
        words += " yet; rollcall status lists those that go on"
      } else if !known.isEmpty {
        words += "; there are: \(known.joined(separator: ", "))"
      }
      throw LedgerError(code: .notFound, message: words + ".")
    }
    let golden = try ledger.goldens(of: job).first?.sweep
    self.job = job
    self.nights = []
    var layers: [Line: Layer] = [:]
    var figures: [Place: [(sweep: SweepRecord, value: Double)]] = [:]
    var stages: Set<String> = []
    var numbers: Set<Int> = []
    for (night, sweep) in sweeps.enumerated() {
      let all = try ledger.series(of: sweep.id)
      stages.formUnion(all.map(\.stage))
      let series = all.filter { stage == nil || $0.stage == stage }
      numbers.formUnion(series.flatMap(\.points).map { Int($0.layer) })
      var worst: [String: Pair] = [:]
      for record in series {
        for point in record.points where layer == nil || Int(point.layer) == layer {
          let place = Place(pair: record.pair, stage: record.stage, layer: point.layer)
          figures[place, default: []].append((sweep, Double(point.relL2)))
          let figure = Layer.Figure(point)
          let line = Line(pair: record.pair, layer: point.layer)
          layers[line, default: Layer(line, nights: sweeps.count)].take(figure, night: night)
          if let known = worst[record.pair], known.worst ?? .infinity >= figure.relL2 ?? .infinity { continue }
          worst[record.pair] = Pair(
            pair: record.pair, worst: figure.relL2, layer: point.layer < 0 ? nil : Int(point.layer),
            stage: record.stage, noise: figure.noise)
        }
      }
      self.nights.append(
        Night(
          sweep: sweep.id, started: Date(timeIntervalSince1970: sweep.created).formatted(.iso8601),
          verdict: sweep.verdict ?? "-",
          golden: sweep.id == golden, pairs: worst.values.sorted { $0.pair < $1.pair }))
    }
    // A misspelt one would look like a history without a step.
    if let stage, !stages.contains(stage) { throw Self.nothing("the stage \"\(stage)\"", stages.sorted()) }
    if let layer, !numbers.contains(layer) {
      let place = stage.map { " of the stage \"\($0)\"" } ?? ""
      throw Self.nothing("layer \(layer)\(place)", numbers.filter { $0 >= 0 }.sorted().map(String.init))
    }
    self.layers = layers.sorted { ($0.key.pair, $0.key.layer) < ($1.key.pair, $1.key.layer) }.map(\.value)
    steps = figures.compactMap { key, nights in
      guard let found = ChangePoint.find(nights.map(\.value)) else { return nil }
      let sweep = nights[found.index].sweep
      let layer = key.layer < 0 ? nil : Int(key.layer)
      let place = (layer.map { "layer \($0) " } ?? "") + key.stage
      return Step(
        pair: key.pair, stage: key.stage, layer: layer, sweep: sweep.id, before: Self.finite(found.before),
        after: Self.finite(found.after), strength: found.strength,
        sentence: "\(key.pair), \(place): relative L2 \(Self.figure(Self.finite(found.before))) → "
          + "\(Self.figure(Self.finite(found.after))) "
          + "since \(sweep.id) (\(found.index) sweeps before it, \(nights.count - found.index) from it on)")
    }.sorted { ($0.strength, $1.sentence) > ($1.strength, $0.sentence) }
  }

  private static func nothing(_ name: String, _ known: [String]) -> LedgerError {
    LedgerError(
      code: .notFound,
      message: "No night measured \(name)" + (known.isEmpty ? "." : "; there are: \(known.joined(separator: ", "))."))
  }

  private static func finite(_ value: Double) -> Double? { value.isFinite ? value : nil }

  public static func figure(_ value: Double?) -> String {
    guard let value else { return "not finite" }
    return value == 0 ? "0" : String(format: "%.3g", value)
  }
}
