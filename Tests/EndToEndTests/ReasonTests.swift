import Foundation
import TestSupport
import Testing

/// What a report says of runs that gave nothing to compare.
@Suite(.timeLimit(.minutes(3))) struct ReasonTests {
  @Test func whatIsMissingIsToldOnceWithItsOwnReason() async throws {
    try await Scratch.with { scratch in
      try scratch.write(
        "fleet.yaml",
        "hosts: [{name: here, local: true, gpus: 2, workdir: \(scratch.path)/work, lease_dir: \(scratch.path)/leases}]")
      try scratch.write(
        "dump.py",
        """
        import numpy, os, sys
        if sys.argv[1] == "1":
            numpy.save(os.environ["ROLLCALL_DUMP_DIR"] + "/layer00_Block_rank0.npy", numpy.arange(8.0))
        sys.exit(3 if sys.argv[1] == "4" else 0)
        """)
      try scratch.write(
        "job.yaml",
        """
        name: reasons
        matrix: {part: [1, 2, 3, 4]}
        run:
          command: \(testPython) dump.py ${{ part }}
          files: [dump.py]
          gpus: 1
        overrides: [{when: {part: 3}, run: {gpus: 7}}]
        dumps: {layout: npy, select: warm-up}
        compare: {reference: {part: 1}}
        """)
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      let outcome = try await rollcall("run", "job.yaml", "--fleet", "fleet.yaml")
      #expect(outcome.status == 3)
      let lines = outcome.output.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
      #expect(
        lines.contains(
          "part=2: not compared: run part=2 left no dumps: no file came from its dump directory ($ROLLCALL_DUMP_DIR)"),
        "\(outcome.output)")
      let tooLarge = try #require(lines.firstIndex(of: "part=3, run 1: failed"), "\(outcome.output)")
      #expect(lines[tooLarge + 1] == "needs 7 GPUs; the largest host that matches has 2 (here)")
      // It is the only one of its cell, and printed nothing.
      #expect(!outcome.output.contains("missing from the noise"), "\(outcome.output)")
      #expect(!outcome.output.contains("│"), "\(outcome.output)")
      #expect(!outcome.output.contains("did you mean the parent"), "\(outcome.output)")

      // Killed when its report was stored and its files were not written yet, it is whole at the next look.
      let path = try #require(lines.last?.split(separator: " ").last.map(String.init))
      let page = try Data(contentsOf: URL(filePath: path))
      try FileManager.default.removeItem(atPath: path)
      #expect(try await rollcall("resume", "last").status == 3)
      #expect(FileManager.default.contents(atPath: path) == page)
    }
  }
}
