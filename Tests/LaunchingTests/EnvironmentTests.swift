import Foundation
import Launching
import TestSupport
import Testing
import Transports

/// The environment fingerprint that an attempt takes at its host when it begins.
@Suite(.timeLimit(.minutes(4)))
struct EnvironmentTests {
  /// What is asked may take its time, however slow the machine is.
  private func waitLonger(_ host: TestHost) async throws {
    _ = try await host.launcher().enrol()
    try host.patchScript([("timeout --foreground 10 ", "timeout --foreground 100 "), ("-lt 160 ]", "-lt 1600 ]")])
  }

  @Test(arguments: HostKind.allCases)
  func `kernel, torch of the interpreter that the command names, commit of the source`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let source = try host.scratch.directory("engine")
      try await runTool(
        "sh",
        [
          "-c",
          """
          cd "$1" && git init -q && echo one > a && git add a \
            && git -c user.name=t -c user.email=t@example.org commit -q -m one && git rev-parse HEAD > ../head
          """, "sh", source,
        ])
      let head = try #require(host.scratch.text("head")?.trimmingCharacters(in: .newlines))
      let oracle = try await runPython(
        """
        import platform, sys, torch
        print(platform.python_version(), torch.__version__, torch.version.git_version, sys.executable)
        """)
      let expected = oracle.output.split(whereSeparator: \.isWhitespace).map(String.init)

      let launcher = host.launcher()
      try await waitLonger(host)
      let environment = [
        ("ENGINE_SOURCE", source), ("ROLLCALL_PYTHON", expected[3]), ("ROLLCALL_JOB_COMMIT", "0123abc"),
        ("SECRET_TOKEN", "hunter2"),
      ]
      let command = "\"$ROLLCALL_PYTHON\" -c 'print(1)'"
      let outcome = try await launcher.launch(spec("clean", command, environment: environment), files: [])
      #expect(outcome == .started)
      let clean = try #require(try await launcher.end(of: "clean").environment)
      #expect(clean["python"] == expected[0])
      #expect(clean["torch"] == expected[1])
      #expect(clean["torch_commit"] == expected[2])
      #expect(clean["commit"] == head)
      #expect(clean["job_commit"] == "0123abc")
      #expect(clean["kernel"]?.hasPrefix("Linux ") == true)
      let lines = try String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8).split(separator: "\n")
      let model = lines.first { $0.hasPrefix("model name") }?.split(separator: ": ", maxSplits: 1).last.map(String.init)
      #expect(clean["cpu"] == model)
      #expect(try await launcher.enrol().versions["cpu"] == model)
      #expect(!clean.description.contains("hunter2"))

      try host.scratch.write("engine/a", "two\n")
      let again = try await launcher.launch(spec("dirty", command, environment: environment), files: [])
      #expect(again == .started)
      let dirty = try await launcher.end(of: "dirty").environment
      #expect(dirty?["commit"] == head + "-dirty")
    }
  }

  /// It has ended long before a long run does, and numbers come round.
  @Test(arguments: HostKind.allCases)
  func `whoever has the number of the process that told of the environment lives on`(_ kind: HostKind) async throws {
    try await kind.with { host in
      let launcher = host.launcher()
      _ = try await launcher.enrol()
      let stranger = Process()
      stranger.executableURL = URL(fileURLWithPath: "/bin/sleep")
      stranger.arguments = ["200"]
      try stranger.run()
      defer { kill(stranger.processIdentifier, SIGKILL) }
      try host.patchScript([("describer=$!", "describer=\(stranger.processIdentifier)")])
      let command = "until [ -e ../environment ]; do sleep 0.1; done"
      let run = spec("a1", command, environment: [("ENGINE_SOURCE", host.scratch.path("none"))])
      #expect(try await launcher.launch(run, files: []) == .started)
      let record = try await launcher.end(of: "a1")
      #expect(record.code == 0)
      #expect(record.environment?["commit"]?.contains("unknown") == true)
      #expect(stranger.isRunning)
    }
  }

  /// The interpreter that a run will use, where its command does not name it by its path.
  @Test func `the environment that a command activates, and the interpreter of a launcher`() async throws {
    try await HostKind.local.with { host in
      func interpreter(_ name: String) throws -> String {
        try host.scratch.write("\(name)/bin/python", "#!/bin/sh\necho python \(name)\n", permissions: 0o755)
      }
      let (own, other) = (try interpreter("own"), try interpreter("other"))
      try host.scratch.write("own/bin/activate", "VIRTUAL_ENV=own\n")
      try host.scratch.write("own/bin/torchrun", "#!\(own) -s\nimport sys\n", permissions: 0o755)
      try host.scratch.write("other/bin/deepspeed", "#!\(other)\n", permissions: 0o755)
      let home = host.scratch.path
      let cases = [
        (". \(home)/own/bin/activate; python -V", "own"), ("source \"$HOME/own/bin/activate\" && exec python x", "own"),
        (". ~/own/bin/activate && torchrun --nproc-per-node 2 x.py", "own"), ("\(home)/own/bin/torchrun x.py", "own"),
        ("\(home)/other/bin/deepspeed x.py", "other"), ("\(other) x.py", "other"),
        ("conda run -n engine python x.py", "unknown: conda chooses it"),
        (". $WHERE/bin/activate; python x", "unknown: no interpreter beside $WHERE/bin/activate"),
      ]
      let launcher = host.launcher()
      try await waitLonger(host)
      for (index, (command, expected)) in cases.enumerated() {
        // Only what is named is of interest.
        let text = "true || { \(command); }"
        let outcome = try await launcher.launch(
          spec("a\(index)", text, environment: [("HOME", home)]), files: [])
        #expect(outcome == .started)
        let environment = try await launcher.end(of: "a\(index)").environment
        #expect(environment?["python"] == expected, "\(command)")
      }
    }
  }

  @Test func `what cannot be told is said, and a command without Python is not kept waiting for one`() async throws {
    try await HostKind.local.with { host in
      let launcher = host.launcher()
      try await waitLonger(host)
      let environment = [("ENGINE_SOURCE", host.scratch.path("nowhere")), ("ROLLCALL_PYTHON", "/no/such/python")]
      let answers = [
        try await launcher.launch(spec("plain", "true", environment: environment), files: []),
        try await launcher.launch(spec("bad", "$ROLLCALL_PYTHON x.py", environment: environment), files: []),
      ]
      #expect(answers == [.started, .started])
      let plain = try await launcher.end(of: "plain").environment
      #expect(plain?["python"] == nil)
      #expect(plain?["commit"]?.hasPrefix("unknown") == true)
      let bad = try await launcher.end(of: "bad")
      #expect(bad.code == 127)
      #expect(bad.environment?["python"]?.contains("/no/such/python") == true)
    }
  }

  /// An interpreter that hangs costs the run seconds, and neither its record nor its GPU lock.
  @Test func `an interpreter that hangs does not keep a run`() async throws {
    try await HostKind.local.with { host in
      let slow = try host.scratch.write("slow-python", "#!/bin/sh\nsleep 300\n", permissions: 0o755)
      let launcher = host.launcher()
      let outcome = try await launcher.launch(
        spec("a1", "echo $ROLLCALL_PYTHON", environment: [("ROLLCALL_PYTHON", slow)]), files: [])
      #expect(outcome == .started)
      let record = try await launcher.end(of: "a1")
      #expect(record.code == 0)
      #expect(record.reason == nil)
      #expect(record.environment?["torch"] == nil)
      // Either its own time limit ended it, or the wait for all of the description.
      let told = ["python", "environment"].compactMap { record.environment?[$0] }
      #expect(told.count == 1 && told.allSatisfy { $0.hasPrefix("unknown") }, "\(told)")
    }
  }
}
