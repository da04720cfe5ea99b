import Foundation
import Ledger
import OrderedCollections
import Planning
import Scheduling

/// A sweep as it stands, read at one moment.
struct SweepView: Sendable {
  var sweep: SweepRecord
  var plan: Plan
  var runs: [RunRecord]
  /// Run → its attempts in the order of their making.
  var attempts: [String: [AttemptRecord]]
  var hasReport: Bool
  /// Some process drives the sweep.
  var isCoordinated: Bool
  /// Seconds since 1970.
  var now: Double

  init(_ ledger: SweepLedger, _ sweep: SweepRecord, isCoordinated: Bool, now: Double) throws {
    self.sweep = sweep
    plan = try ledger.plan(of: sweep.id)
    runs = try ledger.runs(of: sweep.id)
    attempts = Dictionary(grouping: try ledger.attempts(of: sweep.id), by: \.run)
    hasReport = sweep.verdict != nil
    self.isCoordinated = sweep.ended == nil && isCoordinated
    self.now = now
  }

  /// `active`, `detached` where nobody drives it, and so on.
  var state: String { Self.state(sweep, isCoordinated: isCoordinated) }

  static func state(_ sweep: SweepRecord, isCoordinated: Bool) -> String {
    sweep.state == .active && !isCoordinated ? "detached" : sweep.state.rawValue
  }

  var counts: [RunState: Int] { runs.reduce(into: [:]) { $0[$1.state, default: 0] += 1 } }

  static func text(_ counts: [RunState: Int]) -> String {
    let parts = RunState.allCases.compactMap { state in counts[state].map { "\($0) \(state.rawValue)" } }
    return parts.isEmpty ? "no runs" : parts.joined(separator: ", ")
  }

  var byteCount: Int { runs.reduce(0) { $0.addingReportingOverflow($1.byteCount).partialValue } }

  /// Hosts of the run's last attempt; several for a gang.
  func hosts(of run: String) -> [String] {
    let own = attempts[run] ?? []
    return own.filter { $0.number == own.last?.number }.map(\.host)
  }

  /// Seconds; of an attempt that goes on in steps of ten, so that a page need not change each second.
  func duration(_ attempt: AttemptRecord) -> Double? {
    guard let start = attempt.started else { return nil }
    if let end = attempt.ended { return max(0, end - start) }
    return attempt.state.isOpen ? (max(0, now - start) / 10).rounded(.down) * 10 : nil
  }

  /// What a person should know of the run.
  func reason(_ run: RunRecord) -> String {
    if let why = run.why { return why }
    if let first = run.missing.first {
      return run.missing.count > 1 ? "\(first); and \(run.missing.count - 1) more gaps" : first
    }
    return run.state.isFinal ? "" : attempts[run.name]?.last?.why ?? ""
  }

  static func endedBadly(_ run: RunRecord) -> Bool { run.state.isFinal && run.state != .succeeded }
}

/// A host of the fleets that the newest sweeps were given.
struct HostView: Sendable {
  var name: String
  var address: String
  /// nil: neither the fleet file nor an attempt tells.
  var gpuCount: Int?
  var gpusHeld: Int
  /// Attempts that hold it.
  var holding: [AttemptRecord]
  var labels: [(String, String)]
  /// What the last attempt there found: GPU, driver, kernel, …
  var facts: [String: String]
  /// Seconds since 1970.
  var lastHeard: Double?
  var drained: DrainList.Entry?

  static func all(_ ledger: SweepLedger, store: String) throws -> [HostView] {
    var hosts: OrderedDictionary<String, Fleet.Host> = [:]
    // The newest fleet that has a host says how it is.
    for sweep in try ledger.sweeps(limit: 50) {
      for host in try ledger.fleet(of: sweep.id).hosts where hosts[host.name] == nil { hosts[host.name] = host }
    }
    let open = Dictionary(grouping: try ledger.holdingAttempts(), by: \.host)
    let told = try ledger.lastTold()
    let drained = try DrainList(store: store).hosts()
    return hosts.values.map { host in
      let facts = told[host.name]?.facts ?? [:]
      let address: String =
        switch host.address {
        case .local: "this machine"
        case .ssh(let alias): alias
        }
      let holding = open[host.name] ?? []
      return HostView(
        name: host.name, address: address, gpuCount: host.gpuCount(found: facts["gpus"]),
        gpusHeld: holding.reduce(0) { $0 + max(0, min($1.gpus, 4096)) }, holding: holding,
        labels: host.labels.map { ($0.key, $0.value) }, facts: facts, lastHeard: told[host.name]?.heard,
        drained: drained[host.name])
    }
  }
}
