import Foundation
import Glibc
import Launching
import TestSupport
import Testing

/// Numbers of processes and sessions come round: who has one that was ours is not to be ended for it.
@Suite(.timeLimit(.minutes(4)))
struct ForeignNumberTests {
  /// Hands over a process with a session of its own that is nobody's; it must outlive the body.
  private func withStranger(_ body: (Int32) async throws -> Void) async throws {
    let told = try await runTool("sh", ["-c", "setsid sleep 300 >/dev/null 2>&1 & echo $!"])
    let stranger = KnownProcess(try #require(Int32(told.output.trimmingCharacters(in: .newlines))))
    defer { if stranger.isRunning { kill(stranger.pid, SIGKILL) } }
    try #require(stranger.isRunning)
    try await body(stranger.pid)
    #expect(stranger.isRunning)
  }

  @Test(arguments: [("watcher=$!", 1), ("ticker=$!", 3), ("pid_$number=$!", 3)])
  func `what a supervisor started beside itself has ended, and its number is another's`(_ place: String, _ count: Int)
    async throws
  {
    try await HostKind.local.with { host in
      let launcher = host.launcher()
      _ = try await launcher.enrol()
      try await withStranger { stranger in
        try host.patchScript([(place, place.replacing("$!", with: "\(stranger)"))])
        let runs = (0..<count).map { spec("a\($0)", $0 == 2 ? "setsid sleep 300 & exit 4" : "exit 4") }
        try await startTogether(runs, launcher)
        for run in runs { #expect(try await launcher.end(of: run.id).code == 4) }
        // It is told so until then.
        try await Task.sleep(for: .seconds(1))
      }
    }
  }

  @Test func `the session of a member's command is another's when it has ended`() async throws {
    try await HostKind.local.with { host in
      let launcher = host.launcher()
      _ = try await launcher.enrol()
      try await withStranger { stranger in
        try host.patchScript([("  code=$? did_begin=\n", "  code=$? did_begin= child=\(stranger)\n")])
        let runs = (0..<3).map { spec("a\($0)", "exit 4") }
        try await startTogether(runs, launcher)
        for run in runs { #expect(try await launcher.end(of: run.id).code == 4) }
      }
    }
  }

  @Test func `a session becomes another's while what has left it is ended`() async throws {
    try await HostKind.local.with { host in
      let launcher = host.launcher()
      _ = try await launcher.enrol()
      try await withStranger { stranger in
        let seen = "      seen=\"$seen $number\"\n    done\n"
        try host.patchScript([(seen, seen + "    set -- \(stranger) \"$2\" \"$3\"\n")])
        let command = "setsid sh -c 'trap : TERM; echo $$; sleep 2; sleep 1' & exit 4"
        try await startTogether([spec("a1", command)], launcher)
        #expect(try await launcher.end(of: "a1").code == 4)
        #expect(runningProcesses("a1", host) == [])
      }
    }
  }

  enum Killed: CaseIterable { case member, leader, supervisor }

  @Test(arguments: Killed.allCases)
  func `what is left of a supervisor that was killed is looked for in no foreign session`(_ killed: Killed)
    async throws
  {
    try await (killed == .supervisor ? HostKind.supervised : .local).with { host in
      let launcher = host.launcher()
      _ = try await launcher.enrol()
      try await withStranger { stranger in
        let ids = ["a0", "a1", "a2"]
        try await startTogether(ids.map { spec($0, "echo $$; exec sleep 300") }, launcher)
        func words(_ id: String) -> [String] {
          (host.text(id, "identity") ?? "").split(whereSeparator: \.isWhitespace).map(String.init)
        }
        // One may have a supervisor of its own.
        let id = try #require(ids.last { words($0).count == 4 })
        try await until { printedProcesses(id, host).count == 1 }
        var words = words(id)
        let command = KnownProcess(try #require(Int32(words[3])))
        words[3] = "\(stranger)"
        let path = try host.scratch.write("work dir/attempts/\(id)/identity", words.joined(separator: " ") + "\n")
        var times = [timeval(), timeval()]
        times[0].tv_sec = time(nil) - 3600
        times[1].tv_sec = time(nil) - 3600
        try #require(utimes(path, times) == 0)
        let leader = try #require(Int32(words[1]))
        kill(killed == .leader ? try #require(parent(of: leader)) : leader, SIGKILL)
        // By its mark.
        try await until { !command.isRunning }
        try await Task.sleep(for: .seconds(1))
        for id in ids { try await launcher.stop(id, reason: "cancelled") }
      }
    }
  }

  private func parent(of pid: Int32) -> Int32? {
    guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
      let close = stat.lastIndex(of: ")")
    else { return nil }
    return Int32(stat[close...].split(separator: " ")[2])
  }

  /// As `killall sleep` does.
  @Test(arguments: [1, 3])
  func `a clock whose sleep is ended keeps the limits`(_ count: Int) async throws {
    try await HostKind.local.with { host in
      let launcher = host.launcher()
      _ = try await launcher.enrol()
      try host.patchScript([("sleep \"$pause\"", "sh -c 'sleep 0.2; kill -KILL $$'")])
      let runs = (0..<count).map { spec("a\($0)", "exec sleep 100", timeout: 3) }
      try await startTogether(runs, launcher)
      for run in runs { #expect(try await launcher.end(of: run.id).reason == "timeout") }
    }
  }
}
