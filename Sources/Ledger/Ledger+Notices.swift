public import GRDB
public import Planning

/// Something that is to be told to somebody: kept until it has been told.
public struct NoticeRecord: Sendable, Hashable, FetchableRecord {
  /// The receiver gets it with the notice: two with one id are one.
  public var id: String
  public var sweep: String?
  public var job: String
  public var target: NotifySpec
  /// JSON.
  public var payload: String
  public var created: Double
  public var tries: Int
  public var nextTry: Double
  public var sent: Double?
  /// Given up then.
  public var failed: Double?
  public var error: String?

  public init(id: String, sweep: String?, job: String, target: NotifySpec, payload: String, created: Double) {
    self.id = id
    self.sweep = sweep
    self.job = job
    self.target = target
    self.payload = payload
    self.created = created
    tries = 0
    nextTry = created
  }

  public init(row: Row) throws {
    id = row["id"]
    sweep = row["sweep"]
    job = row["job"]
    target = try JSONDocument.decode(NotifySpec.self, from: row["target"])
    payload = row["payload"]
    created = row["created"]
    tries = row["tries"]
    nextTry = row["next_try"]
    sent = row["sent"]
    failed = row["failed"]
    error = row["error"]
  }
}

extension SweepLedger {
  static func insert(_ notice: NoticeRecord, _ database: Database) throws {
    // A sweep that ends twice, after a retry, is told twice, by ids of its own; one that is finished again is not.
    try database.execute(
      sql: """
        INSERT OR IGNORE INTO notice (id, sweep, job, target, payload, created, next_try) VALUES (?, ?, ?, ?, ?, ?, ?)
        """,
      arguments: [
        notice.id, notice.sweep, notice.job, try JSONDocument.encode(notice.target), notice.payload, notice.created,
        notice.nextTry,
      ])
  }

  /// Those whose next try is due, the oldest first.
  /// - Parameter sweep: Of this sweep alone; nil: all.
  public func dueNotices(now: Double, of sweep: String? = nil, limit: Int = 100) throws -> [NoticeRecord] {
    try read {
      try NoticeRecord.fetchAll(
        $0,
        sql: """
          SELECT * FROM notice WHERE sent IS NULL AND failed IS NULL AND next_try <= :now
            AND (:sweep IS NULL OR sweep = :sweep) ORDER BY created LIMIT :limit
          """, arguments: ["now": now, "sweep": sweep, "limit": limit])
    }
  }

  /// The newest notices.
  public func notices(limit: Int) throws -> [NoticeRecord] {
    try read {
      try NoticeRecord.fetchAll(
        $0, sql: "SELECT * FROM notice ORDER BY created DESC, id LIMIT ?", arguments: [limit])
    }
  }

  /// How a try ended.
  public func update(_ notice: NoticeRecord) throws {
    try write(events: []) {
      try $0.execute(
        sql: "UPDATE notice SET tries = ?, next_try = ?, sent = ?, failed = ?, error = ? WHERE id = ?",
        arguments: [notice.tries, notice.nextTry, notice.sent, notice.failed, notice.error, notice.id])
    }
  }
}
