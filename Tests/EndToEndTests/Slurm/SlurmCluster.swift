import Foundation
import TestSupport
import Testing

/// A real Slurm of four nodes with two pretended GPUs each, as ordinary processes of one test.
struct SlurmCluster {
  /// What SLURM_CONF is to be.
  let configuration: String
  let directory: String

  private static let script = RollcallBinary.repository + "/Deploy/slurm/cluster"

  /// `Deploy/test` installs Slurm and says that it must be there; elsewhere it may be missing.
  static let isAvailable: Bool =
    ProcessInfo.processInfo.environment["ROLLCALL_TEST_SLURM"] == "1"
    || (FileManager.default.isExecutableFile(atPath: "/usr/sbin/slurmctld") && geteuid() == 0)

  /// Starts one, hands it over, stops it.
  ///
  /// - Parameter minJobAge: Seconds after which it may forget a job that has ended.
  static func with(
    in scratch: Scratch, accounting: Bool, minJobAge: Int = 300, _ body: (SlurmCluster) async throws -> Void
  ) async throws {
    let directory = scratch.path("slurm")
    let started = try await runTool(
      script, ["start", directory] + (accounting ? ["--accounting"] : []),
      environment: ["CLUSTER_MIN_JOB_AGE": String(minJobAge)], mustSucceed: false)
    try #require(started.status == 0, "\(started.errorOutput)")
    let cluster = SlurmCluster(
      configuration: started.output.trimmingCharacters(in: .whitespacesAndNewlines), directory: directory)
    do {
      try await body(cluster)
    } catch {
      try await runTool(script, ["stop", directory])
      throw error
    }
    try await runTool(script, ["stop", directory])
  }

  /// A command of Slurm; what it prints.
  @discardableResult
  func callAsFunction(_ program: String, _ arguments: String...) async throws -> String {
    try await runTool(program, arguments, environment: ["SLURM_CONF": configuration]).output
  }

  /// `control kill`, `node kill n1`, …
  func change(_ part: String, _ verb: String, _ names: String...) async throws {
    try await runTool(Self.script, [part, verb, directory] + names)
  }

  struct Job {
    var number: String
    var state: String
    var nodes: String
    var name: String
  }

  /// Those that Slurm has in mind.
  func jobs() async throws -> [Job] {
    try await self("squeue", "-h", "-t", "all", "-o", "%A|%T|%N|%j").split(separator: "\n").compactMap { line in
      let fields = line.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
      return fields.count == 4 ? Job(number: fields[0], state: fields[1], nodes: fields[2], name: fields[3]) : nil
    }
  }

  /// A fleet file and the binary that uses it.
  ///
  /// - Parameters:
  ///   - keys: More lines of the fleet file.
  ///   - commands: A directory whose programs are found first.
  func rollcall(_ scratch: Scratch, keys: [String] = [], commands: String? = nil) throws -> RollcallBinary {
    let lines =
      [
        "launcher: slurm", "workdir: \(scratch.path("shared"))", "poll: 0.5",
        "env: {ROLLCALL_PYTHON: \(testPython)}",
      ] + keys
    try scratch.write("fleet.yaml", lines.joined(separator: "\n") + "\n")
    var environment = ["ROLLCALL_FLEET": scratch.path("fleet.yaml"), "SLURM_CONF": configuration]
    let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
    if let commands { environment["PATH"] = "\(commands):\(path)" }
    return RollcallBinary(store: scratch.path("store"), directory: scratch.path, environment: environment)
  }

  /// Waits until something holds; false where it does not in time.
  static func wait(seconds: Int = 120, until isTrue: () async throws -> Bool) async throws -> Bool {
    for _ in 0..<(seconds * 5) {
      if try await isTrue() { return true }
      try await Task.sleep(for: .milliseconds(200))
    }
    return try await isTrue()
  }
}

extension RollcallBinary {
  /// Runs in the background; its process id goes into a file.
  func start(_ arguments: [String], pidFile: String) async throws -> Outcome {
    let command = #"echo $$ > "$1"; shift; exec "$@""#
    let result = try await runTool(
      "sh", ["-c", command, "sh", pidFile, try Self.path] + arguments, environment: variables, directory: directory,
      timeout: .seconds(900), mustSucceed: false)
    return Outcome(status: result.status, output: result.output, errorOutput: result.errorOutput)
  }
}
