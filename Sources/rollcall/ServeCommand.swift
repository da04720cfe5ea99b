import ArgumentParser
import Coordination
import Dashboard
import Foundation
import Gathering
import Launching
import Ledger
import Planning
import Transports

struct ServeCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "serve",
    abstract: "Serve the store's sweeps, runs, logs and hosts as web pages and as JSON.",
    discussion: """
      Ends at Ctrl-C or SIGTERM. Every user of this machine reaches a loopback address: on a shared one, give a token \
      there as well. The token is sent as it is: put TLS before any other address, or come through ssh -L.

      Examples: rollcall serve
                rollcall serve --listen 0.0.0.0:7450 --token-file /etc/rollcall/token
      """)

  @Option(name: .long, help: "HOST:PORT; port 0 takes any free one.")
  var listen = ListenAddress.standard.description

  @Option(
    name: .long, help: "A file with the token that readers must show; needed for any address but loopback.",
    completion: .file())
  var tokenFile: String?

  @Option(
    name: .long, help: "A host name that a proxy before a loopback address keeps in its requests; may be repeated.")
  var allowHost: [String] = []

  @OptionGroup var store: StoreOptions

  var wantsJSON: Bool { store.json }

  /// `rollcall.serve/1`: one line when the pages can be read.
  private struct Document: Encodable {
    var schema = "rollcall.serve/1"
    var url: String
  }

  func run() async throws {
    let address = try ListenAddress(parsing: listen)
    let token = try tokenFile.map { try AccessToken(file: $0) }
    let (ledger, artifacts) = try store.open()
    let errands = Errands(store: store, ledger: ledger)
    let server = try DashboardServer(
      ledger: ledger, store: store.directory, address: address, token: token, hosts: Set(allowHost),
      hooks: Self.hooks(ledger, artifacts, errands, store: store.directory))
    let json = store.json
    do {
      try await Interruption.race {
        try await withThrowingTaskGroup(of: Void.self) { group in
          group.addTask {
            try await server.run { address in
              let url = "http://\(address)/"
              if json, let text = try? JSONOutput.text(Document(url: url)) { return Console.print(text) }
              Console.print("rollcall: \(url)")
            }
          }
          group.addTask { try await errands.run() }
          // The first that ends, which only an error makes it do, ends the others.
          defer { group.cancelAll() }
          try await group.next()
        }
      }
    } catch is Interruption {
      Console.error("rollcall: stopped; runs go on at their hosts")
    }
  }

  private static func hooks(
    _ ledger: SweepLedger, _ artifacts: ArtifactStore, _ errands: Errands, store: String
  ) -> DashboardHooks {
    let logs = LogReader(ledger: ledger, artifacts: artifacts)
    return DashboardHooks(
      cancel: { try await errands.cancel($0) },
      retry: { try await errands.retry($0, runs: $1) },
      log: { try await logs.piece(of: $0, $1, from: $2) },
      waiting: { sweep, run in
        let found = try await ExplainCommand.waiting(run, sweep, ledger, store: store)
        return [found.answer] + found.hosts.map { "\($0.host): \($0.why)" }
      })
  }
}

/// What people ask for on the pages where no other process coordinates the store: driven here, one after the other.
actor Errands {
  private struct Errand: Sendable {
    /// Holds the store's lock.
    var session: SweepSession
    var sweep: String
  }

  private let store: StoreOptions
  private let ledger: SweepLedger
  private let queue: AsyncStream<Errand>
  private let entrance: AsyncStream<Errand>.Continuation

  init(store: StoreOptions, ledger: SweepLedger) {
    self.store = store
    self.ledger = ledger
    (queue, entrance) = AsyncStream.makeStream()
  }

  /// Asks the sweep's coordinator to stop it; where there is none, stops it here.
  func cancel(_ sweep: String) throws {
    try ledger.requestCancel(sweep: sweep, now: Date().timeIntervalSince1970)
    guard !StoreLock.isHeld(store: store.directory) else { return }
    entrance.yield(Errand(session: try SweepSession(store), sweep: sweep))
  }

  /// - Throws: `DashboardError.conflict` while another sweep of the store is driven.
  func retry(_ sweep: String, runs: [String]) throws {
    let session: SweepSession
    do { session = try SweepSession(store) } catch let error as LedgerError where error.code == .locked {
      throw DashboardError(code: .conflict, message: error.message)
    }
    try ledger.reopen(sweep: sweep, runs: runs, now: Date().timeIntervalSince1970)
    entrance.yield(Errand(session: session, sweep: sweep))
  }

  /// Drives what comes in until its task is cancelled. A sweep that cannot be driven stays as it is, to be resumed.
  func run() async throws {
    for await errand in queue {
      do {
        _ = try await errand.session.drive(sweep: errand.sweep, display: QuietDisplay(), listensToSignals: false)
      } catch is CancellationError {
        throw CancellationError()
      } catch {
        Console.error("rollcall: \(errand.sweep): \(Failure.describe(error).message)")
      }
    }
  }
}

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
