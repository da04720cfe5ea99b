import Foundation
import TestSupport
import Testing

@testable import rollcall

@Suite struct ProgressBarTests {
  @Test func theLineSaysHowFarHowFastAndHowLong() {
    let half = ProgressBar.line("comparing", done: 1200, total: 4800, elapsed: 9, measuring: 4)
    #expect(half == "comparing [#####               ] 1200 of 4800 captures, 300/s, 12 s left")
    #expect(
      ProgressBar.line("comparing", done: 0, total: 0, elapsed: 3.7, measuring: nil).contains("reading the files, 3 s"))
    #expect(ProgressBar.line("comparing", done: 0, total: 10, elapsed: 1, measuring: 0).hasSuffix("0 of 10 captures"))
    #expect(ProgressBar.line("comparing", done: 10, total: 10, elapsed: 9, measuring: 8).hasSuffix("0 s left"))
    #expect(
      ProgressBar.line("comparing", done: 1, total: 1_000_000, elapsed: 9, measuring: 8).hasSuffix("99 h 59 min left"))
  }

  @Test func withoutATerminalNothingIsDrawn() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import os, torch
        os.makedirs("a")
        torch.save({"hidden": torch.ones(20, 8)}, "a/layer00_Block_rank0_call000.pt")
        """, directory: scratch.path)
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      for arguments in [["compare", "a", "a", "--select", "0"], ["slots", "a", "--slots", "2", "--select", "0"]] {
        let outcome = try await rollcall.run(arguments)
        #expect(outcome.errorOutput.isEmpty)
        #expect(!outcome.output.contains("\u{1B}"))
      }
    }
  }
}
