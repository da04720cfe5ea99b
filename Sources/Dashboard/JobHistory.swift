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
  /// The clearest first.
  public var steps: [Step]

  private struct Place: Hashable {
    var pair: String
    var stage: String
    var layer: Int32
  }

  /// - Throws: `LedgerError.notFound` for a job without a sweep that has ended.
  public init(_ ledger: SweepLedger, job: String, nights count: Int, stage: String? = nil, layer: Int? = nil) throws {
    let sweeps = try ledger.ended(job: job, limit: count).reversed()
    guard !sweeps.isEmpty else {
      let known = try ledger.jobs()
      throw LedgerError(
        code: .notFound,
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
          let floor = Double(record.floor[index])
          if let known = worst[record.pair], known.worst ?? .infinity >= Self.finite(value) ?? .infinity { continue }
          worst[record.pair] = Pair(
            pair: record.pair, worst: Self.finite(value), layer: place.layer < 0 ? nil : Int(place.layer),
            stage: record.stage,
            noise: floor.isNaN ? nil : floor)
        }
      }
      self.nights.append(
        Night(
          sweep: sweep.id, started: Date(timeIntervalSince1970: sweep.created).formatted(.iso8601),
          verdict: sweep.verdict ?? "-",
          golden: sweep.id == golden, pairs: worst.values.sorted { $0.pair < $1.pair }))
    }
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

  private static func finite(_ value: Double) -> Double? { value.isFinite ? value : nil }

  public static func figure(_ value: Double?) -> String {
    guard let value else { return "not finite" }
    return value == 0 ? "0" : String(format: "%.3g", value)
  }
}
