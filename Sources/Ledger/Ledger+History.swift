import Foundation
import GRDB

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
          INSERT INTO series (sweep, job, created, pair, stage, points) VALUES (?, ?, ?, ?, ?, ?)
          """,
        arguments: [record.sweep, record.job, record.created, record.pair, record.stage, record.points.bytes])
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
