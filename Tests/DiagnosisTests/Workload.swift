import Comparison
import Coordination
import Dumps
import Foundation
import Reporting
import TestSupport

/// Real dumps of the sample workload: a small tensor-parallel transformer, run once for each set of arguments.
actor Workload {
  static let shared = Workload()

  private var runs: [[String]: Task<String, any Error>] = [:]
  nonisolated let root = FileManager.default.temporaryDirectory.appending(
    path: "rollcall-workload-\(ProcessInfo.processInfo.processIdentifier)")

  init() {
    // The dumps serve every test of the process, so they go when it does.
    let path = root.path
    Workload.paths.append(path)
    atexit { for path in Workload.paths.all { try? FileManager.default.removeItem(atPath: path) } }
  }

  private static let paths = Paths()

  private final class Paths: @unchecked Sendable {
    private let lock = NSLock()
    private var list: [String] = []
    var all: [String] { lock.withLock { list } }
    func append(_ path: String) { lock.withLock { list.append(path) } }
  }

  /// The script: beside the sources, or where the environment says.
  static var script: String {
    if let path = ProcessInfo.processInfo.environment["ROLLCALL_TEST_WORKLOAD"] { return path }
    return URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "Jobs/workloads/tiny_tp.py").path
  }

  /// A model small enough for a debug build.
  private static let small = [
    "--hidden", "128", "--heads", "8", "--kv-heads", "8", "--head-dim", "16", "--intermediate", "128",
    "--expert-width", "64", "--experts", "4", "--layers", "3", "--prompt-length", "5", "--decode-steps", "1",
    "--vocabulary", "100",
  ]

  private static let classes =
    "Embedding,QProj,QRope,KProj,AttnContext,OProj,Attention,FfnNorm,Router,GateUp,RoutedExperts,SharedExpert,MLP,MoE,"
    + "Block"

  /// The directory of the dumps of one run.
  func dumps(
    _ arguments: String, classes: String = Workload.classes, oneShot: Bool = false, isSmall: Bool = true
  ) async throws -> String {
    let words = arguments.split(separator: " ").map(String.init)
    let key = words + [classes, "\(oneShot) \(isSmall)"]
    if let run = runs[key] { return try await run.value }
    let directory = root.appending(path: "\(runs.count)").path
    let run = Task {
      try await Self.run((isSmall ? Self.small : []) + words, directory: directory, classes: classes, oneShot: oneShot)
      return directory
    }
    runs[key] = run
    return try await run.value
  }

  private static func run(_ arguments: [String], directory: String, classes: String, oneShot: Bool) async throws {
    try await runTool(
      testPython, [script] + arguments,
      environment: [
        "ATOM_FWD_DUMP_DIR": directory, "ATOM_FWD_DUMP_BLOCK_CLASS": classes,
        "ATOM_FWD_DUMP_ONE_SHOT": oneShot ? "1" : "0", "OMP_NUM_THREADS": "1",
      ])
  }

  /// One run of many.
  struct Run: Sendable, Hashable {
    var arguments: String
    var classes: String
    var isSmall = true
  }

  /// The directories of many runs, made by one interpreter that forks for each: importing torch takes longer than a
  /// run.
  func dumps(_ wanted: [Run]) async throws -> [Run: String] {
    var directories: [Run: String] = [:]
    var lines = ""
    for run in Set(wanted) {
      let directory = root.appending(path: "batch-\(batches)").path
      batches += 1
      directories[run] = directory
      let words = (run.isSmall ? Self.small : []) + [run.arguments]
      lines += "\(directory)\t\(run.classes)\t\(words.joined(separator: " "))\n"
    }
    let code = """
      import os, sys
      sys.path.insert(0, os.path.dirname(sys.argv[1]))
      import tiny_tp
      os.environ["ATOM_FWD_DUMP_ONE_SHOT"] = "0"
      for line in sys.stdin:
          directory, classes, words = line.rstrip("\\n").split("\\t")
          pid = os.fork()
          if pid == 0:
              os.environ["ATOM_FWD_DUMP_DIR"] = directory
              os.environ["ATOM_FWD_DUMP_BLOCK_CLASS"] = classes
              sys.argv = ["tiny_tp.py"] + words.split()
              tiny_tp.leave(tiny_tp.guarded(tiny_tp.main))
          status = os.waitpid(pid, 0)[1]
          if status:
              sys.exit("%s ended with %d" % (words, status))
      """
    try await runPython(code, [Self.script], input: lines, timeout: .seconds(600))
    return directories
  }

  private var batches = 0
  private var sets: [String: DumpSet] = [:]

  /// A run's dumps, loaded once; for directories that no test changes.
  func set(_ directory: String) throws -> DumpSet {
    if let known = sets[directory] { return known }
    let set = try load(directory)
    sets[directory] = set
    return set
  }

  /// A copy of a run's dumps that a test may damage.
  func copy(_ directory: String, name: String) throws -> String {
    let copy = root.appending(path: "copy-\(name)").path
    try FileManager.default.copyItem(atPath: directory, toPath: copy)
    return copy
  }
}

/// Checksums are verified while the tensors are measured, as on the command line.
func load(_ directory: String) throws -> DumpSet {
  try DumpSetLoader.load(directory: directory, layout: .atom, verifyChecksums: false)
}

/// Compares two runs of the workload.
func compare(
  _ reference: String, _ target: String, adjust: (inout ComparisonRequest) -> Void = { _ in }
) async throws -> ComparisonReport {
  var request = ComparisonRequest(
    reference: ComparisonSide(set: try load(reference)), target: ComparisonSide(set: try load(target)), slots: 4)
  adjust(&request)
  return try await DumpComparer.compare(request)
}

/// The same on dumps that nobody changes, of some stages only where `classes` names them.
func compareKept(_ reference: String, _ target: String, only classes: Set<String>? = nil) async throws
  -> ComparisonReport
{
  var reference = try await Workload.shared.set(reference)
  var target = try await Workload.shared.set(target)
  if let classes {
    reference.captures.removeAll { !classes.contains($0.stage) }
    target.captures.removeAll { !classes.contains($0.stage) }
  }
  return try await DumpComparer.compare(
    ComparisonRequest(reference: ComparisonSide(set: reference), target: ComparisonSide(set: target), slots: 4))
}
