import Alignment
import Comparison
import Coordination
import Dumps
import Reporting
import TestSupport
import Testing

/// Numbers, texts and flags that stand beside the tensors of a dump: listed, and told where they are not alike.
@Suite(.timeLimit(.minutes(30))) struct PlainDifferenceTests {
  /// Writes `ref` and `tgt` with one tensor that is the same in both, and what each states beside it.
  private func report(
    _ scratch: Scratch, _ left: String, _ right: String, file: String = "layer00_MoE_rank0_call001.pt",
    layout: DumpLayout = .atom, policy: NoisePolicy = .measured(NoiseFloors()), pattern: String? = nil
  ) async throws -> ComparisonReport {
    try await runPython(
      """
      import sys, torch
      tensor = torch.arange(40, dtype=torch.float32).reshape(5, 8).to(torch.bfloat16)
      for folder, beside in zip(sys.argv[1:3], sys.argv[3:5]):
          value = {"hidden": tensor, "shape": tuple(tensor.shape), **eval(beside)}
          torch.save(value, folder + "/" + sys.argv[5])
          if "call001" in sys.argv[5]:
              torch.save({**value, "other": len(folder)}, folder + "/" + sys.argv[5].replace("001", "002"))
      """, [try scratch.directory("ref"), try scratch.directory("tgt"), left, right, file])
    func side(_ name: String) throws -> ComparisonSide {
      ComparisonSide(
        set: try DumpSetLoader.load(directory: scratch.path(name), layout: layout, pattern: pattern), worldSize: 1)
    }
    return try await DumpComparer.compare(
      ComparisonRequest(
        reference: try side("ref"), target: try side("tgt"),
        // Such a file is of the warm-up, weights of no call.
        selection: file.contains("call001") ? .number(1) : layout == .weights ? .prefill : .warmUp, policy: policy))
  }

  private func told(_ report: ComparisonReport) -> [String] {
    report.notes.filter { $0.contains("beside the tensors") || $0.contains("in the place of tensors") }
  }

  @Test func whatBelongsToTheRunIsListedAndNotTold() async throws {
    try await Scratch.with { scratch in
      let report = try await report(
        scratch, "{'time': 1.5, 'pid': 7, 'host': 'a', 'dump_path': '/a', 'info': {'tp_rank': 0}}",
        "{'time': 2.5, 'pid': 9, 'host': 'b', 'dump_path': '/b', 'info': {'tp_rank': 3}}")
      #expect(report.verdict == .pass, "\(report.notes)")
      #expect(told(report) == [])
      let entry = report.coverage.ledger?.target.entries.first { $0.file == "layer00_MoE_rank0_call001.pt" }
      #expect(entry?.reason == .plain)
      #expect(entry?.values == ["time", "pid", "host", "dump_path", "info.tp_rank"])
    }
  }

  @Test func whatIsStatedOtherwiseIsToldAndJudgesNothing() async throws {
    try await Scratch.with { scratch in
      let report = try await report(
        scratch, "{'positions': [0, 1, 2], 'is_prefill': True, 'backend': 'a', 'layers': 2}",
        "{'positions': [0, 2, 3], 'is_prefill': False, 'backend': 'b', 'layers': 2.0}")
      #expect(report.verdict == .pass, "\(report.notes)")
      #expect(
        told(report) == [
          "stated beside the tensors and not alike: backend a in the reference, b in the target (layer 0 MoE rank 0); "
            + "is_prefill True in the reference, False in the target (layer 0 MoE rank 0); positions 1 in the "
            + "reference, 2 in the target (layer 0 MoE rank 0, one of 2 places)"
        ])
      #expect(report.json().contains("is_prefill True in the reference"))
    }
  }

  /// As a tensor without dimensions would say more, and has no floor.
  @Test(arguments: [
    ("1.5", "2.5", Verdict.inconclusive), ("1.5", "1.5001", .pass), ("float('nan')", "float('nan')", .inconclusive),
    ("float('inf')", "float('inf')", .pass), ("1.5", "float('-inf')", .inconclusive), ("2", "2.0", .pass),
    ("0.0", "1e-30", .inconclusive), ("1.5", "'none'", .inconclusive),
  ])
  func aFigureThatDiffersIsNoPass(_ left: String, _ right: String, _ verdict: Verdict) async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, "{'logits_sum': \(left)}", "{'logits_sum': \(right)}")
      #expect(report.verdict == verdict, "\(report.notes)")
      #expect(told(report).count == (verdict == .pass ? 0 : 1))
      #expect(told(report).allSatisfy { $0.contains("logits_sum") && $0.contains("layer 0 MoE rank 0") })
      #expect(told(report).allSatisfy { $0.contains("is NaN on both sides") == left.contains("nan") })
      #expect(report.rows.allSatisfy { $0.verdict == .pass })
    }
  }

  /// A world has ranks that the other lacks: all that one side says alike is what each of them is to say.
  @Test(arguments: [
    (["1.5"], ["1.5", "1.5"], Verdict.pass), (["1.5"], ["1.5", "6.0"], .inconclusive),
    (["1.5", "6.0"], ["1.5"], .inconclusive), (["1.5", "6.0"], ["1.5", "6.0", "7.0"], .pass),
    (["1"], ["1", "2"], .pass),
  ])
  func figuresOfRanksThatOneSideHas(_ left: [String], _ right: [String], _ verdict: Verdict) async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import sys, torch
        for folder, beside in zip(sys.argv[1:3], sys.argv[3:5]):
            for rank, gain in enumerate(beside.split()):
                tensor = torch.arange(40, dtype=torch.float32).reshape(5, 8).to(torch.bfloat16)
                for call in range(2):
                    torch.save({"hidden": tensor, "gain": eval(gain)}, f"{folder}/layer00_MoE_rank{rank}_call00{call}.pt")
        """,
        [
          try scratch.directory("ref"), try scratch.directory("tgt"), left.joined(separator: " "),
          right.joined(separator: " "),
        ])
      let sides = try [("ref", left.count), ("tgt", right.count)].map {
        ComparisonSide(set: try DumpSetLoader.load(directory: scratch.path($0.0), layout: .atom), worldSize: $0.1)
      }
      let report = try await DumpComparer.compare(
        ComparisonRequest(reference: sides[0], target: sides[1], selection: .number(1)))
      #expect(report.verdict == verdict, "\(report.notes)")
      #expect(told(report).count == (verdict == .pass ? 0 : 1))
      #expect(told(report).allSatisfy { $0.contains("gain") && $0.contains("rank 1") })
    }
  }

  @Test func aFigureOfOneSideAloneIsTold() async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, "{'mean': 0.25, 'note': 'x'}", "{'gain': 2.5, 'steps': 4}")
      #expect(report.verdict == .pass, "\(report.notes)")
      #expect(
        told(report) == [
          "stated beside the tensors and not alike: mean 0.25 in the reference, not stated in the target (layer 0 MoE "
            + "rank 0); gain not stated in the reference, 2.5 in the target (layer 0 MoE rank 0)"
        ])
    }
  }

  @Test func underStrictEveryFigureIsTheSame() async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, "{'logits_sum': 1.5}", "{'logits_sum': 1.5001}", policy: .strict)
      #expect(report.verdict == .inconclusive, "\(report.notes)")
    }
  }

  @Test(arguments: [
    ("layer00_MoE_rank0.pt", DumpLayout.atom, nil), ("weight_rank0_layer0.pt", .weights, nil),
    ("moe-0.pt", .custom, #"(?<stage>\w+)-(?<rank>\d+)\.pt"#),
  ])
  func inEveryLayoutOfTorchFiles(_ file: String, _ layout: DumpLayout, _ pattern: String?) async throws {
    try await Scratch.with { scratch in
      let report = try await report(
        scratch, "{'_tp_size': 1, 'mean': 0.25}", "{'_tp_size': 1, 'mean': 0.5}", file: file, layout: layout,
        pattern: pattern)
      #expect(report.verdict == .inconclusive)
      #expect(told(report).count == 1 && told(report)[0].contains("mean 0.25"), "\(report.notes)")
      let counts = try #require(report.coverage.ledger?.target.counts)
      #expect(counts[.plain] == (layout == .atom ? 2 : 4))
    }
  }

  @Test func ofSafetensorsTheMetadata() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import sys, torch
        import safetensors.torch as st
        for folder in sys.argv[1:]:
            st.save_file({"layers.0.q": torch.ones(4, 3)}, folder + "/a.safetensors", {"revision": folder[-3:]})
        """, [try scratch.directory("ref"), try scratch.directory("tgt")])
      let sides = try ["ref", "tgt"].map {
        ComparisonSide(set: try DumpSetLoader.load(directory: scratch.path($0), layout: .safetensors))
      }
      let report = try await DumpComparer.compare(ComparisonRequest(reference: sides[0], target: sides[1]))
      #expect(report.verdict == .pass, "\(report.notes)")
      #expect(told(report).count == 1 && told(report)[0].contains("revision ref in the reference"), "\(report.notes)")
      #expect(report.coverage.ledger?.target.counts == [.plain: 1])
    }
  }
}
