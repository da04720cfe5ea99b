import Coordination
import Foundation
import Launching
import Ledger
import Planning
import Transports

/// What `hosts check` found out about one host.
struct HostCheck: Encodable {
  var name: String
  var reachable = false
  /// Runs can be started there.
  var usable = false
  var drained: DrainList.Entry?
  /// Why it cannot be used, and the stable code of that.
  var trouble: String?
  var code: String?
  var facts: HostFacts?
  var examination: HostExamination?
  /// Of a cluster, in place of an examination of one host.
  var cluster: ClusterExamination?
  /// A process that was left behind outlives its connection; nil on this machine, where there is none.
  var survivesDisconnect: Bool?
  /// What a person should look at.
  var warnings: [String] = []

  enum CodingKeys: String, CodingKey {
    case name
    case reachable
    case usable
    case drained
    case trouble
    case code
    case facts
    case examination
    case cluster
    case survivesDisconnect = "survives_disconnect"
    case warnings
  }

  /// Asks all hosts at once; one that does not answer in time delays no other.
  static func all(_ fleet: Fleet, drained: [String: DrainList.Entry], timeout: Duration) async -> [HostCheck] {
    await withTaskGroup(of: (Int, HostCheck).self) { group in
      for (index, host) in fleet.hosts.enumerated() {
        group.addTask {
          var check = await of(host, fleet, timeout: timeout)
          check.drained = drained[host.name]
          return (index, check)
        }
      }
      var checks: [(Int, HostCheck)] = []
      for await check in group { checks.append(check) }
      return checks.sorted { $0.0 < $1.0 }.map(\.1)
    }
  }

  private static func of(_ host: Fleet.Host, _ fleet: Fleet, timeout: Duration) async -> HostCheck {
    do {
      return try await withThrowingTaskGroup(of: HostCheck?.self) { group in
        group.addTask { try await ask(host, Fleet(hosts: [host], sshConfig: fleet.sshConfig)) }
        group.addTask {
          try await Task.sleep(for: timeout)
          return nil
        }
        defer { group.cancelAll() }
        guard let first = try await group.next(), let check = first else {
          throw TransportError(
            code: .timedOut, host: host.name,
            message: "the host did not answer all questions within \(timeout.components.seconds) s")
        }
        return check
      }
    } catch {
      let code =
        switch error {
        case let error as TransportError: error.code.rawValue
        case let error as LaunchError: error.code.rawValue
        default: "internal"
        }
      return HostCheck(name: host.name, trouble: shown("\(error)"), code: code)
    }
  }

  private static func askCluster(_ connection: HostConnection, _ launcher: SlurmLauncher) async throws -> HostCheck {
    var check = HostCheck(name: connection.host.name, reachable: true)
    let facts = try await launcher.enrol()
    let cluster = try await launcher.examine()
    await connection.transport.close()
    check.facts = facts
    check.cluster = cluster
    check.judge(connection.host, facts, cluster)
    return check
  }

  private mutating func judge(_ host: Fleet.Host, _ facts: HostFacts, _ cluster: ClusterExamination) {
    usable = true
    if let name = host.slurm?.partition {
      let named = name.split(separator: ",").map(String.init)
      let known = cluster.partitions.filter { named.contains($0.name) }
      if known.isEmpty {
        usable = false
        code = TransportError.Code.configuration.rawValue
        let names = cluster.partitions.map { shown($0.name) }.joined(separator: ", ")
        trouble = "the cluster has no partition \(shown(name)); it has: \(names)"
      }
      for partition in known where partition.state != "up" {
        warnings.append("partition \(shown(partition.name)) is \(shown(partition.state)): its jobs do not start")
      }
    }
    if facts.versions["accounting"]?.contains("slurmdbd") != true, facts.versions["job_log"] == nil {
      warnings.append(
        "no accounting, and no log of ended jobs that can be read here: of jobs that Slurm has forgotten (MinJobAge \(shown(facts.versions["min_job_age"] ?? "?")) s) "
          + "only the run directory tells")
    }
    if let limit = facts.jobLimit, let most = host.slurm?.maxJobs, limit < most {
      let name = facts.jobLimitName.map { " (\(shown($0)))" } ?? ""
      warnings.append("the cluster lets you have \(limit) jobs at a time\(name), fewer than max_jobs \(most)")
    }
    if abs(facts.clockOffset) > HostFacts.toleratedClockOffset {
      warnings.append(String(format: "its clock is %+.1f s off ours", facts.clockOffset))
    }
    for reason in cluster.reasons.prefix(20) {
      warnings.append("\(shown(reason.nodes)) is \(shown(reason.state)): \(shown(reason.reason))")
    }
    warnings += cluster.troubles.map { "a command of Slurm failed: \(shown($0))" }
  }

  /// Where it throws, the connection is left to its end: waiting for one that hangs would hang, too.
  private static func ask(_ host: Fleet.Host, _ fleet: Fleet) async throws -> HostCheck {
    func connect() throws -> HostConnection {
      guard let connection = HostConnection.connections(for: fleet).first else {
        throw TransportError(code: .configuration, host: host.name, message: "it is not in the fleet")
      }
      return connection
    }
    var connection = try connect()
    if let launcher = connection.launcher as? SlurmLauncher { return try await askCluster(connection, launcher) }
    func launcher() throws -> DetachedLauncher {
      guard let launcher = connection.launcher as? DetachedLauncher else {
        throw TransportError(code: .configuration, host: host.name, message: "it cannot be examined")
      }
      return launcher
    }
    var check = HostCheck(name: host.name, reachable: true)
    let facts = try await launcher().enrol()
    if case .ssh = host.address {
      // Some systems end all processes of a user who logs out: runs would die with the connection.
      let sleeper = try await launcher().leaveSleeper()
      await connection.transport.close()
      try await Task.sleep(for: .milliseconds(1500))
      connection = try connect()
      check.survivesDisconnect = try await launcher().endSleeper(sleeper)
    }
    let examination = try await launcher().examine()
    await connection.transport.close()
    check.facts = facts
    check.examination = examination
    check.judge(host, facts, examination)
    return check
  }

  private mutating func judge(_ host: Fleet.Host, _ facts: HostFacts, _ examination: HostExamination) {
    usable = survivesDisconnect != false
    if !usable {
      code = "kill-user-processes"
      trouble = HostFacts.logoutRemedy(of: shown(examination.user ?? "USER"))
    }
    if abs(facts.clockOffset) > HostFacts.toleratedClockOffset {
      warnings.append(String(format: "its clock is %+.1f s off ours", facts.clockOffset))
    }
    if facts.freeDiskBytes < 1 << 30 {
      warnings.append("\(facts.freeDiskBytes >> 20) MiB free in \(shown(facts.workdir)); dumps need more")
    }
    if let free = examination.availableMemory, free < 1 << 30 { warnings.append("\(free >> 20) MiB of memory free") }
    if case .count(let declared) = host.gpus, declared > facts.gpuIDs.count {
      warnings.append("the fleet file says \(declared) GPUs, the host has \(facts.gpuIDs.count)")
    }
    if let kind = examination.fileSystem, kind.hasPrefix("nfs") {
      warnings.append(
        "\(shown(facts.workdir)) is on a network file system (\(shown(kind))): launches and dumps wait for its server; "
          + "name a workdir on a disk of the host's own")
    }
    let models = Set(facts.gpuNames).sorted()
    if models.count > 1 {
      warnings.append(
        "its GPUs are of several models (\(models.map { shown($0) }.joined(separator: ", "))): a run may get any "
          + "of them, and two runs that are compared may differ by that")
    }
    for gpu in examination.gpus {
      for process in gpu.processes where process.isForeign { warnings.append(Self.stranger(process, "GPU \(gpu.id)")) }
      let isUnexplained = gpu.processes.isEmpty && examination.unplaced.isEmpty
      if isUnexplained, let used = gpu.usedBytes, used > 1 << 30 {
        warnings.append("\(used >> 20) MiB of GPU \(shown(gpu.id)) are in use by nobody that can be seen")
      }
    }
    for process in examination.unplaced where process.isForeign { warnings.append(Self.stranger(process, "a GPU")) }
    for lease in examination.leases where lease.state == .unknown {
      warnings.append("the lock of \(shown(lease.name)) in \(host.leaseDir) may not be read")
    }
    warnings += examination.troubles.map { "a tool failed: \(shown($0))" }
  }

  private static func stranger(_ process: HostExamination.Process, _ place: String) -> String {
    let memory = process.memoryBytes.map { ", \($0 >> 20) MiB" } ?? ""
    let user = process.user.map { " of \(shown($0))" } ?? ""
    return "process \(process.pid) (\(shown(process.name)))\(user) is on \(shown(place)), not ours\(memory)"
  }
}
