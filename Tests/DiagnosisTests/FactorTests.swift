import Alignment
import Comparison
import Coordination
import Diagnosis
import Dumps
import Reporting
import TestSupport
import Testing

/// A factor that is no larger than what the noise of the layers before may be.
@Suite("Small factors")
struct FactorTests {
  /// Twenty layers of one rank in bfloat16, and of two whose halves of each product are rounded before they are added.
  ///
  /// - Parameter fault: of the last layer's MLP in the target: a Python expression of `hidden`.
  private func report(_ fault: String) async throws -> ComparisonReport {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import os, torch
        torch.manual_seed(3)
        layers, size, tokens = 20, 192, 40
        def weight(rows, columns): return (torch.randn(rows, columns) / columns ** 0.5).bfloat16()
        weights = [(weight(2 * size, size), weight(size, 2 * size)) for _ in range(layers)]
        # A channel of nearly all of the norm, the same in every token, as trained models have.
        sink = torch.zeros(size, dtype=torch.bfloat16)
        sink[7] = 60
        start = torch.randn(tokens, size).bfloat16()

        def product(x, weight, parts):
            if parts == 1: return x @ weight.T
            pieces = zip(x.chunk(parts, dim=1), weight.chunk(parts, dim=1))
            return sum(left @ right.T for left, right in pieces)

        def norm(x): return (x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True))).bfloat16()

        def save(side, layer, stage, hidden, ranks):
            os.makedirs(side, exist_ok=True)
            for rank in range(ranks):
                torch.save({"hidden": hidden}, f"{side}/layer{layer:02d}_{stage}_rank{rank}_call000.pt")

        for side, parts in (("a", 1), ("b", 2)):
            stream = start
            for layer, (up, down) in enumerate(weights):
                hidden = product(torch.nn.functional.silu(product(norm(stream), up, parts)), down, parts)
                if layer == layers - 1: hidden = hidden + sink
                if side == "b" and layer == layers - 1: hidden = \(fault)
                save(side, layer, "MLP", hidden, parts)
                stream = stream + hidden
                save(side, layer, "Block", stream, parts)
        """, directory: scratch.path)
      func side(_ name: String, _ size: Int) throws -> ComparisonSide {
        ComparisonSide(set: try DumpSetLoader.load(directory: scratch.path(name), layout: .atom), worldSize: size)
      }
      return try await DumpComparer.compare(
        ComparisonRequest(reference: try side("a", 1), target: try side("b", 2), selection: .number(0)))
    }
  }

  @Test(
    "a factor of one per cent in the last layer is no PASS",
    arguments: [
      ("1.01 * hidden", "repeated-scale"), ("1.03 * hidden", "repeated-scale"), ("0.98 * hidden", "missing-scale"),
    ])
  func factor(_ fault: String, _ cause: String) async throws {
    let report = try await report(fault)
    #expect(report.verdict == .fail)
    #expect(report.firstDivergence?.layer == 19)
    #expect(report.firstDivergence?.stage == "MLP")
    #expect(report.findings.first?.cause == cause, "\(report.findings)")
    let row = try #require(report.rows.first { $0.layer == 19 && $0.stage == "MLP" })
    // The onset alone would let it pass.
    #expect((row.jump ?? .nan) < 2.5)
  }

  @Test(
    "what rounding leaves, also where one channel is all of the norm, is none",
    arguments: ["hidden", "torch.cat([hidden[:, :7], 1.008 * hidden[:, 7:8], hidden[:, 8:]], dim=1)"])
  func clean(_ fault: String) async throws {
    let report = try await report(fault)
    #expect(report.verdict == .pass, "\(report.notes) \(report.rows.filter { $0.verdict != .pass })")
    #expect(report.rows.contains { ($0.measures?.relL2 ?? 0) > 0.008 }, "the sides do differ")
  }
}
