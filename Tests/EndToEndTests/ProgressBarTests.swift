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

  /// Gigabytes of holes, read for the first time and by one core: longer than the second after which a bar is drawn.
  @Test(.timeLimit(.minutes(10))) func onATerminalALineIsDrawnAndTakenAway() async throws {
    try await Scratch.with { scratch in
      let core = try await runPython(
        """
        import json, os, struct
        for side in "ab":
            os.mkdir(side)
            for name in "xy":
                size = 3 << 29
                header = json.dumps({name: {"dtype": "F32", "shape": [384, 1 << 20], "data_offsets": [0, size]}})
                with open(f"{side}/{name}.safetensors", "wb") as file:
                    file.write(struct.pack("<Q", len(header)) + header.encode())
                    file.truncate(8 + len(header) + size)
        print(min(os.sched_getaffinity(0)))
        """, directory: scratch.path)
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      let command =
        "exec taskset -c \(core.output.filter(\.isNumber)) \"$ROLLCALL_BINARY\" compare a b --layout safetensors"
      for (redirections, isDrawn) in [("--json >out", true), ("2>errors", false)] {
        try await runTool(
          "script", ["-qefc", "stty rows 40 cols 100; \(command) \(redirections)", "shown"],
          environment: rollcall.variables.merging(["ROLLCALL_BINARY": try RollcallBinary.path, "SHELL": "/bin/sh"]) {
            $1
          }, directory: scratch.path, timeout: .seconds(500), mustSucceed: false)
        let shown = try #require(scratch.text("shown"))
        #expect(shown.contains("\r\u{1B}[Kcomparing [") == isDrawn, "\(shown.suffix(400))")
        #expect(shown.contains(" of 4 captures") == isDrawn)
        if isDrawn {
          // The line is gone at the end, and standard output is the record alone.
          let last = try #require(shown.components(separatedBy: "\r\u{1B}[K").last)
          #expect(!last.contains("comparing"))
          let record = try JSONSerialization.jsonObject(with: Data((scratch.text("out") ?? "").utf8)) as? [String: Any]
          #expect((record?["rows"] as? [Any])?.count == 2)
        } else {
          #expect(scratch.text("errors")?.isEmpty == true)
          #expect(!shown.contains("\u{1B}[K") && shown.contains("2 of 2"))
        }
      }
    }
  }
}
