import Foundation
public import GRDB

/// The measures of one pair and stage of one sweep, by layer.
public struct SeriesRecord: Sendable, Hashable, FetchableRecord {
  public var sweep: String
  public var job: String
  /// When the sweep began, seconds since 1970.
  public var created: Double
  /// What was compared: the target's label, and the reference's.
  public var pair: String
  public var stage: String
  public var verdict: String
  /// -1: of no layer.
  public var layers: [Int32]
  /// One number a layer each; NaN where there is none.
  public var cos: [Float]
  public var rel: [Float]
  public var relL2: [Float]
  public var alpha: [Float]
  public var floor: [Float]

  public init(sweep: String, job: String, created: Double, pair: String, stage: String, verdict: String) {
    self.sweep = sweep
    self.job = job
    self.created = created
    self.pair = pair
    self.stage = stage
    self.verdict = verdict
    layers = []
    cos = []
    rel = []
    relL2 = []
    alpha = []
    floor = []
  }

  public init(row: Row) throws {
    sweep = row["sweep"]
    job = row["job"]
    created = row["created"]
    pair = row["pair"]
    stage = row["stage"]
    verdict = row["verdict"]
    layers = Self.values(row["layers"], UInt32.self).map(Int32.init(bitPattern:))
    func floats(_ name: String) -> [Float] { Self.values(row[name], UInt32.self).map(Float.init(bitPattern:)) }
    cos = floats("cos")
    rel = floats("rel")
    relL2 = floats("rel_l2")
    alpha = floats("alpha")
    floor = floats("floor")
    guard [cos, rel, relL2, alpha, floor].allSatisfy({ $0.count == layers.count }) else {
      throw LedgerError(code: .damaged, message: "The history of \(sweep), \(pair), \(stage) is damaged.")
    }
  }

  private static func values<Word: FixedWidthInteger>(_ data: Data, _: Word.Type) -> [Word] {
    data.withUnsafeBytes { bytes in
      (0..<bytes.count / MemoryLayout<Word>.size).map {
        Word(littleEndian: bytes.loadUnaligned(fromByteOffset: $0 * MemoryLayout<Word>.size, as: Word.self))
      }
    }
  }

  static func data(_ values: [Float]) -> Data { data(values.map(\.bitPattern)) }
  static func data(_ values: [UInt32]) -> Data {
    values.map(\.littleEndian).withUnsafeBytes { Data($0) }
  }
}

extension SweepLedger {
  /// The end of a sweep: report (`rollcall.sweep/1`), history and what is to be told, all or nothing.
  public func finish(
    sweep: String, state: SweepRecord.State, verdict: String, report: String, series: [SeriesRecord] = [],
    notices: [NoticeRecord] = [], now: Double
  ) throws {
    try write(
      events: [EventRecord(at: now, sweep: sweep, kind: "sweep-\(state.rawValue)", detail: verdict)]
    ) { database in
      try database.execute(
        sql: "UPDATE sweep SET state = ?, ended = ?, verdict = ?, report = ? WHERE id = ?",
        arguments: [state.rawValue, now, verdict, report, sweep])
      try Self.replace(series, of: sweep, database)
      for notice in notices { try Self.insert(notice, database) }
      try database.execute(
        sql: "UPDATE firing SET state = 'done' WHERE sweep = ? AND state = 'running'", arguments: [sweep])
    }
  }

  /// Puts what a sweep's comparisons measured in the place of what they measured before.
  static func replace(_ series: [SeriesRecord], of sweep: String, _ database: Database) throws {
    try database.execute(sql: "DELETE FROM series WHERE sweep = ?", arguments: [sweep])
    for record in series {
      try database.execute(
        sql: """
          INSERT INTO series (sweep, job, created, pair, stage, verdict, layers, cos, rel, rel_l2, alpha, floor)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
          """,
        arguments: [
          record.sweep, record.job, record.created, record.pair, record.stage, record.verdict,
          SeriesRecord.data(record.layers.map(UInt32.init(bitPattern:))), SeriesRecord.data(record.cos),
          SeriesRecord.data(record.rel), SeriesRecord.data(record.relL2), SeriesRecord.data(record.alpha),
          SeriesRecord.data(record.floor),
        ])
    }
  }

  /// The sweeps of a job that ended, the newest first.
  public func ended(job: String, limit: Int, before: Double = .infinity) throws -> [SweepRecord] {
    try read {
      try SweepRecord.fetchAll(
        $0,
        sql: """
          SELECT id, job, state, created, ended, verdict FROM sweep
          WHERE job = ? AND ended IS NOT NULL AND created < ? ORDER BY created DESC, id DESC LIMIT ?
          """, arguments: [job, before, limit])
    }
  }

  /// The newest sweep of a job that passed, of those that began before a moment.
  public func lastPass(job: String, before: Double) throws -> SweepRecord? {
    try read {
      try SweepRecord.fetchOne(
        $0,
        sql: """
          SELECT id, job, state, created, ended, verdict FROM sweep
          WHERE job = ? AND verdict = 'pass' AND created < ? ORDER BY created DESC, id DESC LIMIT 1
          """, arguments: [job, before])
    }
  }

  /// The sweeps whose reports compare with another one.
  public func reports(referringTo sweep: String) throws -> [String] {
    try read {
      try String.fetchAll(
        $0,
        sql: "SELECT id FROM sweep WHERE id != :id AND instr(report, '\"' || :id || '/') > 0 ORDER BY created",
        arguments: ["id": sweep])
    }
  }

  /// What a sweep measured.
  public func series(of sweep: String) throws -> [SeriesRecord] {
    try read {
      try SeriesRecord.fetchAll(
        $0, sql: "SELECT * FROM series WHERE sweep = ? ORDER BY pair, stage", arguments: [sweep])
    }
  }

  /// The names of the jobs of which there are sweeps.
  public func jobs() throws -> [String] {
    try read { try String.fetchAll($0, sql: "SELECT DISTINCT job FROM sweep ORDER BY job") }
  }
}
