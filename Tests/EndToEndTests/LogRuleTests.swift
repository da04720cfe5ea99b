import Foundation
import TestSupport
import Testing

/// What a job forbids and requires in the logs of its runs, in sweeps whose dumps agree.
@Suite(.timeLimit(.minutes(5))) struct LogRuleTests {
  struct Case: Sendable {
    var says: String
    var forbid = "(?i)falling back"
    var require = "^ready$"
    var verdict: String
    /// Stands in the notes.
    var note: String?
  }

  static let cases = [
    Case(says: "echo ready", verdict: "pass"),
    Case(
      says: "echo ready; echo 'Falling back to the slow kernel' >&2", verdict: "inconclusive", note: "Falling back to"),
    Case(says: "true", verdict: "inconclusive", note: "lacks the required line (^ready$)"),
    // What stood at the beginning of a long log is not known afterwards.
    Case(
      says: "echo 'Falling back to the slow kernel'; yes filler | head -c 6000000; echo ready", verdict: "inconclusive",
      note: "only the last 4 MiB were kept"),
    // A pattern that the engine gives up on, or that takes years.
    Case(
      says: "printf '%0200000d' 0; echo ' falling back'; echo ready",
      forbid: #"(\S| )*falling back"#, verdict: "inconclusive",
      note: "a forbidden line ((\\S| )*falling back) is not known"),
    Case(
      says: "printf '%0200000d' 0; echo ' ready'", require: #"(\S| )*ready"#, verdict: "inconclusive",
      note: "the required line ((\\S| )*ready) is not known"),
    Case(
      says: "echo 'moe_fused_kernel_for_shape_4096x14336_on_device_gfx942_is_missing; x: falling back'; echo ready",
      forbid: #"(\w+,? ?)+: falling back"#, verdict: "inconclusive", note: "takes too long, by the line \"moe_fused"),
  ]

  @Test(arguments: cases) func whatIsForbiddenOrLackingIsNoPass(_ test: Case) async throws {
    try await Scratch.with { scratch in
      try scratch.write(
        "job.yaml",
        """
        name: logs
        matrix: {form: [plain, other]}
        run:
          command: |
            "$PYTHON" -c 'import numpy, os; numpy.save(os.environ["ROLLCALL_DUMP_DIR"] + "/layer00_Block_rank0.npy", numpy.arange(8.0))'
            \(test.says)
          env: {PYTHON: \(testPython)}
        dumps: {layout: npy, select: warm-up}
        compare: {reference: {form: plain}}
        logs: {forbid: ['\(test.forbid)'], require: ['\(test.require)']}
        """)
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      let outcome = try await rollcall("run", "job.yaml", "--json")
      let report = try outcome.json()
      #expect(report["verdict"] as? String == test.verdict, "\(outcome.output.suffix(2000)) \(outcome.errorOutput)")
      let notes = try #require(report["notes"] as? [String])
      if let note = test.note { #expect(notes.contains { $0.contains(note) }, "\(notes)") }
    }
  }
}
