import Foundation
import Launching
import TestSupport
import Testing
import Transports

/// One job an attempt, whoever asks how often, against a real Slurm.
@Suite(
  .enabled(
    if: SlurmCluster.isAvailable,
    "needs Slurm and root; as root: Deploy/slurm/cluster install"))
struct SlurmSubmissionTests {
  private func spec(_ id: String, token: String = "t1", command: String = "true") -> AttemptSpec {
    AttemptSpec(
      id: id, token: token, sweep: "s", run: "r", number: 1, command: command, environment: [], gpuCount: 1,
      timeout: 600, stallTimeout: nil)
  }

  @Test(.timeLimit(.minutes(4))) func anAttemptIsOneJobHoweverOftenItIsAskedFor() async throws {
    try await Scratch.with { scratch in
      try await SlurmCluster.with(in: scratch) { cluster in try await ask(scratch, cluster) }
    }
  }

  /// What became of an array's element is told by the accounting, or the log of ended jobs, when the controller has
  /// forgotten it.
  @Test(.timeLimit(.minutes(10)), arguments: [SlurmCluster.Memory.accounting, .jobLog])
  func elementsAreKnownWhenTheyAreForgotten(memory: SlurmCluster.Memory) async throws {
    try await Scratch.with { scratch in
      try await SlurmCluster.with(in: scratch, memory: memory, minJobAge: 2) { cluster in
        func launcher() -> SlurmLauncher {
          SlurmLauncher(
            transport: cluster.login(), workdir: scratch.path("shared"),
            options: SlurmLauncher.Options(partition: "low", arrayThrottle: 16), name: "cluster")
        }
        let specs = (1...130).map { number in
          var spec = spec("a\(number)", command: number == 1 ? "sleep 600" : "true")
          spec.gpuCount = 0
          spec.timeout = 900
          return spec
        }
        let submitting = launcher()
        let outcomes = try await withThrowingTaskGroup(of: LaunchOutcome.self) { group in
          for spec in specs { group.addTask { try await submitting.launch(spec, files: []) } }
          return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(outcomes.allSatisfy { $0 == .submitted })
        let others = specs.dropFirst().map(\.id)
        let areOver = try await SlurmCluster.wait(seconds: 400) {
          others.allSatisfy { scratch.text("shared/attempts/\($0)/exit.json") != nil }
        }
        #expect(areOver)
        func open() async throws -> [SlurmCluster.Job] { try await cluster.jobs().filter { $0.state != "COMPLETED" } }
        let isAlone = try await SlurmCluster.wait { try await open().map(\.state) == ["RUNNING"] }
        try #require(isAlone)
        let left = try #require(try await open().first)
        #expect(left.element != nil, "\(left)")
        // Somebody with more right to its node.
        try await cluster(
          "sbatch", "--partition=urgent", "--nodelist=\(left.nodes)", "--exclusive", "--time=1", "--output=/dev/null",
          "--wrap=true")
        let isForgotten = try await SlurmCluster.wait { try await cluster.jobs().isEmpty }
        try #require(isForgotten)
        let ends = try await launcher().status(of: specs.map(\.id))
        guard case .lost(let why) = ends["a1"] else {
          Issue.record("\(ends["a1"].map { "\($0)" } ?? "not known")")
          return
        }
        #expect(why.hasPrefix("Slurm says PREEMPTED of job"), "\(why)")
        for id in others {
          guard case .exited(let record) = ends[id], record.code == 0 else {
            Issue.record("\(id): \(ends[id].map { "\($0)" } ?? "not known")")
            continue
          }
        }
      }
    }
  }

  private func ask(_ scratch: Scratch, _ cluster: SlurmCluster) async throws {
    func launcher() -> SlurmLauncher {
      SlurmLauncher(
        transport: cluster.login(), workdir: scratch.path("shared"),
        options: SlurmLauncher.Options(words: ["--partition=main"]),
        name: "cluster")
    }
    func jobs(_ id: String) async throws -> Int {
      try await cluster.jobs().count { $0.name.hasPrefix(id + ".") }
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
    let second = spec("a2", command: "sleep 600")
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
      transport: cluster.login(), workdir: scratch.path("shared"),
      options: SlurmLauncher.Options(words: ["--partition=nix"]),
      name: "cluster")
    let refused = try await wrong.launch(spec("a4"), files: [])
    guard case .refused(let reason) = refused else {
      Issue.record("a wrong partition was taken: \(refused)")
      return
    }
    #expect(reason.contains("nvalid partition"))
    #expect(!FileManager.default.fileExists(atPath: scratch.path("shared/attempts/a4")))

    var code: Int?
    let hasEnded = try await SlurmCluster.wait {
      if case .exited(let record) = try await launcher().status(of: ["a1"])["a1"] { code = record.code }
      return code != nil
    }
    #expect(hasEnded && code == 0)
    #expect(scratch.text("book") == "ran\n", "it ran once")
    try await avoid(scratch, launcher(), cluster)
    try await arriveTwice(scratch, cluster)
    try await refuse(scratch, cluster)
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

  /// Nodes that lost an earlier attempt of the run, as long as there are others.
  private func avoid(_ scratch: Scratch, _ launcher: SlurmLauncher, _ cluster: SlurmCluster) async throws {
    func excluded(_ id: String) async throws -> String {
      let row = try await cluster("squeue", "-h", "-t", "all", "-o", "%j|%x").split(separator: "\n").first {
        $0.hasPrefix(id + ".")
      }
      return try #require(row?.split(separator: "|", omittingEmptySubsequences: false).last.map(String.init))
    }
    for (id, nodes, reason) in [("e1", "n2", "superseded"), ("e2", "n[1,3-4]", nil), ("e3", "n3", "cancelled")] {
      try scratch.write("shared/attempts/\(id)/claim/job", "7 0 \(nodes) 5\n")
      if let reason { try scratch.write("shared/attempts/\(id)/exit.json", "{\"reason\":\"\(reason)\"}\n") }
    }
    let cases: [(String, [String], Int?, String)] = [
      ("c1", ["e1"], nil, "n2"), ("c2", ["e1", "e3"], nil, "n2"), ("c3", ["e1", "e2"], nil, ""),
      ("c4", ["e1"], 4, ""), ("c5", ["e1"], 3, "n2"), ("c6", ["e3", "gone"], nil, ""),
    ]
    for (id, earlier, nodes, expected) in cases {
      var spec = spec(id, command: "sleep 60")
      spec.earlier = earlier
      spec.nodes = nodes
      let outcome = try await launcher.launch(spec, files: [])
      #expect(outcome == .submitted)
      let found = try await excluded(id)
      #expect(found == expected, "\(id)")
    }
    for (id, _, _, _) in cases { try await launcher.stop(id, reason: "cancelled") }
  }

  /// Of the first of two jobs nobody heard.
  private func arriveTwice(_ scratch: Scratch, _ cluster: SlurmCluster) async throws {
    let folder = try scratch.directory("commands")
    let twice = "#!/bin/sh\nPATH=${PATH#*:}\nsbatch \"$@\" >/dev/null\nexec sbatch \"$@\"\n"
    try scratch.write("commands/sbatch", twice, permissions: 0o755)
    let launcher = SlurmLauncher(
      transport: cluster.login(commands: folder), workdir: scratch.path("shared"),
      options: SlurmLauncher.Options(words: ["--partition=main", "--begin=now+1hour"]), name: "cluster")
    func waiting() async throws -> [String] {
      try await cluster.jobs().filter { $0.name.hasPrefix("d1.") && $0.state == "PENDING" }.map(\.number)
    }
    let outcome = try await launcher.launch(spec("d1"), files: [])
    #expect(outcome == .submitted)
    let both = try await waiting()
    #expect(both.count == 2)
    let told = try #require(scratch.text("shared/attempts/d1/job"))
    for _ in 0..<2 {
      let status = try await launcher.status(of: ["d1"])["d1"]
      guard case .waiting(let why) = status else {
        Issue.record("\(status.map { "\($0)" } ?? "not known")")
        continue
      }
      #expect(why.contains("BeginTime"), "\(why)")
      let left = try await waiting()
      #expect(left.map { $0 + "\n" } == [told])
    }
    try await launcher.stop("d1", reason: "cancelled")
  }

  /// What sbatch says when it takes no job: later, never, or nobody knows.
  private func refuse(_ scratch: Scratch, _ cluster: SlurmCluster) async throws {
    func launcher(saying words: String) throws -> SlurmLauncher {
      let folder = try scratch.directory("commands")
      try scratch.write("commands/sbatch", "#!/bin/sh\nprintf '%s\\n' '\(words)' >&2\nexit 1\n", permissions: 0o755)
      return SlurmLauncher(
        transport: cluster.login(commands: folder), workdir: scratch.path("shared"),
        options: SlurmLauncher.Options(), name: "cluster")
    }
    let policy =
      "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user\"s size "
      + "and/or time limits)"
    // Neither a limit that no waiting mends, nor one without a name where none of ours is there.
    for words in ["sbatch: error: QOSMaxWallDurationPerJobLimit\n" + policy, policy] {
      let outcome = try await launcher(saying: words).launch(spec("b1"), files: [])
      guard case .refused(let why) = outcome, why.contains("QOS") else {
        Issue.record("a limit that nothing mends: \(outcome)")
        return
      }
    }
    // Other jobs than ours may fill it.
    let limit = "sbatch: error: AssocGrpSubmitJobsLimit\n" + policy
    var outcome = try await launcher(saying: limit).launch(spec("b1"), files: [])
    let words = "the cluster takes no more jobs now: "
    #expect(outcome == .full(words + "AssocGrpSubmitJobsLimit", mayHaveArrived: false))
    let real = SlurmLauncher(
      transport: cluster.login(), workdir: scratch.path("shared"),
      options: SlurmLauncher.Options(), name: "cluster")
    _ = try await real.launch(spec("b2", command: "sleep 60"), files: [])
    outcome = try await launcher(saying: policy).launch(spec("b3"), files: [])
    guard case .full(let why, false) = outcome, why.contains("job submit limit") else {
      Issue.record("there will be room when ours have ended: \(outcome)")
      return
    }
    #expect(!FileManager.default.fileExists(atPath: scratch.path("shared/attempts/b3")), "nothing of it is left")

    // Where its table of jobs is full, sbatch tries for minutes; it is not waited for that long.
    let folder = try scratch.directory("commands")
    let asleep = "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying"
    try scratch.write("commands/sbatch", "#!/bin/sh\necho '\(asleep)' >&2\nexec sleep 300\n", permissions: 0o755)
    let slow = SlurmLauncher(
      transport: cluster.login(commands: folder), workdir: scratch.path("shared"),
      options: SlurmLauncher.Options(), name: "cluster")
    outcome = try await slow.launch(spec("b5"), files: [])
    #expect(outcome == .full(words + "MaxJobCount", mayHaveArrived: true))
    outcome = try await real.launch(spec("b5"), files: [])
    #expect(outcome == .submitted)

    // It may have arrived: nothing is concluded, and the same launch again submits it.
    let lost = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
    await #expect(throws: LaunchError.self) { try await launcher(saying: lost).launch(spec("b4"), files: []) }
    let status = try await real.status(of: ["b4"])["b4"]
    #expect(status == .absent)
    outcome = try await real.launch(spec("b4"), files: [])
    #expect(outcome == .submitted)
    for id in ["b2", "b4", "b5"] { try await real.stop(id, reason: "cancelled") }
  }
}
