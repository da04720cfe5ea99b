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
    var isAsked = false
    while true {
      if isDriven(record.id) {
        if !isAsked { Console.error("rollcall: its coordinator was asked to stop \(record.id).") }
        isAsked = true
      }
      if try isAsked && (!wait || ledger.sweep(named: record.id).ended != nil) {
        if store.json { Console.print(#"{"schema": "rollcall.cancel/1", "sweep": "\#(record.id)"}"#) }
        return
      }
      guard !isDriven(record.id) else {
        try await Task.sleep(for: .milliseconds(200))
        continue
      }
      // Nobody drives it: stop the runs ourselves. While another sweep is driven we may not, and say so.
      do {
        let session = try SweepSession(store)
        return try await SweepOutcome.drive(session, sweep: record.id, json: store.json, verbose: false)
      } catch let error as LedgerError where error.code == .locked && isDriven(record.id) {}
    }
  }

  private func isDriven(_ sweep: String) -> Bool { StoreLock.driven(store: store.directory).contains(sweep) }
}
