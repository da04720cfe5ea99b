import Foundation
import GRDB
import Planning
import Scheduling
import TestSupport
import Testing

@testable import Ledger

@Suite struct LedgerTests {
  /// A plan of one cell, as small as a plan can be.
  private func plan() throws -> Plan {
    try Planner.plan(
      text: """
        name: small
        run: {command: "true"}
        """, path: "/nowhere/small.yaml")
  }

  private func withLedger(_ body: (SweepLedger, String) throws -> Void) async throws {
    try await Scratch.with { scratch in try body(try SweepLedger(store: scratch.path), scratch.path) }
  }

  private func create(_ ledger: SweepLedger, _ id: String, now: Double = 1000) throws -> RunRecord {
    let run = RunRecord(sweep: id, name: "only", position: 0, cell: "c", repetition: 1)
    try ledger.create(sweep: id, plan: try plan(), fleet: FleetReader.thisMachine(), runs: [run], now: now)
    return run
  }

  /// What is committed before a launch.
  private func intent(_ attempt: AttemptRecord) -> [LedgerWrite] {
    [
      .begin(attempt), .run(sweep: attempt.sweep, name: attempt.run, state: .launching, why: nil),
      .event(
        EventRecord(at: attempt.created, sweep: attempt.sweep, run: attempt.run, attempt: attempt.id, kind: "launching")
      ),
    ]
  }

  @Test func commitsAreSyncedInFull() async throws {
    try await withLedger { ledger, _ in
      let level = try ledger.synchronousLevel
      #expect(level == 2)
    }
  }

  /// Plans hold what their runs have in their environment, and a directory that stood before may let others in.
  @Test func theDatabaseIsItsOwnersAlone() async throws {
    try await Scratch.with { scratch in
      let ledger = try SweepLedger(store: scratch.path)
      _ = try create(ledger, "s1")
      try ledger.backup(to: scratch.path("copy.db"))
      for name in ["rollcall.db", "rollcall.db-wal", "rollcall.db-shm", "copy.db"] {
        let mode = try FileManager.default.attributesOfItem(atPath: scratch.path(name))[.posixPermissions] as? Int
        #expect(mode == 0o600, "\(name)")
      }
    }
  }

  @Test func manyMayOpenANewStoreAtOnce() async throws {
    try await Scratch.with { scratch in
      for round in 0..<10 {
        let store = scratch.path("store-\(round)")
        try await withThrowingTaskGroup(of: Void.self) { group in
          for _ in 0..<8 { group.addTask { _ = try SweepLedger(store: store).sweeps(limit: 1) } }
          try await group.waitForAll()
        }
      }
    }
  }

  @Test func aNewerStoreIsRefused() async throws {
    try await withLedger { ledger, store in
      let queue = try DatabaseQueue(path: store + "/rollcall.db")
      try queue.write { try $0.execute(sql: "INSERT INTO grdb_migrations VALUES ('v999_tomorrow')") }
      let error = #expect(throws: LedgerError.self) { try SweepLedger(store: store) }
      #expect(error?.message.contains("newer rollcall") == true)
    }
  }

  @Test func aStoreIsNotMigratedUnderAnOlderCoordinator() async throws {
    try await Scratch.with { scratch in
      let old = try DatabaseQueue(path: scratch.path("rollcall.db"))
      try SweepLedger.migrator.migrate(old, upTo: "v2_fencing")
      try old.close()
      try withExtendedLifetime(StoreLock(store: scratch.path)) {
        let error = #expect(throws: LedgerError.self) { try SweepLedger(store: scratch.path) }
        #expect(error?.code == .locked)
      }
      _ = try SweepLedger(store: scratch.path)
    }
  }

  @Test func theIntentToLaunchSurvivesReopening() async throws {
    try await withLedger { ledger, store in
      let run = try create(ledger, "s1")
      var attempt = AttemptRecord(
        id: "s1-run1-try1", sweep: "s1", run: run.name, number: 1, host: "a", token: "t", gpus: 2, now: 1001)
      attempt.facts = ["kernel": "6.1"]
      try ledger.apply(intent(attempt))

      let again = try SweepLedger(store: store)
      #expect(try again.attempts(of: "s1") == [attempt])
      #expect(try again.runs(of: "s1").map(\.state) == [.launching])
      #expect(try again.events(of: "s1", limit: 10).map(\.kind) == ["sweep-created", "launching"])
      #expect(try again.plan(of: "s1").name == "small")
    }
  }

  @Test func aTransitionChangesAttemptRunAndDiaryTogether() async throws {
    try await withLedger { ledger, _ in
      let run = try create(ledger, "s1")
      var attempt = AttemptRecord(
        id: "x", sweep: "s1", run: run.name, number: 1, host: "a", token: "t", gpus: 0, now: 1001)
      try ledger.apply(intent(attempt))
      attempt.state = .gathered
      attempt.exitCode = 3
      try ledger.apply([
        .attempt(attempt), .run(sweep: "s1", name: run.name, state: .failed, why: "exit code 3"),
        .event(EventRecord(at: 1002, sweep: "s1", run: run.name, attempt: "x", kind: "gathered")),
      ])
      #expect(try ledger.attempts(of: "s1") == [attempt])
      let stored = try #require(try ledger.runs(of: "s1").first)
      #expect(stored.state == .failed)
      #expect(stored.why == "exit code 3")
      #expect(try ledger.events(of: "s1", limit: 1).map(\.kind) == ["gathered"])
    }
  }

  @Test func howLongAHostWasSilentIsKept() async throws {
    try await withLedger { ledger, _ in
      let run = try create(ledger, "s1")
      var attempt = AttemptRecord(
        id: "x", sweep: "s1", run: run.name, number: 1, host: "a", token: "t", gpus: 0, now: 1001)
      try ledger.apply(intent(attempt))
      attempt.unheard = 180.5
      try ledger.apply([.attempt(attempt)])
      #expect(try ledger.attempts(of: "s1") == [attempt])
    }
  }

  @Test func aRunThatIsOpenedAgainHasAllItsRetries() async throws {
    try await withLedger { ledger, _ in
      let run = try create(ledger, "s1")
      var attempt = AttemptRecord(
        id: "x", sweep: "s1", run: run.name, number: 1, host: "a", token: "t", gpus: 0, now: 1001)
      try ledger.apply(intent(attempt))
      attempt.state = .lost
      try ledger.apply([.attempt(attempt), .run(sweep: "s1", name: run.name, state: .lost, why: "gone")])
      try ledger.reopen(sweep: "s1", runs: [run.name], now: 1003)
      #expect(try ledger.attempts(of: "s1").map(\.isCharged) == [false])
      #expect(try ledger.attempts(of: "s1").map(\.state) == [.lost])
      #expect(try ledger.runs(of: "s1").map(\.state) == [.queued])
    }
  }

  @Test func aRefusedWriteLeavesNothingBehind() async throws {
    try await withLedger { ledger, _ in
      _ = try create(ledger, "s1")
      // The same attempt number twice for one run: two coordinators would both have placed it.
      let first = AttemptRecord(id: "x", sweep: "s1", run: "only", number: 1, host: "a", token: "t", gpus: 0, now: 1)
      let second = AttemptRecord(id: "y", sweep: "s1", run: "only", number: 1, host: "b", token: "u", gpus: 0, now: 2)
      try ledger.apply(intent(first))
      #expect(throws: LedgerError.self) { try ledger.apply(intent(second)) }
      #expect(try ledger.attempts(of: "s1").map(\.id) == ["x"])
      #expect(try ledger.events(of: "s1", limit: 10).count == 2)
    }
  }

  @Test func aGangHasOneRowAHost() async throws {
    try await withLedger { ledger, _ in
      _ = try create(ledger, "s1")
      let shares = (0..<2).map { node in
        var attempt = AttemptRecord(
          id: "x\(node)", sweep: "s1", run: "only", number: 1, host: "h\(node)", token: "t", gpus: 8, now: 1)
        attempt.share = .init(node: node, nodeCount: 2, masterAddress: "h0", masterPort: 20_001)
        return attempt
      }
      try ledger.apply(shares.map(LedgerWrite.begin))
      #expect(try ledger.attempts(of: "s1") == shares)
      var second = shares[1]
      second.id = "y"
      #expect(throws: LedgerError.self) { try ledger.apply([.begin(second)]) }
    }
  }

  /// A store as each earlier version left it, with a sweep that goes on and one that ended.
  @Test(arguments: ["v1_store", "v2_fencing", "v3_gangs", "v4_playbooks", "v5_service"])
  func aStoreOfAnEarlierVersionIsTakenOver(version: String) async throws {
    try await Scratch.with { scratch in
      let old = try DatabaseQueue(path: scratch.path("rollcall.db"))
      try SweepLedger.migrator.migrate(old, upTo: version)
      let plan = try JSONDocument.encode(try plan())
      let fleet = try JSONDocument.encode(FleetReader.thisMachine())
      try await old.write { database in
        try database.execute(
          sql: """
            INSERT INTO sweep (id, job, plan, fleet, state, created) VALUES ('open', 'small', ?, ?, 'active', 1);
            """, arguments: [plan, fleet])
        try database.execute(
          sql: """
            INSERT INTO sweep (id, job, plan, fleet, state, created, ended, verdict, report)
            VALUES ('over', 'small', ?, ?, 'done', 2, 3, 'pass', '{}')
            """, arguments: [plan, fleet])
        try database.execute(
          sql:
            "INSERT INTO run (sweep, name, position, cell, repetition, state) VALUES ('open', 'r', 0, 'c', 1, 'queued')"
        )
      }
      try old.close()
      let ledger = try SweepLedger(store: scratch.path)
      #expect(try ledger.openSweeps().map(\.id) == ["open"])
      #expect(try ledger.plan(of: "open").name == "small")
      #expect(try ledger.runs(of: "open").map(\.state) == [.queued])
      #expect(try ledger.ended(job: "small", limit: 5).map(\.id) == ["over"])
      #expect(try ledger.report(of: "over") == "{}")
      // What the new version adds works on it.
      try ledger.pin(GoldenRecord(job: "small", at: 4, sweep: "over", who: "ann", why: "first"))
      try ledger.save(ScheduleRecord(name: "small", path: "/nowhere", fleet: nil, added: 5))
      #expect(try ledger.goldens().map(\.sweep) == ["over"])
      #expect(try ledger.schedules().map(\.name) == ["small"])
    }
  }

  @Test func theAttemptsOfAnOlderStoreStay() async throws {
    try await Scratch.with { scratch in
      let old = try DatabaseQueue(path: scratch.path("rollcall.db"))
      try SweepLedger.migrator.migrate(old, upTo: "v2_fencing")
      try await old.write { database in
        try database.execute(
          sql: """
            INSERT INTO sweep (id, job, plan, fleet, state, created) VALUES ('s', 'j', '{}', '{}', 'active', 1);
            INSERT INTO run (sweep, name, position, cell, repetition, state) VALUES ('s', 'r', 0, 'c', 1, 'running');
            """)
        for (id, number, fenced) in [("later", 2, true), ("earlier", 1, false)] {
          try database.execute(
            sql: """
              INSERT INTO attempt (id, sweep, run, number, host, token, gpus, state, why, created, heard, facts, fenced)
              VALUES (?, 's', 'r', ?, 'h', 't', 4, 'lost', 'gone', 5, 6, '{"gpu": "A"}', ?)
              """, arguments: [id, number, fenced])
        }
      }
      try old.close()
      let attempts = try SweepLedger(store: scratch.path).attempts(of: "s")
      #expect(attempts.map(\.id) == ["later", "earlier"])
      #expect(attempts.map(\.isFenced) == [true, false])
      #expect(attempts.allSatisfy { $0.share == nil && $0.gpus == 4 && $0.why == "gone" && $0.facts == ["gpu": "A"] })
      #expect(try SweepLedger(store: scratch.path).unfencedAttempts().map(\.id) == ["earlier"])
    }
  }

  @Test func anAttemptThatMayStillLiveIsFoundUntilItIsFenced() async throws {
    try await withLedger { ledger, _ in
      for sweep in ["s1", "s2"] {
        _ = try create(ledger, sweep)
        var attempt = AttemptRecord(
          id: sweep + "-a", sweep: sweep, run: "only", number: 1, host: "a", token: "t", gpus: 1, now: 1)
        try ledger.apply(intent(attempt))
        attempt.state = .lost
        attempt.isFenced = false
        try ledger.apply([.attempt(attempt)])
      }
      var found = try ledger.unfencedAttempts()
      #expect(found.map(\.id) == ["s1-a", "s2-a"])
      found[0].isFenced = true
      try ledger.apply([.attempt(found[0])])
      let left = try ledger.unfencedAttempts()
      #expect(left.map(\.id) == ["s2-a"])
    }
  }

  @Test func attemptsComeInTheOrderOfTheirMakingWhateverTheClockSays() async throws {
    try await withLedger { ledger, _ in
      _ = try create(ledger, "s1")
      for (number, time) in [(1, 5000.0), (2, 4.0)] {
        let attempt = AttemptRecord(
          id: "a\(number)", sweep: "s1", run: "only", number: number, host: "a", token: "t", gpus: 0, now: time)
        try ledger.apply(intent(attempt))
      }
      let attempts = try ledger.attempts(of: "s1")
      #expect(attempts.map(\.number) == [1, 2])
    }
  }

  /// Three changes of state a run, each with its attempt, its run and its line of the diary, a hundred a commit.
  @Test func manyChangesOfStateCommitTogether() async throws {
    let runs = ProcessInfo.processInfo.environment["ROLLCALL_TEST_LONG"] == "1" ? 20_000 : 500
    try await withLedger { ledger, _ in
      let records = (0..<runs).map { RunRecord(sweep: "s1", name: "r\($0)", position: $0, cell: "c", repetition: 1) }
      try ledger.create(sweep: "s1", plan: try plan(), fleet: FleetReader.thisMachine(), runs: records, now: 1)
      var attempts = records.map {
        AttemptRecord(id: $0.name, sweep: "s1", run: $0.name, number: 1, host: "a", token: "t", gpus: 1, now: 1)
      }
      func event(_ attempt: AttemptRecord, _ kind: String) -> LedgerWrite {
        .event(EventRecord(at: 1, sweep: "s1", run: attempt.run, attempt: attempt.id, kind: kind))
      }
      let start = ContinuousClock.now
      for first in stride(from: 0, to: runs, by: 100) {
        let batch = first..<min(first + 100, runs)
        try ledger.apply(attempts[batch].flatMap(intent))
        for (state, run) in [(AttemptRecord.State.exited, RunState.gathering), (.gathered, .succeeded)] {
          for index in batch { attempts[index].state = state }
          try ledger.apply(
            attempts[batch].flatMap {
              [.attempt($0), .run(sweep: "s1", name: $0.run, state: run, why: nil), event($0, state.rawValue)]
            })
        }
      }
      print("\(Int(Double(3 * runs) / (ContinuousClock.now - start).seconds)) durable changes of state a second")
      #expect(try ledger.runs(of: "s1").allSatisfy { $0.state == .succeeded })
      #expect(try ledger.attempts(of: "s1") == attempts)
      #expect(try ledger.events(of: "s1", limit: 1_000_000).count == 3 * runs + 1)
    }
  }

  @Test func sweepsAreFoundByNameByBeginningAndAsLast() async throws {
    try await withLedger { ledger, _ in
      _ = try create(ledger, "tp-1", now: 1000)
      _ = try create(ledger, "tp-12", now: 2000)
      _ = try create(ledger, "other", now: 1500)
      #expect(try ledger.sweep(named: "last").id == "tp-12")
      #expect(try ledger.sweep(named: "tp-1").id == "tp-1")
      #expect(try ledger.sweep(named: "oth").id == "other")
      #expect(throws: LedgerError.self) { try ledger.sweep(named: "tp") }
      let missing = #expect(throws: LedgerError.self) { try ledger.sweep(named: "nope") }
      #expect(missing?.code == .notFound)
    }
  }

  @Test func anEmptyStoreSaysHowToStart() async throws {
    try await withLedger { ledger, _ in
      let error = #expect(throws: LedgerError.self) { try ledger.sweep(named: "last") }
      #expect(error?.message.contains("rollcall run") == true)
    }
  }

  @Test func aFileThatIsNoDatabaseIsNamed() async throws {
    try await Scratch.with { place in
      let scratch = place.path
      try Data(repeating: 0x41, count: 8192).write(to: URL(fileURLWithPath: scratch + "/rollcall.db"))
      let error = #expect(throws: LedgerError.self) { try SweepLedger(store: scratch) }
      #expect(error?.code == .damaged)
      #expect(error?.message.contains(scratch) == true)
    }
  }

  @Test func oneCoordinatorAStore() async throws {
    try await Scratch.with { place in
      let scratch = place.path
      #expect(!StoreLock.isHeld(store: scratch))
      do {
        let lock = try StoreLock(store: scratch)
        #expect(StoreLock.isHeld(store: scratch))
        let error = #expect(throws: LedgerError.self) { try StoreLock(store: scratch) }
        #expect(error?.code == .locked)
        #expect(error?.message.contains("pid \(getpid())") == true)
        withExtendedLifetime(lock) {}
      }
      #expect(!StoreLock.isHeld(store: scratch))
    }
  }

  @Test(arguments: ["removed", "moved", "replaced", "unlocked"])
  func anOwnerSeesThatItsStoreIsGone(_ how: String) async throws {
    try await Scratch.with { place in
      let store = try place.directory("store")
      let lock = try StoreLock(store: store)
      try lock.checkPlace()
      let files = FileManager.default
      switch how {
      case "removed": try files.removeItem(atPath: store)
      case "unlocked": try files.removeItem(atPath: store + "/coordinator.lock")
      default:
        try files.moveItem(atPath: store, toPath: place.path("elsewhere"))
        if how == "replaced" { try place.write("store/coordinator.lock", "") }
      }
      let error = #expect(throws: LedgerError.self) { try lock.checkPlace() }
      #expect(error?.code == .unusable && error?.message.contains(store) == true)
    }
  }

  @Test func anOwnerDrivesTheSweepThatItNamesAlone() async throws {
    try await Scratch.with { place in
      #expect(!StoreLock.driven(store: place.path).contains("a"))
      let lock = try StoreLock(store: place.path)
      #expect(StoreLock.driven(store: place.path).contains("a"))
      lock.name(sweep: "a-long-one")
      lock.name(sweep: "b")
      #expect(!StoreLock.driven(store: place.path).contains("a-long-one"))
      #expect(StoreLock.driven(store: place.path).contains("b"))
      withExtendedLifetime(lock) {}
    }
  }
}

extension Duration {
  fileprivate var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
