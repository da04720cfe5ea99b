import Comparison
import Coordination
import Dumps
import Foundation
import Reporting
import TestSupport

/// Dumps of the sample workload, small enough for a debug build.
enum SampleRuns {
  private static let model = [
    "--hidden", "64", "--heads", "4", "--kv-heads", "4", "--head-dim", "16", "--intermediate", "64",
    "--expert-width", "32", "--experts", "4", "--layers", "3", "--prompt-length", "5", "--decode-steps", "1",
    "--vocabulary", "64",
  ]

  /// Runs the workload and gives the directory of its dumps: three calls of each stage.
  static func make(_ arguments: String, in scratch: Scratch, name: String) async throws -> String {
    let script = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "Jobs/workloads/tiny_tp.py").path
    try await runTool(
      testPython, [script] + model + arguments.split(separator: " ").map(String.init),
      environment: [
        "ATOM_FWD_DUMP_DIR": scratch.path(name), "ATOM_FWD_DUMP_BLOCK_CLASS": "Embedding,QProj,Attention,MoE,Block",
        "ATOM_FWD_DUMP_ONE_SHOT": "0", "OMP_NUM_THREADS": "1",
      ])
    return scratch.path(name)
  }

  /// A reference of one rank and a target of two.
  static func pair(_ arguments: String, in scratch: Scratch, bug: String = "") async throws -> (String, String) {
    async let reference = make("--nproc 1 \(arguments)", in: scratch, name: "reference")
    async let target = make("--nproc 2 \(arguments) \(bug)", in: scratch, name: "target")
    return try await (reference, target)
  }

  static func request(_ reference: DumpSource, _ target: DumpSource, policy: NoisePolicy) -> ComparisonRequest {
    ComparisonRequest(
      reference: ComparisonSide(set: reference.emptySet, worldSize: 1),
      target: ComparisonSide(set: target.emptySet, worldSize: 2), slots: 4, policy: policy)
  }
}
