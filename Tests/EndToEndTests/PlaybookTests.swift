import Foundation
import TestSupport
import Testing

/// The playbooks over the sample workload, as a person runs them.
@Suite(.serialized) struct PlaybookTests {
  private func conclusion(_ outcome: RollcallBinary.Outcome) throws -> [String: Any] {
    let report = try outcome.json()
    #expect(report["schema"] as? String == "rollcall.playbook/1")
    if let stated = outcome.errorOutput.firstMatch(of: /at most (\d+) runs/), let most = Int(stated.1) {
      let runs = try #require(report["runs"] as? Int)
      #expect(runs <= most, "no more runs than were stated")
    }
    return try #require(report["conclusion"] as? [String: Any], "\(outcome.output) \(outcome.errorOutput)")
  }

  private static let plain = "tiny_tp.py --device cpu --nproc ${{ world_size }}"

  @Test(.timeLimit(.minutes(10))) func theLadderFindsWhereItBreaksAndBlamesTheModel() async throws {
    let planted = Self.plain + " --bug missing-reduce --layer 2 --stage MoE --bug-from-world-size 4"
    try await SampleJob.with("ladder", replacing: [(Self.plain, planted)]) { rollcall, scratch in
      let outcome = try await rollcall("playbook", "ladder", "job.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      #expect(try outcome.steps() == ["world_size-2", "world_size-4", "strategy-one-shot-allreduce"])
      let conclusion = try conclusion(outcome)
      #expect(conclusion["kind"] as? String == "divisibility")
      #expect(conclusion["subject"] as? String == "world_size=4")
      #expect(conclusion["layer"] as? Int == 2)
      #expect(conclusion["stage"] as? String == "MoE")

      // Each step has its note, and the report joins them.
      let id = try #require(try outcome.json()["id"] as? String)
      let note = try #require(scratch.text("store/playbooks/\(id)/notes/02_world_size-4.md"))
      for part in ["## Hypothesis", "## Experiment", "## Data", "## Conclusion", "## Next", "| layer 2 MoE |"] {
        #expect(note.contains(part), "\(note)")
      }
      let page = try #require(scratch.text("store/playbooks/\(id)/report.html"))
      let sweep = try #require((try outcome.json()["steps"] as? [[String: Any]])?.last?["sweep"] as? String)
      #expect(page.contains("href=\"../../sweeps/\(sweep)/report.html\""))
      #expect(scratch.text("store/sweeps/\(sweep)/report.html") != nil, "what the page points to is there")
      let joined = try await rollcall("report", id, "--format", "markdown")
      #expect(joined.status == 1)
      #expect(joined.output.contains("world_size=4 is wrong") && joined.output.contains("# 3. strategy-one-shot"))
    }
  }

  @Test(.timeLimit(.minutes(10))) func theLadderSeesThatOnlyOneStrategyIsWrong() async throws {
    // With --allreduce one-shot the last rank is left out: here that is the job's own strategy.
    let planted = Self.plain + " --bug strategy-dependent --layer 1 --stage MoE --allreduce one-shot"
    try await SampleJob.with(
      "ladder",
      replacing: [(Self.plain, planted), ("[--allreduce, one-shot]", "[--allreduce, nccl-like]")]
    ) { rollcall, _ in
      let outcome = try await rollcall("playbook", "ladder", "job.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      #expect(try conclusion(outcome)["kind"] as? String == "all-reduce-strategy")
      #expect(try outcome.steps().count == 2)
    }
  }

  @Test(.timeLimit(.minutes(10))) func theBisectionFindsOneOf36LayersAndItsStage() async throws {
    try await SampleJob.with("bisect") { rollcall, _ in
      let outcome = try await rollcall("playbook", "bisect", "job.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      let conclusion = try conclusion(outcome)
      #expect(conclusion["kind"] as? String == "located")
      #expect(conclusion["layer"] as? Int == 22)
      #expect(conclusion["stage"] as? String == "MoE")
      #expect(conclusion["cause"] as? String == "double-reduce")
      #expect(conclusion["subject"] == nil)
      #expect((conclusion["evidence"] as? [String])?.contains { $0.hasPrefix("Layer 22 alone") } == true)
      let runs = try #require(try outcome.json()["runs"] as? Int)
      #expect(Double(runs) <= 2 * log2(36) + 3)
    }
  }

  @Test(.timeLimit(.minutes(10))) func everySecondLayerIsSeenAsAClass() async throws {
    try await SampleJob.with(
      "bisect",
      replacing: [("--layers 36", "--layers 16"), ("0-35", "0-15"), ("--layer 22", "--layer 5 --bug-every 2")]
    ) { rollcall, scratch in
      let outcome = try await rollcall("playbook", "bisect", "job.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      let conclusion = try conclusion(outcome)
      #expect(conclusion["layer"] as? Int == 5)
      #expect(conclusion["stage"] as? String == "MoE")
      #expect(conclusion["cause"] as? String == "double-reduce")
      #expect(conclusion["subject"] as? String == "every second layer", "\(conclusion)")
      let runs = try #require(try outcome.json()["runs"] as? Int)
      #expect(Double(runs) <= 2 * log2(16) + 3)
      let id = try #require(try outcome.json()["id"] as? String)
      let note = try #require(scratch.text("store/playbooks/\(id)/notes/03_layer-5-Attention-MLP-MoE.md"))
      #expect(note.contains("layers 6,7,8,9 show whether it is a class"))
    }
  }

  @Test(
    .timeLimit(.minutes(10)),
    arguments: [
      ("bisect", "--bug double-reduce --layer 22 --stage MoE --bug-from-world-size 2", "", 4),
      ("ladder", "[1, 2, 4, 8]", "[1, 2, 4]", 4),
      ("isolate", #"[--bug, missing-scale, --layer, "2"]"#, "[--backend, split]", 2),
      ("ablate", "FUSED: missing-scale", "FUSED: \"\"", 2),
      ("necessity", #"[--bug, missing-scale, --layer, "2"]"#, "[--backend, split]", 6),
      ("quantisation", "KERNEL: float8-variant", "KERNEL: \"\"", 2),
    ])
  func whatHasNoBugIsNoBug(_ job: String, _ bug: String, _ harmless: String, _ runs: Int) async throws {
    try await SampleJob.with(job, replacing: [(bug, harmless)]) { rollcall, _ in
      let outcome = try await rollcall("playbook", job, "job.yaml", "--json")
      #expect(outcome.status == 0, "\(outcome.errorOutput) \(outcome.output)")
      #expect(outcome.errorOutput.contains("at most"))
      let conclusion = try conclusion(outcome)
      #expect(conclusion["kind"] as? String == "no-bug")
      #expect((conclusion["summary"] as? String)?.hasPrefix("No bug") == true)
      #expect(try outcome.json()["runs"] as? Int == runs)
    }
  }

  @Test(.timeLimit(.minutes(10))) func aRunThatDoesNotAgreeWithItselfIsNotBisected() async throws {
    let planted = "--bug nondeterminism --layer 22 --stage MoE"
    try await SampleJob.with(
      "bisect", replacing: [("--bug double-reduce --layer 22 --stage MoE --bug-from-world-size 2", planted)]
    ) { rollcall, _ in
      let outcome = try await rollcall("playbook", "bisect", "job.yaml", "--json")
      #expect(outcome.status == 2, "\(outcome.errorOutput) \(outcome.output)")
      #expect(try conclusion(outcome)["kind"] as? String == "nondeterministic")
      #expect(try outcome.steps().count == 1)
    }
  }

  @Test(.timeLimit(.minutes(10))) func isolationNamesTheComponent() async throws {
    try await SampleJob.with("isolate") { rollcall, _ in
      let outcome = try await rollcall("playbook", "isolate", "job.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      let conclusion = try conclusion(outcome)
      #expect(conclusion["kind"] as? String == "component")
      #expect(conclusion["subject"] as? String == "fused-moe")
      #expect(conclusion["layer"] as? Int == 2)
    }
  }

  @Test(.timeLimit(.minutes(10))) func oneChangeARunSaysWhatIsNeededAndWhatIsCritical() async throws {
    try await SampleJob.with("ablate") { rollcall, _ in
      let outcome = try await rollcall("playbook", "ablate", "job.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      #expect(try conclusion(outcome)["kind"] as? String == "needed")
      #expect(try conclusion(outcome)["subject"] as? String == "fused-moe")
      #expect(try outcome.steps().count == 3)
    }
    try await SampleJob.with("necessity") { rollcall, _ in
      let outcome = try await rollcall("playbook", "necessity", "job.yaml", "--json")
      #expect(outcome.status == 0, "\(outcome.errorOutput)")
      #expect(
        try conclusion(outcome)["summary"] as? String == "Critical: routed-scale. Fine-tuning: ordered-all-reduce.")
    }
  }

  @Test(.timeLimit(.minutes(10))) func quantisationPartsTheKernelFromTheScales() async throws {
    try await SampleJob.with("quantisation") { rollcall, scratch in
      let outcome = try await rollcall("playbook", "quantisation", "job.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      let conclusion = try conclusion(outcome)
      #expect(conclusion["kind"] as? String == "quantised-kernel")
      #expect(conclusion["layer"] as? Int == 1)
    }
  }

  @Test(.timeLimit(.minutes(10))) func invarianceTellsTheKernelStackFromTheModel() async throws {
    let prompts = "--prompts ${{ prompts }}"
    try await SampleJob.with("invariance") { rollcall, _ in
      let outcome = try await rollcall("playbook", "invariance", "job.yaml", "--json")
      #expect(outcome.status == 0, "\(outcome.errorOutput) \(outcome.output)")
      #expect(try conclusion(outcome)["kind"] as? String == "no-bug")
      #expect(try outcome.json()["runs"] as? Int == 7)
    }
    try await SampleJob.with("invariance", replacing: [(prompts, prompts + " --bug batch-variance --layer 1")]) {
      rollcall, _ in
      let outcome = try await rollcall("playbook", "invariance", "job.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      let conclusion = try conclusion(outcome)
      #expect(conclusion["kind"] as? String == "batch-variance")
      #expect(conclusion["layer"] as? Int == 1)
      #expect(conclusion["stage"] as? String == "MoE")
      let evidence = try #require(conclusion["evidence"] as? [String])
      #expect(evidence.contains("E2 against E0: the same bytes."), "slot 0 is not touched by the planted kernel")
      #expect(evidence.contains { $0.hasPrefix("E3 against E0: slot 1 differs, first at layer 1 MoE") })
      #expect(evidence.contains { $0.hasPrefix("Amplification: layer 1 MoE cos 0.99") })
    }
    try await SampleJob.with("invariance", replacing: [(prompts, prompts + " --bug nondeterminism --layer 1")]) {
      rollcall, _ in
      let outcome = try await rollcall("playbook", "invariance", "job.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      #expect(try conclusion(outcome)["kind"] as? String == "nondeterministic")
    }
  }

  @Test(
    .timeLimit(.minutes(10)),
    arguments: [
      ("--per-sequence", "no-bug", "AttnContext: one call for each sequence; those calls are the slots."),
      (
        "--per-sequence --bug batch-variance --stage Attention --layer 1", "batch-variance",
        "AttnContext: one call for each sequence; those calls are the slots."
      ),
      (
        "--one-by-one --bug batch-variance --layer 1", "slot-state",
        "The whole model runs once for each sequence; those calls are the slots."
      ),
    ])
  func sequencesThatRunOneByOneAreSlots(_ engine: String, _ kind: String, _ loop: String) async throws {
    let prompts = "--prompts ${{ prompts }}"
    try await SampleJob.with(
      "invariance",
      replacing: [
        (prompts, "\(prompts) --layers 2 \(engine)"), ("layers: 0-3", "layers: 0-1"),
        ("Attention,MLP", "Attention,AttnContext,MLP"), (#", "position:2", "position:3""#, ""),
      ]
    ) { rollcall, _ in
      let outcome = try await rollcall("playbook", "invariance", "job.yaml", "--json")
      #expect(outcome.status == (kind == "no-bug" ? 0 : 1), "\(outcome.errorOutput)")
      let conclusion = try conclusion(outcome)
      #expect(conclusion["kind"] as? String == kind)
      #expect((conclusion["evidence"] as? [String])?.first == loop)
      #expect(try outcome.json()["runs"] as? Int == 5)
      guard kind != "no-bug" else { return }
      #expect(conclusion["layer"] as? Int == 1)
      #expect(conclusion["stage"] as? String == (engine.contains("Attention") ? "Attention" : "MoE"))
    }
  }

  @Test(.timeLimit(.minutes(10))) func weightsAreCheckedByNameByteAndSlice() async throws {
    let plain = "--nproc ${{ world_size }}"
    try await SampleJob.with("weights") { rollcall, _ in
      let outcome = try await rollcall("playbook", "weights", "job.yaml", "--json")
      #expect(outcome.status == 0, "\(outcome.errorOutput) \(outcome.output)")
      #expect((try conclusion(outcome)["summary"] as? String)?.contains("byte for byte") == true)
    }
    try await SampleJob.with("weights", replacing: [(plain, plain + " --bug duplicate-shard --layer 1")]) {
      rollcall, _ in
      let outcome = try await rollcall("playbook", "weights", "job.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      let conclusion = try conclusion(outcome)
      #expect(conclusion["kind"] as? String == "tensor-parallel-rule")
      #expect(conclusion["layer"] as? Int == 1)
    }
  }

  /// A repository of seven commits, of which the fourth cannot be built, and a job over them.
  private func withCommits(
    bugFrom first: Int?, _ body: (RollcallBinary, [String]) async throws -> Void
  ) async throws {
    try await SampleJob.with("commits") { rollcall, scratch in
      let engine = try scratch.directory("engine")
      let source = try String(contentsOfFile: scratch.path("workloads/tiny_tp.py"), encoding: .utf8)
      func git(_ arguments: String...) async throws -> String {
        try await runTool(
          "git",
          ["-C", engine, "-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"] + arguments
        ).output.trimmingCharacters(in: .whitespacesAndNewlines)
      }
      _ = try await git("init", "-q")
      var commits: [String] = []
      for number in 1...7 {
        let plain = #"add("--bug", default=None"#
        try #require(source.contains(plain))
        let bug = #"add("--bug", default="double-reduce""#
        try scratch.write(
          "engine/tiny_tp.py",
          "# \(number)\n" + (number < first ?? .max ? source : source.replacing(plain, with: bug)))
        try scratch.write("engine/build.sh", number == 4 ? "echo cannot build >&2; exit 1\n" : "echo built\n")
        _ = try await git("add", ".")
        _ = try await git("commit", "-q", "-m", "commit \(number)")
        commits.append(try await git("rev-parse", "HEAD"))
      }
      let text = try #require(scratch.text("job.yaml"))
      try scratch.write(
        "job.yaml",
        text.replacing("/srv/engine", with: engine).replacing("v1.0", with: commits[0])
          .replacing("make -j8", with: "sh build.sh\n    trees: \(scratch.path("trees"))"))
      try await body(rollcall, commits)
    }
  }

  @Test(.timeLimit(.minutes(10))) func theFirstBadCommitIsFoundAndBrokenBuildsAreSkipped() async throws {
    try await withCommits(bugFrom: 6) { rollcall, commits in
      let outcome = try await rollcall("playbook", "commits", "job.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput) \(outcome.output)")
      let conclusion = try conclusion(outcome)
      #expect(conclusion["kind"] as? String == "commit")
      #expect(conclusion["subject"] as? String == commits[5])
      #expect(conclusion["cause"] as? String == "double-reduce")
      #expect(try outcome.steps().count <= 6, "log₂ of seven, two ends, one without a build")
      #expect(try outcome.steps().contains("commit-\(commits[3].prefix(12))"), "the middle is the one without a build")
    }
  }

  @Test(.timeLimit(.minutes(10))) func aBadEndThatPassesIsNoBug() async throws {
    try await withCommits(bugFrom: nil) { rollcall, _ in
      let outcome = try await rollcall("playbook", "commits", "job.yaml", "--json")
      #expect(outcome.status == 0, "\(outcome.errorOutput) \(outcome.output)")
      #expect(try conclusion(outcome)["kind"] as? String == "no-bug")
      #expect(try outcome.json()["runs"] as? Int == 2)
    }
  }

  @Test(.timeLimit(.minutes(10))) func aTeamsOwnPlaybookIsDriven() async throws {
    let program = RollcallBinary.repository + "/Jobs/playbooks/rounding.py"
    let type = "--dtype ${DTYPE:-bf16}"
    try await SampleJob.with(
      "isolate", replacing: [(type, type + " --bug missing-scale --layer 2 --bug-from-world-size 2")]
    ) {
      rollcall, _ in
      let outcome = try await rollcall("playbook", program, "job.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      #expect(try conclusion(outcome)["kind"] as? String == "logic")
      #expect(try outcome.steps() == ["as-configured", "float32"])
      let missing = try await rollcall("playbook", "./nowhere.py", "job.yaml")
      #expect(missing.status == 65)
      let unknown = try await rollcall("playbook", "bisekt", "job.yaml")
      #expect(unknown.status == 64)
      #expect(unknown.errorOutput.contains("Did you mean bisect?"))
    }
  }

  @Test(.timeLimit(.minutes(10))) func aKilledPlaybookGoesOnWhereItWas() async throws {
    try await SampleJob.with("ladder", replacing: [("[1, 2, 4, 8]", "[1, 2, 4]")]) { rollcall, scratch in
      let text = try #require(scratch.text("job.yaml"))
      let booked = "command: echo $ROLLCALL_SWEEP $ROLLCALL_RUN >> '\(scratch.path("book"))'; ${ROLLCALL_PYTHON"
      try scratch.write("job.yaml", text.replacing("command: ${ROLLCALL_PYTHON", with: booked))
      var arguments = ["playbook", "ladder", "job.yaml", "--json"]
      var kills = 0
      while true {
        let result = try await runTool(
          "timeout",
          ["--foreground", "--preserve-status", "-s", "KILL", String(Double.random(in: 0.3...3) + Double(kills))]
            + [try RollcallBinary.path] + arguments,
          environment: rollcall.variables, directory: scratch.path, mustSucceed: false)
        if result.status == 64, result.errorOutput.contains("holds no playbook") {
          arguments = ["playbook", "ladder", "job.yaml", "--json"]
          continue
        }
        guard result.status == 137 else {
          let outcome = RollcallBinary.Outcome(
            status: result.status, output: result.output, errorOutput: result.errorOutput)
          #expect(outcome.status == 0, "\(outcome.errorOutput)")
          #expect(try conclusion(outcome)["kind"] as? String == "no-bug")
          #expect(try outcome.steps() == ["world_size-2", "world_size-4"])
          break
        }
        kills += 1
        arguments = ["playbook", "resume", "last", "--json"]
      }
      #expect(kills > 1)
      let begun = try #require(scratch.text("book")).split(separator: "\n")
      #expect(begun.count == 4 && Set(begun).count == 4, "every run began once: \(begun)")
    }
  }

  @Test func whatAJobLacksIsSaidBeforeAnythingRuns() async throws {
    try await SampleJob.with("ladder") { rollcall, scratch in
      let outcome = try await rollcall("playbook", "quantisation", "job.yaml")
      #expect(outcome.status == 65)
      #expect(outcome.errorOutput.contains("add `playbook.quantisation`"))
      #expect(!FileManager.default.fileExists(atPath: scratch.path("store/playbooks")))
      let text = try #require(scratch.text("job.yaml"))
      try scratch.write("job.yaml", text.replacing("[one-shot-allreduce]", with: "[one-shot-alreduce]"))
      let typo = try await rollcall("playbook", "ladder", "job.yaml")
      #expect(typo.status == 65)
      #expect(typo.errorOutput.contains("did you mean") && typo.errorOutput.contains("one-shot-allreduce"))
    }
  }
}
