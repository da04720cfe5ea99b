import GRDB

extension SweepLedger {
  /// Copies the database while others use it, and checks the copy.
  /// - Throws: `LedgerError`; what stands at the path is no backup then.
  public func backup(to path: String) throws {
    do { try Self.copy(pool, to: path) } catch { throw Self.wrap(error, path) }
  }

  /// Copies a backup's database, which stays as it is, and checks the copy.
  public static func restore(_ backup: String, to path: String) throws {
    do {
      var configuration = Configuration()
      configuration.readonly = true
      try copy(try DatabaseQueue(path: backup, configuration: configuration), to: path)
    } catch {
      throw wrap(error, backup)
    }
  }

  private static func copy(_ source: some DatabaseReader, to path: String) throws {
    makePrivate(path)
    let copy = try DatabaseQueue(path: path)
    try source.backup(to: copy)
    // One file, which can be read from where nothing can be written.
    try copy.writeWithoutTransaction { try $0.execute(sql: "PRAGMA journal_mode = DELETE") }
    let problems = try copy.read { try String.fetchAll($0, sql: "PRAGMA integrity_check") }
    guard problems == ["ok"] else {
      throw LedgerError(
        code: .damaged, message: "The copy \(path) is damaged: \(problems.prefix(3).joined(separator: "; "))")
    }
    try copy.close()
  }
}
