import Foundation
import Gathering
import Ledger
import TestSupport
import Testing

@testable import rollcall

/// What `serve` makes of schedules, by a clock of the test's own.
@Suite(.timeLimit(.minutes(5))) struct ScheduleKeeperTests {
  private static let day = 86_400.0

  /// A schedule of each midnight that makes up for all that it missed, decided through its 140th day.
  private func with(
    store: String? = nil, _ body: (Scratch, SweepLedger, inout ScheduleKeeper) async throws -> Void
  ) async throws {
    try await Scratch.with { scratch in
      try scratch.write("work.sh", "true")
      try scratch.write(
        "nightly.yaml",
        """
        name: nightly
        run: {command: sh work.sh, files: [work.sh]}
        schedule: {cron: "0 0 * * *", timezone: UTC, missed: run-all}

        """)
      let ledger = try SweepLedger(store: scratch.path("ledger"))
      try ledger.save(
        ScheduleRecord(name: "nightly", path: scratch.path("nightly.yaml"), fleet: nil, added: 90 * Self.day))
      try ledger.decide(schedule: "nightly", through: 140 * Self.day, firings: [])
      let artifacts = try ArtifactStore(root: store ?? scratch.path("store"))
      var keeper = ScheduleKeeper(ledger: ledger, artifacts: artifacts) { _ in }
      try await body(scratch, ledger, &keeper)
    }
  }

  @Test func aClockThatIsBehindBeginsNothingAgain() async throws {
    try await with { _, ledger, keeper in
      let behind = 100 * Self.day
      for time in [0, 1, 599] as [Double] {
        try await keeper.look(now: behind + time, steady: time)
        #expect(try ledger.schedule(named: "nightly").decidedThrough == 140 * Self.day)
      }
      // So long it may be the right one, and no schedule is silent for ever.
      try await keeper.look(now: behind + 600, steady: 600)
      #expect(try ledger.schedule(named: "nightly").decidedThrough == behind + 600)
      #expect(try ledger.schedule(named: "nightly").alarmedThrough == 90 * Self.day)
      // It was not.
      try await keeper.look(now: 140.5 * Self.day, steady: 700)
      #expect(try ledger.schedule(named: "nightly").decidedThrough == 140 * Self.day)
      #expect(try ledger.firings(of: "nightly", limit: 9).isEmpty)
      #expect(try ledger.sweeps(limit: 9).isEmpty)
      // What is due from now on has its turn.
      try await keeper.look(now: 141 * Self.day, steady: 800)
      #expect(try ledger.firings(of: "nightly", limit: 9).map(\.nominal) == [141 * Self.day])
    }
  }

  @Test func aClockThatIsSetIsBelievedAnewLater() async throws {
    try await with { _, ledger, keeper in
      for (now, steady) in [(100, 0), (110, 500), (110, 1099)] as [(Double, Double)] {
        try await keeper.look(now: now * Self.day + steady, steady: steady)
        #expect(try ledger.schedule(named: "nightly").decidedThrough == 140 * Self.day)
      }
      try await keeper.look(now: 110 * Self.day + 1100, steady: 1100)
      #expect(try ledger.schedule(named: "nightly").decidedThrough == 110 * Self.day + 1100)
    }
  }

  @Test(.enabled("needs the right to mount a small tmpfs (root)", SmallDisk.canBeMade))
  func aFullStoreDelaysASweepAndCostsNone() async throws {
    try await SmallDisk.with(megabytes: 1) { disk, _ in
      try await with(store: disk + "/store") { _, ledger, keeper in
        try await runTool("sh", ["-c", "cat /dev/zero > '\(disk)/filler' || true"], mustSucceed: false)
        for time in [0, 1, 2] as [Double] {
          try await keeper.look(now: 141 * Self.day + time, steady: time)
          #expect(try ledger.firings(of: "nightly", limit: 9).map(\.state) == [.queued])
          #expect(try FileManager.default.contentsOfDirectory(atPath: disk + "/store/sweeps").isEmpty)
        }
        try FileManager.default.removeItem(atPath: disk + "/filler")
        try await keeper.look(now: 141 * Self.day + 3, steady: 3)
        #expect(try ledger.firings(of: "nightly", limit: 9).map(\.state) == [.running])
        let sweep = try #require(try ledger.sweeps(limit: 9).first?.id)
        #expect(FileManager.default.fileExists(atPath: "\(disk)/store/sweeps/\(sweep)/files.json"))
      }
    }
  }

  @Test func aFileOfTheJobThatCannotBeReadIsNoFaultOfTheStore() async throws {
    try await with { scratch, ledger, keeper in
      try FileManager.default.removeItem(atPath: scratch.path("work.sh"))
      // It can be opened, and its first byte not be read.
      try FileManager.default.createSymbolicLink(
        atPath: scratch.path("work.sh"), withDestinationPath: "/proc/self/mem")
      try await keeper.look(now: 141 * Self.day, steady: 0)
      let firing = try #require(try ledger.firings(of: "nightly", limit: 9).first)
      #expect(firing.state == .failed)
      #expect(firing.why?.contains("work.sh") == true)
    }
  }
}
