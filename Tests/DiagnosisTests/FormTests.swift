import Alignment
import Comparison
import Coordination
import Diagnosis
import Dumps
import Reporting
import TestSupport
import Testing

/// Clean dumps that lost something on the way to the disk, and faults in such dumps.
@Suite("Dumps in unusual forms")
struct FormTests {
  /// Writes what each test needs: `save(folder, name, tensor)`, and rows whose noise is bfloat16's.
  private static let common = """
    import os, torch
    torch.manual_seed(3)
    def save(folder, name, hidden, **more):
        os.makedirs(folder, exist_ok=True)
        torch.save({"hidden": hidden, "shape": tuple(hidden.shape), **more}, f"{folder}/{name}.pt")
    def rows(count=20, width=256):
        return torch.randn(count, width, dtype=torch.float64)
    def shaken(x):
        return x * (1 + 2e-3 * torch.randn(x.shape, dtype=torch.float64))

    """

  private func load(_ path: String, pattern: String? = nil) throws -> ComparisonSide {
    ComparisonSide(
      set: try DumpSetLoader.load(directory: path, layout: pattern == nil ? .atom : .custom, pattern: pattern))
  }

  private func compare(
    _ scratch: Scratch, pattern: String? = nil, selection: CallSelection = .prefill,
    policy: NoisePolicy = .measured(NoiseFloors())
  ) async throws -> ComparisonReport {
    try await DumpComparer.compare(
      ComparisonRequest(
        reference: try load(scratch.path("a"), pattern: pattern), target: try load(scratch.path("b"), pattern: pattern),
        selection: selection, policy: policy))
  }

  @Test("bfloat16 results that are stored as float32, float64 or float16 are judged as bfloat16")
  func storedInAFinerType() async throws {
    for (stored, rounded, verdict) in [
      ("float32", "bfloat16", Verdict.pass), ("float64", "bfloat16", .pass), ("float16", "bfloat16", .pass),
      ("float32", "float16", .pass), ("float32", "float32", .fail),
    ] {
      try await Scratch.with { scratch in
        try await runPython(
          Self.common + """
            for layer in range(3):
                for call, x in ((0, torch.ones(20, 256, dtype=torch.float64)), (1, rows())):
                    for side, y in (("a", x), ("b", shaken(x) if call and layer else x)):
                        y = y.to(torch.\(rounded)).to(torch.\(stored))
                        save(side, f"layer{layer:02d}_Block_rank0_call{call:03d}", y)
            """, directory: scratch.path)
        let report = try await compare(scratch)
        #expect(report.verdict == verdict, "\(stored) of \(rounded): \(report.notes)")
        #expect(report.notes.contains { $0.contains("judged by its rounding") } == (verdict == .pass))
      }
    }
  }

  @Test("a fault in bfloat16 results that are stored as float32 is still one")
  func faultInAFinerType() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        Self.common + """
          for layer in range(3):
              for call, x in ((0, torch.ones(20, 256, dtype=torch.float64)), (1, rows())):
                  for side, y in (("a", x), ("b", x * (1.05 if call and layer == 1 else 1))):
                      save(side, f"layer{layer:02d}_Block_rank0_call{call:03d}", y.bfloat16().float())
          """, directory: scratch.path)
      let report = try await compare(scratch)
      #expect(report.verdict == .fail)
      #expect(report.firstDivergence?.layer == 1)
    }
  }

  @Test("partial sums of bfloat16 that are stored as float32 are judged as bfloat16", arguments: [1, 1.05])
  func partialsInAFinerType(factor: Double) async throws {
    try await Scratch.with { scratch in
      try await runPython(
        Self.common + """
          for layer in range(3):
              for call, x in ((0, torch.ones(20, 256, dtype=torch.float64)), (1, rows())):
                  share = rows() * 0.5
                  whole = x * (\(factor) if call and layer == 1 else 1)
                  for side, parts in (("a", [x]), ("b", [share, whole - share])):
                      for rank, part in enumerate(parts):
                          save(side, f"layer{layer:02d}_OProj_rank{rank}_call{call:03d}", part.bfloat16().float())
                          save(side, f"layer{layer:02d}_Block_rank{rank}_call{call:03d}", x.bfloat16().float())
          """, directory: scratch.path)
      let report = try await compare(scratch)
      #expect(report.verdict == (factor == 1 ? .pass : .fail), "\(report.rows.compactMap(\.why))")
      #expect(report.firstDivergence?.layer == (factor == 1 ? nil : 1))
    }
  }

  @Test("a projection twice as wide as a wrong one is no gate and up in one")
  func widerProjection() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        Self.common + """
          for layer in range(3):
              for call, fill in ((0, torch.ones), (1, torch.randn)):
                  q, k = (fill(20, width, dtype=torch.float64) for width in (512, 256))
                  bad = k * 0.8 + 0.5 * torch.randn(k.shape, dtype=torch.float64) if call and layer == 1 else k
                  for side, ranks, key in (("a", 1, k), ("b", 2, bad)):
                      for name, x in (("QProj", q), ("KProj", key)):
                          for rank, part in enumerate(x.chunk(ranks, -1)):
                              save(side, f"layer{layer:02d}_{name}_rank{rank}_call{call:03d}", part.bfloat16())
          """, directory: scratch.path)
      let report = try await compare(scratch)
      #expect(report.firstDivergence == .init(layer: 1, stage: "KProj"))
      #expect(!report.findings.contains { $0.cause == "fused-shard-layout" }, "\(report.findings.map(\.summary))")
    }
  }

  @Test("outputs of all modules in one file are judged in the order in which modules end")
  func modulesInOneFile() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        Self.common + """
          for side, ranks in (("a", 1), ("b", 4)):
              torch.manual_seed(5)
              held, x = {}, rows()
              for layer in range(3):
                  name = f"model.layers.{layer}"
                  held[f"{name}.self_attn.q_proj"] = rows()
                  held[f"{name}.self_attn.o_proj"] = attention = rows()
                  held[f"{name}.mlp.down_proj"] = mlp = rows() * (4 if side == "b" and layer == 1 else 1)
                  held[name] = x = x + attention + mlp
              os.makedirs(side)
              for rank in range(ranks):
                  torch.save({key: value.bfloat16() for key, value in held.items()}, f"{side}/rank{rank}.pt")
          """, directory: scratch.path)
      let report = try await compare(scratch, pattern: #"rank(?<rank>[0-9]+)\.pt"#)
      #expect(report.firstDivergence == .init(layer: 1, stage: "model.mlp"))
      #expect(report.findings.first?.cause == "double-reduce", "\(report.findings.map(\.summary))")
    }
  }

  @Test("files that every call writes anew are compared with the call of as many tokens")
  func lastCall() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        Self.common + """
          for layer in range(2):
              x = rows()
              save("a", f"layer{layer:02d}_Attn_rank0_call000", torch.ones(32, 256).bfloat16())
              save("a", f"layer{layer:02d}_Attn_rank0_call001", x.bfloat16())
              save("b", f"ref_layer{layer:02d}_Attn__hidden_out_rank0", x.bfloat16())
          """, directory: scratch.path)
      let report = try await compare(scratch)
      #expect(report.verdict == .pass, "\(report.notes) \(report.coverage.unmatched)")
      #expect(report.rows.map(\.call.reference) == [1, 1])

      // Both sides hold the last call; the warm-up is no prefill.
      let kept = try load(scratch.path("b"))
      let own = try await DumpComparer.compare(ComparisonRequest(reference: kept, target: kept))
      #expect(own.verdict == .pass && own.rows.count == 2, "\(own.notes)")
      try await runPython(
        Self.common + """
          for layer in range(2):
              save("b", f"ref_layer{layer:02d}_Attn__hidden_out_rank0", torch.ones(32, 256).bfloat16())
          """, directory: scratch.path)
      let warmUp = try await compare(scratch)
      #expect(warmUp.verdict == .inconclusive)
      #expect(warmUp.findings.contains { $0.cause == "wrong-call" && $0.summary.contains("hold the last call alone") })
    }
  }

  @Test(
    "a file that every call wrote anew is none of the calls that stand beside it",
    arguments: ["same", "other", "lost", "more calls"], ["Block__out", "Block__hidden_in"])
  func lastCallBesideCalls(change: String, stage: String) async throws {
    try await Scratch.with { scratch in
      try await runPython(
        Self.common + """
          for layer in range(2):
              for call, x in enumerate((torch.ones(20, 256), rows(), rows(4), rows(4))):
                  for side in "ab":
                      if call == 3 and (side == "a" or "\(change)" != "more calls"): continue
                      save(side, f"layer{layer:02d}_Block_rank0_call{call:03d}", x.bfloat16(), input=x.bfloat16())
          last = rows(4)
          save("a", "ref_layer00_\(stage)_rank0", last.bfloat16())
          if "\(change)" != "lost":
              save("b", "ref_layer00_\(stage)_rank0", (0 * last if "\(change)" == "other" else last).bfloat16())
          """, directory: scratch.path)
      let report = try await compare(scratch)
      let rows = report.rows.filter { $0.call.reference == nil }
      switch change {
      case "same", "other":
        #expect(report.verdict == (change == "same" ? .pass : .fail), "\(report.notes) \(report.coverage.unmatched)")
        #expect(rows.map(\.verdict) == [report.verdict] && report.rows.count == 5, "\(report.rows)")
      default:
        // One side has none, or the last calls of the two runs are not the same call.
        #expect(report.verdict == .inconclusive, "\(report.rows)")
        let unmatched = report.coverage.unmatched
        #expect(rows.isEmpty && !unmatched.isEmpty, "\(report.rows)")
        #expect(unmatched.allSatisfy { $0.contains("layer 0 Block[last call]") }, "\(unmatched)")
      }
    }
  }

  @Test("a rank that gave zeros alone is absent, and no norm weight or scale", arguments: [2, 4, 8])
  func silentRank(worldSize: Int) async throws {
    for (form, rank) in [("columns", worldSize - 1), ("columns", 0), ("terms", 0)] {
      try await Scratch.with { scratch in
        try await runPython(
          Self.common + """
            world, form, silent = \(worldSize), "\(form)", \(rank)
            for layer in range(3):
                terms = [rows() for _ in range(world)]
                for stage, x in (("MLP", sum(terms)), ("Block", rows())):
                    save("a", f"layer{layer:02d}_{stage}_rank0_call000", x.bfloat16())
                    for rank in range(world):
                        part = x if stage == "Block" else x.chunk(world, 1)[rank] if form == "columns" else terms[rank]
                        if stage == "MLP" and layer == 1 and rank == silent: part = 0 * part
                        save("b", f"layer{layer:02d}_{stage}_rank{rank}_call000", part.bfloat16())
            """, directory: scratch.path)
        let report = try await compare(scratch, selection: .number(0))
        #expect(report.verdict == .fail)
        let first = report.findings.first
        #expect(first?.cause == "rank-absent" && first?.ranks == [rank] && first?.layer == 1, "\(report.findings)")
        #expect(!report.findings.contains { $0.cause == "norm-weight-offset" })
      }
    }
  }

  @Test("a custom layout without calls holds what its user dumped")
  func customWithoutCalls() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        Self.common + """
          import numpy
          for layer in range(2):
              x = rows()
              for side in "ab":
                  os.makedirs(side, exist_ok=True)
                  numpy.save(f"{side}/Attn-{layer}-r0.npy", x.numpy())
          """, directory: scratch.path)
      let pattern = #"(?<stage>\w+?)-(?<layer>\d+)-r(?<rank>\d+)\.npy"#
      let report = try await compare(scratch, pattern: pattern)
      #expect(report.verdict == .pass && report.rows.count == 2, "\(report.notes) \(report.findings)")
      // A pattern that misses files proves nothing of them.
      let short = try await compare(scratch, pattern: pattern.replacing(#"<layer>\d+"#, with: "<layer>0"))
      #expect(short.verdict == .inconclusive && short.rows.count == 1, "\(short.notes)")
      #expect(short.notes.contains { $0.contains("Attn-1-r0.npy") }, "\(short.notes)")
      // What holds no tensor by its name is no dump.
      for side in ["a", "b"] { try scratch.write("\(side)/run.log", "done") }
      #expect(try await compare(scratch, pattern: pattern).verdict == .pass)
    }
  }

  @Test("a lost file of one call of one layer is missing, and moves no other call", arguments: [true, false])
  func lostCall(isDistinct: Bool) async throws {
    for (layer, call) in [(0, 1), (0, 2), (1, 1), (1, 2)] {
      try await Scratch.with { scratch in
        try await runPython(
          Self.common + """
            for layer in range(2):
                for call in (1, 2):
                    x = rows(16) if \(isDistinct ? "True" : "False") else rows(1).repeat(16, 1)
                    for side in "ab":
                        save(side, f"layer{layer:02d}_Block_rank0_call{call:03d}", x.bfloat16())
            os.remove("b/layer0\(layer)_Block_rank0_call00\(call).pt")
            """, directory: scratch.path)
        let report = try await compare(scratch)
        #expect(report.verdict == .inconclusive, "layer \(layer) call \(call): \(report.notes) \(report.findings)")
        #expect(report.rows.allSatisfy { $0.verdict != .fail })
      }
    }
  }

  @Test("an input of other bytes and the same values is the same input")
  func signOfZero() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        Self.common + """
          for layer in range(2):
              for call, x in ((0, torch.ones(20, 256, dtype=torch.float64)), (1, rows())):
                  x[0, 0] = 0
                  for side in "ab":
                      given = x.clone()
                      if side == "b": given[0, 0] = -0.0
                      y = x * (2 if side == "b" and call and layer else 1)
                      save(side, f"layer{layer:02d}_Block_rank0_call{call:03d}", y.bfloat16(), input=given.bfloat16())
          """, directory: scratch.path)
      let report = try await compare(scratch, policy: .strict)
      #expect(report.verdict == .fail)
      #expect(report.findings.allSatisfy { $0.cause != "input-mismatch" }, "\(report.findings)")
    }
  }
}
