import ArgumentParser
import Foundation
import Ledger

struct CancelCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "cancel",
    abstract: "Stop a sweep's runs at their hosts and report what there is.",
    discussion: "Example: rollcall cancel last")

  @Argument(help: "The sweep: its name, the beginning of it, or `last`.")
  var sweep: String

  @OptionGroup var store: StoreOptions

  var wantsJSON: Bool { store.json }

  func run() async throws {
    let ledger = try SweepLedger(store: store.directory)
    let record = try ledger.sweep(named: sweep)
    guard record.ended == nil else {
      throw UsageError(message: "Sweep \(record.id) has ended already: \(record.state.rawValue).")
    }
    try ledger.requestCancel(sweep: record.id, now: Date().timeIntervalSince1970)
    if StoreLock.isHeld(store: store.directory) {
      Console.error("rollcall: its coordinator was asked to stop \(record.id).")
      if store.json { Console.print(#"{"schema": "rollcall.cancel/1", "sweep": "\#(record.id)"}"#) }
      return
    }
    // Nobody drives it: stop the runs ourselves.
    let runs = try ledger.runs(of: record.id).map(\.name)
    try await SweepOutcome.drive(
      SweepSession(store), sweep: record.id, runs: runs, json: store.json, verbose: false)
  }
}
