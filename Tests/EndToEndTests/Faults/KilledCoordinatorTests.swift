import Foundation
import TestSupport
import Testing

/// `kill -9` of the coordinator at any moment, again and again, over real sshd and on this machine.
///
/// The moments follow from a seed, which is printed and which `ROLLCALL_TEST_SEED` sets; `ROLLCALL_TEST_KILLS` sets how
/// many there are over sshd.
@Suite(.serialized) struct KilledCoordinatorTests {
  private static let kills = number("ROLLCALL_TEST_KILLS").map(Int.init) ?? 50
  private static let seed = number("ROLLCALL_TEST_SEED") ?? UInt64.random(in: 0..<1_000_000)

  private static func number(_ name: String) -> UInt64? {
    ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) }
  }

  @Test(.timeLimit(.minutes(30)), arguments: [false, true])
  func nothingRunsTwiceAndNothingIsLost(onThisMachine isLocal: Bool) async throws {
    var random = SplitMix64(seed: Self.seed)
    let wanted = isLocal ? (Self.kills + 4) / 5 : Self.kills
    var kills = 0
    let start = ContinuousClock.now
    while kills < wanted {
      var form = BookedSweep.Form()
      form.repetitions = 4
      form.work = "sleep 0.5"
      form.isLocal = isLocal
      try await BookedSweep.with(form) { sweep in
        let report = try await Self.driveToTheEnd(sweep, kills: &kills, &random)
        try await sweep.check(report)
        // The coordinator alone was at fault: no host had a reason for a second attempt.
        #expect(sweep.starts.count == 8)
      }
    }
    print(
      "\(kills) kills\(isLocal ? " on this machine" : " over sshd"), seed \(Self.seed), \(ContinuousClock.now - start)")
  }

  /// Starts the sweep, kills its coordinator, resumes it, kills it again, until one comes to the end.
  private static func driveToTheEnd(_ sweep: BookedSweep, kills: inout Int, _ random: inout SplitMix64) async throws
    -> [String: Any]
  {
    var arguments = ["run", "job.yaml", "--json"]
    // From the first instruction to the last line of the report; later and later, so that a slow machine comes to it.
    var latest = 1.2
    while true {
      let outcome = try await sweep.killed(after: Double.random(in: 0.02...latest, using: &random), arguments)
      latest *= 1.02
      switch outcome.status {
      case 137: kills += 1
      case 64 where outcome.errorOutput.contains("holds no sweep"):
        // Killed before there was anything to resume.
        arguments = ["run", "job.yaml", "--json"]
        continue
      default:
        #expect(outcome.status == 0, "seed \(seed): \(outcome.errorOutput) \(outcome.output.suffix(2000))")
        return try outcome.json()
      }
      arguments = ["resume", "last", "--json"]
    }
  }
}
