import Foundation
import TestSupport

extension SlurmCluster {
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

  /// sbatch in whose place the coordinator dies: at the first call before it submits, at the second after it has.
  static func deadlySubmission(_ scratch: Scratch) throws -> String {
    let folder = try scratch.directory("commands")
    try scratch.write(
      "commands/sbatch",
      """
      #!/bin/sh
      calls=$(cat \(scratch.path("calls")) 2>/dev/null || echo 0)
      echo $((calls + 1)) >\(scratch.path("calls"))
      [ "$calls" -lt 2 ] || exec /usr/bin/sbatch "$@"
      [ "$calls" -eq 0 ] || /usr/bin/sbatch "$@" >/dev/null
      kill -KILL "$(cat \(scratch.path("pid")))"
      \(endOfTheCaller)
      """, permissions: 0o755)
    return folder
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
