import Foundation
import GRDB
import Glibc
public import Planning
import Scheduling

/// The store's database: what was planned, what happened, what came out.
///
/// Every change of state is one SQLite transaction that also appends its event. WAL, synchronous=FULL: what was
/// written is on disk when the call returns.
public struct SweepLedger: Sendable {
  let pool: DatabasePool
  private let reserve: StoreReserve

  /// Opens `<store>/rollcall.db`, making and migrating it if need be.
  /// - Parameter usingReserve: Where the disk is full, the store's reserve is used up for it.
  /// - Throws: `LedgerError` where the directory cannot be made, the file is no database of ours, or it is gone and what it
  ///   told of is there.
  public init(store: String, usingReserve: Bool = false) throws(LedgerError) {
    do {
      try Self.makeDirectory(store)
    } catch {
      throw LedgerError(code: .unusable, message: "Cannot make the store \(store): \(Self.reason(error)).")
    }
    try Self.checkDatabase(of: store)
    reserve = StoreReserve(store: store)
    do {
      pool = try Self.openPool(store)
    } catch {
      guard error.code == .diskFull, usingReserve, reserve.release() else { throw error }
      pool = try Self.openPool(store)
    }
    reserve.keep()
  }

  /// A new database in the place of one that was lost would say that nothing ever ran.
  private static func checkDatabase(of store: String) throws(LedgerError) {
    var facts = stat()
    let isThere = ["/rollcall.db", "/rollcall.db-wal"].contains { stat(store + $0, &facts) == 0 && facts.st_size > 0 }
    guard !isThere,
      let sweeps = try? FileManager.default.contentsOfDirectory(atPath: store + "/sweeps"), !sweeps.isEmpty
    else { return }
    throw LedgerError(
      code: .damaged,
      message: "The store \(store) holds the files of \(sweeps.count) sweep\(sweeps.count == 1 ? "" : "s"), and its "
        + "database, rollcall.db, is gone or empty. Put it back, restore the store from a backup, or use another store "
        + "with --store.")
  }

  private static func openPool(_ store: String) throws(LedgerError) -> DatabasePool {
    do {
      var configuration = Configuration()
      configuration.foreignKeysEnabled = true
      configuration.busyMode = .timeout(10)
      return try StoreLock.whileOpening(store) {
        Self.makePrivate(store + "/rollcall.db")
        let pool = try DatabasePool(path: store + "/rollcall.db", configuration: configuration)
        // A pool sets synchronous back to NORMAL while it opens; the writer must be set afterwards.
        try pool.writeWithoutTransaction { try $0.execute(sql: "PRAGMA synchronous = FULL") }
        // Asked of the writer: a reader that has seen the old tables keeps their columns in mind.
        let (applied, isNewer) = try pool.writeWithoutTransaction {
          (try Self.migrator.appliedIdentifiers($0), try Self.migrator.hasBeenSuperseded($0))
        }
        guard !isNewer else {
          throw LedgerError(
            code: .unusable,
            message: "The store \(store) was written by a newer rollcall; use that one, or another store with --store.")
        }
        let isOld = !applied.isEmpty && !applied.isSuperset(of: Self.migrator.migrations)
        guard !isOld || !StoreLock.isHeld(store: store) else {
          throw LedgerError(
            code: .locked,
            message: "An older rollcall coordinates the store \(store), which would be brought to a newer form; "
              + "wait for it, or end it: its sweep can be resumed.")
        }
        try Self.migrator.migrate(pool)
        return pool
      }
    } catch {
      throw Self.wrap(error, store)
    }
  }

  /// Makes a store's directory with all above it, for its owner alone: plans hold what their runs have in their
  /// environment, which may be keys. A directory that stands is left as it is.
  static func makeDirectory(_ store: String) throws {
    let above = (store as NSString).deletingLastPathComponent
    if !above.isEmpty { try FileManager.default.createDirectory(atPath: above, withIntermediateDirectories: true) }
    guard !FileManager.default.fileExists(atPath: store) else { return }
    try FileManager.default.createDirectory(
      atPath: store, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
  }

  /// Makes an empty file for its owner alone, whatever its directory lets others see; SQLite makes those beside it alike.
  /// One that stands is left as it is, and what cannot be made SQLite says better.
  static func makePrivate(_ path: String) {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    if descriptor >= 0 { close(descriptor) }
  }

  static var migrator: DatabaseMigrator {
    var migrator = DatabaseMigrator()
    migrator.registerMigration("v1_store") { database in
      try database.execute(sql: String(decoding: PackageResources.v1_store_sql, as: UTF8.self))
    }
    migrator.registerMigration("v2_fencing") { database in
      try database.execute(sql: String(decoding: PackageResources.v2_fencing_sql, as: UTF8.self))
    }
    migrator.registerMigration("v3_gangs") { database in
      try database.execute(sql: String(decoding: PackageResources.v3_gangs_sql, as: UTF8.self))
    }
    migrator.registerMigration("v4_playbooks") { database in
      try database.execute(sql: String(decoding: PackageResources.v4_playbooks_sql, as: UTF8.self))
    }
    migrator.registerMigration("v5_service") { database in
      try database.execute(sql: String(decoding: PackageResources.v5_service_sql, as: UTF8.self))
    }
    migrator.registerMigration("v6_silence") { database in
      try database.execute(sql: String(decoding: PackageResources.v6_silence_sql, as: UTF8.self))
    }
    return migrator
  }

  /// The durability the writer really has: 2 is FULL.
  var synchronousLevel: Int {
    get throws { try pool.writeWithoutTransaction { try Int.fetchOne($0, sql: "PRAGMA synchronous") ?? -1 } }
  }

  // MARK: Writing

  /// Stores a new sweep with all of its runs.
  public func create(sweep id: String, plan: Plan, fleet: Fleet, runs: [RunRecord], now: Double) throws {
    try create(sweep: id, plan: plan, fleet: fleet, runs: runs, now: now) { _ in }
  }

  /// The same, with what `also` writes in the same transaction.
  func create(
    sweep id: String, plan: Plan, fleet: Fleet, runs: [RunRecord], now: Double, also: (Database) throws -> Void
  ) throws {
    try write { database in
      try database.execute(
        sql: "INSERT INTO sweep (id, job, plan, fleet, state, created) VALUES (?, ?, ?, ?, 'active', ?)",
        arguments: [id, plan.name, try JSONDocument.encode(plan), try JSONDocument.encode(fleet), now])
      for run in runs {
        try database.execute(
          sql: "INSERT INTO run (sweep, name, position, cell, repetition, state) VALUES (?, ?, ?, ?, ?, ?)",
          arguments: [id, run.name, run.position, run.cell, run.repetition, run.state.rawValue])
      }
      try append(
        EventRecord(at: now, sweep: id, kind: "sweep-created", detail: "\(runs.count) runs of \(plan.name)"), database)
      try also(database)
    }
  }

  /// Commits all of the writes in one transaction, in their order: all of them are on disk when the call returns, or
  /// none.
  /// - Throws: `LedgerError`; nothing was written.
  public func apply(_ writes: [LedgerWrite]) throws {
    guard !writes.isEmpty else { return }
    try write { database in
      for write in writes {
        switch write {
        case .begin(let attempt): try insert(attempt, database)
        case .attempt(let attempt): try update(attempt, database)
        case .run(let sweep, let name, let state, let why):
          try Self.execute(
            database, "UPDATE run SET state = ?, why = ? WHERE sweep = ? AND name = ?",
            [state.rawValue, why, sweep, name])
        case .files(let sweep, let run, let count, let bytes, let missing):
          try Self.execute(
            database, "UPDATE run SET file_count = ?, byte_count = ?, missing = ? WHERE sweep = ? AND name = ?",
            [count, bytes, try JSONDocument.encode(missing), sweep, run])
        case .event(let event): try append(event, database)
        }
      }
    }
  }

  /// Asks whoever coordinates the sweep to stop it. Where the disk is full, the store's reserve is used up for it.
  public func requestCancel(sweep: String, now: Double) throws {
    try writeUsingReserve { database in
      try database.execute(
        sql: "UPDATE sweep SET state = 'cancelling' WHERE id = ? AND state = 'active'", arguments: [sweep])
      try append(EventRecord(at: now, sweep: sweep, kind: "cancel-requested"), database)
    }
  }

  /// - Parameter usingReserve: As in `init`.
  public func append(_ event: EventRecord, usingReserve: Bool = false) throws {
    func append(_ database: Database) throws { try self.append(event, database) }
    if usingReserve { try writeUsingReserve(append) } else { try write(append) }
  }

  private func writeUsingReserve(_ body: (Database) throws -> Void) throws {
    do {
      try write(body)
    } catch let error as LedgerError where error.code == .diskFull && reserve.release() {
      try write(body)
    }
  }

  // MARK: Reading

  public func sweeps(limit: Int) throws -> [SweepRecord] {
    try read {
      try SweepRecord.fetchAll(
        $0,
        sql: "SELECT id, job, state, created, ended, verdict FROM sweep ORDER BY created DESC, id DESC LIMIT ?",
        arguments: [limit])
    }
  }

  /// The sweep with this id, the only one whose id begins so, or the newest for `last`.
  public func sweep(named name: String) throws -> SweepRecord {
    let found = try read { database in
      if name == "last" {
        return try SweepRecord.fetchAll(
          database,
          sql: "SELECT id, job, state, created, ended, verdict FROM sweep ORDER BY created DESC, id DESC LIMIT 1")
      }
      return try SweepRecord.fetchAll(
        database,
        sql: """
          SELECT id, job, state, created, ended, verdict FROM sweep
          WHERE substr(id, 1, length(:name)) = :name ORDER BY id = :name DESC, created DESC LIMIT 9
          """, arguments: ["name": name])
    }
    return try Self.only(
      found, id: \.id, named: name, what: "sweep", start: "rollcall run JOB", list: "rollcall status")
  }

  /// The one that a name means, of those that begin with it, an exact match first.
  static func only<Record>(
    _ found: [Record], id: (Record) -> String, named name: String, what: String, start: String, list: String
  ) throws -> Record {
    guard let first = found.first else {
      throw LedgerError(
        code: .notFound,
        message: name == "last"
          ? "The store holds no \(what) yet; start one with: \(start)"
          : "The store holds no \(what) \"\(name)\"; \(list) lists them.")
    }
    guard found.count == 1 || id(first) == name else {
      throw LedgerError(
        code: .notFound,
        message: "\"\(name)\" begins the names of several \(what)s: \(found.map(id).joined(separator: ", ")).")
    }
    return first
  }

  public func plan(of sweep: String) throws -> Plan {
    try JSONDocument.decode(Plan.self, from: try text("SELECT plan FROM sweep WHERE id = ?", sweep))
  }

  public func fleet(of sweep: String) throws -> Fleet {
    try JSONDocument.decode(Fleet.self, from: try text("SELECT fleet FROM sweep WHERE id = ?", sweep))
  }

  /// The stored report document; nil before the sweep's end.
  public func report(of sweep: String) throws -> String? {
    try read { try String.fetchOne($0, sql: "SELECT report FROM sweep WHERE id = ?", arguments: [sweep]) }
  }

  public func runs(of sweep: String) throws -> [RunRecord] {
    try read {
      try RunRecord.fetchAll($0, sql: "SELECT * FROM run WHERE sweep = ? ORDER BY position", arguments: [sweep])
    }
  }

  public func attempts(of sweep: String) throws -> [AttemptRecord] {
    try read {
      try AttemptRecord.fetchAll(
        // In the order of their making: a clock may have jumped.
        $0, sql: "SELECT * FROM attempt WHERE sweep = ? ORDER BY rowid", arguments: [sweep])
    }
  }

  /// Attempts of any sweep that are over for us, but of which something may still live at their hosts.
  public func unfencedAttempts() throws -> [AttemptRecord] {
    try read { try AttemptRecord.fetchAll($0, sql: "SELECT * FROM attempt WHERE fenced = 0 ORDER BY rowid") }
  }

  public func events(of sweep: String, limit: Int) throws -> [EventRecord] {
    try read {
      try EventRecord.fetchAll(
        $0, sql: "SELECT * FROM (SELECT * FROM event WHERE sweep = ? ORDER BY id DESC LIMIT ?) ORDER BY id",
        arguments: [sweep, limit])
    }
  }

  // MARK: Plumbing

  func text(_ sql: String, _ argument: String) throws -> String {
    guard let text = try read({ try String.fetchOne($0, sql: sql, arguments: [argument]) }) else {
      throw LedgerError(code: .notFound, message: "The store does not hold \"\(argument)\".")
    }
    return text
  }

  private func insert(_ attempt: AttemptRecord, _ database: Database) throws {
    try Self.execute(
      database,
      """
      INSERT INTO attempt (id, sweep, run, number, node, share, host, token, gpus, state, directory, exit_code, signal,
        reason, why, charged, fenced, created, heard, unheard, started, ended, facts)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
      """,
      [
        attempt.id, attempt.sweep, attempt.run, attempt.number, attempt.share?.node ?? 0,
        try attempt.share.map(JSONDocument.encode), attempt.host, attempt.token, attempt.gpus,
        attempt.state.rawValue, attempt.directory, attempt.exitCode, attempt.signal, attempt.reason, attempt.why,
        attempt.isCharged, attempt.isFenced, attempt.created, attempt.heard, attempt.unheard, attempt.started,
        attempt.ended,
        try JSONDocument.encode(attempt.facts),
      ])
  }

  /// What an attempt is and where it runs never changes; how it stands does.
  private func update(_ attempt: AttemptRecord, _ database: Database) throws {
    try Self.execute(
      database,
      """
      UPDATE attempt SET state = ?, directory = ?, exit_code = ?, signal = ?, reason = ?, why = ?, charged = ?,
        fenced = ?, heard = ?, unheard = ?, started = ?, ended = ? WHERE id = ?
      """,
      [
        attempt.state.rawValue, attempt.directory, attempt.exitCode, attempt.signal, attempt.reason, attempt.why,
        attempt.isCharged, attempt.isFenced, attempt.heard, attempt.unheard, attempt.started, attempt.ended, attempt.id,
      ])
  }

  private static func execute(_ database: Database, _ sql: String, _ arguments: StatementArguments) throws {
    try database.cachedStatement(sql: sql).execute(arguments: arguments)
  }

  private func append(_ event: EventRecord, _ database: Database) throws {
    try Self.execute(
      database, "INSERT INTO event (at, sweep, run, attempt, kind, detail) VALUES (?, ?, ?, ?, ?, ?)",
      [event.at, event.sweep, event.run, event.attempt, event.kind, event.detail])
  }

  private func write(_ body: (Database) throws -> Void) throws {
    do { try pool.write(body) } catch { throw Self.wrap(error, pool.path) }
  }

  func read<Value>(_ body: (Database) throws -> Value) throws -> Value {
    do { return try pool.read(body) } catch { throw Self.wrap(error, pool.path) }
  }

  static func wrap(_ error: any Error, _ place: String) -> LedgerError {
    if let error = error as? LedgerError { return error }
    guard let error = error as? DatabaseError else {
      return LedgerError(code: .unusable, message: "The store \(place) cannot be used: \(error).")
    }
    var facts = statvfs()
    if statvfs(place, &facts) == 0, facts.f_flag & UInt(ST_RDONLY) != 0 {
      return LedgerError(
        code: .unusable,
        message: "The store \(place) is on a read-only file system, and even to look at it its database is written to; "
          + "copy the store to where it can be written, and name that with --store.")
    }
    if error.resultCode == .SQLITE_READONLY || error.resultCode == .SQLITE_CANTOPEN,
      let closed = ([place, place + "/rollcall.db"] as [String]).first(where: {
        access($0, F_OK) == 0 && access($0, W_OK) != 0
      })
    {
      return LedgerError(
        code: .unusable,
        message:
          "The store \(place) cannot be used: \(closed) may not be written to by this user, and even to look at a "
          + "store its database is written to; have it opened to you, or copy the store and name the copy with --store."
      )
    }
    let text = error.message ?? "\(error.resultCode)"
    return switch error.resultCode {
    case .SQLITE_FULL,
      .SQLITE_IOERR where isFull(place),
      .SQLITE_CANTOPEN where isFull(place):
      LedgerError(
        code: .diskFull, message: "The disk of the store \(place) is full, or our quota is used up; free some space.")
    case .SQLITE_NOTADB, .SQLITE_CORRUPT:
      LedgerError(code: .damaged, message: "\(place) is not a database of rollcall or is damaged: \(text).")
    case .SQLITE_BUSY, .SQLITE_LOCKED:
      LedgerError(code: .locked, message: "The store \(place) is busy: \(text).")
    default:
      LedgerError(code: .unusable, message: "The store \(place) cannot be used: \(text).")
    }
  }

  /// Whether a call of SQLite's to the disk failed for want of room or of quota.
  private static func isFull(_ place: String) -> Bool {
    var isDirectory: ObjCBool = false
    let isStore = FileManager.default.fileExists(atPath: place, isDirectory: &isDirectory) && isDirectory.boolValue
    return RoomProbe.isFull(isStore ? place : (place as NSString).deletingLastPathComponent)
  }

  private static func reason(_ error: any Error) -> String {
    let error = error as NSError
    let underlying = error.userInfo[NSUnderlyingErrorKey] as? NSError
    return (underlying ?? error).localizedDescription
  }
}

extension SweepLedger {
  /// One transaction of the module's other files, with the lines of the diary that belong to it.
  func write(events: [EventRecord], _ body: (Database) throws -> Void) throws {
    try write { database in
      try body(database)
      for event in events { try append(event, database) }
    }
  }
}
