import Alignment
import Comparison
import Coordination
import Diagnosis
import Dumps
import Reporting
import TestSupport
import Testing

/// Routers that dump the scores of all experts, before the best are taken.
@Suite("Router scores")
struct RouterScoreTests {
  /// Three layers of eight experts, of which a token takes two. At two tokens of each layer the second and the third
  /// best are a near-tie, and the target takes the other one.
  ///
  /// - Parameter fault: what is done to token 40 of layer 1, or to its router. `equal`: tokens 20 to 22 of all layers
  ///   have two equal scores in the reference, of which both sides take the later. `choices`: a quarter of the
  ///   tokens of layer 1 take their worst experts, and have a near-tie of the fifth and the sixth best there. `paths`:
  ///   SGLang's files, in which the router is called as in the model, `mlp.gate`. `light`: four more tokens of each layer
  ///   have the near-tie, of experts that weigh next to nothing beside their best.
  private func report(_ fault: String) async throws -> ComparisonReport {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import os, torch
        torch.manual_seed(11)
        tokens, width, experts, fault = 64, 96, 8, "\(fault)"
        def save(side, name, hidden):
            os.makedirs(side, exist_ok=True)
            if fault == "paths":
                layer, name = int(name[5:7]), "mlp.gate" if "gate" in name else "mlp"
                torch.save({"value": hidden.bfloat16(), "meta": {}}, f"{side}/step=0___rank=0___dump_index="
                    f"{2 * layer + ('gate' not in name)}___name=non_intrusive__model.layers.{layer}.{name}.output.pt")
                return
            torch.save({"hidden": hidden.bfloat16()}, f"{side}/{name}_rank0_call000.pt")
        for layer in range(3):
            weight = torch.randn(experts, width, dtype=torch.float64) / width ** 0.5
            maps = torch.randn(experts, width, width, dtype=torch.float64) / width ** 0.5
            x = torch.randn(tokens, width, dtype=torch.float64)
            y = x * (1 + 2e-3 * torch.randn(x.shape, dtype=torch.float64))
            ties, last = [7 + 3 * layer, 50 + layer], 2
            if fault == "choices": ties, last = [([7], 2), (list(range(0, 64, 4)), 5), ([], 2)][layer]
            for token in ties:
                second, third = (x[token] @ weight.t()).topk(last + 1).indices[last - 1:]
                between = weight[second] - weight[third]
                gap = x[token] @ between
                x[token] -= between * (gap - 0.002) / (between @ between)
                y[token] = x[token] - between * 0.004 / (between @ between)
            if fault == "light":
                for token in range(24, 28):
                    scores = x[token] @ weight.t()
                    best, second, third = scores.topk(3).indices
                    for z, gap in ((x, 0.002), (y, -0.002)):
                        wanted = scores.clone()
                        wanted[best], wanted[second] = scores[best] + 6, scores[third] + gap
                        z[token] = x[token] + torch.linalg.pinv(weight) @ (wanted - x[token] @ weight.t())
            for side, z in (("a", x), ("b", y)):
                own, bad = weight, side == "b" and layer == 1
                if bad and fault == "router-weight": own = weight.roll(1, 0)
                scores = z @ own.t()
                if bad and fault == "scores": scores[40] = scores[40].flip(0)
                if fault == "equal":
                    for token in (20, 21, 22):
                        best = (x[token] @ weight.t()).topk(3).indices[1:].sort().values
                        scores[token, best] = scores[token, best[0]].bfloat16().double()
                        if side == "b": scores[token, best[1]] += scores[token, best[1]].abs() / 128
                chosen = scores.topk(2).indices
                if fault == "equal":
                    for token in (20, 21, 22):
                        best = (x[token] @ weight.t()).topk(3).indices
                        chosen[token] = torch.stack([best[0], best[1:].max()])
                if bad and fault == "choices": chosen[ties] = scores[ties].topk(2, largest=False).indices
                if bad and fault == "choice": chosen[40, 1] = scores[40].topk(5).indices[4]
                picked = scores.gather(1, chosen).softmax(-1)
                each = torch.einsum("th,ehk->tek", z, maps)
                out = (each.gather(1, chosen[..., None].expand(-1, -1, width)) * picked[..., None]).sum(1)
                if bad and fault == "garbage": out[40] = torch.randn(width, dtype=torch.float64) * out.std()
                save(side, f"layer{layer:02d}_gate", scores)
                save(side, f"layer{layer:02d}_MoE", out)
                if fault == "choices":
                    torch.save({"hidden": chosen.int()}, f"{side}/layer{layer:02d}_TopKIds_rank0_call000.pt")
        """, directory: scratch.path)
      func side(_ name: String) throws -> ComparisonSide {
        let layout = fault == "paths" ? DumpLayout.sglang : .atom
        return ComparisonSide(set: try DumpSetLoader.load(directory: scratch.path(name), layout: layout), worldSize: 1)
      }
      return try await DumpComparer.compare(
        ComparisonRequest(reference: try side("a"), target: try side("b"), selection: .number(0)))
    }
  }

  @Test(
    "experts that change at a near-tie of the scores are rounding, and the report says where",
    arguments: ["none", "paths", "light"])
  func nearTie(form: String) async throws {
    let report = try await report(form)
    #expect(report.verdict == .pass, "\(report.rows.compactMap(\.why))")
    #expect(report.findings.isEmpty, "\(report.findings.map(\.summary))")
    #expect(report.notes.count { $0.contains("near-tie") } == 3, "\(report.notes)")
    let stage = form == "paths" ? "mlp" : "MoE"
    #expect(report.rows.count { $0.stage == stage && $0.why?.contains("set aside") == true } == 3)
  }

  @Test("of two equal scores either may have been taken")
  func equalScores() async throws {
    let report = try await report("equal")
    #expect(report.verdict == .pass, "\(report.rows.compactMap(\.why))")
    #expect(report.notes.count { $0.contains("near-tie") } == 3, "\(report.notes)")
  }

  @Test("how many experts a token takes is read from their numbers where they were dumped")
  func statedChoice() async throws {
    let report = try await report("choices")
    #expect(report.verdict == .fail)
    #expect(report.firstDivergence?.layer == 1, "\(report.findings.map(\.summary))")
    #expect(report.rows.count { $0.stage == "MoE" && $0.layer == 0 && $0.why?.contains("set aside") == true } == 1)
  }

  @Test("a token that the scores do not excuse fails", arguments: ["garbage", "choice"])
  func corruption(fault: String) async throws {
    let report = try await report(fault)
    #expect(report.verdict == .fail, "\(report.notes)")
    #expect(report.firstDivergence == .init(layer: 1, stage: "MoE"))
    #expect(report.findings.first?.cause == "token-corruption")
    #expect(report.findings.first?.tokens == [40])
  }

  @Test("a router that is wrong fails itself", arguments: ["scores", "router-weight"])
  func router(fault: String) async throws {
    let report = try await report(fault)
    #expect(report.verdict != .pass, "\(report.notes)")
    if fault == "router-weight" {
      #expect(report.verdict == .fail)
      #expect(report.firstDivergence == .init(layer: 1, stage: "gate"))
    }
  }
}
