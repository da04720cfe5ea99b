import ArgumentParser
import Coordination
import Dashboard
import Foundation
import Gathering
import Ledger

struct ServeCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "serve",
    abstract: "Keep the schedules, drive every sweep of the store, show it all as web pages and as JSON.",
    discussion: """
      While it runs, `run`, `resume`, `retry` and playbooks leave their sweeps to it. What ends it lets the runs go on \
      at their hosts; the next `serve` goes on with them.

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
    // Before an address is told: a second service would end at once.
    if StoreLock.isServed(store: store.directory) { _ = try StoreLock(store: store.directory, isService: true) }
    let server = try DashboardServer(
      ledger: ledger, store: store.directory, address: address, token: token, hosts: Set(allowHost),
      hooks: Self.hooks(ledger, artifacts, store: store.directory))
    let loop = ServiceLoop(
      ledger: ledger, artifacts: artifacts, storeDirectory: store.directory,
      log: { Console.error("\(StatusTable.time(Date().timeIntervalSince1970)) \($0)") })
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
          group.addTask { try await loop.run() }
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
    _ ledger: SweepLedger, _ artifacts: ArtifactStore, store: String
  ) -> DashboardHooks {
    let logs = LogReader(ledger: ledger, artifacts: artifacts)
    return DashboardHooks(
      cancel: { try ledger.requestCancel(sweep: $0, now: Date().timeIntervalSince1970) },
      // The loop finds what is open again.
      retry: { sweep, runs in
        guard try ledger.sweep(named: sweep).ended != nil else {
          throw DashboardError(
            code: .conflict, message: "Sweep \(sweep) has not ended.")
        }
        try ledger.reopen(sweep: sweep, runs: runs, now: Date().timeIntervalSince1970)
      },
      log: { try await logs.piece(of: $0, $1, from: $2) },
      waiting: { sweep, run in
        let found = try await ExplainCommand.waiting(run, sweep, ledger, store: store)
        return [found.answer] + found.hosts.map { "\($0.host): \($0.why)" }
      })
  }
}
