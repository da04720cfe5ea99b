import Foundation
import Launching
import TestSupport
import Testing

/// What clusters of others do that a new one does not.
@Suite struct SlurmSiteTests {
  private func launcher(_ slurm: ModelledSlurm, _ scratch: Scratch, gpuType: String? = nil, environment: String = "")
    -> SlurmLauncher
  {
    SlurmLauncher(
      transport: PrefixedTransport(prefix: environment + slurm.login.prefix), workdir: scratch.path("shared"),
      options: SlurmLauncher.Options(gpuType: gpuType), name: "model")
  }

  private func spec(_ id: String, after earlier: String...) -> AttemptSpec {
    var spec = AttemptSpec(
      id: id, token: "t", sweep: "s", run: "r", number: 1, command: "true", environment: [], gpuCount: 1, timeout: 60,
      stallTimeout: nil)
    spec.earlier = earlier
    return spec
  }

  private func with(_ body: (Scratch, ModelledSlurm) async throws -> Void) async throws {
    try await Scratch.with { scratch in try await body(scratch, ModelledSlurm(scratch)) }
  }

  /// Sites greet whoever submits; the error stands behind it.
  @Test(
    .timeLimit(.minutes(2)),
    arguments: [
      ("AssocMaxSubmitJobLimit", "AssocMaxSubmitJobLimit"),
      ("Batch job submission failed: Required partition not available (inactive or drain)", "not available"),
      ("Batch job submission failed: I/O error writing script/environment to file", "I/O error"),
    ]) func aLimitBehindALongGreetingIsStillALimit(_ error: String, _ told: String) async throws
  {
    try await with { scratch, slurm in
      let greeting = "sbatch: " + String(repeating: "Welcome. Submit jobs within your Limit! ", count: 20)
      try slurm.set("refusal", "\(greeting)\nsbatch: error: \(error)\n")
      let outcome = try await launcher(slurm, scratch).launch(spec("a1"), files: [])
      guard case .full(let why, false) = outcome else {
        Issue.record("\(outcome)")
        return
      }
      #expect(why.contains(told) && !why.contains("Welcome"))
    }
  }

  /// slurmdbd was never told how the job ended, and calls it running for ever.
  @Test(.timeLimit(.minutes(2))) func onlyTheControllerSaysThatAJobLives() async throws {
    try await with { scratch, slurm in
      let launcher = launcher(slurm, scratch)
      for id in ["a1", "a2"] { _ = try await launcher.launch(spec(id), files: []) }
      try scratch.write("queue", "")
      try slurm.set("accounting", "1|RUNNING|None|n1|0:0|1|a1.t\n2|PENDING|None||0:0|2|a2.t\n")
      let record = "{\"code\":0,\"signal\":null,\"started\":5,\"ended\":9,\"reason\":null}"
      try scratch.write("shared/attempts/a1/exit.json", record + "\n")
      let found = try await launcher.status(of: ["a1", "a2"])
      guard case .exited(let end) = found["a1"] else {
        Issue.record("\(found)")
        return
      }
      #expect(end.code == 0)
      #expect(found["a2"] == nil, "not concluded at once, and not waiting")
      try slurm.set("accounting", "1|RUNNING|None|n1|0:0|1|a1.t\n2|NODE_FAIL|None|n1|0:0|2|a2.t\n")
      guard case .lost = try await launcher.status(of: ["a2"])["a2"] else {
        Issue.record("an end is believed")
        return
      }
    }
  }

  /// With GraceTime, ranks are told to end a while before their job: it then looks as if it had ended by itself.
  @Test(.timeLimit(.minutes(2))) func ranksThatWereToMakeRoomDidNotFail() async throws {
    try await with { scratch, slurm in
      let launcher = launcher(slurm, scratch)
      var gang = [spec("a1"), spec("a2")]
      for index in gang.indices {
        gang[index].nodes = 2
        _ = try await launcher.launch(gang[index], files: [])
        let folder = "shared/attempts/\(gang[index].id)"
        try scratch.write("\(folder)/nodes/0", "143\n")
        try scratch.write("\(folder)/claim/job", "\(index + 1) 0 n[1-2] 5\n")
        try scratch.write(
          "\(folder)/exit.json", "{\"code\":143,\"signal\":null,\"started\":5,\"ended\":9,\"reason\":null}\n")
      }
      try scratch.write("queue", "1|1||FAILED|a1.t|n[1-2]\n2|2||FAILED|a2.t|n[3-4]\n")
      try slurm.set("preempted", "1                 2026-01-01T00:00:00\n2                 N/A\n")
      let found = try await launcher.status(of: ["a1", "a2"])
      guard case .lost(let why) = found["a1"], case .exited(let end) = found["a2"] else {
        Issue.record("\(found)")
        return
      }
      #expect(why.contains("preempted"))
      #expect(end.code == 143, "its own failure")
    }
  }

  @Test(.timeLimit(.minutes(2))) func anAccountingThatIsAwayKeepsOnlyWhatItMayKnow() async throws {
    try await with { scratch, slurm in
      let launcher = launcher(slurm, scratch)
      _ = try await launcher.launch(spec("a1"), files: [])
      // Somebody was about to submit a2, and nobody knows whether he did.
      try scratch.write("shared/attempts/a2/token", "t\n")
      try scratch.write("shared/attempts/a2/intent", "")
      try scratch.write("queue", "")
      try slurm.set("accounting-down")
      guard case .waiting(let why) = try await launcher.status(of: ["a1"])["a1"] else {
        Issue.record("a run that hangs says why")
        return
      }
      #expect(why.contains("sacct: error"))
      let unknown = try await launcher.launch(spec("a2"), files: [])
      guard case .full(let reason, true) = unknown else {
        Issue.record("\(unknown)")
        return
      }
      #expect(reason.contains("accounting"))
      let fresh = try await launcher.launch(spec("a3"), files: [])
      #expect(fresh == .submitted, "what was never tried needs no memory")
      try FileManager.default.removeItem(atPath: scratch.path("accounting-down"))
      let again = try await launcher.launch(spec("a2"), files: [])
      #expect(again == .submitted)
    }
  }

  @Test(.timeLimit(.minutes(2))) func aStateOfANewerSlurmIsNoEnd() async throws {
    try await with { scratch, slurm in
      let launcher = launcher(slurm, scratch)
      _ = try await launcher.launch(spec("a1"), files: [])
      try scratch.write("queue", "1|1||LEVITATING|a1.t|n1\n")
      try await launcher.stop("a1", reason: "cancelled")
      #expect(slurm.jobs.map(\.state) == ["CANCELLED"])
    }
  }

  /// sbatch gave up, and the controller took both its tries. Each row: how the job that sbatch told of stands, how the
  /// late one does, the claim, and how both stand after a look.
  @Test(
    .timeLimit(.minutes(2)),
    arguments: [
      ("PENDING", "PENDING", "", ["PENDING", "CANCELLED"]), ("RUNNING", "PENDING", "", ["RUNNING", "CANCELLED"]),
      ("PENDING", "RUNNING", "", ["PENDING", "RUNNING"]), ("FAILED", "PENDING", "", ["FAILED", "PENDING"]),
      ("PENDING", "RUNNING", "2 0 n1 5\n", ["CANCELLED", "RUNNING"]),
      ("RUNNING", "PENDING", "1 0 n1 5\n", ["RUNNING", "CANCELLED"]),
      // It is there, and its words are not: files of shared file systems come late.
      ("PENDING", "PENDING", "\n", ["PENDING", "PENDING"]),
    ] as [(String, String, String, [String])])
  func aJobThatCameLateIsCancelledAndNeverTheOneThatBegan(
    _ own: String, _ late: String, _ claim: String, _ states: [String]
  ) async throws {
    try await with { scratch, slurm in
      let launcher = launcher(slurm, scratch)
      for id in ["a1", "a2"] { _ = try await launcher.launch(spec(id), files: []) }
      // That of another attempt has nothing to do with it.
      try scratch.write("queue", "1|1||\(own)|a1.t|n1\n2|2||\(late)|a1.t|n1\n3|3||PENDING|a2.t|\n")
      try scratch.write("shared/attempts/a2/job", "3\n")
      if claim == "\n" {
        try FileManager.default.createDirectory(
          atPath: scratch.path("shared/attempts/a1/claim"), withIntermediateDirectories: true)
      } else if !claim.isEmpty {
        try scratch.write("shared/attempts/a1/claim/job", claim)
      }
      let isCancelled = states.contains("CANCELLED")
      let first = try await launcher.status(of: ["a1", "a2"])["a1"]
      #expect(slurm.jobs.map(\.state) == states + ["PENDING"])
      let second = try await launcher.status(of: ["a1", "a2"])["a1"]
      if isCancelled {
        switch (states.first { $0 != "CANCELLED" }, first) {
        case ("PENDING", .waiting(let why)): #expect(why.contains("job 1 "))
        case ("RUNNING", .running): break
        default: Issue.record("\(first.map { "\($0)" } ?? "not known")")
        }
        #expect(first == second)
        // What was cancelled does not tell how the attempt ended.
        let number = states[0] == "CANCELLED" ? "2" : "1"
        let ends = ["1", "2"].map { "\($0)|\($0)||\($0 == number ? "NODE_FAIL" : "CANCELLED")|a1.t|n1\n" }
        try scratch.write("queue", ends.joined())
        guard case .lost(let why) = try await launcher.status(of: ["a1"])["a1"] else {
          Issue.record("the attempt's own job was taken")
          return
        }
        #expect(why.contains("NODE_FAIL of job \(number)"))
      }
      #expect(slurm.calls("scancel").count == (isCancelled ? 1 : 0))
    }
  }

  @Test(.timeLimit(.minutes(2))) func aLateJobThatBeginsBeforeItIsHeldGoesOn() async throws {
    try await with { scratch, slurm in
      let launcher = launcher(slurm, scratch)
      _ = try await launcher.launch(spec("a1"), files: [])
      try scratch.write("queue", "1|1||PENDING|a1.t|\n2|2||PENDING|a1.t|\n")
      try slurm.set("quick")
      _ = try await launcher.status(of: ["a1"])
      #expect(slurm.jobs.map(\.state) == ["PENDING", "RUNNING"], "what it claims is the attempt's")
      try scratch.write("shared/attempts/a1/claim/job", "2 0 n1 5\n")
      let status = try await launcher.status(of: ["a1"])["a1"]
      guard case .running = status else {
        Issue.record("\(status.map { "\($0)" } ?? "not known")")
        return
      }
      #expect(slurm.jobs.map(\.state) == ["CANCELLED", "RUNNING"])
    }
  }

  @Test(.timeLimit(.minutes(2))) func aLateJobWhoseOtherIsGoneMeanwhileMayBegin() async throws {
    try await with { scratch, slurm in
      let launcher = launcher(slurm, scratch)
      _ = try await launcher.launch(spec("a1"), files: [])
      try scratch.write("queue", "1|1||PENDING|a1.t|\n2|2||PENDING|a1.t|\n")
      try slurm.set("gone", "1")
      try slurm.forgetCalls()
      _ = try await launcher.status(of: ["a1"])
      #expect(slurm.jobs.map(\.number) == ["2"] && slurm.jobs.map(\.state) == ["PENDING"])
      #expect(slurm.calls("scontrol").filter { !$0.contains("show") } == ["scontrol hold 2", "scontrol release 2"])
    }
  }

  /// The connection ended, or the queue was not told any more, after the late job was held; then the other one is gone.
  @Test(.timeLimit(.minutes(2)), arguments: ["deadly-hold", "deaf"])
  func aLateJobIsNotHeldForEver(_ end: String) async throws {
    try await with { scratch, slurm in
      let launcher = launcher(slurm, scratch)
      _ = try await launcher.launch(spec("a1"), files: [])
      try scratch.write("queue", "1|1||PENDING|a1.t|\n2|2||PENDING|a1.t|\n")
      try slurm.set(end)
      try slurm.forgetCalls()
      func calls() -> [String] { slurm.calls("scontrol").filter { !$0.contains("show") } }
      await #expect(throws: (any Error).self) { try await launcher.status(of: ["a1"]) }
      #expect(calls() == (end == "deaf" ? ["scontrol hold 2", "scontrol release 2"] : ["scontrol hold 2"]))
      try scratch.write("queue", "2|2||PENDING|a1.t|\n")
      guard case .waiting = try await launcher.status(of: ["a1"])["a1"] else {
        Issue.record("the job that is left was not taken")
        return
      }
      #expect(calls().last == "scontrol release 2")
      #expect(slurm.jobs.map(\.state) == ["PENDING"])
      // Once is enough.
      try slurm.forgetCalls()
      _ = try await launcher.status(of: ["a1"])
      #expect(calls().isEmpty)
    }
  }

  /// A node on which no job begins anything is idle at once, and would get every try.
  @Test(.timeLimit(.minutes(2)), arguments: [(nil, true), ("a100", true), ("h200", false)] as [(String?, Bool)])
  func aNodeThatBeginsNothingIsAvoidedWhereThereAreOthers(_ gpuType: String?, _ isAvoided: Bool) async throws {
    try await with { scratch, slurm in
      let launcher = launcher(slurm, scratch, gpuType: gpuType)
      _ = try await launcher.launch(spec("a1"), files: [])
      try scratch.write("queue", "1|1||FAILED|a1.t|n1\n")
      try await launcher.stop("a1", reason: "superseded")
      try slurm.forgetCalls()
      _ = try await launcher.launch(spec("a2", after: "a1"), files: [])
      #expect(slurm.calls("sbatch").map { $0.contains(" --exclude=n1 ") } == [isAvoided])
    }
  }

  /// Only a disk that is full is waited for as one.
  @Test(.timeLimit(.minutes(2))) func aWorkDirectoryThatCannotBeWrittenIsNoFullOne() async throws {
    try await with { scratch, slurm in
      let launcher = launcher(slurm, scratch)
      _ = try await launcher.launch(spec("a1"), files: [])
      try FileManager.default.removeItem(atPath: scratch.path("shared/incoming"))
      try scratch.write("shared/incoming", "")
      let error = await #expect(throws: LaunchError.self) { try await launcher.launch(spec("a2"), files: []) }
      #expect(error?.description.contains("ot a directory") == true, "\(error.map { "\($0)" } ?? "")")
    }
  }

  @Test(.timeLimit(.minutes(2))) func theJobInWhichWeStandIsNotInherited() async throws {
    try await with { scratch, slurm in
      let outer =
        "export SLURM_JOB_ID=5 SLURM_MEM_PER_NODE=3 SLURM_CPUS_PER_TASK=2 SLURM_CONF=/etc/mine SBATCH_CLUSTERS=b\n"
      _ = try await launcher(slurm, scratch, environment: outer).launch(spec("a1"), files: [])
      let names = (scratch.text("environment") ?? "").split(separator: "\n").filter {
        $0.hasPrefix("SLURM_") || $0.hasPrefix("SBATCH_")
      }
      #expect(names == ["SLURM_CONF=/etc/mine"])
    }
  }
}
