import Foundation
import Glibc
import Launching
import TestSupport
import Testing
import Transports

/// What goes wrong with one run, or beside it, costs no other.
@Suite(.timeLimit(.minutes(4)))
struct NeighbourTests {
  @Test func `a supervisor that does not answer costs only the run that is to be stopped`() async throws {
    try await HostKind.supervised.with { host in
      let launcher = host.launcher()
      try await startTogether(["one", "two"].map { spec($0, "echo $$; exec sleep 300") }, launcher)
      try await until { ["one", "two"].allSatisfy { !printedProcesses($0, host).isEmpty } }
      let supervisor = try host.identity("one").pid
      kill(supervisor, SIGSTOP)
      defer { kill(supervisor, SIGCONT) }
      try await launcher.stop("one", reason: "cancelled")
      #expect(runningProcesses("one", host) == [])
      #expect(printedProcesses("two", host).allSatisfy(isRunning))
      #expect(isRunning(supervisor))
      let record = try await launcher.end(of: "one")
      #expect(record.reason == "cancelled")
      kill(supervisor, SIGCONT)
      try await launcher.stop("two", reason: "cancelled")
      let other = try await launcher.end(of: "two")
      #expect(other.signal == 15, "its supervisor led it to its end")
    }
  }

  @Test(arguments: HostKind.allCases)
  func `a run that removes its directory when it is stopped takes no other with it`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      let command = """
        d=${PWD%/files}
        trap 'cd /; until rm -rf "$d"; do :; done; exit' TERM
        echo $$
        while :; do sleep 0.1; done
        """
      try await startTogether([spec("one", command), spec("two", "echo $$; exec sleep 300")], launcher)
      try await until { ["one", "two"].allSatisfy { !printedProcesses($0, host).isEmpty } }
      let one = printedProcesses("one", host).map(KnownProcess.init)
      try await launcher.stop("one", reason: "cancelled")
      #expect(one.filter(\.isRunning).map(\.pid) == [])
      // What it would be told, it has been told by now.
      try await Task.sleep(for: .seconds(1))
      guard case .running = try await launcher.status(of: "two") else {
        Issue.record("\(try await launcher.status(of: "two"))")
        return
      }
    }
  }

  @Test(arguments: [HostKind.local, .supervised], ["{\"code\":0}", "{\"code\":0,\"started\":1e300,\"ended\":1}"])
  func `a record that cannot be read is that run's own trouble`(_ kind: HostKind, _ text: String) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      for id in ["bad", "good"] {
        let outcome = try await launcher.launch(spec(id, "true"), files: [])
        #expect(outcome == .started)
        _ = try await launcher.end(of: id)
      }
      try host.scratch.write("work dir/attempts/bad/exit.json", text + "\n")
      let states = try await launcher.status(of: ["bad", "good"])
      guard case .lost(let why) = states["bad"], case .exited(let record) = states["good"] else {
        Issue.record("\(states)")
        return
      }
      #expect(why.contains("exit record"))
      #expect(record.code == 0)
    }
  }

  @Test func `a GPU tool that hangs keeps no lock and no launch`() async throws {
    try await HostKind.local.with { host in
      try host.scratch.write("bin/nvidia-smi", "#!/bin/sh\nexec sleep 600\n", permissions: 0o755)
      let prefix = "PATH='\(host.scratch.path("bin"))':$PATH; export PATH; "
      let launcher = host.launcher(gpus: nil, transport: PrefixedTransport(prefix: prefix))
      guard case .gpuBusy = try await launcher.launch(spec("gpu", "true", gpus: 1), files: []) else {
        Issue.record("a run began on a GPU that nobody could see")
        return
      }
      let lock = try await launchLock(of: host.workdir)
      try #require(FileManager.default.fileExists(atPath: lock))
      // The supervisor that refused has it until it has gone.
      try await until {
        try await runTool("pgrep", ["-f", "supervise \(host.workdir)"], mustSucceed: false).status == 1
      }
      let free = try await runTool("flock", ["-n", lock, "true"], mustSucceed: false)
      #expect(free.status == 0, "the launch lock is free")
    }
  }

  @Test func `a script that a power cut left empty is put there again`() async throws {
    try await HostKind.local.with { host in
      _ = try await host.launcher().enrol()
      let folder = host.workdir + "/agent"
      for name in try FileManager.default.contentsOfDirectory(atPath: folder) {
        try Data().write(to: URL(fileURLWithPath: "\(folder)/\(name)"))
      }
      let outcome = try await host.launcher().launch(spec("a1", "true"), files: [])
      #expect(outcome == .started)
      let record = try await host.launcher().end(of: "a1")
      #expect(record.code == 0)
    }
  }

  @Test(arguments: HostKind.allCases, [1, 3])
  func `a command hears the signals by which it ends its servers`(_ kind: HostKind, _ count: Int) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      let ids = (1...count).map { "a\($0)" }
      try await startTogether(ids.map { spec($0, "sed -n 's/^SigIgn:[^0-9a-f]*//p' /proc/self/status") }, launcher)
      for id in ids {
        _ = try await launcher.end(of: id)
        let ignored = try #require(UInt64(host.text(id, "stdout.log")?.dropLast() ?? "", radix: 16))
        #expect(ignored & (1 << (SIGINT - 1) | 1 << (SIGQUIT - 1)) == 0)
      }
    }
  }

  @Test func `no open file of ours reaches a command of this machine`() async throws {
    try await HostKind.supervised.with { host in
      let null = open("/dev/null", O_RDONLY)
      defer { close(null) }
      // One that is not closed where another program begins.
      let number = fcntl(null, F_DUPFD, 190)
      try #require(number >= 190)
      defer { close(number) }
      let launcher = host.launcher()
      let outcome = try await launcher.launch(spec("a1", "ls /proc/self/fd"), files: [])
      #expect(outcome == .started)
      _ = try await launcher.end(of: "a1")
      let seen = (host.text("a1", "stdout.log") ?? "").split(separator: "\n")
      #expect(seen.contains("1"))
      #expect(!seen.contains("\(number)"), "\(seen)")
    }
  }

  /// Cleaned away, or unmounted: nothing in the work directory tells of it.
  @Test(arguments: HostKind.allCases, [0, 1])
  func `what lives of a run whose directory is gone is ended with it`(_ kind: HostKind, _ gpus: Int) async throws {
    try await kind.with { host in
      let launcher = host.launcher(gpus: 2 * gpus)
      let command = "env -i sleep 300 & echo $!; setsid sleep 300 & echo $!; echo $$; wait"
      try await startTogether(["gone", "there"].map { spec($0, command, gpus: gpus) }, launcher)
      try await until { ["gone", "there"].allSatisfy { printedProcesses($0, host).count == 3 } }
      let processes = printedProcesses("gone", host).map(KnownProcess.init)
      let directory = host.workdir + "/attempts/gone"
      try FileManager.default.moveItem(atPath: directory, toPath: host.scratch.path("elsewhere"))
      try await launcher.stop("gone", reason: "superseded")
      #expect(processes.filter(\.isRunning).map(\.pid) == [])
      #expect(printedProcesses("there", host).allSatisfy(isRunning))
      // Its supervisor, where it has one of its own, writes nothing in the place of this.
      let record = try await launcher.end(of: "gone")
      #expect(record.reason == "superseded")
      try await launcher.stop("there", reason: "cancelled")
      #expect(runningProcesses("there", host) == [])
    }
  }

  @Test(arguments: [false, true])
  func `a session whose number is another's by now is left alone`(_ isCrewMember: Bool) async throws {
    try await HostKind.local.with { host in
      let launcher = host.launcher()
      _ = try await launcher.enrol()
      let other = try await runTool("sh", ["-c", "setsid sleep 300 >/dev/null 2>&1 & echo $!"])
      let pid = try #require(Int32(other.output.trimmingCharacters(in: .newlines)))
      defer { kill(pid, SIGKILL) }
      let boot = try String(contentsOfFile: "/proc/sys/kernel/random/boot_id", encoding: .utf8)
        .trimmingCharacters(in: .newlines)
      let directory = "work dir/attempts/a1"
      _ = try host.scratch.directory("\(directory)/files")
      try host.scratch.write("\(directory)/token", "t\n")
      // Supervisors that have died: the number, and for a crew that of its command's session, went to somebody else.
      let path = try host.scratch.write(
        "\(directory)/identity", isCrewMember ? "\(boot) 4000000 1 \(pid)\n" : "\(boot) \(pid) 1\n")
      var times = [timeval(), timeval()]
      times[0].tv_sec = time(nil) - 3600
      times[1].tv_sec = time(nil) - 3600
      try #require(utimes(path, times) == 0)
      try await launcher.stop("a1", reason: "superseded")
      #expect(isRunning(pid))
    }
  }
}
