import ArgumentParser
import Foundation
import Gathering
import Ledger
import Planning

/// `--store` and `--json`, which every verb over the store has.
struct StoreOptions: ParsableArguments {
  @Option(
    name: .long,
    help:
      "Directory of the store (default: $ROLLCALL_STORE, else $XDG_DATA_HOME/rollcall, else ~/.local/share/rollcall)."
  )
  var store: String?

  @Flag(name: .long, help: "Print one JSON document on standard output.")
  var json = false

  func validate() throws {
    // An unset variable between quotes; the current directory is not meant.
    if store?.isEmpty == true { throw ValidationError("--store needs the name of a directory.") }
  }

  /// Absolute path of the store.
  var directory: String {
    let environment = ProcessInfo.processInfo.environment
    func named(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
    // XDG's rule: a relative one is ignored.
    let dataHome = named("XDG_DATA_HOME").flatMap { $0.hasPrefix("/") ? $0 : nil }
    let path =
      store ?? named("ROLLCALL_STORE") ?? dataHome.map { $0 + "/rollcall" }
      ?? (named("HOME") ?? NSHomeDirectory()) + "/.local/share/rollcall"
    return URL(fileURLWithPath: path).standardizedFileURL.path
  }

  /// - Parameter usingReserve: As in `SweepLedger.init`.
  func open(usingReserve: Bool = false) throws -> (ledger: SweepLedger, artifacts: ArtifactStore) {
    let directory = directory
    return (try SweepLedger(store: directory, usingReserve: usingReserve), try ArtifactStore(root: directory))
  }
}

/// `--fleet`.
struct FleetOptions: ParsableArguments {
  @Option(
    name: .long, help: "The fleet file (default: $ROLLCALL_FLEET, else this machine alone).",
    completion: .file(extensions: ["yaml", "yml"]))
  var fleet: String?

  /// Absolute path of the file; nil: this machine alone.
  var path: String? {
    guard let path = fleet ?? ProcessInfo.processInfo.environment["ROLLCALL_FLEET"], !path.isEmpty else { return nil }
    return URL(fileURLWithPath: path).standardizedFileURL.path
  }

  func read() throws -> Fleet {
    try path.map { try FleetReader.read(path: $0) } ?? FleetReader.thisMachine()
  }

  /// - Throws: `UsageError`: a misspelt name would do nothing, and say nothing.
  func host(named name: String) throws -> Fleet.Host {
    let hosts = try read().hosts
    guard let host = hosts.first(where: { $0.name == name }) else {
      let names = hosts.map(\.name).joined(separator: ", ")
      throw UsageError(message: "The fleet has no host \(name.debugDescription); its hosts are: \(names)")
    }
    return host
  }
}
