import Foundation
public import GRDB
public import Scheduling

/// One execution of a job, as stored.
public struct SweepRecord: Sendable, Hashable {
  public enum State: String, Sendable, Codable {
    case active
    case cancelling
    case done
    case cancelled
  }

  public var id: String
  public var job: String
  public var state: State
  /// Seconds since 1970.
  public var created: Double
  public var ended: Double?
  public var verdict: String?

  public init(id: String, job: String, state: State, created: Double) {
    self.id = id
    self.job = job
    self.state = state
    self.created = created
  }
}

/// One run of a sweep, as stored. `name` is unique within the sweep and safe as a directory name.
public struct RunRecord: Sendable, Hashable {
  public var sweep: String
  public var name: String
  public var position: Int
  public var cell: String
  public var repetition: Int
  public var state: RunState
  public var why: String?
  public var fileCount: Int
  public var byteCount: Int
  public var missing: [String]

  public init(sweep: String, name: String, position: Int, cell: String, repetition: Int) {
    self.sweep = sweep
    self.name = name
    self.position = position
    self.cell = cell
    self.repetition = repetition
    state = .queued
    why = nil
    fileCount = 0
    byteCount = 0
    missing = []
  }
}

/// One try of a run on one host, as stored. A try of a gang over several hosts has one of these a host, with one number.
public struct AttemptRecord: Sendable, Hashable {
  public enum State: String, Sendable, Codable {
    /// Intent stored; the host may or may not have heard of it.
    case launching
    case running
    /// The host has an exit record; files are still to be fetched.
    case exited
    /// Everything is in the store.
    case gathered
    /// Refused or impossible; nothing ran, or nothing can be fetched.
    case failed
    /// Host rebooted, supervisor killed, or not heard of for too long.
    case lost

    public var isOpen: Bool { self == .launching || self == .running || self == .exited }
  }

  /// One host's part of a gang over several.
  public struct Share: Sendable, Hashable, Codable {
    /// 0 is the host that the others connect to.
    public var node: Int
    public var nodeCount: Int
    public var masterAddress: String
    public var masterPort: Int

    public init(node: Int, nodeCount: Int, masterAddress: String, masterPort: Int) {
      self.node = node
      self.nodeCount = nodeCount
      self.masterAddress = masterAddress
      self.masterPort = masterPort
    }
  }

  public var id: String
  public var sweep: String
  public var run: String
  public var number: Int
  /// nil: the attempt has one host.
  public var share: Share?
  public var host: String
  public var token: String
  public var gpus: Int
  public var state: State
  public var directory: String?
  public var exitCode: Int?
  public var signal: Int?
  /// Of the exit record: `timeout`, `stalled`, `cancelled`, …
  public var reason: String?
  /// For people.
  public var why: String?
  /// Whether it counts against `retries`.
  public var isCharged: Bool
  /// False: it is over for us, but something of it may still live at its host; it must be stopped there before its
  /// GPUs count as free.
  public var isFenced: Bool
  public var created: Double
  /// Last time the host said something new of it.
  public var heard: Double
  /// Seconds for which its host was asked in vain since it last answered, as far as was noted.
  public var unheard = 0.0
  public var started: Double?
  public var ended: Double?
  /// Environment fingerprint: GPU, driver, kernel, …
  public var facts: [String: String]

  public init(
    id: String, sweep: String, run: String, number: Int, host: String, token: String, gpus: Int, now: Double
  ) {
    self.id = id
    self.sweep = sweep
    self.run = run
    self.number = number
    self.host = host
    self.token = token
    self.gpus = gpus
    state = .launching
    isCharged = true
    isFenced = true
    created = now
    heard = now
    facts = [:]
  }
}

/// One line of the sweep's diary.
public struct EventRecord: Sendable, Hashable {
  public var at: Double
  public var sweep: String
  public var run: String?
  public var attempt: String?
  public var kind: String
  public var detail: String

  public init(at: Double, sweep: String, run: String? = nil, attempt: String? = nil, kind: String, detail: String = "")
  {
    self.at = at
    self.sweep = sweep
    self.run = run
    self.attempt = attempt
    self.kind = kind
    self.detail = detail
  }
}

// MARK: - Rows

extension SweepRecord: FetchableRecord {
  public init(row: Row) throws {
    id = row["id"]
    job = row["job"]
    state = try column(row, "state")
    created = row["created"]
    ended = row["ended"]
    verdict = row["verdict"]
  }
}

extension RunRecord: FetchableRecord {
  public init(row: Row) throws {
    sweep = row["sweep"]
    name = row["name"]
    position = row["position"]
    cell = row["cell"]
    repetition = row["repetition"]
    state = try column(row, "state")
    why = row["why"]
    fileCount = row["file_count"]
    byteCount = row["byte_count"]
    missing = try JSONDocument.decode([String].self, from: row["missing"])
  }
}

extension AttemptRecord: FetchableRecord {
  public init(row: Row) throws {
    id = row["id"]
    sweep = row["sweep"]
    run = row["run"]
    number = row["number"]
    share = try (row["share"] as String?).map { try JSONDocument.decode(Share.self, from: $0) }
    host = row["host"]
    token = row["token"]
    gpus = row["gpus"]
    state = try column(row, "state")
    directory = row["directory"]
    exitCode = row["exit_code"]
    signal = row["signal"]
    reason = row["reason"]
    why = row["why"]
    isCharged = row["charged"]
    isFenced = row["fenced"]
    created = row["created"]
    heard = row["heard"]
    unheard = row["unheard"]
    started = row["started"]
    ended = row["ended"]
    facts = try JSONDocument.decode([String: String].self, from: row["facts"])
  }
}

extension EventRecord: FetchableRecord {
  public init(row: Row) throws {
    at = row["at"]
    sweep = row["sweep"]
    run = row["run"]
    attempt = row["attempt"]
    kind = row["kind"]
    detail = row["detail"]
  }
}

func column<Value: RawRepresentable<String>>(_ row: Row, _ name: String) throws -> Value {
  let text: String = row[name]
  guard let value = Value(rawValue: text) else {
    throw LedgerError(
      code: .damaged, message: "The store holds the unknown \(name) \"\(text)\"; a newer rollcall may have written it.")
  }
  return value
}

/// JSON columns.
public enum JSONDocument {
  public static func encode(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
  }

  public static func decode<Value: Decodable>(_ type: Value.Type, from text: String) throws -> Value {
    do {
      return try JSONDecoder().decode(type, from: Data(text.utf8))
    } catch {
      throw LedgerError(code: .damaged, message: "A document in the store cannot be read: \(error)")
    }
  }
}
