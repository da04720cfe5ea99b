import Dumps
import Foundation
import Gathering
import Launching
import Ledger
import OrderedCollections
import Planning

/// A file of the job that could not be had at launch.
struct LaunchPreparationError: Error {
  var message: String
}

/// The values that an attempt is launched with, from the plan and the ledger.
enum Launch {
  /// Random letters and digits.
  static func nonce() -> String {
    (0..<4).map { _ in String(UInt32.random(in: 0...UInt32.max), radix: 16) }.joined()
  }

  /// The spec with the names that are known only now (`dump_dir`, `run_dir`, …) filled in.
  static func spec(
    _ attempt: AttemptRecord, run: RunRecord, cell: Cell, host: Fleet.Host, directory: String
  ) -> AttemptSpec {
    let scratch = host.slurm?.scratch.map { "\($0)/rollcall-\(attempt.id).\(attempt.token)" }
    let dumps = scratch ?? directory + "/dumps"
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
    if let share = attempt.share {
      // First, so that the job has the last word.
      environment =
        GangShare(
          nodeRank: share.node, nodeCount: share.nodeCount, masterAddress: share.masterAddress,
          masterPort: share.masterPort, gpusPerNode: attempt.gpus
        ).environment + environment
    }
    let earlier = (1..<max(1, attempt.number)).suffix(8).map {
      Naming.attempt(sweep: run.sweep, position: run.position, number: $0)
    }
    return AttemptSpec(
      id: attempt.id, token: attempt.token, sweep: run.sweep, run: run.name, number: attempt.number,
      command: resolved.command, environment: environment, gpuCount: attempt.gpus, timeout: resolved.timeout,
      stallTimeout: resolved.stallTimeout, isExclusive: host.isExclusive,
      holdSeconds: attempt.share == nil ? nil : holdSeconds,
      nodes: host.slurm == nil || cell.run.nodes == 1 ? nil : cell.run.nodes, dumpDirectory: scratch,
      earlier: host.slurm == nil || earlier.isEmpty ? nil : earlier)
  }

  /// How long a share of a gang holds its GPUs for hosts that do not answer.
  static let holdSeconds = 600

  /// The shares of a gang; none for an attempt on one host.
  ///
  /// - Parameter address: What the fleet file says that the others reach the first host by.
  static func shares(
    _ attempt: String, hosts: [HostFacts], gpus: Int, address: String? = nil
  ) -> [AttemptRecord.Share] {
    guard hosts.count > 1 else { return [] }
    return GangShare.all(attempt: attempt, hosts: hosts, gpusPerNode: gpus, masterAddress: address).map {
      AttemptRecord.Share(
        node: $0.nodeRank, nodeCount: hosts.count, masterAddress: $0.masterAddress, masterPort: $0.masterPort)
    }
  }

  /// The job's files as they were when the sweep was made; those of a sweep that kept none as they are now.
  static func files(_ cell: Cell, _ plan: Plan, sweep: String, in artifacts: ArtifactStore) throws -> [ShippedFile] {
    let written = cell.run.written ?? [:]
    let kept = try artifacts.jobFiles(of: sweep)
    let shipped = try cell.run.files.filter { written[($0 as NSString).lastPathComponent] == nil }.map { path in
      let name = (path as NSString).lastPathComponent
      if let file = kept?[path] {
        do {
          return ShippedFile(name: name, contents: try artifacts.contents(of: file), isExecutable: file.isExecutable)
        } catch {
          throw LaunchPreparationError(message: "the job's file \(path), as the store keeps it: \(error)")
        }
      }
      let full = SweepFiles.place(of: path, plan)
      guard let contents = FileManager.default.contents(atPath: full) else {
        throw LaunchPreparationError(message: "the job's file \(full) cannot be read any more")
      }
      return ShippedFile(
        name: name, contents: [UInt8](contents), isExecutable: FileManager.default.isExecutableFile(atPath: full))
    }
    return shipped + written.map { ShippedFile(name: $0.key, contents: Array($0.value.utf8), isExecutable: false) }
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
    var entries = entries
    if let pattern = dumps.pattern.flatMap({ CustomPattern($0) }) {
      for index in entries.indices { entries[index].rank = pattern.rank(of: entries[index].path) }
    }
    return Expectation(
      worldSize: cell.dumpingRanks, layers: dumps.expect?.layers ?? [], stages: dumps.expect?.stages ?? [],
      isAtom: dumps.layout == "atom"
    ).gaps(in: entries)
  }

  /// GPU models, or the CPU's where there is no GPU.
  static func hardware(_ facts: HostFacts?) -> String {
    guard let facts else { return "" }
    return hardware(fingerprint(facts))
  }

  /// The same of an attempt's fingerprint.
  static func hardware(_ fingerprint: [String: String]) -> String {
    guard let gpus = fingerprint["gpus"] else { return fingerprint["cpu"] ?? "" }
    return Set(gpus.split(separator: ",").map { String($0.drop { $0 == " " }) }).sorted().joined(separator: ", ")
  }
}
