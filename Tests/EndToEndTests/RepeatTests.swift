import Foundation
import TestSupport
import Testing

/// Runs of one cell that are repeated, and what it means where they differ.
@Suite(.timeLimit(.minutes(5))) struct RepeatTests {
  /// A prompt in two equal slots of four rows. `seed` is a Python expression.
  private func sweep(seed: String, _ scratch: Scratch) async throws -> RollcallBinary.Outcome {
    try scratch.write(
      "job.yaml",
      """
      name: slots
      repeat: 2
      run:
        command: |
          "$PYTHON" -c 'import numpy, os; d = os.environ["ROLLCALL_DUMP_DIR"]; r = numpy.random.default_rng(\(seed)).random((4, 8)); numpy.save(d + "/layer00_Block_rank0.npy", numpy.concatenate([r, r]))'
        env: {PYTHON: \(testPython)}
      dumps: {layout: npy, select: warm-up, slots: 2}
      compare: {mode: slots}
      """)
    return try await RollcallBinary(store: scratch.path("store"), directory: scratch.path)("run", "job.yaml", "--json")
  }

  @Test func slotsThatAgreeInRunsThatDoNotAreNoPass() async throws {
    try await Scratch.with { scratch in
      let outcome = try await sweep(seed: #"int(os.environ["ROLLCALL_RUN"].encode().hex(), 16)"#, scratch)
      let report = try outcome.json()
      #expect(report["verdict"] as? String == "fail", "\(outcome.output.suffix(2000)) \(outcome.errorOutput)")
      let sentence = report["sentence"] as? String ?? ""
      #expect(sentence == "The same run does not give the same bytes twice, first at layer 0, Block.", "\(sentence)")
    }
  }

  @Test func slotsAndRunsThatAgreePass() async throws {
    try await Scratch.with { scratch in
      let outcome = try await sweep(seed: "7", scratch)
      #expect(try outcome.json()["verdict"] as? String == "pass", "\(outcome.output.suffix(2000))")
    }
  }
}
