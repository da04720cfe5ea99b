import Foundation
import TestSupport
import Testing

/// Files beside the dumps that no layout places.
@Suite(.timeLimit(.minutes(2))) struct OverlookedTests {
  @Test(arguments: [
    ("layer02-Block-rank0.npy", 2), ("more/Block.npz", 2), ("model.safetensors", 2), ("notes.txt", 0), ("run.json", 0),
  ])
  func aDumpThatNobodyReadsIsNoPass(_ file: String, status: Int) async throws {
    try await Scratch.with { scratch in
      for (side, content) in [("reference", "one"), ("target", "other")] {
        try await runPython(
          """
          import numpy, os, sys
          numpy.save(sys.argv[1] + "/layer00_Block_rank0.npy", numpy.arange(8.0))
          """, [try scratch.directory(side)])
        try scratch.write("\(side)/\(file)", content)
      }
      let outcome = try await RollcallBinary(store: scratch.path("store"), directory: scratch.path)(
        "compare", "reference", "target", "--layout", "npy", "--select", "warm-up")
      #expect(outcome.status == status, "\(outcome.output) \(outcome.errorOutput)")
      if status != 0 { #expect(outcome.output.contains(file), "\(outcome.output)") }
    }
  }
}
