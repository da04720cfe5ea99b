import Foundation
import Glibc
import TestSupport
import Testing

/// The verbs over a fleet and over what runs on it.
@Suite struct FleetVerbTests {
  private func with(
    gpus: Int = 0, _ body: (RollcallBinary, Scratch) async throws -> Void
  ) async throws {
    try await Scratch.with { scratch in
      try scratch.write(
        "fleet.yaml",
        """
        hosts: [{name: here, local: true, gpus: \(gpus), workdir: \(scratch.path)/work, lease_dir: \(scratch.path)/leases}]
        """)
      try await body(
        RollcallBinary(
          store: scratch.path("store"), directory: scratch.path,
          environment: ["ROLLCALL_FLEET": scratch.path("fleet.yaml")]), scratch)
    }
  }

  private func waitFor(_ file: String, _ scratch: Scratch) async throws {
    while scratch.text(file)?.hasSuffix("\n") != true { try await Task.sleep(for: .milliseconds(50)) }
  }

  // MARK: - Hosts

  @Test(.timeLimit(.minutes(3))) func oneHostThatHangsAndOneThatChangedHideNoOther() async throws {
    try await Scratch.with { scratch in
      try await LoopbackSSHD.with(in: scratch, alias: "good") { good in
        try await LoopbackSSHD.with(in: scratch, alias: "changed") { changed in
          try changed.writeKnownHosts(key: "stranger_key")
          // The kernel takes the connection; nobody ever says a word.
          let deaf = try DeafServer()
          defer { deaf.close() }
          let configuration = try [good, changed].map {
            try String(contentsOfFile: $0.configurationFile, encoding: .utf8)
          }
          try scratch.write(
            "ssh_config",
            configuration.joined(separator: "\n") + "\nHost deaf\n  HostName 127.0.0.1\n  Port \(deaf.port)\n",
            permissions: 0o600)
          try scratch.write(
            "fleet.yaml",
            """
            ssh_config: ssh_config
            hosts:
              - {name: deaf, ssh: deaf, workdir: \(scratch.path)/w1}
              - {name: changed, ssh: changed, workdir: \(scratch.path)/w2}
              - {name: good, ssh: good, gpus: 2, workdir: \(scratch.path)/w3, lease_dir: \(scratch.path)/leases}
            """)
          let rollcall = RollcallBinary(
            store: scratch.path("store"), directory: scratch.path,
            environment: ["ROLLCALL_FLEET": scratch.path("fleet.yaml")])
          let outcome = try await rollcall("hosts", "check", "--json", "--timeout", "60")
          #expect(outcome.status == 69, "\(outcome.errorOutput)")
          let hosts = try #require(try outcome.json()["hosts"] as? [[String: Any]])
          #expect(hosts.map { $0["name"] as? String } == ["deaf", "changed", "good"])
          #expect(hosts.map { $0["usable"] as? Bool } == [false, false, true])
          #expect(hosts[1]["code"] as? String == "host-key-changed")
          #expect(hosts[2]["survives_disconnect"] as? Bool == true)
          let facts = try #require(hosts[2]["facts"] as? [String: Any])
          #expect((facts["gpuIDs"] as? [String])?.count == 2)
          let examination = try #require(hosts[2]["examination"] as? [String: Any])
          #expect((examination["availableMemory"] as? Int ?? 0) > 0)

          let table = try await rollcall("hosts", "check", "--timeout", "60")
          #expect(table.status == 69)
          #expect(table.output.contains("host key"))
          #expect(!FileManager.default.fileExists(atPath: scratch.path("store")), "a check makes no store")
        }
      }
    }
  }

  /// Stand-ins print what a host in a bad state would.
  @Test(.timeLimit(.minutes(3))) func whatIsWrongWithAHostIsSaid() async throws {
    try await with(gpus: 3) { rollcall, scratch in
      try scratch.write(
        "bin/date", "#!/bin/sh\nPATH=${PATH#*:}\nexec date -d '+1 hour' \"$@\"\n", permissions: 0o755)
      try scratch.write("bin/df", "#!/bin/sh\nprintf 'Avail\\n104857600\\n'\n", permissions: 0o755)
      try scratch.write(
        "bin/nvidia-smi",
        """
        #!/bin/sh
        [ "$1" != -i ] || shift 2
        case $1 in
        --query-gpu=uuid,name) printf 'GPU-aaaa, NVIDIA H200\\nGPU-bbbb, NVIDIA H200\\n' ;;
        --query-gpu=driver_version) printf '570.1\\n570.1\\n' ;;
        --query-gpu=uuid,memory.used,*)
          printf 'GPU-aaaa, 4, 143771, 0, NVIDIA H200\\nGPU-bbbb, 70000, 143771, 97, NVIDIA H200\\n' ;;
        --query-compute-apps=gpu_uuid,*) printf 'GPU-bbbb, \(getpid()), 69000, /usr/bin/other\\n' ;;
        *) exit 2 ;;
        esac

        """, permissions: 0o755)
      var disturbed = rollcall
      let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
      disturbed.environment["PATH"] = "\(scratch.path("bin")):\(path)"
      let check = try await disturbed("hosts", "check", "--json")
      let host = try #require((try check.json()["hosts"] as? [[String: Any]])?.first)
      let warnings = try #require(host["warnings"] as? [String])
      for part in [
        "100 MiB free in", "the fleet file says 3 GPUs, the host has 2",
        "process \(getpid()) (/usr/bin/other) is on GPU GPU-bbbb, not ours, 69000 MiB",
      ] { #expect(warnings.contains { $0.contains(part) }, "\(part): \(warnings)") }
      #expect(warnings.contains { $0.contains(#/its clock is \+(359\d|360\d)\.\d s off/#) }, "\(warnings)")
      #expect(warnings.count == 4, "\(warnings)")
      let table = try await disturbed("hosts", "check")
      #expect(table.output.contains(#/ \+(359\d|360\d)\.\d s /#) && table.output.contains("1 not"), "\(table.output)")
      #expect(table.output.contains("driver 570.1"), "\(table.output)")
      // The same host without them.
      let sound = try await rollcall("hosts", "check", "--json")
      let facts = try #require((try sound.json()["hosts"] as? [[String: Any]])?.first)
      // On a machine that is slow to answer, the clock is known to so many seconds.
      let others = (facts["warnings"] as? [String] ?? []).filter { !$0.contains(#/its clock is [+-]\d\.\d s off/#) }
      #expect(others == [])
    }
  }

  @Test(.timeLimit(.minutes(3))) func aDrainedHostIsShownUntilItIsResumed() async throws {
    try await with { rollcall, scratch in
      let misspelt = try await rollcall("hosts", "drain", "heer")
      #expect(misspelt.status == 64)
      #expect(misspelt.errorOutput.contains("here"))
      let drained = try await rollcall("hosts", "drain", "here", "--why", "fan \u{1B}[31mbroken", "--json")
      #expect(drained.status == 0, "\(drained.errorOutput)")
      #expect(try drained.json()["drained"] as? Bool == true)
      let check = try await rollcall("hosts")
      #expect(check.status == 0, "a drained host is usable: \(check.output)")
      #expect(check.output.contains("drained"))
      #expect(check.output.contains("fan  [31mbroken"), "no control character of the reason reaches the terminal")
      let resumed = try await rollcall("hosts", "resume", "here")
      #expect(resumed.status == 0)
      let again = try await rollcall("hosts", "check", "--json")
      #expect(again.status == 0)
      let hosts = try #require(try again.json()["hosts"] as? [[String: Any]])
      #expect(hosts.first?["drained"] == nil)
    }
  }

  @Test(.timeLimit(.minutes(4))) func aDrainedHostTakesNoRunBeforeItIsResumed() async throws {
    try await with { rollcall, scratch in
      try scratch.write("job.yaml", "name: later\nrun: {command: \"echo ran > \(scratch.path)/ran\"}\n")
      _ = try await rollcall("hosts", "drain", "here", "--why", "fan")
      async let running = rollcall("run", "job.yaml")
      var explained: [String: Any] = [:]
      while explained["state"] as? String != "queued" || (explained["hosts"] as? [Any])?.isEmpty != false {
        try await Task.sleep(for: .milliseconds(200))
        explained = (try? await rollcall("explain", "run", "--json").json()) ?? [:]
      }
      let why = (explained["hosts"] as? [[String: String]])?.first?["why"] ?? ""
      #expect(why.contains("draining"), "\(why)")
      #expect(why.contains("fan"), "\(why)")
      #expect(scratch.text("ran") == nil)
      _ = try await rollcall("hosts", "resume", "here")
      let outcome = try await running
      #expect(outcome.status == 2, "nothing to compare, and no failed run; \(outcome.errorOutput)")
      #expect(scratch.text("ran") == "ran\n")
    }
  }

  @Test(.timeLimit(.minutes(4))) func runsGoToTheHostsThatAreNotDrained() async throws {
    try await with { rollcall, scratch in
      let hosts = ["a", "b"].map { "  - {name: \($0), local: true, gpus: 1, workdir: \(scratch.path)/w-\($0)}" }
      try scratch.write("fleet.yaml", "hosts:\n" + hosts.joined(separator: "\n") + "\n")
      try scratch.write("job.yaml", "name: around\nmatrix: {part: [1, 2, 3]}\nrun: {command: 'true'}\n")
      _ = try await rollcall("hosts", "drain", "a")
      let outcome = try await rollcall("run", "job.yaml", "--json")
      #expect(outcome.status == 2, "\(outcome.errorOutput)")
      let cells = try #require(try outcome.json()["cells"] as? [[String: Any]])
      let attempts = cells.flatMap { ($0["runs"] as? [[String: Any]]) ?? [] }
        .map { ($0["attempts"] as? [[String: Any]])?.compactMap { $0["host"] as? String } }
      #expect(attempts == [["b"], ["b"], ["b"]], "each at its first try")
    }
  }

  @Test(.timeLimit(.minutes(4))) func anExclusiveHostHasOneRunAtATime() async throws {
    try await with(gpus: 2) { rollcall, scratch in
      let fleet = try #require(scratch.text("fleet.yaml"))
      try scratch.write("fleet.yaml", fleet.replacing("gpus: 2,", with: "gpus: 2, exclusive: true,"))
      // Each run names the runs that it finds under way.
      try scratch.write(
        "job.yaml",
        """
        name: alone
        matrix: {part: [a, b]}
        run:
          command: "cd \(scratch.path); mkdir under-way 2> /dev/null || echo both >> together; sleep 1; rmdir under-way"
          gpus: 1
        """)
      let outcome = try await rollcall("run", "job.yaml", "--json")
      #expect(outcome.status == 2, "nothing to compare, and no failed run; \(outcome.errorOutput) \(outcome.output)")
      #expect(scratch.text("together") == nil)
      // Nothing was sent to the host that it had to refuse.
      let runs = try BookedSweep.runs(of: try outcome.json())
      #expect(runs.map { ($0["attempts"] as? [Any])?.count } == [1, 1])
    }
  }

  // MARK: - Runs

  /// - Parameter isDriven: Whether the coordinator lives when the sweep is cancelled.
  @Test(.timeLimit(.minutes(4)), arguments: [true, false])
  func cancelLeavesNoProcessAndNoLease(_ isDriven: Bool) async throws {
    try await with(gpus: 2) { rollcall, scratch in
      // A child in a session of its own, one that ignores TERM, and one that closed all of its descriptors.
      try scratch.write(
        "job.yaml",
        """
        name: stubborn
        run:
          command: "setsid sleep 600 & (trap '' TERM; while :; do sleep 1; done) & \
        setsid sh -c 'exec sleep 601' 0<&- 1<&- 2<&- & echo ready > \(scratch.path)/ready; wait"
          gpus: 2
          timeout: 10m
        """)
      let program = #"echo $$ > "$1"; exec "$2" run "$3""#
      async let running = runTool(
        "sh", ["-c", program, "sh", scratch.path("pid"), try RollcallBinary.path, scratch.path("job.yaml")],
        environment: rollcall.variables, mustSucceed: false)
      try await waitFor("ready", scratch)
      #expect(try launchedProcesses(below: scratch.path).count >= 3)
      let busy = try await rollcall("hosts", "check", "--json")
      #expect(try leases(busy).filter { $0.value == "held" }.count == 2)
      if !isDriven {
        let pid = try #require(scratch.text("pid").flatMap { Int32($0.trimmingCharacters(in: .newlines)) })
        kill(pid, SIGKILL)
        _ = try await running
      }
      let cancelled = try await rollcall("cancel", "last", "--wait")
      #expect(cancelled.status == (isDriven ? 0 : 3), "\(cancelled.errorOutput)")
      if isDriven {
        let outcome = try await running
        #expect(outcome.status == 3, "\(outcome.errorOutput)")
      }
      #expect(try launchedProcesses(below: scratch.path) == [])
      let after = try await rollcall("hosts", "check", "--json")
      #expect(try leases(after).values.allSatisfy { $0 == "free" })
    }
  }

  private func leases(_ outcome: RollcallBinary.Outcome) throws -> [String: String] {
    let hosts = try #require(try outcome.json()["hosts"] as? [[String: Any]])
    let examination = try #require(hosts.first?["examination"] as? [String: Any])
    let leases = try #require(examination["leases"] as? [[String: Any]])
    return Dictionary(
      uniqueKeysWithValues: leases.map { ($0["name"] as? String ?? "", $0["state"] as? String ?? "") })
  }

  /// The commits of what the two cells ran differ; the report says so, and the verdict is that of the dumps.
  @Test(.timeLimit(.minutes(4))) func whatTheSidesFoundOnTheirHostsIsComparedAndShown() async throws {
    try await with { rollcall, scratch in
      for name in ["old", "new"] {
        try await runTool(
          "sh",
          [
            "-c",
            """
            git init -q "$1" && cd "$1" && echo "$2" > a && git add a \
              && git -c user.name=t -c user.email=t@example.org commit -q -m "$2" && git rev-parse HEAD > ../head-$2
            """, "sh", scratch.path(name), name,
          ])
      }
      try scratch.write(
        "job.yaml",
        """
        name: commits
        matrix: {engine: [old, new]}
        run:
          command: cp dump.pt "$ROLLCALL_DUMP_DIR/layer00_Block_rank0.pt"
          files: [dump.pt]
          env: {ATOM_FWD_DUMP_ONE_SHOT: 1, ENGINE_SOURCE: "\(scratch.path)/${{ engine }}"}
        dumps: {layout: atom, select: warm-up}
        compare: {reference: {engine: old}}
        """)
      try await runPython(
        "import torch; torch.save({'hidden': torch.randn(8, 4), 'shape': (8, 4)}, '\(scratch.path)/dump.pt')")
      let outcome = try await rollcall("run", "job.yaml", "--json")
      #expect(outcome.status == 0, "\(outcome.output.suffix(2000)) \(outcome.errorOutput)")
      let heads = ["old", "new"].map { scratch.text("head-\($0)")?.trimmingCharacters(in: .newlines) ?? "" }
      let report = try outcome.json()
      let cells = try #require(report["cells"] as? [[String: Any]])
      let prints = cells.compactMap { cell -> [String: String]? in
        let run = (cell["runs"] as? [[String: Any]])?.first
        return (run?["attempts"] as? [[String: Any]])?.first?["fingerprint"] as? [String: String]
      }
      #expect(prints.map { $0["commit"] } == heads)
      #expect(prints.allSatisfy { $0["kernel"]?.hasPrefix("Linux") == true })
      let notes = try #require(report["notes"] as? [String]).filter { $0.hasPrefix("environment:") }
      #expect(notes.count == 1, "what is the same on both sides is not mentioned: \(notes)")
      #expect(notes.first?.contains(heads[0]) == true)
      #expect(notes.first?.contains(heads[1]) == true)
      #expect(notes.first?.contains("engine=new") == true)
    }
  }

  @Test(.timeLimit(.minutes(4))) func retryGivesAFailedRunAnotherAttempt() async throws {
    try await with { rollcall, scratch in
      try scratch.write(
        "job.yaml",
        """
        name: mended
        matrix: {part: [a, b]}
        run: {command: "echo ${{ part }} >> \(scratch.path)/tries; [ ${{ part }} = a ] || [ -e \(scratch.path)/mended ]"}
        """)
      let first = try await rollcall("run", "job.yaml")
      #expect(first.status == 3, "\(first.errorOutput)")
      let explained = try await rollcall("explain", "part=b", "--json")
      #expect(try explained.json()["state"] as? String == "failed")
      let refused = try await rollcall("retry", "part=a")
      #expect(refused.status == 64, "a run that has succeeded is not run again")
      #expect(try await rollcall("retry").status == 64)

      try scratch.write("mended", "")
      let second = try await rollcall("retry", "part=b", "--json")
      #expect(second.status == 2, "nothing to compare, and no failed run; \(second.errorOutput)")
      let cells = try #require(try second.json()["cells"] as? [[String: Any]])
      let runs = cells.flatMap { ($0["runs"] as? [[String: Any]]) ?? [] }
      #expect(runs.map { $0["state"] as? String } == ["succeeded", "succeeded"])
      #expect(runs.map { ($0["attempts"] as? [Any])?.count } == [1, 2])
      #expect(scratch.text("tries") == "a\nb\nb\n")
      #expect(try await rollcall("retry", "--failed").status == 64, "nothing is left to be tried again")
    }
  }

  @Test(.timeLimit(.minutes(4))) func explainStatusAndLogsTellOfASweepThatRuns() async throws {
    try await with(gpus: 1) { rollcall, scratch in
      try scratch.write(
        "job.yaml",
        """
        name: two
        matrix: {part: [a, b]}
        run:
          command: "echo out-${{ part }}; echo err-${{ part }} >&2; echo > \(scratch.path)/${{ part }}; \
        until [ -e \(scratch.path)/go ]; do sleep 0.1; done"
          gpus: 1
        """)
      async let running = rollcall("run", "job.yaml")
      try await waitFor("a", scratch)
      let waits = try await rollcall("explain", "part=b", "--json")
      let document = try waits.json()
      #expect(document["state"] as? String == "queued", "\(waits.errorOutput)")
      let hosts = try #require(document["hosts"] as? [[String: String]])
      #expect(hosts.map { $0["host"] } == ["here"])
      #expect(hosts.first?["why"]?.contains("0 GPUs free, needs 1") == true, "\(hosts)")

      let status = try await rollcall("status", "last", "--json")
      let sweep = try #require((try status.json()["sweeps"] as? [[String: Any]])?.first)
      let line = try #require((sweep["hosts"] as? [[String: Any]])?.first)
      #expect(line["gpus_held"] as? Int == 1)
      #expect(line["runs"] as? [String] == ["part=a"])

      async let followed = rollcall("logs", "--both", "--follow")
      async let watched = runTool(
        "sh", ["-c", #""$1" status last --watch > "$2""#, "sh", try RollcallBinary.path, scratch.path("watched")],
        environment: rollcall.variables)
      while scratch.text("watched")?.contains("CELL") != true { try await Task.sleep(for: .milliseconds(50)) }
      try scratch.write("go", "")
      _ = try await running
      let lines = Set(try await followed.output.split(separator: "\n").map(String.init))
      #expect(
        lines == ["part=a out | out-a", "part=a err | err-a", "part=b out | out-b", "part=b err | err-b"], "\(lines)")
      _ = try await watched
      let shown = scratch.text("watched") ?? ""
      #expect(shown.contains("[#] 1/1"))
      #expect(shown.contains("1 running"))
      #expect(shown.contains("succeeded"))

      let stored = try await rollcall("logs", "part=b", "--both", "--json")
      let streams = try #require(try stored.json()["streams"] as? [[String: Any]])
      #expect(streams.map { $0["text"] as? String } == ["out-b\n", "err-b\n"])
    }
  }
}

/// A port that takes connections and says nothing.
private struct DeafServer {
  let port: Int
  private let descriptor: Int32

  init() throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let descriptor = descriptor
    let port = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw -> Int? in
        guard bind(descriptor, raw, length) == 0, listen(descriptor, 16) == 0,
          getsockname(descriptor, raw, &length) == 0
        else { return nil }
        return Int(UInt16(bigEndian: pointer.pointee.sin_port))
      }
    }
    self.port = try #require(port)
  }

  func close() { _ = Glibc.close(descriptor) }
}
