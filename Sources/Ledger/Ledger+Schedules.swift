public import GRDB
public import Planning

/// A schedule as stored.
public struct ScheduleRecord: Sendable, Hashable, FetchableRecord {
  /// The job's name.
  public var name: String
  public var path: String
  /// Path of the fleet file; nil: this machine.
  public var fleet: String?
  public var isEnabled: Bool
  /// Seconds since 1970; of all nominal times up to here it is decided what becomes of them.
  public var decidedThrough: Double
  public var alarmedThrough: Double
  public var added: Double

  public init(name: String, path: String, fleet: String?, added: Double) {
    self.name = name
    self.path = path
    self.fleet = fleet
    self.added = added
    isEnabled = true
    decidedThrough = added
    alarmedThrough = added
  }

  public init(row: Row) throws {
    name = row["name"]
    path = row["path"]
    fleet = row["fleet"]
    isEnabled = row["enabled"]
    decidedThrough = row["decided_through"]
    alarmedThrough = row["alarmed_through"]
    added = row["added"]
  }
}

/// What became of a nominal time, or of a range of them.
public struct FiringRecord: Sendable, Hashable, FetchableRecord {
  public enum State: String, Sendable, Hashable, Codable, CaseIterable {
    case queued
    case running
    case done
    case skipped
    /// No sweep could be started.
    case failed
  }

  public var schedule: String
  /// Seconds since 1970; the first of a range.
  public var nominal: Double
  public var last: Double
  public var count: Int
  public var isManual: Bool
  public var state: State
  public var why: String?
  public var sweep: String?

  public init(
    schedule: String, nominal: Double, last: Double? = nil, count: Int = 1, isManual: Bool = false, state: State,
    why: String? = nil
  ) {
    self.schedule = schedule
    self.nominal = nominal
    self.last = last ?? nominal
    self.count = count
    self.isManual = isManual
    self.state = state
    self.why = why
  }

  public init(row: Row) throws {
    schedule = row["schedule"]
    nominal = row["nominal"]
    last = row["last"]
    count = row["count"]
    isManual = row["manual"]
    state = try column(row, "state")
    why = row["why"]
    sweep = row["sweep"]
  }
}

extension SweepLedger {
  /// Stores a schedule, or where its job file and its fleet are now.
  public func save(_ schedule: ScheduleRecord) throws {
    try write(events: []) {
      try $0.execute(
        sql: """
          INSERT INTO schedule (name, path, fleet, decided_through, alarmed_through, added) VALUES (?, ?, ?, ?, ?, ?)
          ON CONFLICT (name) DO UPDATE SET path = excluded.path, fleet = excluded.fleet
          """,
        arguments: [
          schedule.name, schedule.path, schedule.fleet, schedule.decidedThrough, schedule.alarmedThrough,
          schedule.added,
        ])
    }
  }

  public func schedules() throws -> [ScheduleRecord] {
    try read { try ScheduleRecord.fetchAll($0, sql: "SELECT * FROM schedule ORDER BY name") }
  }

  /// The schedule with this name, or the only one whose name begins so.
  public func schedule(named name: String) throws -> ScheduleRecord {
    let found = try read {
      try ScheduleRecord.fetchAll(
        $0,
        sql: "SELECT * FROM schedule WHERE substr(name, 1, length(:name)) = :name ORDER BY name = :name DESC, name",
        arguments: ["name": name])
    }
    return try Self.only(
      found, id: \.name, named: name, what: "schedule", start: "rollcall schedule add JOB",
      list: "rollcall schedule list")
  }

  /// A schedule that is enabled again goes on from now: what it missed meanwhile was wanted so.
  public func enable(schedule name: String, _ isEnabled: Bool, now: Double) throws {
    try write(events: []) {
      try $0.execute(
        sql: """
          UPDATE schedule SET enabled = :on,
            decided_through = CASE WHEN :on AND NOT enabled THEN max(decided_through, :now) ELSE decided_through END,
            alarmed_through = CASE WHEN :on AND NOT enabled THEN max(alarmed_through, :now) ELSE alarmed_through END
          WHERE name = :name
          """, arguments: ["on": isEnabled, "now": now, "name": name])
    }
  }

  /// Sets schedules back to now that are decided or alarmed more than a day ahead of it: by a clock that was wrong.
  /// - Returns: As they were.
  public func bringBack(schedulesAheadOf now: Double) throws -> [ScheduleRecord] {
    let ahead = try read {
      try ScheduleRecord.fetchAll(
        $0, sql: "SELECT * FROM schedule WHERE max(decided_through, alarmed_through) > ? ORDER BY name",
        arguments: [now + 86_400])
    }
    guard !ahead.isEmpty else { return [] }
    try write(events: []) { database in
      for schedule in ahead {
        try database.execute(
          sql: """
            UPDATE schedule SET decided_through = min(decided_through, :now),
              alarmed_through = min(alarmed_through, :now) WHERE name = :name
            """, arguments: ["now": now, "name": schedule.name])
      }
    }
    return ahead
  }

  /// Takes a setting back to now back: the clock that was wrong is the one by which it was done.
  /// - Parameter schedule: As it was before.
  public func takeBack(_ schedule: ScheduleRecord) throws {
    try write(events: []) {
      try $0.execute(
        sql: """
          UPDATE schedule SET decided_through = max(decided_through, ?), alarmed_through = max(alarmed_through, ?)
          WHERE name = ?
          """, arguments: [schedule.decidedThrough, schedule.alarmedThrough, schedule.name])
    }
  }

  /// Its times go with it; its sweeps stay.
  public func remove(schedule name: String) throws {
    try write(events: []) { try $0.execute(sql: "DELETE FROM schedule WHERE name = ?", arguments: [name]) }
  }

  /// Stores what became of the times up to a moment, all or nothing: a time has one sweep, whatever happens.
  ///
  /// - Parameter overtaken: Nominal times that wait no longer.
  public func decide(
    schedule name: String, through moment: Double, firings: [FiringRecord], overtaken: [FiringRecord] = []
  ) throws {
    try write(events: []) { database in
      try database.execute(
        sql: "UPDATE schedule SET decided_through = ? WHERE name = ?", arguments: [moment, name])
      for firing in firings { try Self.insert(firing, database) }
      for firing in overtaken {
        try database.execute(
          sql: "UPDATE firing SET state = ?, why = ? WHERE schedule = ? AND nominal = ? AND state = 'queued'",
          arguments: [firing.state.rawValue, firing.why, name, firing.nominal])
      }
    }
  }

  /// Queues a sweep that a person asks for.
  public func fire(schedule name: String, now: Double) throws {
    try write(events: []) {
      try Self.insert(FiringRecord(schedule: name, nominal: now, isManual: true, state: .queued), $0)
    }
  }

  /// A time that stands keeps what became of it. One that was skipped, by a clock that was ahead, may yet have its turn.
  private static func insert(_ firing: FiringRecord, _ database: Database) throws {
    try database.execute(
      sql: """
        INSERT INTO firing (schedule, nominal, last, count, manual, state, why) VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (schedule, nominal) DO UPDATE SET last = excluded.last, count = excluded.count,
          manual = excluded.manual, state = excluded.state, why = excluded.why WHERE state = 'skipped'
        """,
      arguments: [
        firing.schedule, firing.nominal, firing.last, firing.count, firing.isManual, firing.state.rawValue, firing.why,
      ])
  }

  /// Stores the sweep of a nominal time and that it is its sweep, both or neither.
  public func begin(
    _ firing: FiringRecord, sweep: String, plan: Plan, fleet: Fleet, runs: [RunRecord], now: Double
  ) throws {
    try create(sweep: sweep, plan: plan, fleet: fleet, runs: runs, now: now) { database in
      try database.execute(
        sql: """
          UPDATE firing SET state = 'running', sweep = ? WHERE schedule = ? AND nominal = ? AND state = 'queued'
          """, arguments: [sweep, firing.schedule, firing.nominal])
      guard database.changesCount == 1 else {
        throw LedgerError(code: .notFound, message: "The time of \(firing.schedule) does not wait any more.")
      }
    }
  }

  /// No sweep came of a nominal time.
  public func fail(_ firing: FiringRecord, why: String) throws {
    try write(events: []) {
      try $0.execute(
        sql: "UPDATE firing SET state = 'failed', why = ? WHERE schedule = ? AND nominal = ?",
        arguments: [why, firing.schedule, firing.nominal])
    }
  }

  /// The newest times of a schedule, the oldest of them first.
  public func firings(of schedule: String, limit: Int) throws -> [FiringRecord] {
    try read {
      try FiringRecord.fetchAll(
        $0,
        sql: """
          SELECT * FROM (SELECT * FROM firing WHERE schedule = ? ORDER BY nominal DESC LIMIT ?) ORDER BY nominal
          """,
        arguments: [schedule, limit])
    }
  }

  /// The times that are queued or running, the oldest first.
  public func openFirings(of schedule: String) throws -> [FiringRecord] {
    try read {
      try FiringRecord.fetchAll(
        $0, sql: "SELECT * FROM firing WHERE schedule = ? AND state IN ('queued', 'running') ORDER BY nominal",
        arguments: [schedule])
    }
  }

  /// All alarms up to a moment have been raised.
  public func alarm(schedule name: String, through moment: Double, notices: [NoticeRecord]) throws {
    try write(events: []) { database in
      try database.execute(
        sql: "UPDATE schedule SET alarmed_through = ? WHERE name = ?", arguments: [moment, name])
      for notice in notices { try Self.insert(notice, database) }
    }
  }

  /// Whether a sweep of a schedule ended with a report in a span of time.
  public func hasReport(schedule name: String, after: Double, through: Double) throws -> Bool {
    try read {
      try Bool.fetchOne(
        $0,
        sql: """
          SELECT EXISTS (SELECT 1 FROM firing JOIN sweep ON sweep.id = firing.sweep
            WHERE firing.schedule = ? AND sweep.ended > ? AND sweep.ended <= ? AND sweep.report IS NOT NULL)
          """, arguments: [name, after, through]) ?? false
    }
  }

  /// Sweeps that have not ended, the oldest first.
  public func openSweeps() throws -> [SweepRecord] {
    try read {
      try SweepRecord.fetchAll(
        $0,
        sql: """
          SELECT id, job, state, created, ended, verdict FROM sweep WHERE ended IS NULL ORDER BY created, id
          """)
    }
  }
}
