import Alignment
import Comparison
import Coordination
import Diagnosis
import Dumps
import Reporting
import TestSupport
import Testing

/// Terms of the residual stream: what is added twice, and what is added before it was reduced.
@Suite("Residual stream")
struct ResidualTests {
  /// Three layers on two ranks: a stage `Resid` (the stream and the attention's output), an MLP and the block's output,
  /// or a mixture of experts.
  ///
  /// - Parameter fault: what the target does wrong, and in which layers.
  private func report(_ fault: String, layers: String = "(0, 1, 2)") async throws -> ComparisonReport {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import os, torch
        torch.manual_seed(5)
        fault, wrong, size = "\(fault)", \(layers), 2
        def rows(): return torch.randn(24, 128, dtype=torch.float64)
        def save(side, rank, layer, stage, hidden):
            os.makedirs(side, exist_ok=True)
            noise = 1 + (2e-3 * torch.randn(hidden.shape, generator=torch.Generator().manual_seed(layer)) if side == "b" else 0)
            torch.save({"hidden": (hidden * noise).bfloat16()}, f"{side}/layer{layer:02d}_{stage}_rank{rank}_call000.pt")
        stream = rows()
        for layer in range(3):
            before, attention, routed, shared = stream, rows(), rows(), rows()
            first = rows()
            parts = [first, shared - first]
            middle = before + attention
            stream = middle + shared
            for side, ranks in (("a", 1), ("b", size)):
                bad = side == "b" and layer in wrong
                for rank in range(ranks):
                    if fault.startswith("branch"):
                        own = parts[rank] if bad and fault == "branch" else shared
                        save(side, rank, layer, "RoutedExperts", routed)
                        save(side, rank, layer, "SharedExpert", own)
                        save(side, rank, layer, "MoE", routed + own)
                        continue
                    own = parts[rank] if side == "b" and fault in ("partial", "missing") and bad else shared
                    save(side, rank, layer, "Resid", middle + (before if bad and fault == "twice" else 0))
                    save(side, rank, layer, "MLP", own)
                    save(side, rank, layer, "Block", middle + own if fault == "missing" else stream)
        """, directory: scratch.path)
      func side(_ name: String, _ size: Int) throws -> ComparisonSide {
        ComparisonSide(set: try DumpSetLoader.load(directory: scratch.path(name), layout: .atom), worldSize: size)
      }
      return try await DumpComparer.compare(
        ComparisonRequest(reference: try side("a", 1), target: try side("b", 2), selection: .number(0)))
    }
  }

  @Test("a residual that is added twice is found in the output of the layer before")
  func repeated() async throws {
    let report = try await report("twice", layers: "(2,)")
    #expect(report.firstDivergence == .init(layer: 2, stage: "Resid"))
    let finding = try #require(report.findings.first)
    #expect(finding.cause == "residual-repeated", "\(finding.summary)")
    #expect(finding.summary.contains("Block of layer 1"), "\(finding.summary)")
  }

  @Test("an all-reduce that is missing in every layer is missing where the partials are, not where they are added")
  func everywhere() async throws {
    let report = try await report("missing")
    #expect(report.verdict == .fail)
    #expect(report.firstDivergence == .init(layer: 0, stage: "MLP"))
    #expect(report.findings.first?.cause == "missing-reduce", "\(report.findings.map(\.summary))")
    #expect(report.findings.first?.stage == "MLP")
    // Dumped before its all-reduce, in every layer.
    let partial = try await self.report("partial")
    #expect(partial.verdict == .pass, "\(partial.rows.compactMap(\.why))")
    #expect(partial.findings.isEmpty)
  }

  @Test("a branch that is not reduced is called one where it was dumped itself")
  func branch() async throws {
    let report = try await report("branch", layers: "(1,)")
    #expect(report.verdict == .fail)
    let finding = try #require(report.findings.first)
    #expect(finding.cause == "branch-missing-reduce", "\(finding.summary)")
    #expect(finding.layer == 1)
    #expect(finding.stage == "SharedExpert")
    #expect(finding.summary.contains("RoutedExperts"), "\(finding.summary)")
  }
}
