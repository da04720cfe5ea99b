import Foundation
import Launching
import TestSupport
import Testing

/// Commands that remove their own run directory before anybody has seen that they began.
@Suite(.timeLimit(.minutes(4)))
struct VanishedDirectoryTests {
  @Test(arguments: HostKind.allCases, [0, 1])
  func `a run whose directory is gone at once began, and is not started again`(
    _ kind: HostKind, _ gpus: Int
  ) async throws {
    try await kind.with { host in
      let launcher = host.launcher(gpus: 4 * gpus)
      let starts = host.scratch.path("starts")
      let command = "echo x >> '\(starts)'; d=${PWD%/files}; cd /; rm -rf \"$d\"; sleep 3"
      let alone = try await launcher.launch(spec("alone", command, gpus: gpus), files: [])
      #expect(alone == .started)
      try await startTogether((0..<3).map { spec("a\($0)", command, gpus: gpus) }, launcher)
      try await until { host.scratch.text("starts")?.split(separator: "\n").count == 4 }
      for id in ["alone", "a0", "a1", "a2"] {
        try await until { if case .absent = try await launcher.status(of: id) { true } else { false } }
      }
      try await Task.sleep(for: .seconds(3))
      #expect(host.scratch.text("starts")?.split(separator: "\n").count == 4)
    }
  }

  /// As a coordinator does that has not heard the first answer, and finds no directory.
  @Test(arguments: HostKind.allCases, [0, 1])
  func `a launch that is sent again after its directory has gone starts nothing`(
    _ kind: HostKind, _ gpus: Int
  ) async throws {
    try await kind.with { host in
      let launcher = host.launcher(gpus: 4 * gpus)
      let starts = host.scratch.path("starts")
      // Its supervisor may write there meanwhile.
      let command = "echo x >> '\(starts)'; d=${PWD%/files}; cd /; until rm -rf \"$d\"; do :; done"
      let alone = spec("alone", command, gpus: gpus)
      let together = (0..<3).map { spec("a\($0)", command, gpus: gpus) }
      #expect(try await launcher.launch(alone, files: []) == .started)
      try await startTogether(together, launcher)
      for attempt in [alone] + together {
        var last: AttemptStatus?
        defer { if last != .absent { Issue.record("\(attempt.id) is \(String(describing: last))") } }
        try await until {
          last = try await launcher.status(of: attempt.id)
          return last == .absent
        }
      }
      #expect(try await launcher.launch(alone, files: []) == .adopted)
      let again = try await withThrowingTaskGroup(of: LaunchOutcome.self) { group in
        for attempt in together + [spec("fresh", "sleep 60", gpus: gpus)] {
          group.addTask { try await launcher.launch(attempt, files: []) }
        }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      #expect(again.count { $0 == .adopted } == 3)
      #expect(again.count { $0 == .started } == 1)
      #expect(host.scratch.text("starts")?.split(separator: "\n").count == 4)
      // Another launch of that name is none of its own.
      let other = spec("alone", "true", token: "token-2", gpus: gpus)
      // A GPU is free when the last process of its run has gone.
      var last: LaunchOutcome?
      defer { if last != .started { Issue.record("\(String(describing: last))") } }
      try await until {
        last = try await launcher.launch(other, files: [])
        return last == .started
      }
    }
  }

  /// The old one's record is none of it.
  @Test(arguments: HostKind.allCases, [0, 1])
  func `another launch takes the name of a directory that is gone while its run lives`(
    _ kind: HostKind, _ gpus: Int
  ) async throws {
    try await kind.with { host in
      let launcher = host.launcher(gpus: 6 * gpus)
      let go = host.scratch.path("go")
      let command = "d=${PWD%/files}; cd /; rm -rf \"$d\"; until [ -e '\(go)' ]; do sleep 0.05; done"
      let old = ["alone", "a0", "a1"].map { spec($0, command, gpus: gpus) }
      #expect(try await launcher.launch(old[0], files: []) == .started)
      try await startTogether(Array(old.dropFirst()), launcher)
      for run in old { try await until { try await launcher.status(of: run.id) == .absent } }
      let others = old.map { spec($0.id, "sleep 300", token: "token-2", gpus: gpus) }
      for other in others { #expect(try await launcher.launch(other, files: []) == .started, "\(other.id)") }
      try host.scratch.write("go", "")
      try await Task.sleep(for: .seconds(3))
      for other in others { #expect(try await launcher.status(of: other.id) == .running(outputBytes: 0)) }
      for other in others {
        try await launcher.stop(other.id, reason: "superseded")
        #expect(try await launcher.end(of: other.id).reason == "superseded")
      }
    }
  }

  /// Its record tells of it then.
  @Test(arguments: HostKind.allCases, [0, 1])
  func `a run that removes what tells of its supervisor at once began, and is not started again`(
    _ kind: HostKind, _ gpus: Int
  ) async throws {
    try await kind.with { host in
      let launcher = host.launcher(gpus: 3 * gpus)
      let starts = host.scratch.path("starts")
      let command = "rm ../identity; echo x >> '\(starts)'"
      let alone = spec("alone", command, gpus: gpus)
      #expect(try await launcher.launch(alone, files: []) == .started)
      try await until { if case .exited = try await launcher.status(of: "alone") { true } else { false } }
      #expect(try await launcher.launch(alone, files: []) == .adopted)
      let together = ["a0", "a1"].map { spec($0, command, gpus: gpus) }
      try await startTogether(together, launcher)
      for run in together {
        try await until { if case .exited = try await launcher.status(of: run.id) { true } else { false } }
      }
      #expect(host.scratch.text("starts") == "x\nx\nx\n")
    }
  }

  @Test(arguments: HostKind.allCases)
  func `a launch that began nothing is sent again as the first time`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher(gpus: 1)
      #expect(try await launcher.launch(spec("a1", "sleep 60", gpus: 1), files: []) == .started)
      for id in ["a2", "a2"] {
        guard case .gpuBusy = try await launcher.launch(spec(id, "true", gpus: 1), files: []) else {
          Issue.record("not busy")
          return
        }
      }
      try await launcher.stop("a1", reason: "cancelled")
      #expect(try await launcher.launch(spec("a2", "true", gpus: 1), files: []) == .started)
    }
  }

  /// What time does not mend is not waited for.
  @Test(arguments: HostKind.allCases, ["leases/host.lock", "leases/gpu-0.lock"])
  func `a lock that cannot be opened refuses a run`(_ kind: HostKind, _ lock: String) async throws {
    try await kind.with { host in
      let launcher = host.launcher(gpus: 1)
      _ = try await launcher.enrol()
      _ = try host.scratch.directory(lock)
      guard case .refused(let why) = try await launcher.launch(spec("a1", "true", gpus: 1), files: []) else {
        Issue.record("not refused")
        return
      }
      #expect(why.contains("\(host.scratch.path(lock)) cannot be opened"), "\(why)")
    }
  }

  @Test(arguments: HostKind.allCases)
  func `a run that has removed what tells of its supervisor is ended all the same`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher(gpus: 1)
      // Whoever launches it has seen it by then.
      let go = host.scratch.path("go")
      let command = "until [ -e '\(go)' ]; do sleep 0.1; done; rm ../identity; echo $$; exec sleep 300"
      try await startTogether([spec("one", command), spec("two", command)], launcher)
      #expect(try await launcher.launch(spec("alone", command, gpus: 1), files: []) == .started)
      try host.scratch.write("go", "")
      for id in ["one", "two", "alone"] { try await until { !runningProcesses(id, host).isEmpty } }
      for id in ["one", "alone"] {
        try await until { if case .claimed = try await launcher.status(of: id) { true } else { false } }
        let processes = runningProcesses(id, host).map(KnownProcess.init)
        try await launcher.stop(id, reason: "superseded")
        #expect(processes.filter(\.isRunning).map(\.pid) == [], "\(id)")
        if case .exited = try await launcher.status(of: id) {} else { Issue.record("\(id) has no record") }
      }
      #expect(!runningProcesses("two", host).isEmpty)
      try await launcher.stop("two", reason: "superseded")
    }
  }

  /// As a coordinator does that has not heard the first answer, of a job that Slurm has forgotten since.
  @Test func `a job that began is not submitted again after its directory has gone`() async throws {
    try await Scratch.with { scratch in
      let slurm = try ModelledSlurm(scratch)
      let launcher = SlurmLauncher(
        transport: slurm.login, workdir: scratch.path("shared"), options: .init(), name: "model")
      let starts = scratch.path("starts")
      let command = "echo x >> '\(starts)'"
      for id in ["alone", "known"] {
        #expect(try await launcher.launch(spec(id, command), files: []) == .submitted)
        let number = try #require(slurm.jobs.last).number
        let directory = scratch.path("shared/attempts/\(id)")
        try await runTool("sh", [directory + "/job.sh"], environment: ["SLURM_JOB_ID": number])
        try FileManager.default.removeItem(atPath: directory)
      }
      #expect(scratch.text("starts") == "x\nx\n")
      let left = try #require(scratch.text("queue")).split(separator: "\n").filter { $0.contains("known.") }
      try #require(left.count == 1)
      try scratch.write("queue", left[0] + "\n")
      try slurm.forgetCalls()
      for id in ["alone", "known"] {
        #expect(try await launcher.status(of: id) == .absent)
        #expect(try await launcher.launch(spec(id, command), files: []) == .adopted)
      }
      #expect(slurm.calls("sbatch") == [])
      // What Slurm still has of it is ended.
      for id in ["alone", "known"] { try await launcher.stop(id, reason: "superseded") }
      #expect(slurm.jobs.map(\.state) == ["CANCELLED"])
    }
  }
}
