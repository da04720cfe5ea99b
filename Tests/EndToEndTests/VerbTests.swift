import Foundation
import TestSupport
import Testing

/// The verbs that look at what there is: each prints what a person needs, and one JSON document on request.
@Suite struct VerbTests {
  private func with(_ body: (RollcallBinary, Scratch) async throws -> Void) async throws {
    try await Scratch.with { scratch in
      try scratch.write(
        "fleet.yaml",
        "hosts: [{name: here, local: true, workdir: \(scratch.path)/work, lease_dir: \(scratch.path)/leases}]")
      try await body(
        RollcallBinary(
          store: scratch.path("store"), directory: scratch.path,
          environment: ["ROLLCALL_FLEET": scratch.path("fleet.yaml")]), scratch)
    }
  }

  @Test func everyVerbHasHelpWithAnExample() async throws {
    try await with { rollcall, _ in
      let help = try await rollcall("--help")
      #expect(help.status == 0)
      #expect(help.errorOutput.isEmpty)
      let verbs = help.output.split(whereSeparator: \.isNewline).compactMap { line -> String? in
        guard line.hasPrefix("  "), let word = line.split(separator: " ").first, word.allSatisfy(\.isLetter),
          line.prefix(3).last?.isLetter == true
        else { return nil }
        return String(word)
      }
      for verb in [
        "run", "plan", "status", "logs", "resume", "cancel", "report", "compare", "slots", "schema", "inspect",
      ] {
        #expect(verbs.contains(verb), "\(verb) is not in the overview")
        let own = try await rollcall(verb, "--help")
        #expect(own.status == 0)
        #expect(own.output.localizedCaseInsensitiveContains("example"), "\(verb) --help has no example")
        #expect(own.output.contains("rollcall \(verb)"))
      }
    }
  }

  /// Verbs without a store: they look at files alone.
  private static let storeless: Set<String> = [
    "plan", "compare", "slots", "schema", "inspect", "unshard", "hosts trust",
  ]
  private static let fleetVerbs: Set<String> = [
    "run", "plan", "hosts check", "hosts drain", "hosts resume", "hosts trust", "playbook run", "playbook evaluate",
    "playbook triage",
    "schedule add", "prune",
  ]

  /// A command as the argument parser describes it.
  private struct Described: Decodable {
    struct Argument: Decodable {
      struct Name: Decodable { var name: String }
      var names: [Name]?
    }
    var commandName: String
    var discussion: String?
    var shouldDisplay: Bool?
    var subcommands: [Described]?
    var arguments: [Argument]?

    var options: Set<String> { Set((arguments ?? []).flatMap { ($0.names ?? []).map(\.name) }) }

    /// Those without commands below them, by what is typed.
    func leaves(_ path: [String] = []) -> [(path: String, command: Described)] {
      guard commandName != "help", shouldDisplay != false else { return [] }
      let below = (subcommands ?? []).filter { $0.commandName != "help" }
      guard !below.isEmpty else { return [(path.joined(separator: " "), self)] }
      return below.flatMap { $0.leaves(path + [$0.commandName]) }
    }
  }

  @Test func everyCommandTakesTheStoreTheFleetAndJSONAsItNeedsThem() async throws {
    struct Help: Decodable { var command: Described }
    try await with { rollcall, _ in
      let dump = try await rollcall("--experimental-dump-help")
      let leaves = try JSONDecoder().decode(Help.self, from: Data(dump.output.utf8)).command.leaves()
      #expect(leaves.count > 30)
      let paths = Set(leaves.map(\.path))
      #expect(paths.isSuperset(of: Self.storeless.union(Self.fleetVerbs)), "\(paths.sorted())")
      for (path, command) in leaves {
        #expect(command.options.contains("json"), "\(path)")
        #expect(command.options.contains("store") != Self.storeless.contains(path), "\(path)")
        #expect(command.options.contains("fleet") == Self.fleetVerbs.contains(path), "\(path)")
        #expect(command.discussion?.localizedCaseInsensitiveContains("example") == true, "\(path)")
      }
    }
  }

  @Test func inspectGivesTorchsFacts() async throws {
    try await with { rollcall, scratch in
      let oracle = try await runPython(
        """
        import hashlib, json, torch
        x = torch.arange(12, dtype=torch.float32).reshape(3, 4).to(torch.bfloat16)
        torch.save({"view": x.t(), "n": 3}, "\(scratch.path)/file.pt")
        data = x.t().contiguous().view(torch.int16).numpy().tobytes()
        print(json.dumps({"sum": x.double().sum().item(), "sha256": hashlib.sha256(data).hexdigest()}))
        """)
      let outcome = try await rollcall("inspect", scratch.path("file.pt"), "--stats", "--json")
      #expect(outcome.status == 0, "\(outcome.errorOutput)")
      let expected = try #require(
        try JSONSerialization.jsonObject(with: Data(oracle.output.utf8)) as? [String: Any])
      let tensors = try #require(try outcome.json()["tensors"] as? [[String: Any]])
      let tensor = try #require(tensors.first)
      #expect(tensor["name"] as? String == "view")
      #expect(tensor["dtype"] as? String == "bfloat16")
      #expect(tensor["shape"] as? [Int] == [4, 3])
      #expect(tensor["stride"] as? [Int] == [1, 4])
      #expect(tensor["sum"] as? Double == expected["sum"] as? Double)
      #expect(tensor["sha256"] as? String == expected["sha256"] as? String)
    }
  }

  @Test func inspectRefusesWhatItIsNot() async throws {
    try await with { rollcall, scratch in
      try scratch.write("text.pt", "this is no tensor file")
      let outcome = try await rollcall("inspect", "text.pt")
      #expect(outcome.status == 65)
      #expect(outcome.errorOutput.contains("text.pt"))
    }
  }

  @Test func schemaNamesWhatDiffers() async throws {
    try await with { rollcall, scratch in
      try await runPython(
        """
        import torch
        a = {"model.layers.0.w": torch.ones(2, 3), "only_a": torch.ones(1), "_tp_rank": 0}
        b = {"layers.0.w": torch.ones(3, 2), "_tp_rank": 1}
        torch.save(a, "\(scratch.path)/a.pt"); torch.save(b, "\(scratch.path)/b.pt")
        """)
      let differs = try await rollcall("schema", "a.pt", "b.pt", "--json")
      #expect(differs.status == 1)
      let report = try differs.json()
      #expect(report["schema"] as? String == "rollcall.schema/1")
      #expect((report["only_reference"] as? [String])?.contains("only_a") == true)
      let mismatch = try #require((report["mismatched"] as? [[String: Any]])?.first)
      #expect(mismatch["field"] as? String == "shape")
      #expect(try await rollcall("schema", "a.pt", "a.pt").status == 0)
    }
  }

  /// Before a file is looked at: none of these directories is there.
  @Test(arguments: [
    "compare a b --target-world-size 9999999999", "compare a b --target-world-size=0",
    "compare a b --reference-world-size=-1", "unshard a -o out.safetensors --world-size 9999999999",
    "compare a b --slots 4611686018427387904", "compare a b --slots=0", "slots a --slots 9223372036854775807",
    "slots a --slots 65537",
  ])
  func aCountThatNoRunHasIsAUsageError(_ words: String) async throws {
    try await with { rollcall, _ in
      let outcome = try await rollcall.run(words.split(separator: " ").map(String.init))
      #expect(outcome.status == 64, "\(outcome.output) \(outcome.errorOutput)")
      #expect(outcome.errorOutput.contains("to 65536"), "\(outcome.errorOutput)")
    }
  }

  /// Also where it is the parser of the command line that finds it.
  @Test(arguments: ["status --bogus --json", "status --limit 0 --json", "prune --json", "golden set x --why= --json"])
  func aWrongWordIsADocumentWhereOneIsAskedFor(_ words: String) async throws {
    try await with { rollcall, _ in
      let outcome = try await rollcall.run(words.split(separator: " ").map(String.init))
      #expect(outcome.status == 64)
      let error = try #require(try outcome.json()["error"] as? [String: String])
      #expect(error["code"] == "usage")
      #expect(outcome.errorOutput.contains(try #require(error["message"])), "\(outcome.errorOutput)")
      let help = try await rollcall("status", "--json", "--help")
      #expect(help.status == 0 && help.output.hasPrefix("OVERVIEW"))
    }
  }

  /// An empty one in its place would say that nothing ever ran.
  @Test func aStoreThatHasLostItsDatabaseIsNoNewOne() async throws {
    try await with { rollcall, scratch in
      #expect(try await rollcall("status").output.contains("No sweeps yet in \(rollcall.store)."))
      let database = rollcall.store + "/rollcall.db"
      try FileManager.default.createDirectory(
        atPath: rollcall.store + "/sweeps/night-0001", withIntermediateDirectories: true)
      #expect(try await rollcall("status").status == 0)
      for name in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: database + name) }
      for verb in [["status"], ["report", "last"], ["backup", "-o", scratch.path("copy")]] {
        let outcome = try await rollcall.run(verb)
        #expect(outcome.status == 65 && outcome.errorOutput.contains("the files of 1 sweep"), "\(outcome.errorOutput)")
      }
      #expect(!FileManager.default.fileExists(atPath: database))
      try Data().write(to: URL(fileURLWithPath: database))
      #expect(try await rollcall("status").status == 65)

      let mistyped = try await rollcall("backup", "-o", scratch.path("copy"), "--store", scratch.path("elsewhere"))
      #expect(mistyped.status == 64 && mistyped.errorOutput.contains(scratch.path("elsewhere")))
      #expect(!FileManager.default.fileExists(atPath: scratch.path("elsewhere")))
      #expect(!FileManager.default.fileExists(atPath: scratch.path("copy")))
    }
  }

  @Test(arguments: [
    ("compare a b --pattern (", "is no regular expression"), ("compare a b --pattern L.*", "none of the named groups"),
    ("compare a b --pattern (?<=L)(?<rank>1)", "is no regular expression"),
    ("compare a b --layout custom", "needs a --pattern"), ("slots a --slots 2 --pattern (", "is no regular expression"),
    ("slots a --slots 2 --layout custom", "needs a --pattern"),
  ])
  func aPatternThatTellsNoFilesIsAUsageError(_ words: String, why: String) async throws {
    try await with { rollcall, _ in
      let outcome = try await rollcall.run(words.split(separator: " ").map(String.init))
      #expect(outcome.status == 64, "\(outcome.output) \(outcome.errorOutput)")
      #expect(outcome.errorOutput.contains("--pattern") && outcome.errorOutput.contains(why), "\(outcome.errorOutput)")
    }
  }

  @Test func planNamesABadJobInItsDocument() async throws {
    try await with { rollcall, scratch in
      try scratch.write("bad.yaml", "name: bad\nrun: {comand: x}\n")
      let outcome = try await rollcall("plan", "bad.yaml", "--json")
      #expect(outcome.status == 65)
      let error = try #require(try outcome.json()["error"] as? [String: String])
      #expect(error["code"] == "job-file")
    }
  }

  @Test func planShowsEveryCellAndStartsNothing() async throws {
    try await with { rollcall, scratch in
      let job = RollcallBinary.repository + "/Jobs/tp-sweep.yaml"
      let outcome = try await rollcall("plan", job, "--json")
      #expect(outcome.status == 0, "\(outcome.errorOutput)")
      let cells = try #require(try outcome.json()["cells"] as? [[String: Any]])
      #expect(cells.count == 12)
      // The fleet is that of ROLLCALL_FLEET, as for `run`.
      let candidates = cells.compactMap { ($0["candidates"] as? [[String: Any]])?.first?["host"] as? String }
      #expect(candidates == Array(repeating: "here", count: 12))
      #expect(!FileManager.default.fileExists(atPath: scratch.path("store")))
      #expect(!FileManager.default.fileExists(atPath: scratch.path("work")))
      let schema = try await rollcall("plan", "--json-schema")
      #expect(schema.status == 0, "\(schema.errorOutput)")
      #expect(try schema.json()["properties"] != nil)
    }
  }

  @Test func hostsTellsWhoIsThereAndWhoIsNot() async throws {
    try await with { rollcall, scratch in
      #expect(try await rollcall("hosts").status == 0)
      try scratch.write(
        "fleet.yaml",
        """
        ssh_config: \(scratch.path)/ssh_config
        hosts:
          - {name: here, local: true, workdir: \(scratch.path)/work}
          - {name: gone, ssh: gone}
        """)
      try scratch.write("ssh_config", "Host gone\n  HostName 127.0.0.1\n  Port \(try freePort())\n", permissions: 0o600)
      let outcome = try await rollcall("hosts", "--json")
      #expect(outcome.status == 69)
      let hosts = try #require(try outcome.json()["hosts"] as? [[String: Any]])
      #expect(hosts.map { $0["reachable"] as? Bool } == [true, false])
      #expect((hosts.last?["trouble"] as? String)?.contains("gone") == true)
    }
  }

  @Test(.timeLimit(.minutes(2))) func aRunThatOnlyABlockedHostCouldTakeEndsAndSaysWhy() async throws {
    try await with { rollcall, scratch in
      try await LoopbackSSHD.with(in: scratch, alias: "stranger") { server in
        try server.writeKnownHosts(key: nil)
        try scratch.write(
          "fleet.yaml",
          """
          ssh_config: \(server.configurationFile)
          hosts:
            - {name: here, local: true, workdir: \(scratch.path)/work}
            - {name: there, ssh: stranger, labels: {gpu: h200}, workdir: \(scratch.path)/work2}
          """)
        try scratch.write("job.yaml", "name: picky\nrun: {command: echo fine, hosts: {gpu: h200}}\n")
        let outcome = try await rollcall("run", "job.yaml")
        #expect(outcome.status == 3, "\(outcome.errorOutput)")
        #expect(outcome.output.contains("host key"))
        #expect(outcome.output.contains("there"))
      }
    }
  }

  @Test func aKeyThatOnlyTheAgentHoldsOpensTheHost() async throws {
    try await with { rollcall, scratch in
      try await LoopbackSSHD.with(in: scratch, alias: "guarded") { server in
        let configuration = try String(contentsOfFile: server.configurationFile, encoding: .utf8)
          .split(separator: "\n").filter { !$0.contains("Identit") }.joined(separator: "\n")
        try scratch.write("ssh_config", configuration + "\n", permissions: 0o600)
        try scratch.write(
          "fleet.yaml",
          "ssh_config: \(scratch.path)/ssh_config\nhosts: [{name: g, ssh: guarded, workdir: \(scratch.path)/work}]\n")
        var rollcall = rollcall
        rollcall.environment["HOME"] = try scratch.directory("home")
        rollcall.environment["SSH_AUTH_SOCK"] = scratch.path("none")
        let refused = try await rollcall("hosts")
        #expect(refused.status == 69)
        #expect(refused.output.contains("ssh-add") || refused.output.contains("key"), "\(refused.output)")

        let socket = scratch.path("agent")
        let agent = try await runTool("ssh-agent", ["-s", "-a", socket])
        let pid = agent.output.split(separator: ";").first { $0.contains("SSH_AGENT_PID=") }?.split(separator: "=").last
        defer { if let pid, let number = Int32(pid) { kill(number, SIGTERM) } }
        try await runTool("ssh-add", ["-q", server.path("client_key")], environment: ["SSH_AUTH_SOCK": socket])
        rollcall.environment["SSH_AUTH_SOCK"] = socket
        let opened = try await rollcall("hosts")
        #expect(opened.status == 0, "\(opened.output) \(opened.errorOutput)")
      }
    }
  }

  @Test(.timeLimit(.minutes(3))) func aFinishedSweepIsReportedInEveryForm() async throws {
    try await with { rollcall, scratch in
      try scratch.write(
        "job.yaml",
        """
        name: forms
        matrix: {world_size: [1, 2]}
        run:
          command: "echo rank ${{ world_size }}; for r in $(seq 0 $((${{ world_size }} - 1))); do cp dump.pt \
        \\"$ROLLCALL_DUMP_DIR/layer00_Block_rank$r.pt\\"; done"
          files: [dump.pt]
          env: {ATOM_FWD_DUMP_ONE_SHOT: 1}
        dumps: {layout: atom, select: warm-up}
        compare: {reference: {world_size: 1}}
        """)
      try await runPython(
        "import torch; torch.save({'hidden': torch.randn(8, 4), 'shape': (8, 4)}, '\(scratch.path)/dump.pt')")
      let outcome = try await rollcall("run", "job.yaml")
      #expect(outcome.status == 0, "\(outcome.output) \(outcome.errorOutput)")
      #expect(outcome.output.contains("HTML report: "))

      for (format, mark) in [
        ("html", "<!DOCTYPE html>"), ("markdown", "PASS"), ("json", "rollcall.sweep/1"),
        ("jsonl", "{\"type\":\"end\","), ("junit", "<testsuite"),
        ("text", "PASS"),
      ] {
        let file = scratch.path("report.\(format)")
        let report = try await rollcall("report", "last", "--format", format, "-o", file)
        #expect(report.status == 0, "\(format): \(report.errorOutput)")
        #expect(scratch.text("report.\(format)")?.localizedCaseInsensitiveContains(mark) == true, "\(format)")
      }
      let refused = try await rollcall("report", "last", "-o", "/proc/nowhere/report.txt")
      #expect(refused.status == 69)
      #expect(refused.errorOutput.contains("/proc/nowhere/report.txt"))

      let logs = try await rollcall("logs", "world_size=2", "--follow")
      #expect(logs.output == "rank 2\n")
      #expect(try await rollcall("logs", "world_size").status == 64)
      let status = try await rollcall("status", "last", "--watch", "--json")
      let sweep = try #require((try status.json()["sweeps"] as? [[String: Any]])?.first)
      #expect((sweep["runs"] as? [[String: Any]])?.compactMap { $0["state"] as? String } == ["succeeded", "succeeded"])
    }
  }

  @Test(.timeLimit(.minutes(3)), arguments: [0, 1])
  func aRankThatDidNotAnswerIsNamedAndNeverAPass(_ absent: Int) async throws {
    try await with { rollcall, scratch in
      try scratch.write(
        "job.yaml",
        """
        name: absent
        matrix: {world_size: [1, 2]}
        run:
          command: "for r in $(seq 0 $((${{ world_size }} - 1))); do cp dump.pt \
        \\"$ROLLCALL_DUMP_DIR/layer00_Block_rank$r.pt\\"; done; \
        [ ${{ world_size }} = 1 ] || rm \\"$ROLLCALL_DUMP_DIR/layer00_Block_rank\(absent).pt\\""
          files: [dump.pt]
          env: {ATOM_FWD_DUMP_ONE_SHOT: 1}
        dumps: {layout: atom, select: warm-up}
        compare: {reference: {world_size: 1}}
        """)
      try await runPython(
        "import torch; torch.save({'hidden': torch.randn(8, 4), 'shape': (8, 4)}, '\(scratch.path)/dump.pt')")
      let outcome = try await rollcall("run", "job.yaml", "--json")
      #expect(outcome.status == 2, "\(outcome.output.suffix(2000)) \(outcome.errorOutput)")
      #expect(outcome.output.contains("rank \(absent): no file"))
      let pairs = try #require(try outcome.json()["pairs"] as? [[String: Any]])
      let comparison = try #require(pairs.first?["comparison"] as? [String: Any])
      let findings = try #require(comparison["findings"] as? [[String: Any]])
      #expect(findings.contains { $0["cause"] as? String == "incomplete-ranks" })
    }
  }
}
