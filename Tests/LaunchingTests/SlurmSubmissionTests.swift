import Foundation
import Launching
import TestSupport
import Testing
import Transports

/// One job an attempt, whoever asks how often, against a real Slurm.
@Suite(
  .enabled(
    if: ProcessInfo.processInfo.environment["ROLLCALL_TEST_SLURM"] == "1"
      || (FileManager.default.isExecutableFile(atPath: "/usr/sbin/slurmctld") && geteuid() == 0),
    "needs Slurm and root; as root: Deploy/slurm/cluster install"))
struct SlurmSubmissionTests {
  private static let script =
    URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path + "/Deploy/slurm/cluster"

  /// This machine, where Slurm is found by its configuration.
  private struct LoginNode: Transport {
    let configuration: String
    /// A directory whose programs are found first.
    var commands = "/nonexistent"
    let base = LocalTransport()

    func run(_ command: String, input: [UInt8], limit: Int, timeout: Duration) async throws -> CommandResult {
      try await base.run(
        "export SLURM_CONF=\(configuration) PATH=\(commands):$PATH\n" + command, input: input, limit: limit,
        timeout: timeout)
    }

    func stream(
      _ command: String, input: [UInt8], timeout: Duration,
      onOutput: @escaping @Sendable (consuming [UInt8]) async throws -> Void
    ) async throws -> CommandResult {
      try await base.stream(command, input: input, timeout: timeout, onOutput: onOutput)
    }

    func close() async { await base.close() }
  }

  private func spec(_ id: String, token: String = "t1", command: String = "true") -> AttemptSpec {
    AttemptSpec(
      id: id, token: token, sweep: "s", run: "r", number: 1, command: command, environment: [], gpuCount: 1,
      timeout: 60, stallTimeout: nil)
  }

  @Test(.timeLimit(.minutes(4))) func anAttemptIsOneJobHoweverOftenItIsAskedFor() async throws {
    try await Scratch.with { scratch in
      let directory = scratch.path("slurm")
      let started = try await runTool(Self.script, ["start", directory])
      let configuration = started.output.trimmingCharacters(in: .whitespacesAndNewlines)
      do {
        try await ask(scratch, LoginNode(configuration: configuration), configuration)
      } catch {
        try await runTool(Self.script, ["stop", directory])
        throw error
      }
      try await runTool(Self.script, ["stop", directory])
    }
  }

  private func ask(_ scratch: Scratch, _ login: LoginNode, _ configuration: String) async throws {
    func launcher() -> SlurmLauncher {
      SlurmLauncher(
        transport: login, workdir: scratch.path("shared"), options: SlurmLauncher.Options(words: ["--partition=main"]),
        name: "cluster")
    }
    func jobs(_ id: String) async throws -> Int {
      try await runTool(
        "squeue", ["-h", "-t", "all", "-o", "%j"], environment: ["SLURM_CONF": configuration]
      ).output.split(separator: "\n").count { $0.hasPrefix(id + ".") }
    }
    // Three coordinators at once.
    let book = scratch.path("book")
    let first = spec("a1", command: "echo ran >>\(book)")
    let outcomes = try await withThrowingTaskGroup(of: LaunchOutcome.self) { group in
      for _ in 0..<3 { group.addTask { try await launcher().launch(first, files: []) } }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(outcomes == [.submitted, .submitted, .submitted])
    let once = try await jobs("a1")
    #expect(once == 1)

    // Submitted by somebody who died before he could note it.
    let second = spec("a2", command: "sleep 30")
    _ = try await launcher().launch(second, files: [])
    try FileManager.default.removeItem(atPath: scratch.path("shared/attempts/a2/job"))
    try? FileManager.default.removeItem(atPath: scratch.path("shared/attempts/a2/claim"))
    let again = try await launcher().launch(second, files: [])
    #expect(again == .submitted)
    let still = try await jobs("a2")
    #expect(still == 1)

    // Another coordinator's attempt of the same name.
    let stranger = try await launcher().launch(spec("a2", token: "t2"), files: [])
    guard case .refused(let why) = stranger else {
      Issue.record("it took over another launch's directory: \(stranger)")
      return
    }
    #expect(why.contains("another launch's"))

    // What was stopped never begins, however late its launch arrives.
    try await launcher().stop("a3", reason: "cancelled")
    _ = try await launcher().launch(spec("a3", command: "echo ran >>\(book)"), files: [])
    let none = try await jobs("a3")
    #expect(none == 0)
    try await launcher().stop("a2", reason: "superseded")

    // What Slurm refuses leaves nothing behind.
    let wrong = SlurmLauncher(
      transport: login, workdir: scratch.path("shared"), options: SlurmLauncher.Options(words: ["--partition=nix"]),
      name: "cluster")
    let refused = try await wrong.launch(spec("a4"), files: [])
    guard case .refused(let reason) = refused else {
      Issue.record("a wrong partition was taken: \(refused)")
      return
    }
    #expect(reason.contains("nvalid partition"))
    #expect(!FileManager.default.fileExists(atPath: scratch.path("shared/attempts/a4")))

    for _ in 0..<300 {
      if case .exited(let record) = try await launcher().status(of: ["a1"])["a1"] {
        #expect(record.code == 0)
        break
      }
      try await Task.sleep(for: .milliseconds(200))
    }
    #expect(scratch.text("book") == "ran\n", "it ran once")
    try await refuse(scratch, configuration)
    let ends = try await launcher().status(of: ["a1", "a2", "a3", "a4"])
    #expect(ends["a4"] == .absent)
    for (id, reason) in [("a2", "superseded"), ("a3", "cancelled")] {
      guard case .exited(let record) = ends[id] else {
        Issue.record("\(id): \(ends[id].map { "\($0)" } ?? "not known")")
        continue
      }
      #expect(record.reason == reason)
    }
  }

  /// What sbatch says when it takes no job: later, never, or nobody knows.
  private func refuse(_ scratch: Scratch, _ configuration: String) async throws {
    func launcher(saying words: String) throws -> SlurmLauncher {
      let folder = try scratch.directory("commands")
      try scratch.write("commands/sbatch", "#!/bin/sh\necho '\(words)' >&2\nexit 1\n", permissions: 0o755)
      return SlurmLauncher(
        transport: LoginNode(configuration: configuration, commands: folder), workdir: scratch.path("shared"),
        options: SlurmLauncher.Options(), name: "cluster")
    }
    let limit =
      "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates "
      + "accounting/QOS policy (job submit limit, user\"s size and/or time limits)"
    // None of ours is there, so that waiting makes no room.
    var outcome = try await launcher(saying: limit).launch(spec("b1"), files: [])
    guard case .refused = outcome else {
      Issue.record("a limit that nothing mends: \(outcome)")
      return
    }
    let real = SlurmLauncher(
      transport: LoginNode(configuration: configuration), workdir: scratch.path("shared"),
      options: SlurmLauncher.Options(), name: "cluster")
    _ = try await real.launch(spec("b2", command: "sleep 60"), files: [])
    outcome = try await launcher(saying: limit).launch(spec("b3"), files: [])
    guard case .gpuBusy(let why) = outcome else {
      Issue.record("there will be room when ours have ended: \(outcome)")
      return
    }
    #expect(why.contains("AssocMaxSubmitJobLimit"))
    #expect(!FileManager.default.fileExists(atPath: scratch.path("shared/attempts/b3")), "another attempt follows")

    // It may have arrived: nothing is concluded, and the same launch again submits it.
    let lost = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    await #expect(throws: LaunchError.self) { try await launcher(saying: lost).launch(spec("b4"), files: []) }
    let status = try await real.status(of: ["b4"])["b4"]
    #expect(status == .absent)
    outcome = try await real.launch(spec("b4"), files: [])
    #expect(outcome == .submitted)
    for id in ["b2", "b4"] { try await real.stop(id, reason: "cancelled") }
  }
}
