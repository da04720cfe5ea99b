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
    return path("tiny_tp.py")
  }

  private static func path(_ workload: String) -> String {
    URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "Jobs/workloads/\(workload)").path
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
      warmPython, [script] + arguments,
      environment: [
        "ATOM_FWD_DUMP_DIR": directory, "ATOM_FWD_DUMP_BLOCK_CLASS": classes,
        "ATOM_FWD_DUMP_ONE_SHOT": oneShot ? "1" : "0", "OMP_NUM_THREADS": "1",
      ])
  }

  /// What is run: three models of two code bases, so that no rule fits one of them.
  enum Model: String, Sendable, Hashable, CaseIterable {
    /// `tiny_tp.py`: 3 layers, a mixture of experts with a shared expert, norms of q and k.
    case sample
    /// `tiny_tp.py`: 36 layers without experts and without norms of q and k; above world size 4 ranks share key and
    /// value heads.
    case deep
    /// `hf_tp.py`: transformers' Llama under its own tensor parallelism.
    case llama

    var arguments: [String] {
      switch self {
      case .sample: Workload.small
      case .deep:
        [
          "--dense", "--no-qk-norm", "--layers", "36", "--hidden", "128", "--heads", "8", "--kv-heads", "4",
          "--head-dim", "16", "--intermediate", "192", "--vocabulary", "100", "--warm-up-tokens", "8",
          // A hundred thousand files less than with one.
          "--decode-steps", "0",
        ]
      case .llama: []
      }
    }
  }

  /// One run of many.
  struct Run: Sendable, Hashable {
    var arguments: String
    var classes: String
    var model = Model.sample
    /// Another number, another run of the same.
    var repetition = 0
  }

  /// The directories of many runs, made by one interpreter and one process group for each world size: importing torch
  /// takes longer than a run, and so does meeting the other ranks.
  func dumps(_ wanted: [Run]) async throws -> [Run: String] {
    let new = Set(wanted).filter { known[$0] == nil }
    var directories: [Run: String] = [:]
    for run in new {
      directories[run] = root.appending(path: "batch-\(batches)").path
      batches += 1
    }
    func lines(_ runs: some Sequence<Run>) -> String {
      runs.map { run in
        "\(directories[run] ?? "")\t\(run.classes)\t\((run.model.arguments + [run.arguments]).joined(separator: " "))\n"
      }.joined()
    }
    let llamas = new.filter { $0.model == .llama }
    if !llamas.isEmpty {
      try await runTool(
        Self.transformersPython, [Self.path("hf_tp.py"), "--batch"], input: lines(llamas), timeout: .seconds(900))
    }
    let others = new.subtracting(llamas)
    if !others.isEmpty {
      try await runPython(Self.batch, [Self.script], input: lines(others), timeout: .seconds(900))
    }
    known.merge(directories) { old, _ in old }
    return known.filter { wanted.contains($0.key) }
  }

  private var known: [Run: String] = [:]

  /// Runs of one world size share their processes and their process group.
  private static let batch = """
    import os, sys, tempfile
    sys.path.insert(0, os.path.dirname(sys.argv[1]))
    import tiny_tp
    from tiny_tp import dist

    def rank_of(world, rank, runs, folder):
        if world > 1:
            dist.init_process_group(
                "gloo", init_method="file://" + os.path.join(folder, "store"), rank=rank, world_size=world)
        # Each run finds the group standing and leaves it standing.
        dist.init_process_group = dist.destroy_process_group = lambda *words, **names: None
        for directory, classes, options in runs:
            os.environ.update(ATOM_FWD_DUMP_DIR=directory, ATOM_FWD_DUMP_BLOCK_CLASS=classes)
            code = tiny_tp.guarded(lambda: tiny_tp.run_rank(options, rank, world, rank, None))
            if code:
                tiny_tp.leave(code)

    os.environ["ATOM_FWD_DUMP_ONE_SHOT"] = "0"
    if os.path.exists("/sys/class/net/lo"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    worlds = {}
    for line in sys.stdin:
        directory, classes, words = line.rstrip("\\n").split("\\t")
        options = tiny_tp.parse(words.split())
        worlds.setdefault(options.nproc or 1, []).append((directory, classes, options))
    for world, runs in sorted(worlds.items()):
        with tempfile.TemporaryDirectory() as folder:
            children = {}
            for rank in range(world):
                pid = os.fork()
                if pid == 0:
                    try:
                        rank_of(world, rank, runs, folder)
                        tiny_tp.leave(0)
                    except BaseException:
                        import traceback
                        traceback.print_exc()
                        tiny_tp.leave(1)
                children[pid] = rank
            code = tiny_tp.supervise(children)
            if code:
                sys.exit("a run at world size %d ended with %d" % (world, code))
    """

  /// The interpreter that has transformers: the one that `ROLLCALL_TEST_TRANSFORMERS` names, else that of all tests.
  static let transformersPython = ProcessInfo.processInfo.environment["ROLLCALL_TEST_TRANSFORMERS"] ?? warmPython

  /// Whether the Llama can be run here.
  static func hasTransformers() async -> Bool {
    let code = "import accelerate, torch; from transformers import LlamaForCausalLM"
    let result = try? await runTool(transformersPython, ["-c", code], mustSucceed: false)
    return result?.status == 0
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
