import Foundation
import Gathering
import Ledger
import OrderedCollections
import Planning
import Scheduling

/// A sweep as it stands, for a person who watches it: cells × state, hosts × GPUs, bytes gathered, time left.
struct SweepTable {
  var sweep: SweepRecord
  var plan: Plan
  var fleet: Fleet
  var runs: [RunRecord]
  var attempts: [AttemptRecord]
  var drained: [String: DrainList.Entry] = [:]
  /// Gathers that are under way, of this sweep.
  var gathers: [GatherBoard.Entry] = []
  /// Host → seconds since it was asked how it stands, where it has not answered yet.
  var unanswered: [String: Double] = [:]
  /// Some process drives the sweep.
  var isCoordinated: Bool
  /// Seconds since 1970.
  var now: Double

  /// One host's part.
  struct HostLine: Encodable, Equatable {
    var name: String
    /// nil: neither the fleet file nor an attempt tells.
    var gpus: Int?
    var gpusHeld: Int
    var runs: [String]
    /// Runs that were given up there: until the host says that nothing of them lives, they hold what they held.
    var givenUp: [String]
    var isDrained: Bool
    /// Seconds for which it was asked in vain how its runs stand, as far as was noted; nil: it answers, or has no runs.
    var unreachableSeconds: Double?
    /// Why it does not answer.
    var trouble: String?
    /// Seconds since it was asked how it stands, where the answer is late; it may still come.
    var unansweredSeconds: Double?

    enum CodingKeys: String, CodingKey {
      case name
      case gpus
      case gpusHeld = "gpus_held"
      case runs
      case givenUp = "given_up"
      case isDrained = "drained"
      case unreachableSeconds = "unreachable_s"
      case trouble
      case unansweredSeconds = "unanswered_s"
    }
  }

  /// - Throws: `LedgerError`.
  static func read(
    _ ledger: SweepLedger, sweep: SweepRecord, store: String, isCoordinated: Bool
  ) throws -> SweepTable {
    let runs = try ledger.runs(of: sweep.id)
    let gathering = Set(runs.filter { $0.state == .gathering }.map(\.name))
    // What a coordinator that was killed has left is no news.
    let view = isCoordinated ? GatherBoard.view(store: store) : GatherBoard.View()
    let silences = view.silences.filter { $0.sweeps.contains(sweep.id) }
    return SweepTable(
      sweep: sweep, plan: try ledger.plan(of: sweep.id), fleet: try ledger.fleet(of: sweep.id), runs: runs,
      attempts: try ledger.attempts(of: sweep.id), drained: try DrainList(store: store).hosts(),
      gathers: view.gathers.filter { $0.sweep == sweep.id && gathering.contains($0.run) },
      unanswered: Dictionary(silences.map { ($0.host, $0.seconds) }) { max($0, $1) }, isCoordinated: isCoordinated,
      now: Date().timeIntervalSince1970)
  }

  var bytes: Int { runs.reduce(0) { $0.addingReportingOverflow($1.byteCount).partialValue } }

  /// Seconds until the last run ends, if those to come take as long as those that ended and as many go on at once as
  /// now; nil before the first one has ended, and when nothing is left.
  var secondsLeft: Double? {
    let ended = attempts.compactMap { attempt -> Double? in
      guard attempt.state == .gathered || attempt.state == .exited, let start = attempt.started,
        let end = attempt.ended, end >= start
      else { return nil }
      return end - start
    }
    let open = runs.filter { !$0.state.isFinal }
    guard !ended.isEmpty, !open.isEmpty else { return nil }
    let mean = ended.reduce(0, +) / Double(ended.count)
    let last = lastAttempts
    let left = open.reduce(0.0) { sum, run in
      switch run.state {
      case .gathering: sum
      case .running: sum + max(0, mean - (last[run.name]?.started.map { now - $0 } ?? 0))
      default: sum + mean
      }
    }
    return left / Double(max(1, open.count { $0.state == .running || $0.state == .launching }))
  }

  var hosts: [HostLine] {
    let open = attempts.filter { $0.state == .launching || $0.state == .running }
    return fleet.hosts.map { host in
      let own = open.filter { $0.host == host.name }
      let givenUp = attempts.filter { $0.host == host.name && !$0.state.isOpen && !$0.isFenced }
      let told = attempts.last { $0.host == host.name && $0.facts["gpus"] != nil }?.facts["gpus"]
      return HostLine(
        name: host.name, gpus: host.gpuCount(found: told),
        gpusHeld: (own + givenUp).reduce(0) { $0 + max(0, min($1.gpus, 4096)) },
        runs: own.map(\.run), givenUp: OrderedSet(givenUp.map(\.run)).elements, isDrained: drained[host.name] != nil,
        unreachableSeconds: own.map(\.unheard).max().flatMap { $0 > 0 ? $0 : nil },
        trouble: own.first { $0.unheard > 0 }?.why, unansweredSeconds: unanswered[host.name])
    }
  }

  private var lastAttempts: [String: AttemptRecord] { Dictionary(attempts.map { ($0.run, $0) }) { $1 } }

  /// Of each run's last attempt: several for a gang.
  private var lastHosts: [String: (number: Int, hosts: [String])] {
    attempts.reduce(into: [:]) { found, attempt in
      let earlier = found[attempt.run].flatMap { $0.number == attempt.number ? $0.hosts : nil } ?? []
      found[attempt.run] = (attempt.number, earlier + [attempt.host])
    }
  }

  // MARK: - Text

  /// The first line alone says the most.
  var summary: String {
    var counts: [RunState: Int] = [:]
    for run in runs { counts[run.state, default: 0] += 1 }
    let states = RunState.allCases.compactMap { state in counts[state].map { "\($0) \(state.rawValue)" } }
    var parts = [states.joined(separator: ", ")]
    if bytes > 0 { parts.append("\(Self.size(bytes)) gathered") }
    if let gathering = gatherSummary { parts.append(gathering) }
    if isCoordinated, let left = secondsLeft { parts.append("about \(StatusTable.duration(left)) left") }
    return parts.joined(separator: "; ")
  }

  /// All that is on its way; nil where nothing is.
  var gatherSummary: String? {
    guard !gathers.isEmpty else { return nil }
    return "gathering \(Self.text(gathers))"
  }

  /// `1.2 GiB of 4.0 GiB, 310.0 MiB/s`.
  private static func text(_ gathers: [GatherBoard.Entry]) -> String {
    let bytes = gathers.reduce(0) { $0.addingReportingOverflow($1.bytes).partialValue }
    let total = gathers.reduce(0) { $0.addingReportingOverflow($1.total).partialValue }
    let rate = gathers.reduce(0) { $0 + max(0, min($1.rate, 1e15)) }
    return "\(size(bytes)) of \(size(total)), \(size(Int(rate)))/s"
  }

  var lines: [String] {
    let state = sweep.state == .active && !isCoordinated ? "detached" : sweep.state.rawValue
    let verdict = sweep.verdict.map { ", " + $0.uppercased() } ?? ""
    return ["\(sweep.id): \(state)\(verdict); \(summary)", ""] + cellLines(limit: 24) + [""] + hostLines(limit: 16)
  }

  /// One line a cell. Where there are many, those that need no look are only counted.
  func cellLines(limit: Int) -> [String] {
    let last = lastHosts
    let groups = OrderedDictionary(grouping: runs, by: \.cell)
    var kept = plan.cells.filter { groups[$0.id] != nil }
    var hidden = 0
    if kept.count > limit {
      let interesting = kept.filter { cell in
        (groups[cell.id] ?? []).contains { $0.state != .queued && $0.state != .succeeded }
      }
      hidden = kept.count - min(interesting.count, limit)
      kept = Array(interesting.prefix(limit))
    }
    let rows = kept.map { cell -> [String] in
      let own = groups[cell.id] ?? []
      let states = OrderedDictionary(grouping: own, by: \.state)
      let hosts = own.flatMap { last[$0.name]?.hosts ?? [] }.reduce(into: OrderedSet<String>()) { $0.append($1) }
      let why = own.lazy.compactMap { $0.why ?? $0.missing.first }.first ?? ""
      return [
        cell.values.isEmpty ? "run" : shown(cell.label),
        states.map { "\($1.count) \($0.rawValue)" }.joined(separator: ", "), hosts.joined(separator: ", "),
        String(own.reduce(0) { $0 + $1.fileCount }), bytes(of: own), shown(why),
      ]
    }
    var lines =
      rows.isEmpty
      ? []
      : StatusTable.table([["CELL", "RUNS", "HOSTS", "FILES", "BYTES", "REASON"]] + rows).components(separatedBy: "\n")
    if hidden > 0 { lines.append("and \(hidden) cells that wait or have succeeded") }
    return lines
  }

  /// What a cell's runs have in the store, and how far its gathers are.
  private func bytes(of runs: [RunRecord]) -> String {
    let whole = runs.reduce(0) { $0.addingReportingOverflow($1.byteCount).partialValue }
    let names = Set(runs.map(\.name))
    let own = gathers.filter { names.contains($0.run) }
    if own.isEmpty { return Self.size(whole) }
    return (whole > 0 ? Self.size(whole) + " + " : "") + Self.text(own)
  }

  /// One line a host. Where there are many, idle ones are only counted.
  func hostLines(limit: Int) -> [String] {
    var kept = hosts
    if kept.count > limit {
      kept = Array(kept.filter { !$0.runs.isEmpty || !$0.givenUp.isEmpty || $0.isDrained }.prefix(limit))
    }
    let hidden = fleet.hosts.count - kept.count
    let rows = kept.map { host -> [String] in
      let total = host.gpus.map(String.init) ?? "?"
      let bar: String
      if let gpus = host.gpus, (1...16).contains(gpus) {
        let held = min(host.gpusHeld, gpus)
        bar = "[" + String(repeating: "#", count: held) + String(repeating: ".", count: gpus - held) + "] "
      } else {
        bar = ""
      }
      func names(_ runs: [String]) -> String { runs.prefix(4).joined(separator: ", ") + (runs.count > 4 ? ", …" : "") }
      let silence = host.unreachableSeconds.map {
        "unreachable for \(StatusTable.duration($0)) or more" + (host.trouble.map { ": " + shown($0) } ?? "")
      }
      // What is known to be unreachable owes more than an answer.
      let wait = host.unansweredSeconds.flatMap {
        silence == nil && $0.isFinite ? "no answer for \(StatusTable.duration($0))" : nil
      }
      let givenUp = host.givenUp.isEmpty ? nil : "given up, but may still run there: \(names(host.givenUp))"
      let drain = host.isDrained ? "drained" + (drained[host.name]?.why.map { ": " + shown($0) } ?? "") : nil
      let notes = [silence, wait, givenUp, drain].compactMap { $0 }.joined(separator: "; ")
      // What of a cluster's GPUs is in use, the cluster alone knows.
      let use = fleet.isCluster ? "-" : "\(bar)\(host.gpusHeld)/\(total)"
      return [host.name, use, names(host.runs), notes]
    }
    let lines = StatusTable.table([["HOST", "GPUS", "RUNS", ""]] + rows).components(separatedBy: "\n")
    return hidden > 0 ? lines + ["and \(hidden) other hosts"] : lines
  }

  static func size(_ bytes: Int) -> String {
    var value = Double(bytes)
    for unit in ["B", "KiB", "MiB", "GiB"] {
      if value < 1024 { return unit == "B" ? "\(bytes) B" : String(format: "%.1f \(unit)", value) }
      value /= 1024
    }
    return String(format: "%.1f TiB", value)
  }
}
