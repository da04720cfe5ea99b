import Foundation
import Launching
import TestSupport
import Testing
import Transports

/// A real Slurm, as somebody sees it who is not root.
@Suite(
  .serialized,
  .enabled(
    if: SlurmCluster.isAvailable,
    "needs Slurm and root; as root: Deploy/slurm/cluster install"))
struct SlurmUserTests {
  /// This machine, where each command is run by `nobody`.
  private struct UserTransport: Transport {
    let local = LocalTransport()
    let environment: String

    private func wrapped(_ command: String) -> String {
      "exec setpriv --reuid=65534 --regid=65534 --clear-groups env \(environment) sh -c \(shellQuote(command))"
    }

    func run(_ command: String, input: [UInt8], limit: Int, timeout: Duration) async throws -> CommandResult {
      try await local.run(wrapped(command), input: input, limit: limit, timeout: timeout)
    }

    func stream(
      _ command: String, input: [UInt8], timeout: Duration,
      onOutput: @escaping @Sendable (consuming [UInt8]) async throws -> Void
    ) async throws -> CommandResult {
      try await local.stream(wrapped(command), input: input, timeout: timeout, onOutput: onOutput)
    }

    func close() async { await local.close() }
  }

  /// Time in which Slurm has a job pause is not the run's.
  @Test(.timeLimit(.minutes(8))) func aJobThatWasSuspendedIsNotOverItsTime() async throws {
    try await Scratch.with { scratch in
      try await SlurmCluster.with(in: scratch) { cluster in
        let launcher = SlurmLauncher(
          transport: cluster.login(), workdir: scratch.path("shared"), options: SlurmLauncher.Options(), name: "cluster"
        )
        var spec = spec(
          "a1", "echo began >\(scratch.path("began")); until [ -e \(scratch.path("go")) ]; do sleep 1; done")
        spec.timeout = 50
        _ = try await launcher.launch(spec, files: [])
        let began = try await SlurmCluster.wait { scratch.text("began") != nil }
        try #require(began)
        let number = try #require(try await cluster.jobs().first).number
        try await cluster("scontrol", "suspend", number)
        let isTold = try await SlurmCluster.wait {
          if case .waiting(let why) = try await launcher.status(of: ["a1"])["a1"] { return why.contains("suspended") }
          return false
        }
        #expect(isTold)
        try await Task.sleep(for: .seconds(55))
        try await cluster("scontrol", "resume", number)
        try await Task.sleep(for: .seconds(5))
        try scratch.write("go", "")
        var seen: AttemptStatus?
        let isEnded = try await SlurmCluster.wait {
          seen = try await launcher.status(of: ["a1"])["a1"]
          if case .exited = seen { return true }
          return false
        }
        #expect(isEnded)
        guard case .exited(let record) = seen else { return }
        #expect(record.code == 0 && record.reason == nil, "\(record)")
      }
    }
  }

  private func spec(_ id: String, _ command: String) -> AttemptSpec {
    AttemptSpec(
      id: id, token: "t", sweep: "s", run: "r", number: 1, command: command, environment: [], gpuCount: 1,
      timeout: 600, stallTimeout: nil)
  }

  @Test(.timeLimit(.minutes(5))) func jobsInAHiddenPartitionAreSeenAndEnded() async throws {
    try await Scratch.with { scratch in
      try await SlurmCluster.with(in: scratch) { cluster in
        let home = try scratch.directory("home")
        try await runTool("chown", ["65534", home])
        try await runTool("chmod", ["755", scratch.path])
        let launcher = SlurmLauncher(
          transport: UserTransport(
            environment: "HOME=\(home) TMPDIR=\(home) USER=nobody SLURM_CONF=\(cluster.configuration)"),
          workdir: home + "/work", options: SlurmLauncher.Options(partition: "hidden"), name: "cluster")
        let examination = try await launcher.examine()
        #expect(examination.user == "nobody")
        #expect(examination.troubles == [])
        #expect(examination.partitions.first { $0.name == "hidden" }?.gpusFree == 8)
        for spec in [spec("a1", "true"), spec("a2", "sleep 600")] {
          let outcome = try await launcher.launch(spec, files: [])
          #expect(outcome == .submitted)
        }
        var seen: [String: AttemptStatus] = [:]
        let isEnded = try await SlurmCluster.wait {
          seen = try await launcher.status(of: ["a1", "a2"])
          if case .exited = seen["a1"], seen["a2"] == .running(outputBytes: 0) { return true }
          return false
        }
        #expect(isEnded, "\(seen)")
        if case .exited(let record) = seen["a1"] { #expect(record.code == 0) }
        // Slurm still has it in mind: what it does not show, nobody can end.
        try await launcher.stop("a2", reason: "cancelled")
        let left = try await cluster.jobs().filter { ["PENDING", "RUNNING", "COMPLETING"].contains($0.state) }
        #expect(left.map(\.name) == [])
      }
    }
  }
}
