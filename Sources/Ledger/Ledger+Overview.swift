import GRDB
public import Scheduling

/// What pages and tables over several sweeps need.
extension SweepLedger {
  /// How many runs of each sweep stand in which state.
  public func runCounts(of sweeps: [String]) throws -> [String: [RunState: Int]] {
    guard !sweeps.isEmpty else { return [:] }
    let marks = Array(repeating: "?", count: sweeps.count).joined(separator: ", ")
    let rows = try read {
      try Row.fetchAll(
        $0, sql: "SELECT sweep, state, COUNT(*) AS n FROM run WHERE sweep IN (\(marks)) GROUP BY sweep, state",
        arguments: StatementArguments(sweeps))
    }
    var counts: [String: [RunState: Int]] = [:]
    for row in rows {
      let (sweep, word, count): (String, String, Int) = (row["sweep"], row["state"], row["n"])
      guard let state = RunState(rawValue: word) else {
        throw LedgerError(
          code: .damaged,
          message: "The store holds the unknown state \"\(word)\"; a newer rollcall may have written it.")
      }
      counts[sweep, default: [:]][state] = count
    }
    return counts
  }

  /// Attempts of all sweeps that hold, or may still hold, GPUs of their hosts.
  public func holdingAttempts() throws -> [AttemptRecord] {
    try read {
      try AttemptRecord.fetchAll(
        $0, sql: "SELECT * FROM attempt WHERE state IN ('launching', 'running') OR fenced = 0 ORDER BY rowid")
    }
  }

  /// The last attempt on each host that told its environment.
  public func lastTold() throws -> [String: AttemptRecord] {
    let attempts = try read {
      try AttemptRecord.fetchAll(
        $0,
        sql: """
          SELECT * FROM attempt WHERE rowid IN (SELECT MAX(rowid) FROM attempt WHERE facts <> '{}' GROUP BY host)
          """)
    }
    return Dictionary(attempts.map { ($0.host, $0) }) { $1 }
  }

  /// The attempt with this id; nil where there is none.
  public func attempt(_ id: String) throws -> AttemptRecord? {
    try read { try AttemptRecord.fetchOne($0, sql: "SELECT * FROM attempt WHERE id = ?", arguments: [id]) }
  }
}
