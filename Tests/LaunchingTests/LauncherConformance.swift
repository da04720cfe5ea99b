import Foundation
import Glibc
import Launching
import TestSupport
import Testing
import Transports

/// The run directory contract, on every kind of host.
@Suite(.timeLimit(.minutes(4)))
struct LauncherConformance {
  @Test(arguments: HostKind.allCases)
  func `a command runs in files, and its directory holds what the contract says`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      let facts = try await launcher.enrol()
      #expect(facts.workdir == host.workdir)
      #expect(facts.cpuCount > 0)
      #expect(facts.freeDiskBytes > 0)
      #expect(abs(facts.clockOffset) < 30)
      #expect(facts.gpuIDs.isEmpty)
      #expect(facts.versions["kernel"]?.hasPrefix("Linux") == true)

      let files = [
        ShippedFile(name: "tool.sh", contents: Array("#!/bin/sh\npwd; cat 'a b.txt'\n".utf8), isExecutable: true),
        ShippedFile(name: "a b.txt", contents: Array("bytes \u{0}\n".utf8), isExecutable: false),
        ShippedFile(name: "empty", contents: [], isExecutable: false),
      ]
      let outcome = try await launcher.launch(spec("a1", "./tool.sh; echo err >&2; exit 3"), files: files)
      #expect(outcome == .started)
      let record = try await launcher.end(of: "a1")
      #expect(record.code == 3)
      #expect(record.signal == nil)
      #expect(record.reason == nil)
      #expect(record.started > 1_600_000_000)
      #expect(record.ended >= record.started)

      let directory = try await launcher.directory(of: "a1")
      #expect(directory == host.workdir + "/attempts/a1")
      #expect(host.text("a1", "stdout.log") == "\(directory)/files\nbytes \u{0}\n")
      #expect(host.text("a1", "stderr.log") == "err\n")
      let own = kind == .supervised ? [] : ["launch.sh"]
      for name in own + ["spec.json", "identity", "stdout.log", "stderr.log", "files", "dumps", "exit.json"] {
        #expect(FileManager.default.fileExists(atPath: directory + "/" + name), "\(name)")
      }
      #expect(!FileManager.default.fileExists(atPath: directory + "/.reserve"))
      #expect(!FileManager.default.fileExists(atPath: directory + "/exit.json.tmp"))
      let stored = try JSONDecoder().decode(AttemptSpec.self, from: Data((host.text("a1", "spec.json") ?? "").utf8))
      #expect(stored == spec("a1", "./tool.sh; echo err >&2; exit 3"))
      let identity = try host.identity("a1")
      let ended = KnownProcess(kind == .supervised ? identity.session : identity.pid)
      // A supervisor of its own ends when its record stands. Of one of many, the command's start is not told.
      try await until { !ended.isRunning || kind != .supervised && ended.start != identity.start }
      let incoming = try FileManager.default.contentsOfDirectory(atPath: host.workdir + "/incoming")
      #expect(incoming.isEmpty)
    }
  }

  @Test(arguments: HostKind.allCases)
  func `exit codes and signals are told`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      let cases: [(id: String, command: String, code: Int, signal: Int?)] = [
        ("zero", "true", 0, nil), ("one", "exit 1", 1, nil), ("none", "no-such-program", 127, nil),
        ("plain", ": > f; ./f", 126, nil), ("killed", "kill -KILL $$", 137, 9), ("segv", "kill -SEGV $$", 139, 11),
        ("last", "exit 255", 255, nil),
      ]
      for test in cases {
        let answer14 = try await launcher.launch(spec(test.id, test.command), files: [])
        #expect(answer14 == .started)
      }
      for test in cases {
        let record = try await launcher.end(of: test.id)
        #expect(record.code == test.code, "\(test.id)")
        #expect(record.signal == test.signal, "\(test.id)")
        #expect(record.reason == nil, "\(test.id)")
      }
    }
  }

  @Test(arguments: HostKind.allCases)
  func `twenty launches of one attempt start it once`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      let runs = host.scratch.path("runs")
      let outcomes = try await withThrowingTaskGroup(of: LaunchOutcome.self) { group in
        for _ in 0..<20 {
          group.addTask { try await launcher.launch(spec("a1", "echo run >> '\(runs)'; sleep 1"), files: []) }
        }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      #expect(outcomes.count { $0 == .started } == 1)
      #expect(outcomes.count { $0 == .adopted } == 19)
      _ = try await launcher.end(of: "a1")
      let answer15 = try await launcher.launch(spec("a1", "echo run >> '\(runs)'"), files: [])
      #expect(answer15 == .adopted)
      #expect(host.scratch.text("runs") == "run\n")
    }
  }

  @Test(arguments: HostKind.allCases)
  func `another token is refused, a half-made claim is completed by its own`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      _ = try await launcher.enrol()
      let answer16 = try await launcher.status(of: "a1")
      #expect(answer16 == .absent)
      // As a launcher leaves it that died between its mkdir and its supervisor.
      let made = Date()
      try host.scratch.write("work dir/attempts/a1/token", "token-1\n")
      try host.scratch.write("work dir/attempts/a1/files/old", "half")
      guard case .claimed(let age) = try await launcher.status(of: "a1") else {
        Issue.record("a claim is not seen as one")
        return
      }
      #expect(age <= Date().timeIntervalSince(made) + 1)
      let stranger = try await launcher.launch(spec("a1", "true", token: "token-2"), files: [])
      guard case .refused = stranger else {
        Issue.record("a stranger's launch gave \(stranger)")
        return
      }
      let answer17 = try await launcher.launch(spec("a1", "ls"), files: [])
      #expect(answer17 == .started)
      let answer18 = try await launcher.end(of: "a1")
      #expect(answer18.code == 0)
      #expect(host.text("a1", "stdout.log") == "")
    }
  }

  @Test(arguments: HostKind.allCases)
  func `environment and command arrive as written`(_ kind: HostKind) async throws {
    let values: [(String, String)] = [
      ("QUOTES", "it's \"quoted\" \\ and $HOME `date`"), ("LINES", "one\ntwo\n\nend\n"), ("EMPTY", ""),
      ("UNICODE", "ü–漢字 🙂"), ("dir", "/a name that a script may use"), ("token", "x"), ("ROLLCALL_DUMP_DIR", "/d u"),
      ("SPACES", "  leading and trailing  "), ("DASH", "-n"),
    ]
    try await kind.with { host in
      let launcher = host.launcher()
      let command = values.map { "printf '%s|' \"$\($0.0)\"" }.joined(separator: "; ") + "; printf '%s' 'it'\\''s\n%d'"
      let answer19 = try await launcher.launch(spec("a1", command, environment: values), files: [])
      #expect(answer19 == .started)
      let answer20 = try await launcher.end(of: "a1")
      #expect(answer20.code == 0)
      #expect(host.text("a1", "stdout.log") == values.map { $0.1 + "|" }.joined() + "it's\n%d")
    }
  }

  @Test(arguments: HostKind.allCases)
  func `a run outlives its connection`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      let go = host.scratch.path("go")
      let command = "while [ ! -e '\(go)' ]; do sleep 0.05; done; echo done"
      let answer21 = try await launcher.launch(spec("a1", command), files: [])
      #expect(answer21 == .started)
      host.server?.cutConnections()
      host.server?.stop()
      await host.transport.close()
      let other = host.launcher(transport: LocalTransport())
      guard case .running = try await other.status(of: "a1") else {
        Issue.record("the run ended with its connection")
        return
      }
      try host.scratch.write("go", "")
      let answer22 = try await other.end(of: "a1")
      #expect(answer22.code == 0)
      #expect(host.text("a1", "stdout.log") == "done\n")
    }
  }

  @Test(arguments: HostKind.allCases)
  func `a killed supervisor is a lost attempt, and stop ends what it left`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      let answer23 = try await launcher.launch(spec("a1", "echo $$; exec sleep 300"), files: [])
      #expect(answer23 == .started)
      try await until { host.text("a1", "stdout.log")?.isEmpty == false }
      let command = try #require(Int32(host.text("a1", "stdout.log")?.dropLast() ?? ""))
      let (supervisor, _, session) = try host.identity("a1")
      let known = KnownProcess(command)
      let knownSupervisor = KnownProcess(supervisor)
      #expect(known.isRunning)
      #expect(getsid(supervisor) != getsid(0))
      #expect(getsid(command) == session)
      #expect(getpgid(command) != supervisor)
      kill(supervisor, SIGKILL)
      try await until { !knownSupervisor.isRunning }
      guard case .lost(let why) = try await launcher.status(of: "a1") else {
        Issue.record("not lost")
        return
      }
      #expect(why.contains("killed"))
      try await launcher.stop("a1", reason: "cancelled")
      #expect(!known.isRunning)
      guard case .lost = try await launcher.status(of: "a1") else {
        Issue.record("a lost attempt got a history that it has not")
        return
      }
    }
  }

  @Test(arguments: HostKind.allCases)
  func `another boot or another start time under the same number is not ours`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      let boot = try await launcher.enrol().bootID
      // A process that lives, but not since then.
      let mine = getpid()
      try host.scratch.write("work dir/attempts/a1/identity", "\(boot) \(mine) 1\n")
      try host.scratch.write("work dir/attempts/a1/token", "token-1\n")
      try host.scratch.write("work dir/attempts/a2/identity", "another-boot \(mine) 1\n")
      try host.scratch.write("work dir/attempts/a2/token", "token-2\n")
      let states = try await launcher.status(of: ["a1", "a2"])
      guard case .lost = states["a1"], case .lost(let why) = states["a2"] else {
        Issue.record("\(states)")
        return
      }
      #expect(why.contains("rebooted"))
      // And never killed: this test would not live to see it.
      try await launcher.stop("a1", reason: "cancelled")
      try await launcher.stop("a2", reason: "cancelled")
    }
  }

  @Test(arguments: HostKind.allCases)
  func `the host keeps the timeout with nobody connected`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      // A child in another session, that ignores TERM, and a command that does, too.
      let command = "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$; sleep 300' & echo $$; sleep 300; sleep 300"
      let answer24 = try await launcher.launch(spec("a1", command, timeout: 5), files: [])
      #expect(answer24 == .started)
      host.server?.stop()
      await host.transport.close()
      // No launcher looks meanwhile.
      try await until { host.text("a1", "exit.json") != nil }
      let record = try await host.launcher(transport: LocalTransport()).end(of: "a1")
      #expect(record.reason == "timeout")
      #expect(record.signal == 9)
      #expect(printedProcesses("a1", host).count == 2)
      #expect(runningProcesses("a1", host) == [])
    }
  }

  @Test(arguments: HostKind.allCases)
  func `a command that ends in time after TERM keeps its code and the reason`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      let command = "trap 'echo saved; exit 7' TERM; while :; do sleep 0.1; done"
      let answer25 = try await launcher.launch(spec("a1", command, timeout: 5), files: [])
      #expect(answer25 == .started)
      let record = try await launcher.end(of: "a1")
      #expect(record.reason == "timeout")
      #expect(record.code == 7)
      #expect(host.text("a1", "stdout.log") == "saved\n")
    }
  }

  @Test(arguments: HostKind.allCases)
  func `a stalled run is ended, one whose dumps grow is not`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      let busy = "for i in $(seq 24); do echo x >> ../dumps/d; sleep 0.5; done"
      let answer26 = try await launcher.launch(spec("busy", busy, stall: 8), files: [])
      #expect(answer26 == .started)
      let answer27 = try await launcher.launch(spec("idle", "echo x; sleep 300", stall: 8), files: [])
      #expect(answer27 == .started)
      let idle = try await launcher.end(of: "idle")
      #expect(idle.reason == "stalled")
      let end = try await launcher.end(of: "busy")
      #expect(end.reason == nil)
      #expect(end.code == 0)
    }
  }

  @Test(arguments: HostKind.allCases)
  func `stop ends the whole session and says why`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      let command = "sh -c 'echo $$; sleep 300' & setsid sh -c 'echo $$; sleep 300' & echo $$; wait"
      let answer28 = try await launcher.launch(spec("a1", command), files: [])
      #expect(answer28 == .started)
      try await until { (host.text("a1", "stdout.log") ?? "").split(separator: "\n").count == 3 }
      let pids = (host.text("a1", "stdout.log") ?? "").split(separator: "\n").compactMap { Int32($0) }
      #expect(pids.allSatisfy(isRunning))
      try await launcher.stop("a1", reason: "cancelled")
      #expect(pids.count == 3)
      #expect(runningProcesses("a1", host) == [])
      let record = try await launcher.end(of: "a1")
      #expect(record.reason == "cancelled")
      #expect(record.signal == 15)
      // Again: nothing happens.
      try await launcher.stop("a1", reason: "other")
      let answer29 = try await launcher.end(of: "a1")
      #expect(answer29 == record)
    }
  }

  /// As a host does to all when it goes down: nobody has cancelled anything.
  @Test(arguments: HostKind.allCases, [0, 1])
  func `a supervisor that somebody else tells to end says so`(_ kind: HostKind, _ gpus: Int) async throws {
    try await kind.with { host in
      let launcher = host.launcher(gpus: gpus)
      let outcome = try await launcher.launch(spec("a1", "echo $$; exec sleep 300", gpus: gpus), files: [])
      #expect(outcome == .started)
      try await until { host.text("a1", "stdout.log")?.isEmpty == false }
      let supervisor = KnownProcess(try host.identity("a1").pid)
      // Again: a signal between two commands of a shell may be missed.
      try await until {
        if supervisor.isRunning { kill(supervisor.pid, SIGTERM) }
        return host.text("a1", "exit.json") != nil
      }
      let record = try await launcher.end(of: "a1")
      #expect(record.reason == ExitRecord.terminated)
      #expect(record.signal == 15)
      #expect(runningProcesses("a1", host) == [])
    }
  }

  @Test(arguments: HostKind.allCases)
  func `a supervisor that does not answer is ended all the same`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      let answer31 = try await launcher.launch(spec("a1", "echo $$; exec sleep 300"), files: [])
      #expect(answer31 == .started)
      try await until { host.text("a1", "stdout.log")?.isEmpty == false }
      let supervisor = KnownProcess(try host.identity("a1").pid)
      kill(supervisor.pid, SIGSTOP)
      try await launcher.stop("a1", reason: "cancelled")
      #expect(!supervisor.isRunning)
      #expect(runningProcesses("a1", host) == [])
      let answer32 = try await launcher.end(of: "a1")
      #expect(answer32.reason == "cancelled")
    }
  }

  /// On a busy machine a supervisor is told to end its command before that has begun.
  @Test(arguments: HostKind.crewed, [1, 3])
  func `a command that begins after its end was due is ended all the same`(_ kind: HostKind, _ count: Int) async throws
  {
    try await kind.with { host in
      let launcher = host.launcher()
      _ = try await launcher.enrol()
      try host.patchScript([("\nbecome_command() {\n", "\nbecome_command() {\n  sleep 3\n")])
      let late = (0..<count).map { spec("late\($0)", "echo $$; exec sleep 300", timeout: 1) }
      let stopped = (0..<count).map { spec("stopped\($0)", "echo $$; exec sleep 300") }
      for runs in [late, stopped] { try await startTogether(runs, launcher) }
      for run in stopped { try await launcher.stop(run.id, reason: "cancelled") }
      for run in stopped { #expect(try await launcher.end(of: run.id).reason == "cancelled") }
      for run in late { #expect(try await launcher.end(of: run.id).reason == "timeout") }
      // By then all would have begun.
      try await Task.sleep(for: .seconds(4))
      for run in late + stopped { #expect(runningProcesses(run.id, host) == [], "\(run.id)") }
    }
  }

  @Test(arguments: HostKind.allCases)
  func `what a command leaves behind is ended`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      let command = "sleep 300 & echo $!; setsid sleep 300 & echo $!; exit 5"
      let answer33 = try await launcher.launch(spec("a1", command), files: [])
      #expect(answer33 == .started)
      let record = try await launcher.end(of: "a1")
      #expect(record.code == 5)
      #expect(record.reason == nil)
      let pids = (host.text("a1", "stdout.log") ?? "").split(separator: "\n").compactMap { Int32($0) }
      #expect(pids.count == 2)
      #expect(runningProcesses("a1", host) == [])
    }
  }

  @Test(arguments: HostKind.allCases)
  func `a launch that arrives after its stop starts nothing`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher(gpus: 1)
      try await launcher.stop("a1", reason: "cancelled")
      let stopped = try await launcher.end(of: "a1")
      #expect(stopped.reason == "cancelled")
      let late = try await launcher.launch(spec("a1", "touch ran; echo ran", gpus: 1), files: [])
      #expect(late == .adopted)
      try await launcher.stop("a1", reason: "superseded")
      let after = try await launcher.end(of: "a1")
      #expect(after == stopped)
      #expect(host.text("a1", "files/ran") == nil)
      #expect(host.text("a1", "stdout.log") == "")
      // Its GPU is nobody's.
      let next = try await launcher.launch(spec("a2", "true", gpus: 1), files: [])
      #expect(next == .started)
      _ = try await launcher.end(of: "a2")
      // Many of both at once: whatever the order, none runs on.
      try await withThrowingTaskGroup(of: Void.self) { group in
        for number in 0..<4 {
          group.addTask { _ = try await launcher.launch(spec("b\(number)", "sleep 300"), files: []) }
          group.addTask { try await launcher.stop("b\(number)", reason: "cancelled") }
        }
        try await group.waitForAll()
      }
      for number in 0..<4 {
        let record = try await launcher.end(of: "b\(number)")
        #expect(record.reason == "cancelled")
      }
      let left = try FileManager.default.contentsOfDirectory(atPath: host.workdir + "/incoming")
      #expect(left.isEmpty)
    }
  }

  @Test(arguments: HostKind.allCases)
  func `pieces of a log`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      let answer34 = try await launcher.launch(spec("a1", "printf '0123456789\\n@x y\\000z'"), files: [])
      #expect(answer34 == .started)
      _ = try await launcher.end(of: "a1")
      let whole = Array("0123456789\n@x y\u{0}z".utf8)
      let answer35 = try await launcher.log(of: "a1", name: "stdout.log", offset: 0, limit: 1000)
      #expect(answer35 == whole)
      let answer36 = try await launcher.log(of: "a1", name: "stdout.log", offset: 3, limit: 4)
      #expect(answer36 == Array("3456".utf8))
      let answer37 = try await launcher.log(of: "a1", name: "stdout.log", offset: 17, limit: 4)
      #expect(answer37.isEmpty)
      let answer38 = try await launcher.log(of: "a1", name: "stderr.log", offset: 0, limit: 4)
      #expect(answer38.isEmpty)
      await #expect(throws: LaunchError.self) {
        _ = try await launcher.log(of: "none", name: "stdout.log", offset: 0, limit: 4)
      }
      await #expect(throws: LaunchError.self) {
        _ = try await launcher.log(of: "a1", name: "../token", offset: 0, limit: 4)
      }
    }
  }

  @Test(arguments: HostKind.allCases)
  func `all states come from one command`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      for number in 0..<6 {
        let answer39 = try await launcher.launch(spec("a\(number)", "echo out; exit \(number)"), files: [])
        #expect(answer39 == .started)
      }
      for number in 0..<6 { _ = try await launcher.end(of: "a\(number)") }
      let answer40 = try await launcher.launch(spec("long", "printf 12345; sleep 300"), files: [])
      #expect(answer40 == .started)
      try await until { host.text("long", "stdout.log") == "12345" }
      let states = try await launcher.status(of: (0..<8).map { "a\($0)" } + ["long"])
      #expect(states.count == 9)
      for number in 0..<6 {
        guard case .exited(let record) = states["a\(number)"] else {
          Issue.record("a\(number) is \(String(describing: states["a\(number)"]))")
          continue
        }
        #expect(record.code == number)
      }
      #expect(states["a6"] == .absent)
      #expect(states["long"] == .running(outputBytes: 5))
    }
  }

  @Test(arguments: HostKind.allCases)
  func `odd names are refused before anything is sent`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      for id in ["", "..", "a/b", "a b", "-a", "a\n", "a'b", "ü", "a.b"] {
        guard case .refused = try await launcher.launch(spec(id, "true"), files: []) else {
          Issue.record("\(id.debugDescription) was taken")
          continue
        }
        await #expect(throws: LaunchError.self) { _ = try await launcher.status(of: [id]) }
        await #expect(throws: LaunchError.self) { try await launcher.stop(id, reason: "cancelled") }
        await #expect(throws: LaunchError.self) { _ = try await launcher.directory(of: id) }
      }
      for name in ["", ".", "..", "a/b", "../x", "/etc/x", "a\nb", "a\u{0}b", String(repeating: "x", count: 256)] {
        let file = ShippedFile(name: name, contents: [1], isExecutable: false)
        guard case .refused = try await launcher.launch(spec("a1", "true"), files: [file]) else {
          Issue.record("\(name.debugDescription) was taken")
          continue
        }
      }
      let twice = ShippedFile(name: "x", contents: [1], isExecutable: false)
      let bad = [
        try await launcher.launch(spec("a1", "true"), files: [twice, twice]),
        try await launcher.launch(spec("a1", "true", environment: [("A B", "x")]), files: []),
        try await launcher.launch(spec("a1", "true", environment: [("1A", "x")]), files: []),
        try await launcher.launch(spec("a1", "true", environment: [("A", "x\u{0}")]), files: []),
        try await launcher.launch(spec("a1", "true", timeout: 0), files: []),
        try await launcher.launch(spec("a1", "true", timeout: .nan), files: []),
        try await launcher.launch(spec("a1", "true", gpus: -1), files: []),
        try await launcher.launch(spec("a1", ""), files: []),
      ]
      for outcome in bad {
        guard case .refused = outcome else {
          Issue.record("\(outcome)")
          continue
        }
      }
      #expect(!FileManager.default.fileExists(atPath: host.workdir))
      let odd = [
        ShippedFile(name: "-rf", contents: Array("1".utf8), isExecutable: false),
        ShippedFile(name: "$(touch x) 'ü'", contents: Array("2".utf8), isExecutable: false),
      ]
      let answer41 = try await launcher.launch(spec("a1", "cat ./-rf *ü*; ls | wc -l"), files: odd)
      #expect(answer41 == .started)
      let answer42 = try await launcher.end(of: "a1")
      #expect(answer42.code == 0)
      #expect(host.text("a1", "stdout.log") == "122\n")
    }
  }

  @Test(arguments: HostKind.allCases)
  func `a work directory that cannot be made says so`(_ kind: HostKind) async throws {
    try await kind.with { host in
      try host.scratch.write("file", "")
      let launcher = host.launcher(workdir: host.scratch.path("file/work"))
      let error = await #expect(throws: LaunchError.self) { _ = try await launcher.enrol() }
      #expect(error?.code == .workdir)
      guard case .refused(let why) = try await launcher.launch(spec("a1", "true"), files: []) else {
        Issue.record("launched nowhere")
        return
      }
      #expect(why.contains("Not a directory"))
    }
  }
}
