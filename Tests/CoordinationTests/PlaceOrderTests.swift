import Comparison
import Coordination
import Dumps
import Reporting
import TestSupport
import Testing

/// Tensors whose dotted names alone say when they were computed: what follows the layers is judged after them.
@Suite(.timeLimit(.minutes(30))) struct PlaceOrderTests {
  /// Six layers whose honest noise grows with the depth.
  private func report(_ scratch: Scratch, head: [String], tail: [String], inside: [String]) async throws
    -> ComparisonReport
  {
    try await runPython(
      """
      import sys, torch
      import safetensors.torch as st
      for side in sys.argv[1:]:
          torch.manual_seed(1)
          tensors = {}
          def add(name, noise):
              clean, wrong = torch.randn(24, 64), torch.randn(24, 64)
              tensors[name] = (clean + noise * wrong if side == sys.argv[2] else clean).to(torch.bfloat16)
          for name in \(head): add(name, 0)
          for layer in range(6):
              for name in \(inside): add(f"model.layers.{layer}.{name}", 0.004 * (layer + 1))
          for name in \(tail): add(name, 0.026)
          st.save_file(tensors, side + "/rank0.safetensors")
      """, [try scratch.directory("ref"), try scratch.directory("tgt")])
    let sides = try ["ref", "tgt"].map {
      ComparisonSide(set: try DumpSetLoader.load(directory: scratch.path($0), layout: .safetensors), worldSize: 1)
    }
    return try await DumpComparer.compare(ComparisonRequest(reference: sides[0], target: sides[1]))
  }

  @Test(arguments: [
    (["embed"], ["final_norm", "logits"]), (["model.embed_tokens"], ["model.norm", "lm_head"]),
    (["model.embed_tokens"], ["model.norm.out", "lm_head.out"]),
  ])
  func whatFollowsTheLayersIsJudgedAfterThem(_ head: [String], _ tail: [String]) async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, head: head, tail: tail, inside: ["mlp.out"])
      #expect(report.rows.map(\.layer) == [nil, 0, 1, 2, 3, 4, 5, nil, nil])
      func name(_ row: ComparisonReport.Row) -> String { row.stage.isEmpty ? row.tensor : "\(row.stage).\(row.tensor)" }
      #expect(report.rows.suffix(2).map(name) == tail)
      #expect(report.verdict == .pass, "\(report.rows.map(\.why))")
    }
  }

  @Test func theTensorsOfALayerAreInTheOrderOfTheirNames() async throws {
    try await Scratch.with { scratch in
      let names = ["attn_norm", "q", "attn_ctx", "attn_out", "ffn_norm", "gate", "ffn_out"]
      let report = try await report(scratch, head: [], tail: [], inside: names)
      #expect(report.rows.filter { $0.layer == 3 }.map(\.tensor) == names)
    }
  }
}
