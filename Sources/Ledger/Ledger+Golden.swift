public import GRDB

/// A sweep that a job's later ones are held against.
public struct GoldenRecord: Sendable, Hashable, FetchableRecord {
  public var job: String
  public var at: Double
  public var sweep: String
  public var who: String
  public var why: String

  public init(job: String, at: Double, sweep: String, who: String, why: String) {
    self.job = job
    self.at = at
    self.sweep = sweep
    self.who = who
    self.why = why
  }

  public init(row: Row) throws {
    job = row["job"]
    at = row["at"]
    sweep = row["sweep"]
    who = row["who"]
    why = row["why"]
  }
}

extension SweepLedger {
  /// Pins a sweep as the baseline of its job.
  public func pin(_ golden: GoldenRecord) throws {
    try write(events: [
      EventRecord(at: golden.at, sweep: golden.sweep, kind: "golden-set", detail: "by \(golden.who): \(golden.why)")
    ]) {
      try $0.execute(
        sql: "INSERT INTO golden (job, at, sweep, who, why) VALUES (?, ?, ?, ?, ?)",
        arguments: [golden.job, golden.at, golden.sweep, golden.who, golden.why])
    }
  }

  /// The baselines that a job has had, the present one first.
  public func goldens(of job: String) throws -> [GoldenRecord] {
    try read {
      try GoldenRecord.fetchAll($0, sql: "SELECT * FROM golden WHERE job = ? ORDER BY at DESC", arguments: [job])
    }
  }

  /// The present baseline of each job.
  public func goldens() throws -> [GoldenRecord] {
    try read {
      try GoldenRecord.fetchAll(
        $0, sql: "SELECT job, max(at) AS at, sweep, who, why FROM golden GROUP BY job ORDER BY job")
    }
  }
}
