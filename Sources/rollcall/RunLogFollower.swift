import Coordination
import Foundation
import Launching
import Ledger
import Planning
import Transports

/// Reads one stream of one run's output piece by piece, over its attempts.
struct RunLogFollower {
  let run: String
  /// Of a gang over several hosts; nil: the run has one host.
  let node: Int?
  /// `stdout.log` or `stderr.log`.
  let name: String
  /// Where the whole log stands, while its host keeps it: the store had its last part alone; nil: it was read from its
  /// beginning.
  private(set) var wholeLog: String?
  private var attempt: String?
  /// Another attempt than before, of which nothing was read yet.
  private var isNew = false
  private var offset = 0
  /// A line that has not ended yet.
  private var remainder: [UInt8] = []

  init(run: String, node: Int?, name: String) {
    self.run = run
    self.node = node
    self.name = name
  }

  /// One for each stream of each host.
  static func all(_ run: RunRecord, _ plan: Plan, names: [String]) -> [RunLogFollower] {
    let count = plan.cells.first { $0.id == run.cell }?.run.nodes ?? 1
    let nodes: [Int?] = count > 1 ? (0..<count).map { $0 } : [nil]
    return nodes.flatMap { node in names.map { RunLogFollower(run: run.name, node: node, name: $0) } }
  }

  /// What its lines are told by.
  var label: String { node.map { "\(run) node\($0)" } ?? run }

  enum Piece {
    case nothingYet
    /// Another attempt than before: its output begins anew.
    case bytes([UInt8], isNewAttempt: Bool)
    /// Everything that there is has been read.
    case end
  }

  /// What has been written since the last call.
  ///
  /// - Throws: `TransportError`, `LaunchError` where the host holds the log and cannot be asked.
  mutating func next(
    _ ledger: SweepLedger, _ sweep: String, _ logs: RunLogs, _ hosts: [HostConnection]
  ) async throws -> Piece {
    guard let record = try ledger.attempts(of: sweep).last(where: { $0.run == run && $0.share?.node == node }) else {
      return .nothingYet
    }
    if attempt != record.id {
      isNew = attempt != nil
      attempt = record.id
      offset = 0
    }
    // The store keeps the last part of a log alone: who is in the middle of it reads on at the host.
    if record.state == .gathered, offset == 0 {
      guard let text = logs.text(of: record, name) else { return .end }
      offset = .max
      if logs.isCut(of: record, name) { wholeLog = "\(record.host):\(record.directory ?? record.id)/\(name)" }
      return text.isEmpty ? .end : bytes(Array(text.utf8))
    }
    guard offset < .max, let host = hosts.first(where: { $0.host.name == record.host }) else { return .end }
    let piece: [UInt8]
    do {
      piece = try await host.launcher.log(of: record.id, name: name, offset: offset, limit: 1 << 20)
    } catch let error as LaunchError where error.code == .absent {
      return stored(record, logs) ?? (record.state.isOpen ? .nothingYet : .end)
    } catch {
      guard let rest = stored(record, logs) else { throw error }
      return rest
    }
    offset += piece.count
    if piece.isEmpty { return record.state.isOpen ? .nothingYet : .end }
    return bytes(piece)
  }

  private mutating func bytes(_ piece: [UInt8]) -> Piece {
    defer { isNew = false }
    return .bytes(piece, isNewAttempt: isNew)
  }

  /// What the store holds of a gathered log beyond what was read: its host need not be there any more. nil where it may
  /// not hold the beginning of that.
  private mutating func stored(_ record: AttemptRecord, _ logs: RunLogs) -> Piece? {
    guard record.state == .gathered, !logs.isCut(of: record, name), let data = logs.bytes(of: record, name) else {
      return nil
    }
    let rest = data.dropFirst(offset)
    offset = .max
    return rest.isEmpty ? .end : bytes(Array(rest))
  }

  /// The whole lines of a piece, with what was left of the one before.
  mutating func lines(of piece: [UInt8]) -> [String] {
    remainder += piece
    guard let end = remainder.lastIndex(of: UInt8(ascii: "\n")) else { return [] }
    let whole = remainder[..<end]
    remainder = Array(remainder[(end + 1)...])
    return whole.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      .map { String(decoding: $0, as: UTF8.self) }
  }

  /// The last line, where nothing ended it.
  mutating func lastLine() -> String? {
    defer { remainder = [] }
    return remainder.isEmpty ? nil : String(decoding: remainder, as: UTF8.self)
  }
}
