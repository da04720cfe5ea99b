import Foundation
import TestSupport
import Testing

/// A playbook over dumps of another layout than ATOM's.
@Suite struct PlaybookLayoutTests {
  /// Runs the sample workload with the layers and modules that are asked for, and writes its dumps as SGLang's dumper
  /// does, under the module paths of a Hugging Face model.
  private static let engine = """
    import glob, os, re, subprocess, sys, tempfile, torch
    modules = {"layer": ["Block"], "self_attn": ["Attention"], "mlp": ["MLP", "MoE"]}
    paths = {"Block": "", "Attention": ".self_attn", "MLP": ".mlp", "MoE": ".mlp"}
    with tempfile.TemporaryDirectory() as folder:
        classes = [c for name in os.environ["DUMP_MODULES"].split(",") for c in modules[name]]
        env = dict(os.environ, ATOM_FWD_DUMP_DIR=folder, ATOM_FWD_DUMP_ONE_SHOT="0",
                   ATOM_FWD_DUMP_LAYERS=os.environ["DUMP_LAYERS"], ATOM_FWD_DUMP_BLOCK_CLASS=",".join(classes))
        subprocess.run([sys.executable, "tiny_tp.py"] + sys.argv[1:], env=env, check=True)
        index = 0
        # A module ends after those inside it.
        for path in sorted(glob.glob(folder + "/*.pt"), key=lambda path: ("_Block_" in path, path)):
            layer, name, rank, call = re.match(r"layer(\\d+)_(\\w+?)_rank(\\d+)_call(\\d+)", os.path.basename(path)).groups()
            dump = torch.load(path, weights_only=False)
            module = "non_intrusive__model.layers.%d%s" % (int(layer), paths[name])
            values = [("inputs.hidden_states", dump["input"]), ("inputs.positions", torch.arange(dump["input"].shape[0]))]
            for tail, value in values + [("output", dump["hidden"])]:
                index += 1
                tags = dict(step=int(call), rank=int(rank), dump_index=index, name=module + "." + tail,
                            recompute_status="disabled")
                file = "___".join("%s=%s" % tag for tag in tags.items()) + ".pt"
                torch.save({"value": value, "meta": dict(tags)}, os.path.join(os.environ["ROLLCALL_DUMP_DIR"], file))
    """

  private func bisect(
    _ bug: String, layers: Int, _ body: (RollcallBinary.Outcome, [String: Any]) throws -> Void
  ) async throws {
    try await Scratch.with { scratch in
      try scratch.write("engine.py", Self.engine)
      try FileManager.default.createSymbolicLink(
        atPath: scratch.path("workloads"), withDestinationPath: RollcallBinary.repository + "/Jobs/workloads")
      try scratch.write(
        "job.yaml",
        """
        name: sglang
        matrix: {world_size: [1, 2]}
        run:
          command: ${ROLLCALL_PYTHON:-python3} engine.py --device cpu --layers \(layers) --nproc ${{ world_size }} \(bug)
          files: [engine.py, workloads/tiny_tp.py]
          gpus: 0
          timeout: 10m
        dumps: {layout: sglang, select: 1}
        compare: {reference: {world_size: 1}}
        playbook:
          bisect:
            layers: 0-\(layers - 1)
            classes: [[layer], [self_attn, mlp]]
            layers_env: DUMP_LAYERS
            classes_env: DUMP_MODULES
        """)
      let rollcall = RollcallBinary.warm(in: scratch)
      let outcome = try await rollcall("playbook", "bisect", "job.yaml", "--json")
      let conclusion = try #require(
        try outcome.json()["conclusion"] as? [String: Any], "\(outcome.output) \(outcome.errorOutput)")
      let runs = try #require(try outcome.json()["runs"] as? Int)
      #expect(Double(runs) <= 2 * log2(Double(layers)) + 3)
      try body(outcome, conclusion)
    }
  }

  @Test(.timeLimit(.minutes(10))) func aClassOfLayersIsSeenInSGLangsLayout() async throws {
    try await bisect("--bug double-reduce --layer 5 --bug-every 2 --stage MoE --bug-from-world-size 2", layers: 16) {
      outcome, conclusion in
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      #expect(conclusion["kind"] as? String == "located")
      #expect(conclusion["layer"] as? Int == 5)
      #expect(conclusion["stage"] as? String == "mlp")
      #expect(conclusion["subject"] as? String == "every second layer", "\(conclusion)")
    }
  }

  @Test(.timeLimit(.minutes(10))) func whatHasNoBugIsNoBugInSGLangsLayout() async throws {
    try await bisect("", layers: 16) { outcome, conclusion in
      #expect(outcome.status == 0, "\(outcome.errorOutput) \(outcome.output)")
      #expect(conclusion["kind"] as? String == "no-bug")
      let evidence = try #require(conclusion["evidence"] as? [String])
      #expect(evidence.contains { $0.contains("No layer, and no stretch of layers") }, "\(evidence)")
    }
  }
}
