import Foundation
import Glibc
import Testing
public import Transports

/// A real Slurm of four nodes with two pretended GPUs each, as ordinary processes of one test.
public struct SlurmCluster: Sendable {
  /// What SLURM_CONF is to be.
  public let configuration: String
  public let directory: String

  private static let script =
    URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path + "/Deploy/slurm/cluster"

  /// `Deploy/test` installs Slurm and says that it must be there; elsewhere it may be missing.
  public static let isAvailable: Bool =
    ProcessInfo.processInfo.environment["ROLLCALL_TEST_SLURM"] == "1"
    || (FileManager.default.isExecutableFile(atPath: "/usr/sbin/slurmctld") && geteuid() == 0)

  /// Where it keeps what has become of jobs that it has forgotten.
  public enum Memory: String, Sendable, CaseIterable {
    case accounting
    /// One line a job in a text file.
    case jobLog = "job-log"
    case none
  }

  /// Starts one, hands it over, stops it.
  ///
  /// - Parameters:
  ///   - minJobAge: Seconds after which it may forget a job that has ended.
  ///   - maxArraySize: Elements of one array.
  public static func with(
    in scratch: Scratch, memory: Memory = .none, minJobAge: Int = 300, maxArraySize: Int = 1001,
    _ body: (SlurmCluster) async throws -> Void
  ) async throws {
    let directory = scratch.path("slurm")
    let started = try await runTool(
      script, ["start", directory] + (memory == .none ? [] : ["--\(memory.rawValue)"]),
      environment: ["CLUSTER_MIN_JOB_AGE": "\(minJobAge)", "CLUSTER_MAX_ARRAY_SIZE": "\(maxArraySize)"],
      mustSucceed: false)
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
  public func callAsFunction(_ program: String, _ arguments: String...) async throws -> String {
    try await runTool(program, arguments, environment: ["SLURM_CONF": configuration]).output
  }

  /// `control kill`, `node kill n1`, …
  public func change(_ part: String, _ verb: String, _ names: String...) async throws {
    try await runTool(Self.script, [part, verb, directory] + names)
  }

  public struct Job: Sendable {
    public var number: String
    /// Of an array; nil: it is none.
    public var element: Int?
    public var state: String
    public var nodes: String
    public var name: String
  }

  /// Those that Slurm has in mind.
  public func jobs() async throws -> [Job] {
    try await self("squeue", "-h", "-t", "all", "-r", "-o", "%A|%K|%T|%N|%j").split(separator: "\n").compactMap {
      line in
      let fields = line.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
      guard fields.count == 5 else { return nil }
      return Job(number: fields[0], element: Int(fields[1]), state: fields[2], nodes: fields[3], name: fields[4])
    }
  }

  /// Waits until something holds; false where it does not in time.
  public static func wait(seconds: Int = 120, until isTrue: () async throws -> Bool) async throws -> Bool {
    for _ in 0..<(seconds * 5) {
      if try await isTrue() { return true }
      try await Task.sleep(for: .milliseconds(200))
    }
    return try await isTrue()
  }

  /// This machine, where Slurm is found by its configuration.
  ///
  /// - Parameter commands: A directory whose programs are found first.
  public func login(commands: String = "/nonexistent") -> PrefixedTransport {
    PrefixedTransport(prefix: "export SLURM_CONF=\(configuration) PATH=\(commands):$PATH\n")
  }

  /// Shell that ends whoever would have heard of a submission, for a program in sbatch's place.
  public static let endOfTheCaller = """
    process=$PPID
    while tr '\\0' ' ' <"/proc/$process/cmdline" | grep -q 'slurm-submit\\|^timeout'; do
      next=$(sed -n 's/^PPid:[^0-9]*//p' "/proc/$process/status")
      kill -KILL "$process"
      process=$next
    done
    exit 1

    """
}
