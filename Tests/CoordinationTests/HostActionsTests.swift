import Foundation
import Gathering
import Launching
import Ledger
import Planning
import TestSupport
import Testing
import Transports

@testable import Coordination

/// What a fault at the coordinator's own store means for an attempt that has ended well.
@Suite(.timeLimit(.minutes(8))) struct HostActionsTests {
  private func gather(
    in scratch: Scratch, store name: String = "store",
    _ body: (HostActions, Command, _ incoming: String) async throws -> Void
  ) async throws {
    let workdir = scratch.path("work")
    try scratch.write("work/attempts/a1/dumps/layer00_Block_rank0.pt", "bytes")
    for name in ["stdout.log", "stderr.log", "exit.json", "identity"] {
      try scratch.write("work/attempts/a1/\(name)", "{}\n")
    }
    let host = Fleet.Host(name: "here", address: .local, gpus: .count(0))
    let transport = LocalTransport()
    let connection = HostConnection(
      host: host, transport: transport,
      launcher: DetachedLauncher(
        transport: transport, workdir: workdir, leaseDir: scratch.path("leases"), gpus: 0, name: "here"))
    let store = scratch.path(name)
    let actions = HostActions(
      connections: ["here": connection], artifacts: try ArtifactStore(root: store), board: GatherBoard(store: store),
      plans: SweepPlans(), gathersPerHost: 2)
    var attempt = AttemptRecord(
      id: "a1", sweep: "s", run: "r", number: 1, host: "here", token: "t", gpus: 0, now: 1e9)
    attempt.state = .exited
    attempt.directory = workdir + "/attempts/a1"
    let run = RunRecord(sweep: "s", name: "r", position: 0, cell: "c", repetition: 1)
    try await body(
      actions, Command(id: 1, host: "here", action: .gather(attempt, run, shares: [])), store + "/incoming")
  }

  /// Has an error for all that it is asked.
  private struct RefusingLauncher: Launcher {
    var error: LaunchError

    func enrol() async throws -> HostFacts { throw error }
    func launch(_ spec: AttemptSpec, files: [ShippedFile]) async throws -> LaunchOutcome { throw error }
    func release(_ attempt: String) async throws { throw error }
    func status(of attempts: [String]) async throws -> [String: AttemptStatus] { throw error }
    func stop(_ attempt: String, reason: String) async throws { throw error }
    func log(of attempt: String, name: String, offset: Int, limit: Int) async throws -> [UInt8] { throw error }
    func directory(of attempt: String) async throws -> String { throw error }
  }

  /// What becomes of an action that the launcher refuses.
  private func answer(to action: (AttemptRecord) -> Command.Action, refused code: LaunchError.Code) async throws
    -> Answer
  {
    try await Scratch.with { scratch in
      let host = Fleet.Host(name: "here", address: .local, gpus: .count(0))
      let connection = HostConnection(
        host: host, transport: LocalTransport(),
        launcher: RefusingLauncher(error: LaunchError(code: code, host: "here", message: "no")))
      let store = scratch.path("store")
      let actions = HostActions(
        connections: ["here": connection], artifacts: try ArtifactStore(root: store), board: GatherBoard(store: store),
        plans: SweepPlans(), gathersPerHost: 2)
      let attempt = AttemptRecord(
        id: "a1", sweep: "s", run: "r", number: 1, host: "here", token: "t", gpus: 0, now: 1e9)
      return try await actions.perform(Command(id: 1, host: "here", action: action(attempt)))
    }
  }

  @Test func aRunIsGivenTheJobsFilesAsTheyWereWhenItsSweepWasMade() async throws {
    try await Scratch.with { scratch in
      let script = try scratch.write("job/w.py", "one", permissions: 0o755)
      let plan = try Planner.plan(
        text: "name: j\nrun: {command: \"true\", files: [w.py]}", path: scratch.path("job/job.yaml"))
      let cell = try #require(plan.cells.first)
      let artifacts = try ArtifactStore(root: scratch.path("store"))
      try SweepFiles.keep(plan, of: "s1", in: artifacts)
      let then = ShippedFile(name: "w.py", contents: Array("one".utf8), isExecutable: true)

      try scratch.write("job/w.py", "two")
      try SweepFiles.keep(plan, of: "s2", in: artifacts)
      #expect(try Launch.files(cell, plan, sweep: "s1", in: artifacts) == [then])
      #expect(try Launch.files(cell, plan, sweep: "s2", in: artifacts).map(\.contents) == [Array("two".utf8)])
      try FileManager.default.removeItem(atPath: script)
      #expect(try Launch.files(cell, plan, sweep: "s1", in: artifacts) == [then])

      // A sweep that an older release made kept none.
      try scratch.write("job/w.py", "three")
      #expect(try Launch.files(cell, plan, sweep: "s0", in: artifacts).map(\.contents) == [Array("three".utf8)])

      // What is not what it was is not run.
      for name in try FileManager.default.contentsOfDirectory(atPath: scratch.path("store/files")) {
        try scratch.write("store/files/\(name)", "other")
      }
      let error = #expect(throws: LaunchPreparationError.self) {
        try Launch.files(cell, plan, sweep: "s1", in: artifacts)
      }
      #expect(error?.message.contains("w.py") == true)
      // A new sweep mends it.
      try scratch.write("job/w.py", "one", permissions: 0o755)
      try SweepFiles.keep(plan, of: "s3", in: artifacts)
      #expect(try Launch.files(cell, plan, sweep: "s1", in: artifacts) == [then])
    }
  }

  @Test(arguments: [("{", ["files.json", "backup"]), (nil, ["files.json", "Is a directory"])])
  func aListOfFilesThatCannotBeReadIsToldWithItsPath(_ text: String?, _ words: [String]) async throws {
    try await Scratch.with { scratch in
      let plan = try Planner.plan(text: "name: j\nrun: {command: \"true\"}", path: scratch.path("job.yaml"))
      let plans = SweepPlans()
      plans.add(plan, of: "s1")
      let host = Fleet.Host(name: "here", address: .local, gpus: .count(0))
      let connection = HostConnection(
        host: host, transport: LocalTransport(),
        launcher: RefusingLauncher(error: LaunchError(code: .alive, host: "here", message: "asked")))
      let store = scratch.path("store")
      let actions = HostActions(
        connections: ["here": connection], artifacts: try ArtifactStore(root: store), board: GatherBoard(store: store),
        plans: plans, gathersPerHost: 2)
      if let text {
        try scratch.write("store/sweeps/s1/files.json", text)
      } else {
        try scratch.directory("store/sweeps/s1/files.json")
      }
      let attempt = AttemptRecord(
        id: "a1", sweep: "s1", run: "r", number: 1, host: "here", token: "t", gpus: 0, now: 1e9)
      let cell = try #require(plan.cells.first?.id)
      let run = RunRecord(sweep: "s1", name: "r", position: 0, cell: cell, repetition: 1)
      switch try await actions.perform(Command(id: 1, host: "here", action: .launch(attempt, run))) {
      case .unprepared(let why) where text != nil, .notGathered(let why) where text == nil:
        for word in words { #expect(why.contains(word), "\(why)") }
      case let other: Issue.record("\(other)")
      }
    }
  }

  @Test func ofASweepThatCouldNotBeBegunNothingIsLeft() async throws {
    try await Scratch.with { scratch in
      try scratch.write("job/w.py", "one")
      let plan = try Planner.plan(
        text: "name: j\nrun: {command: \"true\", files: [w.py]}", path: scratch.path("job/job.yaml"))
      let artifacts = try ArtifactStore(root: scratch.path("store"))
      let failure = LedgerError(code: .diskFull, message: "full")
      #expect(throws: failure) { try SweepFiles.keep(plan, of: "s1", in: artifacts) { throw failure } }
      #expect(try FileManager.default.contentsOfDirectory(atPath: scratch.path("store/sweeps")).isEmpty)
      try SweepFiles.keep(plan, of: "s1", in: artifacts)
      #expect(try artifacts.jobFiles(of: "s1")?.keys.sorted() == ["w.py"])
    }
  }

  @Test func theHardwareOfAHostIsAllOfItsModels() {
    func facts(_ gpus: [String]) -> HostFacts {
      HostFacts(
        bootID: "b", home: "/", workdir: "/w", cpuCount: 1, gpuNames: gpus, gpuIDs: gpus.indices.map(String.init),
        gpuDriver: nil, freeDiskBytes: 1, clockOffset: 0, versions: ["cpu": "C"])
    }
    #expect(Launch.hardware(facts([])) == "C")
    #expect(Launch.hardware(facts(["A", "A"])) == "A")
    #expect(Launch.hardware(facts(["B", "A", "B"])) == "A, B")
    #expect(Launch.hardware(Launch.fingerprint(facts(["A", "B"]))) == Launch.hardware(facts(["B", "A"])))
  }

  @Test(arguments: [LaunchError.Code.alive, .noSpace]) func aStopThatCannotBeDoneIsNotItsHostsTrouble(
    _ code: LaunchError.Code
  ) async throws {
    #expect(try await answer(to: { .stop($0, reason: "cancelled") }, refused: code) == .notStopped("no"))
  }

  @Test func aShareThatHadNoRoomToBeginIsNotItsHostsTrouble() async throws {
    #expect(try await answer(to: { .release($0) }, refused: .noSpace) == .notReleased("no"))
    // It has ended: a look tells.
    #expect(try await answer(to: { .release($0) }, refused: .absent) == .released)
  }

  @Test func aNameThatTheStoreDoesNotTakeIsOneRunsTrouble() async throws {
    try await Scratch.with { scratch in
      try await gather(in: scratch, store: String(repeating: "s", count: 200)) { actions, command, _ in
        // With the path of the store before it, more than a path may have.
        try await runPython(
          """
          import os, sys
          os.chdir(sys.argv[1])
          for count in [200] * 19 + [150]:
              os.mkdir("d" * count)
              os.chdir("d" * count)
          open("rank0.pt", "wb").close()
          """, [scratch.path("work/attempts/a1/dumps")])
        let answer = try await actions.perform(command)
        guard case .notGathered(let why) = answer else {
          Issue.record("\(answer)")
          return
        }
        #expect(why.contains("too long"), "\(why)")
        try await runTool("rm", ["-r", scratch.path("work")])
      }
    }
  }

  @Test(arguments: ["sweeps/s", "sweeps/s/r/rank0"])
  func aBadPathOfOneRunIsThatRunsTrouble(path: String) async throws {
    try await Scratch.with { scratch in
      try await gather(in: scratch) { actions, command, incoming in
        try scratch.write("store/\(path)", "a file where a directory should be")
        let answer = try await actions.perform(command)
        guard case .notGathered(let why) = answer else {
          Issue.record("\(answer)")
          return
        }
        #expect(why.lowercased().contains("not a directory"), "\(why)")
        #expect(try FileManager.default.contentsOfDirectory(atPath: incoming) == [])
      }
    }
  }

  @Test func filesThatChangeAllTheTimeAreToldApart() async throws {
    try await Scratch.with { scratch in
      try await gather(in: scratch) { actions, command, _ in
        let file = scratch.path("work/attempts/a1/dumps/layer00_Block_rank0.pt")
        let survivor = Process()
        survivor.executableURL = URL(fileURLWithPath: "/bin/sh")
        survivor.arguments = [
          "-c", "while kill -0 \"$2\" && echo more >>\"$1\"; do :; done", "sh", file, "\(getpid())",
        ]
        // With the test's own output open it would keep whoever reads that from seeing the end of the tests.
        survivor.standardOutput = FileHandle.nullDevice
        survivor.standardError = FileHandle.nullDevice
        try survivor.run()
        // A child of Foundation's inherits the mask of a thread that blocks every signal it can: SIGTERM never arrives.
        defer { kill(survivor.processIdentifier, SIGKILL) }
        // Now and then it is quick enough; the suite's time limit ends a vain wait.
        while true {
          switch try await actions.perform(command) {
          case .stillWritten(let why):
            #expect(why.contains("layer00_Block_rank0.pt"), "\(why)")
            return
          case .gathered: continue
          case let other:
            Issue.record("\(other)")
            return
          }
        }
      }
    }
  }

  /// What a plan lets through, a launch takes.
  @Test func aTextThatPlansTakeIsLaunched() async throws {
    try await Scratch.with { scratch in
      let transport = LocalTransport()
      let launcher = DetachedLauncher(
        transport: transport, workdir: scratch.path("work"), leaseDir: scratch.path("leases"), gpus: 0, name: "here")
      let text = String(repeating: "x", count: RunSpec.longestText)
      let spec = AttemptSpec(
        id: "a1", token: "t", sweep: "s", run: "r", number: 1, command: "true " + text.dropFirst(5),
        environment: [.init(name: "LONG", value: text)], gpuCount: 0, timeout: 60, stallTimeout: nil)
      #expect(try await launcher.launch(spec, files: []) == .started)
      while true {
        guard case .exited(let record)? = try await launcher.status(of: ["a1"])["a1"] else { continue }
        #expect(record.code == 0)
        return
      }
    }
  }

  @Test func aStoreThatIsAwayForAMomentLosesNothing() async throws {
    try await Scratch.with { scratch in
      try await gather(in: scratch) { actions, command, incoming in
        try FileManager.default.moveItem(atPath: incoming, toPath: incoming + ".away")
        async let answer = actions.perform(command)
        try await Task.sleep(for: .milliseconds(1500))
        try FileManager.default.moveItem(atPath: incoming + ".away", toPath: incoming)
        guard case .gathered(let files) = try await answer else {
          Issue.record("\(try await answer)")
          return
        }
        #expect(files.count == 1)
      }
    }
  }

  @Test func aStoreThatStaysAwayEndsTheDriveAndNotTheRun() async throws {
    try await Scratch.with { scratch in
      try await gather(in: scratch) { actions, command, incoming in
        try FileManager.default.moveItem(atPath: incoming, toPath: incoming + ".away")
        let error = await #expect(throws: GatheringError.self) { _ = try await actions.perform(command) }
        #expect(error?.code == .store)
      }
    }
  }
}
