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
