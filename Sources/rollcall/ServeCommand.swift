import ArgumentParser
import Foundation
import Ledger

struct ServeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve",
    abstract: "Keep the schedules and drive every sweep of the store.",
    discussion: """
      While it runs, `run`, `resume`, `retry` and playbooks leave their sweeps to it. SIGTERM ends it; the runs go on
      at their hosts, and the next `serve` goes on with them.

      Example: rollcall serve --store /var/lib/rollcall
      """)

  @OptionGroup var store: StoreOptions

  func run() async throws {
    let (ledger, artifacts) = try store.open()
    let loop = ServiceLoop(
      ledger: ledger, artifacts: artifacts, storeDirectory: store.directory,
      log: { Console.error("\(StatusTable.time(Date().timeIntervalSince1970)) \($0)") })
    do {
      try await Interruption.race { try await loop.run() }
    } catch is Interruption {}
  }
}
