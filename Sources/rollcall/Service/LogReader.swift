import Coordination
import Dashboard
import Gathering
import Launching
import Ledger
import Planning
import Transports

/// Logs for the pages: from the store once they are gathered, from their hosts before.
actor LogReader {
  private let ledger: SweepLedger
  private let artifacts: ArtifactStore
  /// Sweep → its hosts, the one asked for last at the end.
  private var connections: [(sweep: String, hosts: [HostConnection])] = []

  private static let tailLimit = 64 << 10
  private static let pieceLimit = 256 << 10
  private static let connectionLimit = 4

  init(ledger: SweepLedger, artifacts: ArtifactStore) {
    self.ledger = ledger
    self.artifacts = artifacts
  }

  /// - Parameter offset: where to read on; nil: the last part.
  /// - Returns: nil where there is no such log.
  /// - Throws: `TransportError`, `LaunchError` where the host holds it and cannot be asked.
  func piece(
    of attempt: AttemptRecord, _ stream: DashboardHooks.LogStream, from offset: Int?
  ) async throws -> DashboardHooks.LogPiece? {
    guard let attempt = try ledger.attempt(attempt.id) else { return nil }
    if attempt.state == .gathered, offset == nil {
      let logs = RunLogs(artifacts: artifacts, sweep: attempt.sweep)
      guard let text = logs.text(of: attempt, stream.fileName) else { return nil }
      let tail = Array(text.utf8.suffix(Self.tailLimit))
      return .init(bytes: tail, offset: text.utf8.count - tail.count, isEnd: true)
    }
    guard let host = try await hosts(of: attempt.sweep).first(where: { $0.host.name == attempt.host }) else {
      return nil
    }
    func read(_ offset: Int, _ limit: Int) async throws -> [UInt8] {
      do {
        return try await host.launcher.log(of: attempt.id, name: stream.fileName, offset: offset, limit: limit)
      } catch let error as LaunchError where error.code == .absent {
        return []
      }
    }
    var start = offset ?? 0
    if offset == nil {
      // The end is found by asking whether there is a byte: twice as far each time, then between.
      var (low, high) = (0, Self.tailLimit)
      while high < 1 << 44, try await !read(high, 1).isEmpty { (low, high) = (high, high * 2) }
      while high - low > Self.tailLimit {
        let middle = low + (high - low) / 2
        if try await read(middle, 1).isEmpty { high = middle } else { low = middle }
      }
      start = max(0, low - (low == 0 ? 0 : Self.tailLimit / 2))
    }
    let bytes = try await read(start, Self.pieceLimit)
    return .init(bytes: bytes, offset: start, isEnd: bytes.isEmpty && !attempt.state.isOpen)
  }

  private func hosts(of sweep: String) async throws -> [HostConnection] {
    if let index = connections.firstIndex(where: { $0.sweep == sweep }) {
      let known = connections.remove(at: index)
      connections.append(known)
      return known.hosts
    }
    let hosts = HostConnection.connections(for: try ledger.fleet(of: sweep))
    connections.append((sweep, hosts))
    if connections.count > Self.connectionLimit {
      for host in connections.removeFirst().hosts { await host.transport.close() }
    }
    return hosts
  }
}
