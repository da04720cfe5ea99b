import Foundation
import Glibc
import Launching
import TestSupport
import Testing
import Transports

/// The plain runs of this machine have one supervisor; each keeps what a run of its own has.
@Suite(.timeLimit(.minutes(4)))
struct SupervisorTests {
  @Test func `each run is limited, stopped and cleaned up for itself`() async throws {
    try await HostKind.supervised.with { host in
      let launcher = host.launcher()
      _ = try await launcher.enrol()
      let stubborn = spec("stubborn", "trap '' TERM; echo $$; while :; do sleep 1; done", timeout: 5)
      try await expectEachEndsByItself(launcher, host, more: [stubborn]) { runs in
        let supervisors = Set(try runs.map { try host.identity($0.id).pid })
        #expect(supervisors.count == 1)
      }
      let killed = try await launcher.end(of: "stubborn")
      #expect(killed.reason == "timeout")
      #expect(killed.signal == 9)
      #expect(runningProcesses("stubborn", host) == [])
      let other = try await launcher.status(of: "other")
      guard case .running = other else {
        Issue.record("a run ended with its neighbours: \(other)")
        return
      }
    }
  }

  @Test func `runs outlive their launcher, and the supervisor goes with the last`() async throws {
    try await HostKind.supervised.with { host in
      let gate = host.scratch.path("gate")
      let runs = (0..<3).map { spec("a\($0)", "while [ ! -e '\(gate)' ]; do sleep 0.05; done; exit 7") }
      do {
        let launcher = host.launcher()
        try await startTogether(runs, launcher)
      }
      let supervisor = KnownProcess(try host.identity("a0").pid)
      let next = host.launcher()
      // Another coordinator has another supervisor, and sees what the first one's does.
      try await startTogether([spec("b0", "exit 3")], next)
      #expect(try host.identity("b0").pid != supervisor.pid)
      guard case .running = try await next.status(of: "a0") else {
        Issue.record("it ended with its launcher")
        return
      }
      #expect(supervisor.isRunning)
      #expect(FileManager.default.createFile(atPath: gate, contents: nil))
      for run in runs {
        let record = try await next.end(of: run.id)
        #expect(record.code == 7)
      }
      try await until { !supervisor.isRunning }
    }
  }

  @Test func `with the supervisor killed its runs are lost, nothing of them lives, and the next launch has another`()
    async throws
  {
    try await HostKind.supervised.with { host in
      let launcher = host.launcher()
      _ = try await launcher.enrol()
      let command = "trap '' HUP; echo $$; env -i setsid sleep 300 & echo $!; sleep 300"
      let runs = (0..<4).map { spec("a\($0)", command) }
      try await startTogether(runs + [spec("ended", "true")], launcher)
      _ = try await launcher.end(of: "ended")
      try await until { runs.allSatisfy { printedProcesses($0.id, host).count == 2 } }
      let leaders = runs.compactMap { printedProcesses($0.id, host).first.map(KnownProcess.init) }
      let supervisor = KnownProcess(try host.identity("a0").pid)
      kill(supervisor.pid, SIGKILL)
      try await until { !supervisor.isRunning }
      let states = try await launcher.status(of: runs.map(\.id))
      for run in runs {
        guard case .lost = states[run.id] else {
          Issue.record("\(run.id) is \(String(describing: states[run.id]))")
          continue
        }
      }
      guard case .exited = try await launcher.status(of: "ended") else {
        Issue.record("what had ended was lost")
        return
      }
      // Of a run nothing says where `env -i setsid` has gone: its session's leader is what must be gone.
      try await until { !leaders.contains(where: \.isRunning) }
      for run in runs { for pid in runningProcesses(run.id, host) { kill(pid, SIGKILL) } }
      try await startTogether([spec("b0", "exit 3")], launcher)
      let record = try await launcher.end(of: "b0")
      #expect(record.code == 3)
      #expect(runs.allSatisfy { host.text($0.id, "exit.json") == nil })
    }
  }

  @Test func `a supervisor that cannot be started costs no launch`() async throws {
    try await HostKind.supervised.with { host in
      var broken = host
      broken.supervisor = ["/nonexistent/rollcall", "supervise"]
      let launcher = broken.launcher()
      try await startTogether((0..<3).map { spec("a\($0)", "exit \($0)") }, launcher)
      for number in 0..<3 {
        let record = try await launcher.end(of: "a\(number)")
        #expect(record.code == number)
      }
    }
  }

  @Test(.enabled(if: geteuid() == 0, "a tmpfs of limited size can be mounted by root only"))
  func `a full disk costs no exit record`() async throws {
    try await SmallDisk.with(megabytes: 1) { disk, _ in
      let launcher = DetachedLauncher(
        transport: LocalTransport(), workdir: disk + "/w", leaseDir: disk + "/l", name: "gpu-1",
        supervisor: try supervisorProgram)
      _ = try await launcher.enrol()
      try await expectRecordsOnAFullDisk(disk, launcher)
      let big = ShippedFile(name: "big", contents: [UInt8](repeating: 7, count: 300 << 10), isExecutable: false)
      let refused = try await launcher.launch(spec("b0", "true"), files: [big])
      guard case .noSpace = refused else {
        Issue.record("\(refused)")
        return
      }
      let state = try await launcher.status(of: "b0")
      #expect(state == .absent)
    }
  }
}
