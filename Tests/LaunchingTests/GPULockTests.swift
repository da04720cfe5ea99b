import Foundation
import Glibc
import Launching
import TestSupport
import Testing
import Transports

/// Who gets which GPU, on hosts that declare GPUs without having tools for them.
@Suite(.timeLimit(.minutes(4)))
struct GPULockTests {
  private static let show = "echo \"$ROLLCALL_GPUS\"; sleep 300"

  @Test(arguments: HostKind.allCases)
  func `one GPU serves one run at a time`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher(gpus: 1)
      let answer1 = try await launcher.enrol()
      #expect(answer1.gpuIDs == ["0"])
      let answer2 = try await launcher.launch(spec("a1", Self.show, gpus: 1), files: [])
      #expect(answer2 == .started)
      // Another coordinator with its own work directory, and the same one again.
      let other = host.launcher(gpus: 1, workdir: host.scratch.path("other"))
      for candidate in [launcher, other] {
        guard case .gpuBusy(let why) = try await candidate.launch(spec("a2", Self.show, gpus: 1), files: []) else {
          Issue.record("the GPU was given twice")
          return
        }
        #expect(why.contains("locked"))
        let answer3 = try await candidate.status(of: "a2")
        #expect(answer3 == .absent)
      }
      let answer4 = try await launcher.launch(spec("cpu", "echo \"[$ROLLCALL_GPUS]\"", gpus: 0), files: [])
      #expect(answer4 == .started)
      _ = try await launcher.end(of: "cpu")
      #expect(host.text("cpu", "stdout.log") == "[]\n")
      try await launcher.stop("a1", reason: "cancelled")
      // Free in the very moment in which the record can be read.
      let answer5 = try await launcher.launch(spec("a2", "true", gpus: 1), files: [])
      #expect(answer5 == .started)
      _ = try await launcher.end(of: "a2")
      let answer6 = try await launcher.launch(spec("a3", "true", gpus: 1), files: [])
      #expect(answer6 == .started)
      _ = try await launcher.end(of: "a3")
    }
  }

  @Test(arguments: HostKind.allCases)
  func `two runs on two GPUs have different ones`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher(gpus: 2)
      async let first = launcher.launch(spec("a1", Self.show, gpus: 1), files: [])
      async let second = launcher.launch(spec("a2", Self.show, gpus: 1), files: [])
      let outcomes = try await [first, second]
      #expect(outcomes == [.started, .started])
      try await until {
        host.text("a1", "stdout.log")?.isEmpty == false && host.text("a2", "stdout.log")?.isEmpty == false
      }
      #expect(Set([host.text("a1", "stdout.log"), host.text("a2", "stdout.log")]) == ["0\n", "1\n"])
      // A gang is taken all or none.
      guard case .gpuBusy = try await launcher.launch(spec("a3", Self.show, gpus: 2), files: []) else {
        Issue.record("half a gang was taken")
        return
      }
      try await launcher.stop("a1", reason: "cancelled")
      guard case .gpuBusy = try await launcher.launch(spec("a3", Self.show, gpus: 2), files: []) else {
        Issue.record("half a gang was taken")
        return
      }
      let answer9 = try await launcher.launch(spec("a4", "true", gpus: 1), files: [])
      #expect(answer9 == .started)
      _ = try await launcher.end(of: "a4")
      try await launcher.stop("a2", reason: "cancelled")
      let answer10 = try await launcher.launch(spec("a5", "echo $ROLLCALL_GPUS", gpus: 2), files: [])
      #expect(answer10 == .started)
      _ = try await launcher.end(of: "a5")
      #expect(host.text("a5", "stdout.log") == "0,1\n")
    }
  }

  @Test(arguments: HostKind.allCases)
  func `a gang of sixteen holds sixteen locks`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher(gpus: 16)
      let answer11 = try await launcher.launch(spec("a1", Self.show, gpus: 16), files: [])
      #expect(answer11 == .started)
      try await until { host.text("a1", "stdout.log")?.isEmpty == false }
      #expect(host.text("a1", "stdout.log") == (0..<16).map(String.init).joined(separator: ",") + "\n")
      for id in 0..<16 {
        let lock = host.scratch.path("leases/gpu-\(id).lock")
        let held = try await runTool("flock", ["-n", lock, "true"], mustSucceed: false)
        #expect(held.status == 1, "GPU \(id)")
        let mode = try FileManager.default.attributesOfItem(atPath: lock)[.posixPermissions] as? Int
        #expect(mode == 0o666)
      }
      let mode = try FileManager.default.attributesOfItem(atPath: host.scratch.path("leases"))[.posixPermissions]
      #expect(mode as? Int == 0o1777)
      guard case .gpuBusy(let why) = try await launcher.launch(spec("a2", "true", gpus: 17), files: []) else {
        Issue.record("17 of 16 GPUs")
        return
      }
      #expect(why.contains("16"))
    }
  }

  /// What cleans /tmp looks at the times of a file, and at no lock.
  @Test(arguments: HostKind.allCases)
  func `a lock that is held is not old`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher(gpus: 1)
      #expect(try await launcher.launch(spec("a1", "true", gpus: 1), files: []) == .started)
      _ = try await launcher.end(of: "a1")
      let lock = host.scratch.path("leases/host.lock")
      try await runTool("touch", ["-d", "20 days ago", lock])
      #expect(try await launcher.launch(spec("a2", Self.show, gpus: 1), files: []) == .started)
      try await until {
        let time = try FileManager.default.attributesOfItem(atPath: lock)[.modificationDate] as? Date
        return time.map { $0.timeIntervalSinceNow > -600 } ?? false
      }
      try await launcher.stop("a2", reason: "cancelled")
    }
  }

  /// The lock goes with the last process of the run, not with its supervisor.
  @Test(arguments: HostKind.allCases)
  func `a killed supervisor releases its GPU when its command is gone`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher(gpus: 1)
      let answer12 = try await launcher.launch(spec("a1", "echo up; exec sleep 300", gpus: 1), files: [])
      #expect(answer12 == .started)
      try await until { host.text("a1", "stdout.log") == "up\n" }
      // With its whole group, so that no clock is left to end the command.
      let supervisor = try host.identity("a1").pid
      kill(-supervisor, SIGKILL)
      try await until { !isRunning(supervisor) }
      guard case .gpuBusy = try await launcher.launch(spec("a2", "true", gpus: 1), files: []) else {
        Issue.record("the GPU of a living process was given away")
        return
      }
      try await launcher.stop("a1", reason: "cancelled")
      let answer13 = try await launcher.launch(spec("a2", "true", gpus: 1), files: [])
      #expect(answer13 == .started)
      _ = try await launcher.end(of: "a2")
    }
  }
}
