public import GRDB
public import Planning

/// One execution of a playbook, as stored. The job's text is kept, so that a later change of the file changes nothing.
public struct PlaybookRecord: Sendable, Hashable, FetchableRecord {
  public var id: String
  /// `ladder`, `bisect`, …
  public var name: String
  /// The job's name, and the path of its file.
  public var job: String
  public var path: String
  public var text: String
  /// Hashes of the commits that it goes through, the oldest first; they were found when it began.
  public var commits: [String]
  /// Seconds since 1970.
  public var created: Double
  public var ended: Double?
  /// JSON; nil while it goes on.
  public var conclusion: String?

  public init(
    id: String, name: String, job: String, path: String, text: String, commits: [String] = [], created: Double
  ) {
    self.commits = commits
    self.id = id
    self.name = name
    self.job = job
    self.path = path
    self.text = text
    self.created = created
  }

  public init(row: Row) throws {
    id = row["id"]
    name = row["name"]
    job = row["job"]
    path = row["path"]
    text = row["text"]
    commits = try JSONDocument.decode([String].self, from: row["commits"])
    created = row["created"]
    ended = row["ended"]
    conclusion = row["conclusion"]
  }
}

/// One step of a playbook, as stored.
public struct StepRecord: Sendable, Hashable, FetchableRecord {
  /// From 1.
  public var number: Int
  /// JSON.
  public var experiment: String
  public var sweep: String
  /// JSON; nil while its sweep goes on.
  public var outcome: String?

  public init(number: Int, experiment: String, sweep: String) {
    self.number = number
    self.experiment = experiment
    self.sweep = sweep
  }

  public init(row: Row) throws {
    number = row["number"]
    experiment = row["experiment"]
    sweep = row["sweep"]
    outcome = row["outcome"]
  }
}

extension SweepLedger {
  /// Stores a new playbook.
  public func create(_ playbook: PlaybookRecord, fleet: Fleet) throws {
    let fleet = try JSONDocument.encode(fleet)
    let commits = try JSONDocument.encode(playbook.commits)
    try write(events: []) { database in
      try database.execute(
        sql:
          "INSERT INTO playbook (id, name, job, path, text, commits, fleet, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        arguments: [
          playbook.id, playbook.name, playbook.job, playbook.path, playbook.text, commits, fleet, playbook.created,
        ])
    }
  }

  /// Stores the intent of a step and the sweep that carries it out, both or neither.
  ///
  /// - Throws: `LedgerError.locked` where somebody else was faster.
  public func begin(
    _ step: StepRecord, of playbook: String, plan: Plan, runs: [RunRecord], now: Double
  ) throws {
    let fleet = try self.fleet(ofPlaybook: playbook)
    try create(sweep: step.sweep, plan: plan, fleet: fleet, runs: runs, now: now) {
      try Self.insert(step, of: playbook, in: $0)
    }
  }

  /// Stores the intent of a step that needs no sweep; `step.sweep` names none and is only unique.
  public func begin(_ step: StepRecord, of playbook: String) throws {
    try write(events: []) { try Self.insert(step, of: playbook, in: $0) }
  }

  private static func insert(_ step: StepRecord, of playbook: String, in database: Database) throws {
    try database.execute(
      sql: "INSERT OR IGNORE INTO step (playbook, number, experiment, sweep) VALUES (?, ?, ?, ?)",
      arguments: [playbook, step.number, step.experiment, step.sweep])
    guard database.changesCount == 1 else {
      throw LedgerError(code: .locked, message: "Somebody else has begun step \(step.number) of \(playbook).")
    }
  }

  /// Stores what a step showed.
  public func end(step number: Int, of playbook: String, outcome: String) throws {
    try write(events: []) {
      try $0.execute(
        sql: "UPDATE step SET outcome = ? WHERE playbook = ? AND number = ?", arguments: [outcome, playbook, number])
    }
  }

  /// Stores where a playbook ended.
  public func conclude(playbook id: String, conclusion: String, now: Double) throws {
    try write(events: []) {
      try $0.execute(
        sql: "UPDATE playbook SET conclusion = ?, ended = ? WHERE id = ?", arguments: [conclusion, now, id])
    }
  }

  public func fleet(ofPlaybook id: String) throws -> Fleet {
    try JSONDocument.decode(Fleet.self, from: try text("SELECT fleet FROM playbook WHERE id = ?", id))
  }

  public func steps(of playbook: String) throws -> [StepRecord] {
    try read {
      try StepRecord.fetchAll($0, sql: "SELECT * FROM step WHERE playbook = ? ORDER BY number", arguments: [playbook])
    }
  }

  public func playbooks(limit: Int) throws -> [PlaybookRecord] {
    try read {
      try PlaybookRecord.fetchAll(
        $0, sql: "SELECT * FROM playbook ORDER BY created DESC, id DESC LIMIT ?", arguments: [limit])
    }
  }

  /// The playbook with this id, the only one whose id begins so, or the newest for `last`.
  public func playbook(named name: String) throws -> PlaybookRecord {
    let found =
      name == "last"
      ? try playbooks(limit: 1)
      : try read {
        try PlaybookRecord.fetchAll(
          $0,
          sql: """
            SELECT * FROM playbook WHERE substr(id, 1, length(:name)) = :name
            ORDER BY id = :name DESC, created DESC LIMIT 9
            """, arguments: ["name": name])
      }
    return try Self.only(
      found, id: \.id, named: name, what: "playbook", start: "rollcall playbook NAME JOB",
      list: "rollcall playbook list")
  }
}
