import Foundation
import Glibc
import Launching
import TestSupport
import Testing
import Transports

/// Plain runs that are launched together have one supervisor together; each keeps what a run of its own has.
@Suite(.timeLimit(.minutes(4)))
struct CrewTests {
  @Test(arguments: HostKind.crewed)
  func `each run of a crew is limited, stopped, lost and cleaned up for itself`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      _ = try await launcher.enrol()
      try await expectEachEndsByItself(launcher, host) { runs in #expect(runs.count { member($0.id, host) } >= 6) }
      for number in 0..<6 {
        let leader = try leader("quick\(number)", host)
        try await until { !leader.isRunning }
      }
      kill(try leader("other", host).pid, SIGKILL)
      try await until { if case .lost = try await launcher.status(of: "other") { true } else { false } }
      try await until { runningProcesses("other", host).isEmpty }
      #expect(host.text("other", "exit.json") == nil)
      let incoming = try FileManager.default.contentsOfDirectory(atPath: host.workdir + "/incoming")
      #expect(incoming.isEmpty)
    }
  }

  @Test(arguments: HostKind.crewed)
  func `with its leader killed a crew is lost, and nothing of it lives`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      _ = try await launcher.enrol()
      let runs = (0..<6).map { spec("a\($0)", "trap '' HUP; echo $$; sleep 300") }
      try await startTogether(runs, launcher)
      let crew = runs.map(\.id).filter { member($0, host) }
      #expect(crew.count >= 4)
      try await until { crew.allSatisfy { !printedProcesses($0, host).isEmpty } }
      let members = try crew.map { try leader($0, host) }
      let processes = members + crew.flatMap { printedProcesses($0, host).map(KnownProcess.init) }
      let leaders = Set(members.map(\.pid).compactMap(parent))
      #expect(leaders.count < crew.count)
      for leader in leaders { kill(leader, SIGKILL) }
      try await until { !processes.contains(where: \.isRunning) }
      let states = try await launcher.status(of: crew)
      for id in crew {
        guard case .lost = states[id] else {
          Issue.record("\(id) is \(String(describing: states[id]))")
          continue
        }
      }
    }
  }

  @Test func `a crew whose launch nobody hears to its end runs as it would`() async throws {
    try await HostKind.local.with { host in
      let launcher = host.launcher()
      _ = try await launcher.enrol()
      // As when the connection is lost after the first byte of the answer.
      let pipe = host.scratch.path("pipe")
      let prefix = "mkfifo '\(pipe)' && { head -c 1 <'\(pipe)' >/dev/null & exec >'\(pipe)'; rm '\(pipe)'; }; "
      let deaf = host.launcher(transport: PrefixedTransport(prefix: prefix))
      let ids = (0..<24).map { "a\($0)" }
      await withTaskGroup(of: Void.self) { group in
        for id in ids { group.addTask { _ = try? await deaf.launch(spec(id, "echo ran; exit 7"), files: []) } }
      }
      var ended = 0
      for id in ids {
        while true {
          let state = try await launcher.status(of: id)
          switch state {
          case .running, .claimed: try await Task.sleep(for: .milliseconds(50))
          case .exited(let record):
            #expect(record.code == 7, "\(id)")
            #expect(host.text(id, "stdout.log") == "ran\n")
            ended += 1
          default: #expect(state == .absent)
          }
          if case .running = state { continue }
          if case .claimed = state { continue }
          break
        }
      }
      #expect(ended > 1)
      #expect(ids.contains { member($0, host) })
    }
  }

  @Test(.enabled(if: geteuid() == 0, "a tmpfs of limited size can be mounted by root only"))
  func `a full disk costs a crew no exit record`() async throws {
    try await SmallDisk.with(megabytes: 1) { disk, _ in
      let launcher = DetachedLauncher(
        transport: LocalTransport(), workdir: disk + "/w", leaseDir: disk + "/l", name: "gpu-1")
      _ = try await launcher.enrol()
      try await expectRecordsOnAFullDisk(disk, launcher)
    }
  }

  @Test func `records that cannot be written wait, and keep no other run from its limit`() async throws {
    try await HostKind.local.with { host in
      let sync = try await runTool("sh", ["-c", "command -v sync"]).output.trimmingCharacters(in: .newlines)
      let gate = host.scratch.path("gate")
      // A disk that takes none.
      try host.scratch.write(
        "bin/sync",
        """
        #!/bin/sh
        case $* in *exit.json* | *.reserve*) [ ! -e '\(gate)' ] || exit 1 ;; esac
        exec '\(sync)' "$@"

        """, permissions: 0o755)
      let launcher = host.launcher(
        transport: PrefixedTransport(prefix: "PATH='\(host.scratch.path("bin"))':$PATH; export PATH; "))
      _ = try await launcher.enrol()
      try host.scratch.write("gate", "")
      let ending = (0..<6).map { spec("a\($0)", "exit \($0)") }
      let late = (0..<3).map { spec("late\($0)", "exec sleep 300", timeout: 3) }
      // One beside the other: however they come to be launched, some crew has both kinds.
      let mixed = zip(ending, late).flatMap { [$0, $1] } + ending.dropFirst(late.count)
      try await startTogether(mixed, launcher)
      func leaders(_ runs: [AttemptSpec]) throws -> Set<Int32> {
        Set(try runs.map(\.id).filter { member($0, host) }.compactMap { parent(try leader($0, host).pid) })
      }
      #expect(try !leaders(ending).isDisjoint(with: leaders(late)))
      let commands = try late.filter { member($0.id, host) }.map {
        KnownProcess(try #require(Int32(words($0.id, host)[3])))
      }
      try await until { !commands.contains(where: \.isRunning) }
      let states = try await launcher.status(of: ending.map(\.id))
      for run in ending {
        guard case .running? = states[run.id] else {
          Issue.record("\(run.id) is \(String(describing: states[run.id])) without a record on the disk")
          continue
        }
      }
      try FileManager.default.removeItem(atPath: gate)
      for (number, run) in ending.enumerated() {
        let record = try await launcher.end(of: run.id)
        #expect(record.code == number)
        #expect(record.reason == nil)
        #expect(host.text(run.id, ".reserve") == nil)
      }
      for run in late {
        let record = try await launcher.end(of: run.id)
        #expect(record.reason == "timeout")
      }
    }
  }

  @Test func `an exit is told when its record is on the disk`() async throws {
    try await HostKind.local.with { host in
      let sync = try await runTool("sh", ["-c", "command -v sync"]).output.trimmingCharacters(in: .newlines)
      let gate = host.scratch.path("gate")
      // A disk that takes its time.
      try host.scratch.write(
        "bin/sync",
        """
        #!/bin/sh
        for file; do
          case $file in */exit.json | */.reserve) while [ -e '\(gate)' ]; do sleep 0.05; done ;; esac
        done
        exec '\(sync)' "$@"

        """)
      try await runTool("chmod", ["+x", host.scratch.path("bin/sync")])
      let launcher = host.launcher(
        transport: PrefixedTransport(prefix: "PATH='\(host.scratch.path("bin"))':$PATH; export PATH; "))
      _ = try await launcher.enrol()
      try host.scratch.write("gate", "")
      // The last one has a supervisor of its own.
      let plain = (0..<8).map { spec("a\($0)", "exit \($0)") }
      let runs = plain + [spec("alone", "exit 8 # python3")]
      try await startTogether(runs, launcher)
      #expect(runs.count { member($0.id, host) } >= 6)
      func isWritten(_ id: String) -> Bool {
        let name = member(id, host) ? "exit.json" : ".reserve"
        return host.text(id, name)?.hasSuffix("}\n") == true
      }
      try await until { runs.contains { member($0.id, host) && isWritten($0.id) } && isWritten("alone") }
      let states = try await launcher.status(of: runs.map(\.id))
      for run in runs {
        let one = try await launcher.status(of: run.id)
        for state in [states[run.id], one] {
          guard case .running? = state else {
            Issue.record("\(run.id) is \(String(describing: state)) before its record is on the disk")
            continue
          }
        }
      }
      try FileManager.default.removeItem(atPath: gate)
      for (number, run) in runs.enumerated() {
        let record = try await launcher.end(of: run.id)
        #expect(record.code == number)
        #expect(host.text(run.id, ".reserve") == nil)
      }
    }
  }

  // MARK: -

  private func words(_ id: String, _ host: TestHost) -> [Substring] {
    (host.text(id, "identity") ?? "").split(whereSeparator: \.isWhitespace)
  }

  /// The identity of a crew's member names its command's session, too.
  private func member(_ id: String, _ host: TestHost) -> Bool { words(id, host).count == 4 }

  private func leader(_ id: String, _ host: TestHost) throws -> KnownProcess {
    let words = words(id, host)
    try #require(words.count >= 3)
    return KnownProcess(try #require(Int32(words[1])), start: String(words[2]))
  }

  private func parent(_ pid: Int32) -> Int32? {
    guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
      let close = stat.lastIndex(of: ")")
    else { return nil }
    return stat[close...].split(separator: " ").dropFirst(2).first.flatMap { Int32($0) }
  }
}
