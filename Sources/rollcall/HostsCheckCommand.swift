import ArgumentParser
import Foundation
import Launching
import Ledger

struct HostsCheckCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Ask every host: reachability, host key, GPUs and who is on them, locks, disk, memory, clock, versions.",
    discussion: """
      Starts no run. On hosts behind ssh it also leaves a process behind for two seconds, to see whether the host ends \
      what outlives a connection. Exit code 69 where a host cannot be used.

      Example: rollcall hosts check --fleet fleet.yaml
      """)

  @Option(name: .long, help: "Seconds that one host may take to answer.")
  var timeout = 30

  @OptionGroup var fleet: FleetOptions
  @OptionGroup var store: StoreOptions

  var wantsJSON: Bool { store.json }

  private struct Document: Encodable {
    var schema = "rollcall.hosts/1"
    var hosts: [HostCheck]
  }

  func validate() throws {
    guard (1...3600).contains(timeout) else {
      throw ValidationError("--timeout is a number of seconds from 1 to 3600.")
    }
  }

  func run() async throws {
    let drained = try DrainList(store: store.directory).hosts()
    let checks = await HostCheck.all(try fleet.read(), drained: drained, timeout: .seconds(timeout))
    Console.print(store.json ? try JSONOutput.text(Document(hosts: checks)) : Self.text(checks))
    if checks.contains(where: { !$0.usable }) { throw ExitCode(Failure.unavailable) }
  }

  private static func text(_ checks: [HostCheck]) -> String {
    let header = ["HOST", "STATE", "GPUS", "IN USE", "LEASES", "DISK", "MEMORY", "CLOCK", "VERSIONS"]
    var text = StatusTable.table([header] + checks.map(row))
    for check in checks {
      var lines: [String] = []
      if let trouble = check.trouble { lines.append(trouble) }
      if let drained = check.drained {
        let since = drained.since > 0 ? " since \(StatusTable.time(drained.since))" : ""
        lines.append("drained\(since)\(drained.why.map { ": " + shown($0) } ?? "")")
      }
      lines += check.warnings
      for lease in check.examination?.leases ?? [] where lease.state == .held {
        lines.append("\(shown(lease.name)) is held by \(holder(lease))")
      }
      for partition in check.cluster?.partitions ?? [] { lines.append(Self.line(partition)) }
      for (state, count) in (check.cluster?.jobs ?? [:]).sorted(by: { $0.key < $1.key }) {
        lines.append("\(count) of your jobs: \(shown(state))")
      }
      if !lines.isEmpty { text += "\n\n\(check.name)\n" + lines.map { "  " + shown($0) }.joined(separator: "\n") }
    }
    return text
  }

  private static func row(_ check: HostCheck) -> [String] {
    let state = !check.reachable ? "NO" : !check.usable ? "UNUSABLE" : check.drained == nil ? "ok" : "drained"
    if let facts = check.facts, let cluster = check.cluster {
      let all = cluster.partitions.map { ($0.gpus, $0.gpusInUse) }.max { $0.0 < $1.0 } ?? (0, 0)
      return [
        check.name, state, "\(all.0)", all.1 == 0 ? "-" : "\(all.1)", "-", "\(facts.freeDiskBytes >> 30) GiB", "-",
        String(format: "%+.1f s", facts.clockOffset), shown("Slurm \(facts.versions["slurm"] ?? "?")"),
      ]
    }
    guard let facts = check.facts, let examination = check.examination else {
      return [check.name, state] + Array(repeating: "-", count: 7)
    }
    let gpus = facts.gpuNames.first.map { "\(facts.gpuIDs.count) × \(shown($0))" } ?? "0"
    let held = examination.leases.count { $0.state == .held }
    let strangers = examination.processes.count(where: \.isForeign)
    let ours = examination.processes.count - strangers
    let use = examination.processes.isEmpty ? "-" : "\(ours) ours, \(strangers) not"
    let versions = [
      facts.versions["kernel"], facts.gpuDriver.map { "driver \($0)" },
      examination.python["python"].map { "python \($0)" }, examination.python["torch"].map { "torch \($0)" },
    ]
    return [
      check.name, state, gpus, use, held == 0 ? "-" : "\(held) held", "\(facts.freeDiskBytes >> 30) GiB",
      examination.availableMemory.map { "\($0 >> 30) GiB" } ?? "-", String(format: "%+.1f s", facts.clockOffset),
      shown(versions.compactMap { $0 }.joined(separator: ", ")),
    ]
  }

  private static func line(_ partition: ClusterExamination.Partition) -> String {
    let nodes = partition.nodes.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
    return "partition \(partition.name): \(partition.state), at most \(partition.timeLimit), nodes \(nodes), "
      + "GPUs \(partition.gpusFree) of \(partition.gpus) free, "
      + "CPUs \(partition.cpusFree) of \(partition.cpus) free"
  }

  private static func holder(_ lease: HostExamination.Lease) -> String {
    guard let attempt = lease.attempt else { return "somebody who did not sign it" }
    return "attempt \(attempt)\(lease.user.map { " of \($0)" } ?? "")\(lease.workdir.map { " in \($0)" } ?? "")"
  }
}
