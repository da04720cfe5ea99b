import Foundation
import TestSupport
import Testing

/// The coordinator goes away; the runs do not.
@Suite struct DetachTests {
  /// - Parameter wait: What the command does between `started` and `done`, in the scratch directory.
  private func withSlowJob(
    _ wait: String = "sleep 50", _ body: (RollcallBinary, Scratch) async throws -> Void
  ) async throws {
    try await Scratch.with { scratch in
      try scratch.write(
        "job.yaml",
        """
        name: slow
        run: {command: "cd \(scratch.path); echo started >> starts; \(wait); echo done", timeout: 60s}
        dumps: {layout: atom}
        """)
      try scratch.write(
        "fleet.yaml",
        "hosts: [{name: here, local: true, workdir: \(scratch.path)/work, lease_dir: \(scratch.path)/leases}]")
      try await body(
        RollcallBinary(
          store: scratch.path("store"), directory: scratch.path,
          environment: ["ROLLCALL_FLEET": scratch.path("fleet.yaml")]), scratch)
    }
  }

  /// Starts `run` in the background, waits until the command has begun, and sends the signal.
  private func interrupt(_ rollcall: RollcallBinary, _ scratch: Scratch, signal: Int32) async throws -> Int {
    let command = #"echo $$ > "$1"; exec "$2" run "$3" > /dev/null 2>&1"#
    async let ended = runTool(
      "sh", ["-c", command, "sh", scratch.path("pid"), try RollcallBinary.path, scratch.path("job.yaml")],
      environment: rollcall.variables, mustSucceed: false)
    for _ in 0..<1200 where scratch.text("starts") == nil { try await Task.sleep(for: .milliseconds(50)) }
    try #require(scratch.text("starts") != nil, "the command never started")
    let pid = try #require(scratch.text("pid").flatMap { Int32($0.trimmingCharacters(in: .newlines)) })
    try #require(kill(pid, signal) == 0)
    return try await ended.status
  }

  @Test(.timeLimit(.minutes(2)), arguments: [SIGINT, SIGTERM, SIGKILL])
  func theRunGoesOnAndResumeFindsItsEnd(_ signal: Int32) async throws {
    try await withSlowJob("until [ -e go ]; do sleep 0.1; done") { rollcall, scratch in
      let status = try await interrupt(rollcall, scratch, signal: signal)
      if signal != SIGKILL { #expect(status == 130) }
      let listed = try await rollcall("status")
      #expect(listed.output.contains("detached"))
      let none = try await rollcall("history", "slow")
      #expect(none.status == 64 && none.errorOutput.contains("has ended in this store yet"), "\(none.errorOutput)")
      try scratch.write("go", "")

      let outcome = try await rollcall("resume", "last")
      #expect(outcome.status == 2, "no dumps: inconclusive; \(outcome.errorOutput)")
      let logs = try await rollcall("logs", "run")
      #expect(logs.output == "done\n")
      #expect(scratch.text("starts") == "started\n", "the command must have run exactly once")
    }
  }

  /// The second thing that a process may be asked to leave alone, after the sweep itself.
  @Test(.timeLimit(.minutes(2)), arguments: [SIGINT, SIGTERM])
  func whoAsksToStopWaitsForNoNotice(_ signal: Int32) async throws {
    try await withSlowJob("true") { rollcall, scratch in
      let job = try #require(scratch.text("job.yaml"))
      try scratch.write("tell", "#!/bin/sh\ntouch \(scratch.path)/told; sleep 55\n", permissions: 0o755)
      try scratch.write("job.yaml", job + "\nnotify: [{command: \(scratch.path("tell")), on: always}]\n")
      let command = #"echo $$ > "$1"; exec "$2" run "$3""#
      async let ended = runTool(
        "sh", ["-c", command, "sh", scratch.path("pid"), try RollcallBinary.path, scratch.path("job.yaml")],
        environment: rollcall.variables, mustSucceed: false)
      while scratch.text("told") == nil { try await Task.sleep(for: .milliseconds(50)) }
      let pid = try #require(scratch.text("pid").flatMap { Int32($0.trimmingCharacters(in: .newlines)) })
      let start = ContinuousClock.now
      try #require(kill(pid, signal) == 0)
      let outcome = try await ended
      #expect(ContinuousClock.now - start < .seconds(20))
      #expect(outcome.status == 2 && outcome.output.contains("INCONCLUSIVE"), "\(outcome)")
    }
  }

  @Test(.timeLimit(.minutes(2))) func aStoreThatIsMovedAwayIsNotWrittenToByItsOldPath() async throws {
    try await withSlowJob("until [ -e go ]; do sleep 0.1; done") { rollcall, scratch in
      async let ran = rollcall("run", "job.yaml")
      while scratch.text("starts") == nil { try await Task.sleep(for: .milliseconds(50)) }
      try FileManager.default.moveItem(atPath: scratch.path("store"), toPath: scratch.path("moved"))
      // Another store there.
      _ = try await rollcall("status")
      let outcome = try await ran
      #expect(outcome.status == 69 && outcome.errorOutput.contains("was removed, moved or replaced"), "\(outcome)")
      try scratch.write("go", "")
      let resumed = try await rollcall("resume", "last", "--store", scratch.path("moved"))
      #expect(resumed.status == 2, "\(resumed.errorOutput)")
      #expect(scratch.text("starts") == "started\n")
    }
  }

  @Test(.timeLimit(.minutes(4))) func aSweepThatTheStoresCoordinatorDoesNotDriveIsNotSaidToBeStopped() async throws {
    try await withSlowJob("until [ -e go ]; do sleep 0.1; done") { rollcall, scratch in
      _ = try await interrupt(rollcall, scratch, signal: SIGINT)
      let listed = try await rollcall("status", "--json").json()
      let sweep = try #require((listed["sweeps"] as? [[String: Any]])?.first?["id"] as? String)
      async let other = rollcall("run", "job.yaml")
      while let owner = scratch.text("store/coordinator.lock"), !owner.contains(", sweep ") || owner.contains(sweep) {
        try await Task.sleep(for: .milliseconds(50))
      }
      let cancelled = try await rollcall("cancel", sweep)
      #expect(cancelled.status == 69)
      let owner = try #require(scratch.text("store/coordinator.lock")).trimmingCharacters(in: .whitespacesAndNewlines)
      #expect(cancelled.errorOutput.contains("Another coordinator (\(owner)) works on"), "\(cancelled.errorOutput)")
      try scratch.write("go", "")
      _ = try await other
    }
  }

  @Test(.timeLimit(.minutes(4))) func aFollowerTakesFromTheStoreWhatTheHostHasNoMore() async throws {
    try await withSlowJob("echo first; until [ -e go ]; do sleep 0.1; done") { rollcall, scratch in
      async let running = rollcall("run", "job.yaml")
      while scratch.text("starts") == nil { try await Task.sleep(for: .milliseconds(50)) }
      async let followed = runTool(
        "sh",
        [
          "-c", #"echo $$ > "$1"; exec "$2" logs --follow > "$3""#, "sh", scratch.path("pid"),
          try RollcallBinary.path, scratch.path("out"),
        ], environment: rollcall.variables, mustSucceed: false)
      while scratch.text("out") != "first\n" { try await Task.sleep(for: .milliseconds(50)) }
      let pid = try #require(scratch.text("pid").flatMap { Int32($0.trimmingCharacters(in: .newlines)) })
      kill(pid, SIGSTOP)
      try scratch.write("go", "")
      _ = try await running
      try FileManager.default.removeItem(atPath: scratch.path("work/attempts"))
      kill(pid, SIGCONT)
      #expect(try await followed.status == 0)
      #expect(scratch.text("out") == "first\ndone\n")
    }
  }

  @Test(.timeLimit(.minutes(2))) func cancelStopsTheCommandAtItsHost() async throws {
    try await withSlowJob { rollcall, scratch in
      _ = try await interrupt(rollcall, scratch, signal: SIGKILL)
      let outcome = try await rollcall("cancel", "last")
      #expect(outcome.status == 3, "\(outcome.errorOutput)")
      let status = try await rollcall("status", "last")
      #expect(status.output.contains("cancelled"))
      let logs = try await rollcall("logs", "run")
      #expect(!logs.output.contains("done"), "the command must not have come to its end")
    }
  }

  @Test(.timeLimit(.minutes(2))) func `two who cancel one sweep at the same time end it once`() async throws {
    try await withSlowJob { rollcall, scratch in
      let job = try #require(scratch.text("job.yaml"))
      try scratch.write(
        "job.yaml", job + "\nnotify: [{command: \"cat >> \(scratch.path("told"))\", on: always}]\n")
      _ = try await interrupt(rollcall, scratch, signal: SIGKILL)
      // Both come while somebody else has the store.
      async let blocked = runTool(
        "flock", ["store/coordinator.lock", "sh", "-c", "echo pid 1, sweep other > store/coordinator.lock; sleep 1"],
        directory: scratch.path)
      while scratch.text("store/coordinator.lock")?.contains("other") != true {
        try await Task.sleep(for: .milliseconds(10))
      }
      async let first = rollcall("cancel", "last", "--wait")
      async let second = rollcall("cancel", "last", "--wait")
      _ = try await (blocked, first, second)
      let sweeps = try #require(try await rollcall("status", "--json").json()["sweeps"] as? [[String: Any]])
      #expect(sweeps.compactMap { $0["state"] as? String } == ["cancelled"])
      let told = try #require(scratch.text("told"))
      #expect(told.components(separatedBy: "\"schema\"").count == 2, "\(told)")
    }
  }

  @Test(.timeLimit(.minutes(2)))
  func `who waits for a cancelled sweep stops it where its coordinator dies`() async throws {
    try await withSlowJob { rollcall, scratch in
      async let interrupted = interrupt(rollcall, scratch, signal: SIGSTOP)
      while scratch.text("starts") == nil { try await Task.sleep(for: .milliseconds(50)) }
      async let cancelled = rollcall("cancel", "last", "--wait")
      while try await !rollcall("status").output.contains("cancelling") {
        try await Task.sleep(for: .milliseconds(50))
      }
      kill(try #require(scratch.text("pid").flatMap { Int32($0.trimmingCharacters(in: .newlines)) }), SIGKILL)
      _ = try await interrupted
      let outcome = try await cancelled
      #expect(outcome.status == 3, "\(outcome.errorOutput)")
      let sweeps = try #require(try await rollcall("status", "--json").json()["sweeps"] as? [[String: Any]])
      #expect(sweeps.compactMap { $0["state"] as? String } == ["cancelled"])
    }
  }

  @Test(.timeLimit(.minutes(2))) func aSupervisorKilledAtItsHostIsTriedAgainAsAnotherAttempt() async throws {
    try await withSlowJob { rollcall, scratch in
      // The first attempt kills its supervisor.
      try scratch.write(
        "killer.sh",
        """
        echo try >> \(scratch.path)/tries
        if [ "$ROLLCALL_ATTEMPT" = 1 ]; then kill -9 $(cut -d ' ' -f 2 ../identity); sleep 60; fi
        echo done
        """)
      try scratch.write(
        "job.yaml",
        """
        name: killed
        run: {command: sh killer.sh, files: [killer.sh], timeout: 60s, retries: 1}
        dumps: {layout: atom}
        """)
      let outcome = try await rollcall("run", "job.yaml", "--json")
      #expect(outcome.status == 2, "nothing to compare, and no failed run; \(outcome.errorOutput)")
      let cells = try #require(try outcome.json()["cells"] as? [[String: Any]])
      let run = try #require((cells.first?["runs"] as? [[String: Any]])?.first)
      let attempts = try #require(run["attempts"] as? [[String: Any]])
      #expect(attempts.compactMap { $0["state"] as? String } == ["lost", "succeeded"])
      #expect(scratch.text("tries") == "try\ntry\n")
    }
  }
}
