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

  /// - Parameter limits: Lines of the job, by which a run is led by a shell or not.
  @Test(arguments: [[], ["stall_timeout: 5m"]])
  func `a run on this machine has the soft limit that Rollcall was given`(_ limits: [String]) async throws {
    var form = BookedSweep.Form(isLocal: true)
    form.work = #"ulimit -Sn >> "$BOOK/limits"; [ -z "${ROLLCALL_OPEN_FILES-}" ]"#
    form.limits = limits
    try await BookedSweep.with(form) { sweep in
      let result = try await runTool(
        "sh", ["-c", "ulimit -Sn 700; exec \"$@\"", "sh", try RollcallBinary.path, "run", "job.yaml"],
        environment: sweep.rollcall.variables, directory: sweep.rollcall.directory, mustSucceed: false)
      #expect(result.status == 0, "\(result.errorOutput)")
      #expect(sweep.scratch.text("book/limits") == "700\n700\n")
    }
  }

  /// Where they run out, known keys are unknown, and nothing ends as it should.
  @Test func `a hard limit of open files that is too low is said`() async throws {
    try await BookedSweep.with { sweep in
      let result = try await runTool(
        "sh", ["-c", "ulimit -n 26; exec \"$@\"", "sh", try RollcallBinary.path, "run", "job.yaml"],
        environment: sweep.rollcall.variables, directory: sweep.rollcall.directory, mustSucceed: false)
      #expect(result.status == 69)
      #expect(result.errorOutput.contains("no more than 26 files may be open at once"), "\(result.errorOutput)")
      #expect(result.errorOutput.contains("rollcall resume booked-"), "\(result.errorOutput)")
      let resumed = try await sweep.rollcall("resume", "last")
      #expect(resumed.status == 0, "\(resumed.errorOutput)")
    }
  }
}
