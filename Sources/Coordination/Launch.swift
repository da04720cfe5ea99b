import Foundation
import Gathering
import Launching
import Ledger
import OrderedCollections
import Planning
import Scheduling

/// A file of the job that could not be read at launch.
struct LaunchPreparationError: Error {
  var message: String
}

/// The values that an attempt is launched with, from the plan and the ledger.
enum Launch {
  static func token() -> String {
    (0..<4).map { _ in String(UInt32.random(in: 0...UInt32.max), radix: 16) }.joined()
  }

  /// The spec with the names that are known only now (`dump_dir`, `run_dir`, …) filled in.
  static func spec(
    _ attempt: AttemptRecord, run: RunRecord, cell: Cell, host: Fleet.Host, directory: String
  ) -> AttemptSpec {
    let dumps = directory + "/dumps"
    let resolved = cell.run.resolved([
      "dump_dir": dumps, "run_dir": directory, "run": run.name, "sweep": run.sweep, "attempt": String(attempt.number),
      "host": attempt.host, "repeat": String(run.repetition),
    ])
    let hostOnly = host.env.filter { resolved.env[$0.key] == nil }
    var environment = (Array(hostOnly) + Array(resolved.env)).map {
      AttemptSpec.EnvironmentEntry(name: $0.key, value: $0.value)
    }
    let own = [
      "ROLLCALL_DUMP_DIR": dumps, "ROLLCALL_RUN": run.name, "ROLLCALL_SWEEP": run.sweep,
      "ROLLCALL_ATTEMPT": String(attempt.number), "ROLLCALL_REPEAT": String(run.repetition),
    ]
    environment += own.sorted { $0.key < $1.key }.map { AttemptSpec.EnvironmentEntry(name: $0.key, value: $0.value) }
    return AttemptSpec(
      id: attempt.id, token: attempt.token, sweep: run.sweep, run: run.name, number: attempt.number,
      command: resolved.command, environment: environment, gpuCount: attempt.gpus, timeout: resolved.timeout,
      stallTimeout: resolved.stallTimeout)
  }

  /// The job's files as they are now.
  static func files(_ cell: Cell, _ plan: Plan) throws -> [ShippedFile] {
    try cell.run.files.map { path in
      let full = path.hasPrefix("/") ? path : plan.baseDirectory + "/" + path
      guard let contents = FileManager.default.contents(atPath: full) else {
        throw LaunchPreparationError(message: "the job's file \(full) cannot be read any more")
      }
      return ShippedFile(
        name: (path as NSString).lastPathComponent, contents: [UInt8](contents),
        isExecutable: FileManager.default.isExecutableFile(atPath: full))
    }
  }

  static func fingerprint(_ facts: HostFacts?) -> [String: String] {
    guard let facts else { return [:] }
    var fingerprint = facts.versions
    fingerprint["cpus"] = String(facts.cpuCount)
    if !facts.gpuNames.isEmpty { fingerprint["gpus"] = facts.gpuNames.joined(separator: ", ") }
    fingerprint["gpu_driver"] = facts.gpuDriver
    return fingerprint
  }

  /// What the cell's `expect` names and the manifest lacks; without `expect`, the ranks.
  static func missing(_ entries: [ManifestEntry], _ cell: Cell) -> [String] {
    guard let dumps = cell.dumps else { return [] }
    return Expectation(
      worldSize: cell.worldSize, layers: dumps.expect?.layers ?? [], stages: dumps.expect?.stages ?? [],
      isAtom: dumps.layout == "atom"
    ).gaps(in: entries)
  }

  /// What the scheduler sees: queued runs and what is free on each host.
  static func snapshot(
    runs: [RunRecord], attempts: [AttemptRecord], plan: Plan, reservations: [String: [String]],
    hosts: [(host: Fleet.Host, facts: HostFacts?, isReady: Bool)]
  ) -> Placement.Snapshot {
    let cells = Dictionary(uniqueKeysWithValues: plan.cells.map { ($0.id, $0) })
    let comparison = plan.compare.sameHardware ? plan.name : nil
    let queued = runs.compactMap { run -> Placement.QueuedRun? in
      guard let cell = cells[run.cell] else { return nil }
      let failedOn = attempts.filter {
        $0.run == run.name && ($0.state == .lost || $0.state == .failed) && $0.isCharged
      }
      return Placement.QueuedRun(
        id: run.name, gpus: cell.run.gpus, nodes: cell.run.nodes, labels: cell.run.hosts, order: run.position,
        comparison: comparison, excludedHosts: Set(failedOn.map(\.host)))
    }
    let open = Dictionary(grouping: attempts.filter { $0.state == .launching || $0.state == .running }, by: \.host)
    let free = hosts.map { entry -> Placement.Host in
      let total: Int? =
        switch entry.host.gpus {
        case .count(let count): count
        case .auto: entry.facts?.gpuIDs.count
        }
      let mine = open[entry.host.name] ?? []
      return Placement.Host(
        name: entry.host.name, labels: entry.host.labels,
        state: entry.isReady ? .ready : .unreachable, totalGPUs: total,
        freeGPUs: (total ?? 0) - mine.reduce(0) { $0 + $1.gpus }, cpuSlots: entry.host.cpuSlots,
        freeCPUSlots: entry.host.cpuSlots - mine.count { $0.gpus == 0 }, hardware: hardware(entry.facts))
    }
    var pinned: [String: String] = [:]
    let used = attempts.first { $0.state != .failed && $0.state != .lost }?.host
    if let comparison, let used, let facts = hosts.first(where: { $0.host.name == used })?.facts {
      pinned[comparison] = hardware(facts)
    }
    return Placement.Snapshot(
      runs: queued, hosts: free.sorted { $0.name < $1.name }, pinnedHardware: pinned, reservations: reservations)
  }

  /// GPU model, or CPU model where there is no GPU.
  private static func hardware(_ facts: HostFacts?) -> String {
    guard let facts else { return "" }
    return facts.gpuNames.first ?? facts.versions["cpu"] ?? ""
  }
}
