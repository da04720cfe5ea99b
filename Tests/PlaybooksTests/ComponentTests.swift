import Comparison
import OrderedCollections
import Planning
import Playbooks
import Testing

/// The playbooks that switch components.
@Suite struct ComponentTests {
  private func play(_ playbook: any Playbook, fails: @escaping (Set<String>) -> Bool) throws -> (Conclusion, [Step]) {
    let (conclusion, steps) = try Play.through(playbook) { Play.outcome($0, fails($0.words) ? .fail : .pass) }
    return (conclusion, steps)
  }

  // MARK: isolate

  @Test func theComponentThatBringsItIsFoundOneByOne() throws {
    let (conclusion, steps) = try play(Isolate(Subjects.components())) { $0.contains("fusion") }
    #expect(conclusion.kind == "component")
    #expect(conclusion.subject == "fusion")
    #expect(conclusion.summary.contains("with it alone"))
    #expect(
      steps.map(\.experiment.step) == ["as-configured", "minimal", "with-graphs", "with-fusion", "only-fusion"])
  }

  @Test func theLastComponentNeedsNoSecondRunOfEverything() throws {
    let (conclusion, steps) = try play(Isolate(Subjects.components())) { $0.contains("streams") }
    #expect(conclusion.subject == "streams")
    #expect(steps.map(\.experiment.step).last == "only-streams")
    #expect(Set(steps.map(\.experiment.words)).count == steps.count, "no configuration is run twice")
  }

  @Test func whatBreaksOnlyTogetherIsSaid() throws {
    let (conclusion, _) = try play(Isolate(Subjects.components())) { $0.isSuperset(of: ["graphs", "fusion"]) }
    #expect(conclusion.subject == "fusion")
    #expect(conclusion.summary.contains("only together with graphs"))
  }

  @Test func whatIsWrongWithEverythingOffIsTheCore() throws {
    let (conclusion, steps) = try play(Isolate(Subjects.components())) { _ in true }
    #expect(conclusion.kind == "core-path")
    #expect(steps.count == 2)
    let (clean, _) = try play(Isolate(Subjects.components())) { _ in false }
    #expect(clean.kind == "no-bug")
  }

  // MARK: ablate and necessity

  @Test func ablationSaysWhatTheBugNeeds() throws {
    let (conclusion, steps) = try play(OneAtATime(Subjects.components(), .ablate)) { $0.contains("fusion") }
    #expect(conclusion.kind == "needed")
    #expect(conclusion.subject == "fusion")
    #expect(steps.count == 4)
    // One change a run, never two.
    for step in steps.dropFirst() { #expect(step.experiment.words.count == 2) }
    let (either, _) = try play(OneAtATime(Subjects.components(), .ablate)) {
      $0.contains("fusion") || $0.contains("graphs")
    }
    #expect(either.kind == "none-needed")
  }

  @Test func necessityPartsCriticalFixesFromTheOthers() throws {
    let subject = try Subjects.components("necessity: [graphs, fusion]")
    let (conclusion, _) = try play(OneAtATime(subject, .necessity)) { !$0.contains("graphs") }
    #expect(conclusion.verdict == .pass)
    #expect(conclusion.summary == "Critical: graphs. Fine-tuning: fusion.")
    let (unfixed, steps) = try play(OneAtATime(subject, .necessity)) { _ in true }
    #expect(unfixed.kind == "not-fixed")
    #expect(steps.count == 1)
  }

  // MARK: quantisation

  private func quantised() throws -> Subject {
    try Subjects.subject(
      playbook: """
        components:
          bf16: {on: {arguments: bf16}}
          fake: {on: {overlay: {engine.yaml: {transforms: {fuse_fp8_linear: {enabled: false}}}}, arguments: fake}}
        quantisation: {unquantised: bf16, fake: fake}
        """)
  }

  @Test func theKernelIsPartedFromTheScales() throws {
    let (kernel, steps) = try play(Quantisation(quantised())) { $0.isEmpty }
    #expect(kernel.kind == "quantised-kernel")
    #expect(steps.map(\.experiment.step) == ["quantised", "unquantised", "fake-quantised"])
    let (scales, _) = try play(Quantisation(quantised())) { !$0.contains("bf16") }
    #expect(scales.kind == "scales")
    let (unrelated, _) = try play(Quantisation(quantised())) { _ in true }
    #expect(unrelated.kind == "not-quantisation")
    let (clean, _) = try play(Quantisation(quantised())) { _ in false }
    #expect(clean.kind == "no-bug")
  }

  @Test(arguments: [
    (300.0, 0.99, 300.0, "a missing or inverted scale"), (2.0, 0.99, 1.0, "a scale that is applied wrongly"),
    (1.0, 0.1, 1.3, "the wrong layout"), (1.0, 0.99, 0.12, "an incorrect block scale"),
    (1.0, 0.9999, 0.02, "a wrong accumulation"),
  ]) func theSuspectFollowsTheNumbers(alpha: Double, cos: Double, relL2: Double, text: String) throws {
    let row = Outcome.Row(
      layer: 3, stage: "MoE", tensor: "hidden", verdict: .fail, cos: cos, relL2: relL2, alpha: alpha)
    let (conclusion, _) = try Play.through(Quantisation(quantised())) {
      $0.words.contains("bf16") ? Play.outcome($0, .pass) : Play.outcome($0, .fail, rows: [row])
    }
    #expect(conclusion.evidence.contains { $0.contains("layer 3 MoE") && $0.contains(text) })
  }

  /// A module with a suspect inside is none itself, and what the runs have refuted is no cause.
  @Test func theModuleAroundASuspectIsNone() throws {
    func rows(_ stage: String, _ input: Double, _ output: Double, alpha: Double) -> [Outcome.Row] {
      [("input", input, 1.0), ("hidden", output, alpha)].map { tensor, relL2, alpha in
        Outcome.Row(
          layer: 1, stage: stage, tensor: tensor, verdict: relL2 > 0.05 ? .fail : .pass, cos: 0.99, relL2: relL2,
          alpha: alpha)
      }
    }
    let all = rows("MoE", 0.01, 1, alpha: 2) + rows("Block", 0.01, 0.44, alpha: 1.1)
    func play(_ cause: String) throws -> Conclusion {
      try Play.through(Quantisation(quantised())) {
        $0.words.isEmpty
          ? Play.outcome($0, .fail, rows: all, findings: [Play.finding(cause, layer: 1, stage: "MoE")])
          : Play.outcome($0, .pass)
      }.conclusion
    }
    let reduced = try play("double-reduce")
    #expect(reduced.kind == "quantised-kernel" && reduced.layer == 1 && reduced.stage == "MoE")
    #expect(reduced.cause == nil, "unquantised it is reduced once")
    #expect(!reduced.evidence.contains { $0.contains("double-reduce") })
    #expect(reduced.evidence.filter { $0.hasPrefix("Suspect") }.count == 1, "\(reduced.evidence)")
    #expect(try play("float8-variant").cause == "float8-variant")
  }

  @Test func severalSuspectsAreRankedByTheirNumbers() throws {
    func stage(_ layer: Int, _ stage: String, _ input: Double, _ output: Double, alpha: Double = 1, cos: Double = 0.99)
      -> [Outcome.Row]
    {
      [("input", input, 1.0, 0.9999), ("hidden", output, alpha, cos)].map { tensor, relL2, alpha, cos in
        Outcome.Row(
          layer: layer, stage: stage, tensor: tensor, verdict: relL2 > 0.01 ? .fail : .pass, cos: cos, relL2: relL2,
          alpha: alpha)
      }
    }
    let rows =
      stage(0, "Attention", 0, 0.02) + stage(0, "MoE", 0.001, 0.12) + stage(1, "Attention", 0.1, 0.11)
      + stage(1, "MoE", 0.1, 0.4) + stage(2, "Attention", 0.1, 299, alpha: 300) + stage(3, "MoE", 0.1, 1.3, cos: 0.1)
    let (conclusion, _) = try Play.through(Quantisation(quantised())) {
      $0.words.contains("bf16") ? Play.outcome($0, .pass) : Play.outcome($0, .fail, rows: rows)
    }
    let suspects = conclusion.evidence.filter { $0.hasPrefix("Suspect") }.map { $0.prefix { $0 != ":" } }
    #expect(
      suspects == [
        "Suspect 1 at layer 2 Attention", "Suspect 2 at layer 3 MoE", "Suspect 3 at layer 1 MoE",
        "Suspect 4 at layer 0 MoE", "Suspect 5 at layer 0 Attention",
      ], "layer 1 Attention only carries on what comes in")
  }

  /// An engine's job: its six fusions off by an overlay of the file that it is given, its dumps by variables.
  @Test func aRealEnginesJobCanBeSaid() throws {
    let fusions = [
      "fuse_fp8_linear", "fuse_nvfp4_linear", "fuse_finegrained_fp8_linear", "fuse_fp8_moe",
      "fuse_finegrained_fp8_moe", "fuse_nvfp4_moe",
    ]
    let text = """
      name: autodeploy
      matrix: {world_size: [1, 2]}
      run:
        command: trtllm-bench --model $MODEL
        env: {MODEL: nvidia/fp8, ATOM_FWD_DUMP_DIR: "${{ dump_dir }}", ATOM_FWD_DUMP_ONE_SHOT: "0"}
      dumps: {layout: atom, slots: 4}
      compare: {reference: {world_size: 1}}
      playbook:
        components:
          unquantised: {on: {env: {MODEL: meta/bf16}}}
          fake:
            on:
              env: {AD_FAKE_QUANT: "1"}
              arguments: [--extra_llm_api_options, fake_quant.yaml]
              overlay:
                fake_quant.yaml:
                  transforms:
      \(fusions.map { "              \($0): {enabled: false}" }.joined(separator: "\n"))
        quantisation: {unquantised: unquantised, fake: fake}
      """
    let plan = try Planner.plan(text: text, path: "/job.yaml")
    let (_, steps) = try Play.through(Quantisation(Subject(plan))) {
      Play.outcome($0, $0.step == "unquantised" ? .pass : .fail)
    }
    #expect(steps.count == 3)
    let runs = try steps.map { step in
      try #require(Planner.plan(text: text, path: "/job.yaml", change: step.experiment.change).cells.last?.run)
    }
    #expect(runs.map { $0.env["MODEL"] } == ["nvidia/fp8", "meta/bf16", "nvidia/fp8"])
    #expect(runs.map { $0.env["AD_FAKE_QUANT"] } == [nil, nil, "1"])
    for run in runs { #expect(run.displayed.env["ATOM_FWD_DUMP_DIR"] == "${{ dump_dir }}") }
    #expect(runs[0].written == nil)
    #expect(runs[2].command.hasSuffix("--extra_llm_api_options fake_quant.yaml"))
    let overlay = try #require(runs[2].written?["fake_quant.yaml"])
    for fusion in fusions { #expect(overlay.contains(fusion), "\(overlay)") }
  }
}
