import Foundation
import TestSupport
import Testing

/// Files beside the dumps that no layout places.
@Suite(.timeLimit(.minutes(2))) struct OverlookedTests {
  @Test(arguments: [
    ("layer02-Block-rank0.npy", "", 2), ("more/Block.npz", "", 2), ("model.safetensors", "", 2),
    ("block.bin", "PK\u{3}\u{4}", 2), ("block.ckpt", "PK\u{3}\u{4}", 2), ("tokens.bin", "", 0), ("notes.txt", "", 0),
    ("run.json", "", 0),
  ])
  func aDumpThatNobodyReadsIsNoPass(_ file: String, head: String, status: Int) async throws {
    try await Scratch.with { scratch in
      for (side, content) in [("reference", "one"), ("target", "other")] {
        try await runPython(
          """
          import numpy, os, sys
          numpy.save(sys.argv[1] + "/layer00_Block_rank0.npy", numpy.arange(8.0))
          """, [try scratch.directory(side)])
        try scratch.write("\(side)/\(file)", head + content)
      }
      let outcome = try await RollcallBinary(store: scratch.path("store"), directory: scratch.path)(
        "compare", "reference", "target", "--layout", "npy", "--select", "warm-up")
      #expect(outcome.status == status, "\(outcome.output) \(outcome.errorOutput)")
      if status != 0 { #expect(outcome.output.contains(file), "\(outcome.output)") }
    }
  }

  @Test func twoRunsUnderOneDirectoryAreBadInput() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import os, torch
        for folder in ("reference", "target/night1", "target/night2"):
            os.makedirs(folder)
            torch.save({"hidden": torch.arange(8.0)}, f"{folder}/layer00_Block_rank0.pt")
        """, directory: scratch.path)
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      for words in [
        ["compare", "reference", "target"], ["schema", "reference", "target"], ["unshard", "target", "-o", "whole"],
      ] {
        let outcome = try await rollcall.run(words)
        #expect(outcome.status == 65, "\(words): \(outcome.output) \(outcome.errorOutput)")
        #expect(outcome.errorOutput.contains("night1 and night2 hold the same captures"), "\(outcome.errorOutput)")
        #expect(outcome.errorOutput.contains("name one of them"), "\(outcome.errorOutput)")
      }
      // A job that leaves two is open, and says why.
      try scratch.write(
        "fleet.yaml",
        "hosts: [{name: here, local: true, workdir: \(scratch.path)/work, lease_dir: \(scratch.path)/leases}]")
      try scratch.write(
        "job.yaml",
        """
        name: nights
        run: {command: cp -r \(scratch.path)/target/. "$ROLLCALL_DUMP_DIR"}
        dumps: {layout: atom, select: warm-up}
        compare: {reference: ./reference}
        """)
      let sweep = try await rollcall.run(["run", "job.yaml", "--fleet", "fleet.yaml", "--json"])
      #expect(sweep.status == 2, "\(sweep.output) \(sweep.errorOutput)")
      #expect(sweep.output.contains("hold the same captures"), "\(sweep.output)")
    }
  }

  @Test func aDumpBehindALinkOrANameThatCannotBeReadIsNoPass() async throws {
    try await Scratch.with { scratch in
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      for side in ["reference", "target"] {
        try await runPython(
          """
          import numpy, os, sys
          numpy.save(sys.argv[1] + "/layer00_Block_rank0.npy", numpy.arange(8.0))
          """, [try scratch.directory(side)])
        try scratch.directory("\(side)/rank0")
      }
      let words = ["compare", "reference", "target", "--layout", "npy", "--select", "warm-up"]
      // What it leads to is looked at anyway.
      try FileManager.default.createSymbolicLink(
        atPath: scratch.path("target/latest"), withDestinationPath: scratch.path("target/rank0"))
      let clean = try await rollcall.run(words)
      #expect(clean.status == 0, "\(clean.output) \(clean.errorOutput)")

      let link = scratch.path("target/rank1")
      try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: scratch.path("reference"))
      let linked = try await rollcall.run(words)
      #expect(linked.status == 2 && linked.output.contains("rank1"), "\(linked.output) \(linked.errorOutput)")
      try FileManager.default.removeItem(atPath: link)

      try await runPython(
        "import os, sys; open(os.fsencode(sys.argv[1]) + b'/layer00_\\xe2_rank0.npy', 'wb').close()",
        [scratch.path("target")])
      let unnamed = try await rollcall.run(words)
      #expect(unnamed.status == 2 && unnamed.output.contains("UTF-8"), "\(unnamed.output) \(unnamed.errorOutput)")
    }
  }

  /// Without it, half of a tensor would be held against the whole.
  @Test(arguments: [0, 100, nil])
  func aRankOfWhichNothingCanBeReadIsMissed(length: Int?) async throws {
    try await Scratch.with { scratch in
      try scratch.directory("reference")
      try scratch.directory("target")
      try await runPython(
        """
        import numpy
        whole = numpy.random.default_rng(1).standard_normal((4, 8), dtype=numpy.float32)
        numpy.save("reference/layer00_Block_rank0.npy", whole)
        for rank, half in enumerate(numpy.split(whole, 2, 1)):
            numpy.save(f"target/layer00_Block_rank{rank}.npy", half)
        """, directory: scratch.path)
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      let words = ["compare", "reference", "target", "--select", "warm-up"]
      let whole = try await rollcall.run(words)
      #expect(whole.status == 0, "\(whole.output) \(whole.errorOutput)")

      let file = scratch.path("target/layer00_Block_rank1.npy")
      if let length {
        try Data(contentsOf: URL(filePath: file)).prefix(length).write(to: URL(filePath: file))
      } else {
        try FileManager.default.removeItem(atPath: file)
        try FileManager.default.createSymbolicLink(atPath: file, withDestinationPath: "gone.npy")
      }
      let cut = try await rollcall.run(words)
      #expect(cut.status == 2, "\(cut.output) \(cut.errorOutput)")
      #expect(cut.output.contains("incomplete-ranks"), "\(cut.output)")
    }
  }

  /// What was never written is zero, and a wrong path is a side twice.
  @Test func zerosAndASideHeldAgainstItselfAreNoPass() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import numpy, os
        for side, factor in [("zeros", 0), ("other-zeros", -0.0), ("some", 1), ("other", 1)]:
            os.mkdir(side)
            for layer, value in [(0, numpy.zeros(8)), (1, numpy.arange(8.0))]:
                numpy.save(f"{side}/layer{layer:02d}_Block_rank0.npy", value * factor)
        os.symlink("some", "same")
        """, directory: scratch.path)
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      func outcome(_ reference: String, _ target: String) async throws -> RollcallBinary.Outcome {
        try await rollcall("compare", reference, target, "--select", "warm-up")
      }
      let some = try await outcome("some", "other")
      #expect(some.status == 0, "\(some.output) \(some.errorOutput)")
      #expect(some.output.contains("zero throughout on both sides: 1 of 2 tensors, the first layer 0 Block"))
      let zeros = try await outcome("zeros", "other-zeros")
      #expect(zeros.status == 2 && zeros.output.contains("zero on both sides"), "\(zeros.output)")
      for side in ["some", "same", "./some/"] {
        let same = try await outcome("some", side)
        #expect(same.status == 2 && same.output.contains("the same directory"), "\(same.output)")
      }
    }
  }
}
