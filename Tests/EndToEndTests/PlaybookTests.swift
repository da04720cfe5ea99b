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
      #expect(outcome.errorOutput.contains("[unchecked-weights]"))
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

  /// Late layers add less beside the residual stream: they are of the class all the same.
  @Test(.timeLimit(.minutes(10))) func everyFourthLayerOf36IsSeenAsAClass() async throws {
    let planted = "--bug missing-clamp --layer 3 --bug-every 4 --stage MoE --bug-from-world-size 2"
    try await SampleJob.with(
      "bisect", replacing: [("--bug double-reduce --layer 22 --stage MoE --bug-from-world-size 2", planted)]
    ) { rollcall, _ in
      let outcome = try await rollcall("playbook", "bisect", "job.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      let conclusion = try conclusion(outcome)
      #expect(conclusion["layer"] as? Int == 3)
      #expect(conclusion["stage"] as? String == "MoE")
      #expect(conclusion["subject"] as? String == "every 4th layer", "\(conclusion)")
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
    // The scales are wrong, so fake quantisation is, too; and a bug that has nothing to do with quantisation.
    let kernel = #"env: {KERNEL: ""}"#
    let overlay = kernel + "\n        overlay"
    try await SampleJob.with("quantisation", replacing: [(overlay, overlay.replacing(#""""#, with: "float8-variant"))])
    {
      rollcall, _ in
      let outcome = try await rollcall("playbook", "quantisation", "job.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      #expect(try conclusion(outcome)["kind"] as? String == "scales")
      #expect(try outcome.json()["runs"] as? Int == 6)
    }
    let plain = "${KERNEL:+"
    try await SampleJob.with(
      "quantisation",
      replacing: [
        (plain, "--bug rope-style --layer 3 --bug-from-world-size 2 ${NONE:+"), ("[1, 2]", "[1, 4]"),
      ]
    ) { rollcall, _ in
      let outcome = try await rollcall("playbook", "quantisation", "job.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      let conclusion = try conclusion(outcome)
      #expect(conclusion["kind"] as? String == "not-quantisation")
      #expect(conclusion["layer"] as? Int == 3)
      #expect(try outcome.json()["runs"] as? Int == 4)
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
    try await SampleJob.with("weights") { rollcall, scratch in
      let outcome = try await rollcall("playbook", "weights", "job.yaml", "--json")
      let id = try #require(try outcome.json()["id"] as? String)
      let note = try #require(scratch.text("store/playbooks/\(id)/notes/02_schema.md"))
      #expect(note.contains("- Schema: ") && note.contains("- Slices: "), "\(note)")
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

  /// An engine that prepares a checkpoint for its kernels: float8 weights shuffled (16, 16), e8m0 scales and norms in
  /// float32, column and row slices; and the checkpoint itself as safetensors.
  private static let loader = """
    import json, os, struct, sys, torch
    rank_count, fault = int(sys.argv[1]), sys.argv[2]
    torch.manual_seed(9)
    def float8(m, n): return torch.randint(0, 120, (m, n), dtype=torch.uint8).view(torch.float8_e4m3fn)
    def e8m0(m, n): return torch.randint(110, 130, (m, n), dtype=torch.uint8).view(torch.float8_e8m0fnu)
    name = "model.layers.%d.%s"
    whole = {}
    for layer in (0, 1):
        whole[name % (layer, "attn.wq.weight")] = float8(128, 160)
        whole[name % (layer, "attn.wq.weight_scale")] = e8m0(32, 8)
        whole[name % (layer, "attn.wo.weight")] = torch.randn(64, 128).bfloat16()
        whole[name % (layer, "norm.weight")] = torch.randn(64).bfloat16()
        whole[name % (layer, "mlp.experts.0.weight")] = torch.randn(16, 16).bfloat16()
    whole["model.embed_tokens.weight"] = torch.randn(32, 64).bfloat16()
    types = {torch.bfloat16: "BF16", torch.float8_e4m3fn: "F8_E4M3", torch.float8_e8m0fnu: "F8_E8M0"}
    if fault == "checkpoint":
        header, data = {}, b""
        for key, t in whole.items():
            raw = t.contiguous().view(torch.uint8).numpy().tobytes()
            header[key] = {"dtype": types[t.dtype], "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(raw)]}
            data += raw
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        os.makedirs("checkpoint", exist_ok=True)
        open("checkpoint/model.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + data)
        sys.exit(0)
    def unshuffled(x):
        tiles = x.view(torch.uint8).reshape(-1, x.shape[0] // 16, x.shape[1] // 32, 2, 16, 16)
        return tiles.permute(0, 1, 4, 2, 3, 5).contiguous().reshape(x.shape).view(x.dtype)
    def shuffled(x):
        tiles = x.view(torch.uint8).reshape(-1, x.shape[0] // 16, 16, x.shape[1] // 32, 2, 16)
        return tiles.permute(0, 1, 3, 4, 2, 5).contiguous().reshape(x.shape).view(x.dtype)
    folder = os.environ["ATOM_WEIGHT_DUMP_DIR"]
    for rank in range(rank_count):
        held = {"_tp_rank": rank, "_tp_size": rank_count, "_layer": 0}
        for key, t in whole.items():
            if "layers.0." not in key or ".experts." in key: continue
            bits = t.view(torch.uint8) if t.element_size() == 1 else t
            if "wq" in key: t = bits.chunk(rank_count)[0 if fault == "duplicate" else rank].clone().view(t.dtype)
            if "wo" in key: t = bits.chunk(rank_count, 1)[rank].clone()
            if key.endswith("wq.weight"):
                t = t if fault == "unshuffled" else unshuffled(t) if fault == "inverse" else shuffled(t)
            if key.endswith("wq.weight") and fault == "twice": t = shuffled(t)
            if "scale" in key: t = t.float() * (2 if fault == "scale" else 1)
            if "norm" in key: t = t.float() + (1 if fault == "norm" else 0)
            if fault == "prefix" and "wo" in key: key = key.replace("attn", "attention")
            held[key] = t
        if fault == "lost" and rank == rank_count - 1: continue
        torch.save(held, "%s/weight_rank%d_layer0.pt" % (folder, rank))
    """

  @Test(
    .timeLimit(.minutes(10)),
    arguments: [
      ("none", "", 2, "weight-shuffle"), ("none", "layers.*.wq.weight", 0, "no-bug"),
      ("unshuffled", "layers.*.wq.weight", 1, "not-shuffled"), ("twice", "layers.*.wq.weight", 1, "bytes"),
      ("duplicate", "layers.*.wq.weight", 1, "tensor-parallel-rule"), ("scale", "layers.*.wq.weight", 1, "bytes"),
      ("norm", "layers.*.wq.weight", 1, "bytes"), ("prefix", "layers.*.wq.weight", 1, "schema"),
      ("inverse", "layers.*.wq.weight", 1, "not-shuffled"), ("lost", "layers.*.wq.weight", 2, "unreadable"),
    ])
  func preparedWeightsAreHeldAgainstTheCheckpoint(
    _ fault: String, _ shuffled: String, _ status: Int, _ kind: String
  ) async throws {
    try await Scratch.with { scratch in
      try scratch.write("loader.py", Self.loader)
      _ = try await runTool(warmPython, ["loader.py", "1", "checkpoint"], directory: scratch.path)
      try scratch.write(
        "job.yaml",
        """
        name: weights
        matrix: {world_size: [4]}
        run:
          command: ${ROLLCALL_PYTHON:-python3} loader.py ${{ world_size }} \(fault)
          env: {ATOM_WEIGHT_DUMP_DIR: "${{ dump_dir }}"}
          files: [loader.py]
          gpus: 0
        dumps: {layout: weights}
        compare: {reference: ./checkpoint}
        playbook: {weights: {shuffled: [\(shuffled.isEmpty ? "" : "'\(shuffled)'")]}}
        """)
      let rollcall = RollcallBinary.warm(in: scratch)
      let outcome = try await rollcall("playbook", "weights", "job.yaml", "--json")
      #expect(outcome.status == status, "\(outcome.errorOutput) \(outcome.output)")
      let conclusion = try conclusion(outcome)
      #expect(conclusion["kind"] as? String == kind, "\(conclusion)")
      #expect(try outcome.json()["runs"] as? Int == 1)
      let evidence = try #require(conclusion["evidence"] as? [String])
      #expect(evidence.contains { $0.contains("Not looked at: layers 1") }, "\(evidence)")
      #expect(evidence.contains { $0.contains("weights of experts") }, "\(evidence)")
      if status == 1 { #expect(conclusion["layer"] as? Int == (kind == "schema" ? nil : 0)) }
      if kind == "no-bug" {
        #expect(evidence.contains { $0.hasPrefix("Slices: ") && $0.contains("row") && $0.contains("column") })
        #expect(evidence.contains { $0.contains("2 equal as another type") }, "\(evidence)")
      }
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
      rollcall, scratch in
      let outcome = try await rollcall("playbook", program, "job.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      #expect(try conclusion(outcome)["kind"] as? String == "logic")
      #expect(try outcome.steps() == ["as-configured", "float32"])
      try scratch.write("broken.py", "#!/bin/sh\necho '{\"run\": 1}'\n")
      try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: scratch.path("broken.py"))
      let broken = try await rollcall("playbook", "./broken.py", "job.yaml")
      #expect(broken.status == 65)
      #expect(broken.errorOutput.contains("is no move"))
      let missing = try await rollcall("playbook", "./nowhere.py", "job.yaml")
      #expect(missing.status == 65)
      let unknown = try await rollcall("playbook", "bisekt", "job.yaml")
      #expect(unknown.status == 64)
      #expect(unknown.errorOutput.contains("Did you mean bisect?"))
    }
  }

  @Test(.timeLimit(.minutes(10))) func aFileThatIsEditedMeanwhileIsNoDifferenceBetweenSteps() async throws {
    let program = RollcallBinary.repository + "/Jobs/playbooks/rounding.py"
    let type = "--dtype ${DTYPE:-bf16}"
    let planted = type + " --bug missing-scale --layer 2 --bug-from-world-size 2"
    try await SampleJob.with("isolate", replacing: [("files: [", "files: [said.txt, "), (type, planted)]) {
      rollcall, scratch in
      let said = try scratch.write("said.txt", "one\n")
      let text = try #require(scratch.text("job.yaml"))
      let edits = "command: cat said.txt >> '\(scratch.path("book"))'; echo two > '\(said)'; ${ROLLCALL_PYTHON"
      try scratch.write("job.yaml", text.replacing("command: ${ROLLCALL_PYTHON", with: edits))
      let outcome = try await rollcall("playbook", program, "job.yaml", "--json")
      #expect(try outcome.steps().count == 2, "\(outcome.errorOutput)")
      #expect(scratch.text("said.txt") == "two\n")
      #expect(scratch.text("book") == String(repeating: "one\n", count: 4))
    }
  }

  @Test(.timeLimit(.minutes(10))) func aTeamsOwnPlaybookFindsNoBugWhereThereIsNone() async throws {
    let program = RollcallBinary.repository + "/Jobs/playbooks/rounding.py"
    try await SampleJob.with("isolate", replacing: [(#"[--bug, missing-scale, --layer, "2"]"#, "[--backend, split]")]) {
      rollcall, _ in
      let outcome = try await rollcall("playbook", program, "job.yaml", "--json")
      #expect(outcome.status == 0, "\(outcome.errorOutput)")
      #expect(try conclusion(outcome)["kind"] as? String == "no-bug")
      #expect(try outcome.json()["runs"] as? Int == 2)
    }
  }

  /// The error of one layer's stage is smaller than what the layers before it carry: no layer's output fails.
  @Test(.timeLimit(.minutes(10)), arguments: [35, 22])
  func anErrorThatDrownsInTheResidualStreamIsFound(_ layer: Int) async throws {
    let planted = "--bug missing-clamp --layer \(layer) --stage MoE --bug-from-world-size 2"
    try await SampleJob.with(
      "bisect", replacing: [("--bug double-reduce --layer 22 --stage MoE --bug-from-world-size 2", planted)]
    ) { rollcall, _ in
      let outcome = try await rollcall("playbook", "bisect", "job.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput) \(outcome.output)")
      let conclusion = try conclusion(outcome)
      #expect(conclusion["layer"] as? Int == layer)
      #expect(conclusion["stage"] as? String == "MoE")
      let runs = try #require(try outcome.json()["runs"] as? Int)
      #expect(Double(runs) <= 2 * log2(36) + 3)
    }
  }

  @Test(.timeLimit(.minutes(10))) func aKilledPlaybookGoesOnWhereItWas() async throws {
    try await SampleJob.with("ladder", replacing: [("[1, 2, 4, 8]", "[1, 2, 4]")]) { rollcall, scratch in
      let text = try #require(scratch.text("job.yaml"))
      // The two steps take longer than two kills, however quick the machine is.
      let booked =
        "command: echo $ROLLCALL_SWEEP $ROLLCALL_RUN >> '\(scratch.path("book"))'; sleep 1.5; ${ROLLCALL_PYTHON"
      try scratch.write("job.yaml", text.replacing("command: ${ROLLCALL_PYTHON", with: booked))
      var arguments = ["playbook", "ladder", "job.yaml", "--json"]
      var kills = 0
      while true {
        let moment = Double.random(in: 0.3...1.4) + Double(max(0, kills - 1))
        let result = try await runTool(
          "timeout",
          ["--foreground", "--preserve-status", "-s", "KILL", "\(moment)", try RollcallBinary.path] + arguments,
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

      // As after a kill between the conclusion and its files.
      try FileManager.default.removeItem(atPath: scratch.path("store/playbooks"))
      let again = try await rollcall("playbook", "resume", "last")
      let report = try #require(again.output.firstMatch(of: /HTML report: (.*)/)?.1)
      #expect(FileManager.default.fileExists(atPath: String(report)))
      let notes = (String(report) as NSString).deletingLastPathComponent + "/notes"
      #expect(
        try FileManager.default.contentsOfDirectory(atPath: notes).sorted() == [
          "01_world_size-2.md", "02_world_size-4.md",
        ])
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
