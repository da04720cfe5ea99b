import Foundation
public import GRDB

/// The measures of one pair and stage of one sweep, by layer.
public struct SeriesRecord: Sendable, Hashable, FetchableRecord {
  /// What a layer gave.
  public struct Point: Sendable, Hashable {
    public enum Verdict: UInt32, Sendable, Comparable {
      case pass
      case inconclusive
      case fail

      public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    }

    /// -1: of no layer.
    public var layer: Int32
    public var verdict: Verdict
    public var cos: Float
    public var rel: Float
    public var relL2: Float
    public var alpha: Float
    /// What honest noise was said to give; NaN where nothing is known.
    public var floor: Float

    public init(
      layer: Int32, verdict: Verdict, cos: Float, rel: Float, relL2: Float, alpha: Float, floor: Float
    ) {
      self.layer = layer
      self.verdict = verdict
      self.cos = cos
      self.rel = rel
      self.relL2 = relL2
      self.alpha = alpha
      self.floor = floor
    }
  }

  public var sweep: String
  public var job: String
  /// When the sweep began, seconds since 1970.
  public var created: Double
  /// What was compared: the target's label, and the reference's.
  public var pair: String
  public var stage: String
  public var points: [Point]

  public init(sweep: String, job: String, created: Double, pair: String, stage: String, points: [Point] = []) {
    self.sweep = sweep
    self.job = job
    self.created = created
    self.pair = pair
    self.stage = stage
    self.points = points
  }

  public init(row: Row) throws {
    sweep = row["sweep"]
    job = row["job"]
    created = row["created"]
    pair = row["pair"]
    stage = row["stage"]
    let bytes: Data = row["points"]
    guard let points = [Point](bytes: bytes) else {
      throw LedgerError(code: .damaged, message: "The history of \(sweep), \(pair), \(stage) is damaged.")
    }
    self.points = points
  }
}

/// As the migration `v5_service` says.
extension [SeriesRecord.Point] {
  private static let width = 28

  init?(bytes: Data) {
    guard bytes.count.isMultiple(of: Self.width) else { return nil }
    self = []
    for start in stride(from: 0, to: bytes.count, by: Self.width) {
      let words = bytes.withUnsafeBytes { bytes in
        (0..<7).map { UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: start + 4 * $0, as: UInt32.self)) }
      }
      guard let verdict = SeriesRecord.Point.Verdict(rawValue: words[1]) else { return nil }
      let floats = words[2...].map(Float.init(bitPattern:))
      append(
        .init(
          layer: Int32(bitPattern: words[0]), verdict: verdict, cos: floats[0], rel: floats[1], relL2: floats[2],
          alpha: floats[3], floor: floats[4]))
    }
  }

  var bytes: Data {
    let words = flatMap { point in
      [UInt32(bitPattern: point.layer), point.verdict.rawValue]
        + [point.cos, point.rel, point.relL2, point.alpha, point.floor].map(\.bitPattern)
    }
    return words.map(\.littleEndian).withUnsafeBytes { Data($0) }
  }
}
