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
}
