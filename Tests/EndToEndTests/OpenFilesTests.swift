import TestSupport
import Testing

/// The soft limit of open files is 1024 almost everywhere, and each host takes three.
@Suite(.timeLimit(.minutes(2)))
struct OpenFilesTests {
  @Test func `a low soft limit of open files keeps no sweep from its end`() async throws {
    try await BookedSweep.with(.init(isLocal: true)) { sweep in
      let result = try await runTool(
        "sh", ["-c", "ulimit -Sn 24; exec \"$@\"", "sh", try RollcallBinary.path, "run", "job.yaml"],
        environment: sweep.rollcall.variables, directory: sweep.rollcall.directory, mustSucceed: false)
      #expect(result.status == 0, "\(result.errorOutput)")
    }
  }
}
