import Comparison
import Coordination
import Dumps
import Foundation
import Reporting
import TestSupport

/// Dumps of the sample workload, small enough for a debug build; each set of arguments is run once.
actor SampleRuns {
  static let shared = SampleRuns()

  private static let model = [
    "--hidden", "64", "--heads", "4", "--kv-heads", "4", "--head-dim", "16", "--intermediate", "64",
    "--expert-width", "32", "--experts", "4", "--layers", "3", "--prompt-length", "5", "--decode-steps", "1",
    "--vocabulary", "64", "--dtype", "bf16",
  ]

  private var runs: [String: Task<String, any Error>] = [:]
  /// Serves every test of the process, and goes when it does.
  private static let root =
    FileManager.default.temporaryDirectory.path
    + "/rollcall-samples-\(ProcessInfo.processInfo.processIdentifier)"

  private init() {
    atexit { try? FileManager.default.removeItem(atPath: SampleRuns.root) }
  }

  private func run(_ arguments: String) async throws -> String {
    if let run = runs[arguments] { return try await run.value }
    let directory = "\(Self.root)/\(runs.count)"
    let run = Task {
      let script = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "Jobs/workloads/tiny_tp.py").path
      try await runTool(
        warmPython, [script] + Self.model + arguments.split(separator: " ").map(String.init),
        environment: [
          "ATOM_FWD_DUMP_DIR": directory, "ATOM_FWD_DUMP_BLOCK_CLASS": "Embedding,QProj,Attention,MoE,Block",
          "ATOM_FWD_DUMP_ONE_SHOT": "0", "OMP_NUM_THREADS": "1",
        ])
      return directory
    }
    runs[arguments] = run
    return try await run.value
  }

  /// A copy of the dumps of one run, three calls of each stage, that a test may damage.
  func make(_ arguments: String, in scratch: Scratch, name: String) async throws -> String {
    let copy = scratch.path(name)
    // With the times of the files: they tell the order of the stages.
    try await runTool("cp", ["-a", try await run(arguments), copy])
    return copy
  }

  /// A reference of one rank and a target of two, in bfloat16.
  func pair(in scratch: Scratch, bug: String = "") async throws -> (String, String) {
    let reference = try await make("--nproc 1", in: scratch, name: "reference")
    let target = try await make("--nproc 2 \(bug)", in: scratch, name: "target")
    return (reference, target)
  }

  static func request(_ reference: DumpSource, _ target: DumpSource, policy: NoisePolicy) -> ComparisonRequest {
    ComparisonRequest(
      reference: ComparisonSide(set: reference.emptySet, worldSize: 1),
      target: ComparisonSide(set: target.emptySet, worldSize: 2), slots: 4, policy: policy)
  }
}
