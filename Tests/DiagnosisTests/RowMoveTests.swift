import Alignment
import Comparison
import Coordination
import Diagnosis
import Dumps
import Reporting
import TestSupport
import Testing

/// Token rows that moved in a part of the batch, or on one rank alone.
@Suite("Rows that moved")
struct RowMoveTests {
  /// A stage of two ranks, each with its columns or each with all.
  ///
  /// - Parameter change: Python on `mine`, the target's rows of rank `rank`.
  private func report(isSharded: Bool, rows: Int = 39, change: String) async throws -> ComparisonReport {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import os, torch
        torch.manual_seed(5)
        def save(side, rank, layer, hidden):
            os.makedirs(side, exist_ok=True)
            torch.save({"hidden": hidden.bfloat16()}, f"{side}/layer{layer:02d}_AttnContext_rank{rank}_call000.pt")
        for layer in range(2):
            x = torch.randn(\(rows), 64, dtype=torch.float64)
            y = x * (1 + 2e-3 * torch.randn(x.shape, dtype=torch.float64))
            save("a", 0, layer, x)
            for rank in range(2):
                mine = (y.chunk(2, -1)[rank] if \(isSharded ? 1 : 0) else y).clone()
                if layer == 1:
                    \(change)
                save("b", rank, layer, mine)
        """, directory: scratch.path)
      func side(_ name: String, _ size: Int) throws -> ComparisonSide {
        ComparisonSide(set: try DumpSetLoader.load(directory: scratch.path(name), layout: .atom), worldSize: size)
      }
      return try await DumpComparer.compare(
        ComparisonRequest(reference: try side("a", 1), target: try side("b", 2), selection: .number(0)))
    }
  }

  @Test(
    "they are named with their places",
    arguments: [
      (true, "mine[26:] = mine[26:].roll(1, 0)", -1, Array(27..<39), [Int]()),
      (true, "mine[13:25] = mine[14:26].clone()", 1, Array(13..<25), []),
      (true, "if rank == 1: mine[26:] = mine[26:].roll(1, 0)", -1, Array(27..<39), [1]),
      (true, "if rank == 1: mine = mine.roll(-1, 0)", 1, Array(0..<38), [1]),
      (false, "if rank == 1: mine[13:26] = mine[13:26].roll(1, 0)", -1, Array(14..<26), [1]),
    ])
  func moved(isSharded: Bool, change: String, shift: Int, rows: [Int], ranks: [Int]) async throws {
    let report = try await report(isSharded: isSharded, change: change)
    #expect(report.verdict == .fail)
    let finding = try #require(report.findings.first)
    #expect(finding.cause == "row-shift", "\(finding.summary)")
    #expect(finding.evidence["shift"] == Double(shift))
    #expect(finding.tokens == rows)
    #expect(finding.ranks == ranks)
  }

  /// As many rows as blocks are tried.
  @Test("all rows of a short prompt", arguments: [8, 16, 39])
  func all(rows: Int) async throws {
    let finding = try #require(
      try await report(isSharded: true, rows: rows, change: "mine = mine.roll(1, 0)").findings.first)
    #expect(finding.cause == "row-shift", "\(finding.summary)")
    #expect(finding.evidence["shift"] == -1)
  }

  @Test("a rank that is off in another way is no rank whose rows moved")
  func other() async throws {
    let report = try await report(isSharded: false, change: "if rank == 1: mine[13:26] = mine[13:26].flip(0)")
    #expect(report.findings.first?.cause == "replica-divergence", "\(report.findings.map(\.summary))")
  }
}
