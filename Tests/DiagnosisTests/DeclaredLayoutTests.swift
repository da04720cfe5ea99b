import Alignment
import Comparison
import Coordination
import Diagnosis
import Dumps
import Reporting
import TestSupport
import Testing

@Suite("Layouts that are declared")
struct DeclaredLayoutTests {
  @Test("rules for blocks, heads and dims text join an honest sweep", arguments: [2, 4])
  func honest(worldSize: Int) async throws {
    let reference = try await Workload.shared.dumps("--nproc 1 --dtype bf16")
    let target = try await Workload.shared.dumps("--nproc \(worldSize) --dtype bf16")
    let dims = try (DimsText("t h[tp]"), DimsText("t h[tp:partial]"), DimsText("t h # tp:replicated"))
    let report = try await compare(reference, target) {
      $0.shardRules = [
        ("GateUp", .blocks(sizes: [1, 1], axis: -1)), ("KProj", .heads(HeadRule(keyValue: 8))),
        ("QProj", .dims(dims.0)), ("OProj", .dims(dims.1)), ("Attention", .dims(dims.2)),
      ]
    }
    let bad = report.rows.filter { $0.verdict != .pass }.map { "\($0.stage).\($0.tensor): \($0.why ?? "")" }
    #expect(bad.filter { !$0.contains(".input") }.isEmpty, "\(bad)")
    func plans(_ stage: String) -> [ShardPlan] {
      report.rows.filter { $0.stage == stage && $0.tensor == "hidden" }.map(\.shard)
    }
    #expect(Set(plans("GateUp").map(\.kind)) == [.blocks])
    #expect(Set(plans("OProj").map(\.kind)) == [.partial])
    #expect(Set(plans("Attention").map(\.kind)) == [.replicated])
    for stage in ["GateUp", "KProj", "QProj", "OProj", "Attention"] {
      #expect(!plans(stage).isEmpty && plans(stage).allSatisfy { $0.why.hasPrefix("rule: ") && !$0.isContradicted })
    }
  }

  @Test("the dump's own metadata decide, and a false statement fails with what the data say")
  func metadata() async throws {
    let reference = try await Workload.shared.dumps("--nproc 1 --dtype bf16")
    let target = try await Workload.shared.dumps("--nproc 2 --dtype bf16")
    func stated(_ text: String) throws -> DumpSet {
      var set = try load(target)
      for index in set.captures.indices
      where set.captures[index].stage == "QProj" && set.captures[index].tensor.name == "hidden" {
        set.captures[index].metadata = CaptureMetadata(
          dims: text, parallel: ["tp": ParallelRank(rank: set.captures[index].rank, size: 2)])
      }
      return set
    }
    let right = try stated("t h[tp]")
    let honest = try await compare(reference, target) { $0.target = ComparisonSide(set: right) }
    #expect(honest.verdict == .pass)
    let rows = honest.rows.filter { $0.stage == "QProj" && $0.tensor == "hidden" }
    #expect(!rows.isEmpty && rows.allSatisfy { $0.shard.why.contains("metadata: dims “t h[tp]”") })
    let wrong = try stated("t h")
    let refused = try await compare(reference, target) { $0.target = ComparisonSide(set: wrong) }
    #expect(refused.verdict != .pass)
    #expect(refused.rows.contains { $0.why?.contains("says nothing of it") == true })
    let other = try stated("t[tp] h")
    let failed = try await compare(reference, target) { $0.target = ComparisonSide(set: other) }
    #expect(failed.verdict == .fail)
  }

  @Test("copies that differ are not dropped")
  func copies() async throws {
    let reference = try await Workload.shared.dumps("--nproc 1 --dtype bf16")
    let target = try await Workload.shared.dumps("--nproc 2 --dtype bf16 --bug replica-divergence --layer 1")
    let text = try DimsText("t h # tp:replicated")
    let report = try await compare(reference, target) { $0.shardRules = [("MoE", .dims(text))] }
    #expect(report.verdict == .fail)
    #expect(report.findings.first?.cause == "replica-divergence")
  }

  @Test(
    "tokens are counted along the dimension that the dims text names", arguments: ["none", "noise", "chunks", "fault"])
  func tokensAlongTheirDimension(change: String) async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import os, sys, torch
        change = sys.argv[1]
        torch.manual_seed(1)
        index = {}
        def save(side, step, name, value, dims, layer=None):
            os.makedirs(side, exist_ok=True)
            index[side] = index.get(side, 0) + 1
            tags = {"step": step, "rank": 0, "dump_index": index[side], "name": name}
            if layer is not None: tags["layer_id"] = layer
            path = side + "/" + "___".join(f"{key}={tag}" for key, tag in tags.items()) + ".pt"
            torch.save({"value": value.contiguous(), "meta": dict(tags, dims=dims)}, path)
        def step(side, number, rows):
            ids, layers = rows
            save(side, number, "input_ids", ids, "t")
            for layer, (attention, mlp) in enumerate(layers):
                save(side, number, "attn_out", attention, "t h", layer)
                if side == "b":
                    if change != "none": mlp = mlp * (1 + 1e-3 * torch.randn(mlp.shape))
                    if change == "fault" and layer == 1: mlp = 1.2 * mlp
                    save(side, number, "mlp_out", mlp.bfloat16().t(), "h t", layer)
                else:
                    save(side, number, "mlp_out", mlp.bfloat16(), "t h", layer)
        def batch(count):
            return torch.randint(5, 1000, (count,)), [(torch.randn(count, 16), torch.randn(count, 16)) for _ in range(2)]
        def cut(batch, start, end):
            return batch[0][start:end], [tuple(x[start:end] for x in layer) for layer in batch[1]]
        prefill, decode = batch(12), batch(4)
        step("a", 0, prefill)
        step("a", 1, decode)
        parts = [cut(prefill, 0, 7), cut(prefill, 7, 12)] if change == "chunks" else [prefill]
        for number, part in enumerate(parts + [decode]): step("b", number, part)
        """, [change], directory: scratch.path)
      func side(_ name: String) throws -> ComparisonSide {
        ComparisonSide(set: try DumpSetLoader.load(directory: scratch.path(name), layout: .sglang), worldSize: 1)
      }
      let report = try await DumpComparer.compare(
        ComparisonRequest(reference: try side("a"), target: try side("b")))
      #expect(report.verdict == (change == "fault" ? .fail : .pass), "\(report.notes) \(report.rows.map(\.why))")
      #expect(report.rows.count == 5)
      if change == "fault" { #expect(report.firstDivergence?.layer == 1) }
    }
  }
}
