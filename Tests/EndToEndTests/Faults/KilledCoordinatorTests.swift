import Foundation
import TestSupport
import Testing

/// `kill -9` of the coordinator at any moment, again and again, over real sshd.
///
/// `ROLLCALL_TEST_LONG=1` kills 60 times.
@Suite(.serialized) struct KilledCoordinatorTests {
  private static let kills = ProcessInfo.processInfo.environment["ROLLCALL_TEST_LONG"] == "1" ? 60 : 8

  @Test(.timeLimit(.minutes(30))) func nothingRunsTwiceAndNothingIsLost() async throws {
    var kills = 0
    while kills < Self.kills {
      var form = BookedSweep.Form()
      form.repetitions = 4
      form.work = "sleep 0.5"
      try await BookedSweep.with(form) { sweep in
        let report = try await Self.driveToTheEnd(sweep, kills: &kills)
        try await sweep.check(report)
        // The coordinator alone was at fault: no host had a reason for a second attempt.
        #expect(sweep.starts.count == 8)
      }
    }
    print("\(kills) kills")
  }

  /// Starts the sweep, kills its coordinator, resumes it, kills it again, until one comes to the end.
  private static func driveToTheEnd(_ sweep: BookedSweep, kills: inout Int) async throws -> [String: Any] {
    var arguments = ["run", "job.yaml", "--json"]
    while true {
      // From the first instruction to the last line of the report.
      let outcome = try await sweep.killed(after: Double.random(in: 0.02...1.2), arguments)
      switch outcome.status {
      case 137: kills += 1
      case 64 where outcome.errorOutput.contains("holds no sweep"):
        // Killed before there was anything to resume.
        arguments = ["run", "job.yaml", "--json"]
        continue
      default:
        #expect(outcome.status == 0, "\(outcome.errorOutput) \(outcome.output.suffix(2000))")
        return try outcome.json()
      }
      arguments = ["resume", "last", "--json"]
    }
  }
}
