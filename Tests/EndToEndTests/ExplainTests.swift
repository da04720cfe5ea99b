import Foundation
import TestSupport
import Testing

/// `--explain` over a sweep, while it is run and from the store.
@Suite(.serialized) struct ExplainTests {
  /// Lines that only an explanation has, from the first on.
  private func evidence(_ text: String) -> [Substring] {
    let lines = text.split(separator: "\n")
    let start = lines.firstIndex { $0.hasSuffix("the same place in every compared cell:") }
    return start.map { Array(lines[$0...]) } ?? []
  }

  @Test(.timeLimit(.minutes(10))) func aFindingShowsItsPlaceInEveryCell() async throws {
    try await SampleJob.with("planted-bug", replacing: [("[1, 2, 8]", "[1, 2, 4]")]) { rollcall, _ in
      let run = try await rollcall("run", "job.yaml", "--explain")
      #expect(run.status == 1, "\(run.errorOutput)")
      let live = evidence(run.output)
      for (size, factor) in [(2, 2.0), (4, 4.0)] {
        let row = try #require(
          live.dropFirst().first { $0.contains("world_size=\(size)") && $0.contains("FAIL") }, "\(run.output)")
        // The factor of a sum that is made twice follows the world size; the columns are those of the table's head.
        let figures = row.split(whereSeparator: \.isWhitespace).compactMap { Double($0) }
        #expect(figures.contains { abs($0 - factor) < 0.05 * factor }, "\(row)")
      }
      for part in ["in order of execution:", "MoE hidden, rel_l2 by layer:", "  ranks: replicated"] {
        #expect(live.contains { $0.contains(part) }, "\(part): \(run.output)")
      }

      let stored = try await rollcall("report", "last", "--explain")
      #expect(stored.status == 1)
      #expect(!live.isEmpty && live.dropLast().allSatisfy { evidence(stored.output).contains($0) })
      let plain = try await rollcall("report", "last")
      #expect(plain.status == 1)
      #expect(plain.output.contains("double-reduce at layer 2 MoE"))
      #expect(evidence(plain.output).isEmpty && !plain.output.contains("rel_l2 by layer"))
      let both = try await rollcall("report", "last", "--explain", "--json")
      #expect(both.status == 64)
      #expect(both.errorOutput.contains("--explain belongs to the text report"))
    }
  }
}
