import Foundation
import Gathering
import Glibc
import Launching
import Ledger
import Planning
import Scheduling
import Synchronization
import TestSupport
import Testing
import Transports

@testable import Coordination

/// The actor around the core, with a real store and a host that does what the test says.
@Suite struct CoordinatorTests {
  /// Starts nothing: an attempt runs until the test, or a stop, ends it.
  private final class ScriptedLauncher: Launcher {
    struct State {
      var ended: [String: ExitRecord] = [:]
      var launched: [String] = []
      var stopped: [String] = []
      var enrolled = 0
      var asking = 0
      var mostAsking = 0
    }

    let state = Mutex(State())
    let directory: String
    /// Called before a launch is answered.
    let onLaunch: @Sendable (AttemptSpec) throws -> ExitRecord?
    let trouble: LaunchError?

    init(
      directory: String, trouble: LaunchError?, onLaunch: @escaping @Sendable (AttemptSpec) throws -> ExitRecord?
    ) {
      self.directory = directory
      self.trouble = trouble
      self.onLaunch = onLaunch
    }

    func enrol() async throws -> HostFacts {
      state.withLock { $0.enrolled += 1 }
      if let trouble { throw trouble }
      return HostFacts(
        bootID: "b", home: "/", workdir: directory, cpuCount: 1, gpuNames: [], gpuIDs: [], gpuDriver: nil,
        freeDiskBytes: 1 << 30, clockOffset: 0, versions: [:])
    }

    func launch(_ spec: AttemptSpec, files: [ShippedFile]) async throws -> LaunchOutcome {
      let ended = try onLaunch(spec)
      for folder in ["dumps", "files"] {
        try FileManager.default.createDirectory(
          atPath: "\(directory)/attempts/\(spec.id)/\(folder)", withIntermediateDirectories: true)
      }
      for log in ["stdout.log", "stderr.log"] {
        try Data().write(to: URL(fileURLWithPath: "\(directory)/attempts/\(spec.id)/\(log)"))
      }
      state.withLock { state in
        state.launched.append(spec.run)
        if let ended { state.ended[spec.id] = ended }
      }
      return .started
    }

    func status(of attempts: [String]) async throws -> [String: AttemptStatus] {
      state.withLock { state in
        state.asking += 1
        state.mostAsking = max(state.mostAsking, state.asking)
      }
      await Task.yield()
      return state.withLock { state in
        state.asking -= 1
        return Dictionary(
          uniqueKeysWithValues: attempts.map { id in
            (id, state.ended[id].map(AttemptStatus.exited) ?? .running(outputBytes: 0))
          })
      }
    }

    func stop(_ attempt: String, reason: String) async throws {
      state.withLock { state in
        state.stopped.append(attempt)
        state.ended[attempt] = ExitRecord(code: 143, signal: 15, started: 1, ended: 2, reason: reason)
      }
    }

    func log(of attempt: String, name: String, offset: Int, limit: Int) async throws -> [UInt8] { [] }
    func directory(of attempt: String) async throws -> String { "\(directory)/attempts/\(attempt)" }
  }

  private func with(
    runs: Int, trouble: LaunchError? = nil, settings: Coordinator.Settings = .init(),
    onLaunch: @escaping @Sendable (AttemptSpec, SweepLedger) throws -> ExitRecord?,
    _ body: (Coordinator, SweepLedger, ScriptedLauncher) async throws -> Void
  ) async throws {
    try await Scratch.with { scratch in
      let ledger = try SweepLedger(store: scratch.path("store"))
      let plan = try Planner.plan(
        text: """
          name: scripted
          repeat: \(runs)
          run: {command: "true"}
          """, path: scratch.path("job.yaml"))
      let host = Fleet.Host(name: "here", address: .local)
      try ledger.create(
        sweep: "s", plan: plan, fleet: Fleet(hosts: [host]), runs: Naming.runs(of: plan, sweep: "s"), now: 1)
      let launcher = ScriptedLauncher(directory: try scratch.directory("work"), trouble: trouble) {
        try onLaunch($0, ledger)
      }
      let coordinator = Coordinator(
        ledger: ledger, artifacts: try ArtifactStore(root: scratch.path("store")),
        board: GatherBoard(store: scratch.path("store")),
        hosts: [HostConnection(host: host, transport: LocalTransport(name: "here"), launcher: launcher)],
        settings: settings
      ) { _ in }
      try await body(coordinator, ledger, launcher)
      await coordinator.close()
    }
  }

  private static let well = ExitRecord(code: 0, signal: nil, started: 1, ended: 2, reason: nil)

  @Test(.timeLimit(.minutes(2))) func theIntentIsOnDiskBeforeTheHostHearsOfIt() async throws {
    let seen = Mutex<[AttemptRecord.State?]>([])
    try await with(runs: 3) { spec, ledger in
      let row = try ledger.attempts(of: "s").first { $0.id == spec.id && $0.token == spec.token }
      seen.withLock { $0.append(row?.state) }
      return Self.well
    } _: { coordinator, ledger, launcher in
      try await coordinator.drive(sweep: "s")
      #expect(seen.withLock { $0 } == [.launching, .launching, .launching])
      #expect(try ledger.runs(of: "s").allSatisfy { $0.state == .succeeded })
      #expect(launcher.state.withLock { $0.mostAsking } == 1)
    }
  }

  @Test(.timeLimit(.minutes(2))) func aCancelThatAnotherProcessAsksForStopsWhatRuns() async throws {
    try await with(runs: 2) { _, ledger in
      try ledger.requestCancel(sweep: "s", now: 2)
      return nil
    } _: { coordinator, ledger, launcher in
      try await coordinator.drive(sweep: "s")
      #expect(try ledger.runs(of: "s").map(\.state) == [.cancelled, .cancelled])
      #expect(launcher.state.withLock { $0.stopped } == ["s-run1-try1"])
      #expect(launcher.state.withLock { $0.launched.count } == 1)
    }
  }

  @Test(.timeLimit(.minutes(2))) func aDetachedSweepIsTakenUpWhereItStood() async throws {
    try await with(runs: 1) { _, _ in
      nil
    } _: { coordinator, ledger, launcher in
      let first = Task { try await coordinator.drive(sweep: "s") }
      while try ledger.runs(of: "s")[0].state != .running { try await Task.sleep(for: .milliseconds(5)) }
      first.cancel()
      await #expect(throws: CancellationError.self) { try await first.value }
      #expect(launcher.state.withLock { $0.stopped }.isEmpty)

      launcher.state.withLock { $0.ended["s-run1-try1"] = Self.well }
      try await coordinator.drive(sweep: "s")
      #expect(try ledger.runs(of: "s")[0].state == .succeeded)
      #expect(launcher.state.withLock { $0.launched.count } == 1)
    }
  }

  @Test(.timeLimit(.minutes(2))) func aSweepThatIsOpenedAgainSharesTheHostsWithTheOthers() async throws {
    try await with(runs: 1) { spec, _ in
      switch spec.id {
      case "s-run1-try1": ExitRecord(code: 3, signal: nil, started: 1, ended: 2, reason: nil)
      case "s-run1-try2": Self.well
      default: nil
      }
    } _: { coordinator, ledger, launcher in
      let plan = try ledger.plan(of: "s")
      try ledger.create(
        sweep: "long", plan: plan, fleet: try ledger.fleet(of: "s"), runs: Naming.runs(of: plan, sweep: "long"), now: 2)
      let ended = Mutex<[String]>([])
      let looks = Mutex(0)
      try await coordinator.drive(
        ["s", "long"],
        more: {
          guard ended.withLock({ $0 == ["s"] }), launcher.state.withLock({ $0.launched.count == 2 }) else { return [] }
          let look = looks.withLock { looks in
            defer { looks += 1 }
            return looks
          }
          if look == 0 {
            try ledger.reopen(sweep: "s", runs: ["run"], now: 3)
            return ["s"]
          }
          // Its only place is taken until now.
          launcher.state.withLock { $0.ended["long-run1-try1"] = Self.well }
          return []
        }, unreadable: { throw $1 }, ended: { sweep in ended.withLock { $0.append(sweep) } })
      #expect(looks.withLock { $0 } >= 2)
      #expect(ended.withLock { $0 }.sorted() == ["long", "s", "s"])
      #expect(try ledger.attempts(of: "s").map(\.id) == ["s-run1-try1", "s-run1-try2"])
      #expect(try ledger.runs(of: "s").map(\.state) == [.succeeded])
    }
  }

  @Test(.timeLimit(.minutes(2))) func aSweepThatCannotBeReadIsLeftOutAndTheOthersGoOn() async throws {
    try await with(runs: 1) { _, _ in
      nil
    } _: { coordinator, ledger, launcher in
      let plan = try ledger.plan(of: "s")
      for sweep in ["first", "late"] {
        try ledger.create(
          sweep: sweep, plan: plan, fleet: try ledger.fleet(of: "s"), runs: Naming.runs(of: plan, sweep: sweep), now: 2)
      }
      try await runPython(
        """
        import sqlite3, sys
        with sqlite3.connect(sys.argv[1]) as store:
            store.execute("UPDATE sweep SET plan = '{' WHERE id != 's'")
        """, [launcher.directory + "/../store/rollcall.db"])
      let left = Mutex<[String]>([])
      try await coordinator.drive(
        ["first", "s"], more: { left.withLock { $0 == ["first"] ? ["late"] : [] } },
        unreadable: { sweep, error in
          #expect((error as? LedgerError)?.code == .damaged)
          left.withLock { $0.append(sweep) }
          if sweep == "late" { launcher.state.withLock { $0.ended["s-run1-try1"] = Self.well } }
        }, ended: { #expect($0 == "s") })
      #expect(left.withLock { $0 } == ["first", "late"])
      #expect(try ledger.runs(of: "s").map(\.state) == [.succeeded])
      // Alone, it is an error.
      await #expect(throws: LedgerError.self) { try await coordinator.drive(sweep: "first") }
    }
  }

  /// Drives while nobody can read which hosts are drained, which is put right after so long.
  private func driveBlind(for seconds: Double?, patience: Double) async throws -> Int {
    var settings = Coordinator.Settings()
    settings.tick = 0.02
    settings.lookPatience = patience
    let launches = Mutex(0)
    try await with(runs: 1, settings: settings) { _, _ in
      launches.withLock { $0 += 1 }
      return Self.well
    } _: { coordinator, _, launcher in
      let store = launcher.directory + "/../store"
      try DrainList(store: store).drain("here", why: nil, now: 1)
      try FileManager.default.moveItem(atPath: store + "/drained", toPath: store + "/list")
      try Data().write(to: URL(fileURLWithPath: store + "/file"))
      for (link, target) in [("drained", "list"), ("other", "file")] {
        try FileManager.default.createSymbolicLink(atPath: "\(store)/\(link)", withDestinationPath: target)
      }
      async let driven: Void = coordinator.drive(sweep: "s")
      // Met, and given nothing.
      while launcher.state.withLock({ $0.enrolled }) == 0 { try await Task.sleep(for: .milliseconds(5)) }
      #expect(rename(store + "/other", store + "/drained") == 0)
      if let seconds {
        try await Task.sleep(for: .seconds(seconds))
        #expect(launches.withLock { $0 } == 0, "what was drained stays so")
        try FileManager.default.removeItem(atPath: store + "/drained")
      }
      try await driven
    }
    return launches.withLock { $0 }
  }

  @Test(.timeLimit(.minutes(2))) func aLookThatFailsForAMomentChangesNothing() async throws {
    #expect(try await driveBlind(for: 1, patience: 60) == 1)
  }

  @Test(.timeLimit(.minutes(2))) func aLookThatFailsForLongEndsTheDrive() async throws {
    await #expect(throws: LedgerError.self) { _ = try await driveBlind(for: nil, patience: 0.2) }
  }

  @Test(.timeLimit(.minutes(2))) func aHostThatOnlyAPersonCanMendEndsTheDriveAndNotTheRun() async throws {
    let trouble = LaunchError(code: .missingTool, host: "here", message: "no flock")
    try await with(runs: 1, trouble: trouble) { _, _ in
      nil
    } _: { coordinator, ledger, _ in
      // Waiting does not mend it: the run stays to be resumed.
      do {
        try await coordinator.drive(sweep: "s")
        Issue.record("the drive must end with the host's trouble")
      } catch let error as TransportError {
        #expect(error.message == "no flock")
      }
      #expect(try ledger.runs(of: "s")[0].state == .queued)
    }
  }
}
