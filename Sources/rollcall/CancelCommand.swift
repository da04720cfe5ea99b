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

  @Flag(name: .long, help: "Return when nothing of the sweep runs any more.")
  var wait = false

  @OptionGroup var store: StoreOptions

  var wantsJSON: Bool { store.json }

  func run() async throws {
    let ledger = try SweepLedger(store: store.directory)
    let record = try ledger.sweep(named: sweep)
    guard record.ended == nil else {
      throw UsageError(message: "Sweep \(record.id) has ended already: \(record.state.rawValue).")
    }
    try ledger.requestCancel(sweep: record.id, now: Date().timeIntervalSince1970)
    if StoreLock.driven(store: store.directory).contains(record.id) {
      Console.error("rollcall: its coordinator was asked to stop \(record.id).")
      if wait {
        while StoreLock.driven(store: store.directory).contains(record.id),
          try ledger.sweep(named: record.id).ended == nil
        {
          try await Task.sleep(for: .milliseconds(200))
        }
        guard try ledger.sweep(named: record.id).ended != nil else {
          throw UsageError(message: "The coordinator went away before it had stopped \(record.id); cancel it again.")
        }
      }
      if store.json { Console.print(#"{"schema": "rollcall.cancel/1", "sweep": "\#(record.id)"}"#) }
      return
    }
    // Nobody drives it: stop the runs ourselves. While another sweep is driven we may not, and say so.
    try await SweepOutcome.drive(SweepSession(store), sweep: record.id, json: store.json, verbose: false)
  }
}
