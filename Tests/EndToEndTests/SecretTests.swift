import Foundation
import TestSupport
import Testing

/// What a job or a fleet file puts into the environment of runs may be a key: nobody else reads it on a host, and no
/// report, log or note of ours tells it.
@Suite struct SecretTests {
  /// Values that stand nowhere else.
  private static let secrets = ["hf_JobQ7vVt0KxR", "sk-FleetZz81mPw", "tok_FailsXy55Ab"]

  /// Two plain runs, which have one supervisor together; two that are looked after one by one; one that fails.
  private func write(_ scratch: Scratch, host: String, sshConfiguration: String?) throws {
    try scratch.write(
      "fleet.yaml",
      """
      \(sshConfiguration.map { "ssh_config: \($0)\n" } ?? "")hosts:
        - name: here
          \(host)
          workdir: \(scratch.path)/work
          lease_dir: \(scratch.path)/leases
          cpu_slots: 8
          env: {FLEET_KEY: \(Self.secrets[1])}
      """)
    try scratch.write(
      "job.yaml",
      """
      name: keys
      matrix: {form: [plain, guarded, failing]}
      repeat: 2
      run:
        # Each looks at its run directory while it runs.
        command: |
          echo "looks around"; mkdir -p "$MODES" && cd .. && stat -c '%a %n' . * > "$MODES/$ROLLCALL_RUN"
          [ "$JOB_KEY $FLEET_KEY" = "\(Self.secrets[0].prefix(6))$REST \(Self.secrets[1].prefix(6))$FLEET_REST" ] || exit 9
          [ ${{ form }} != failing ]
        env:
          JOB_KEY: \(Self.secrets[0])
          REST: \(Self.secrets[0].dropFirst(6))
          FLEET_REST: \(Self.secrets[1].dropFirst(6))
          MODES: \(scratch.path("modes"))
        retries: 0
      overrides:
        - when: {form: guarded}
          run: {stall_timeout: 10m}
        - when: {form: failing}
          run: {env: {FAILING_KEY: \(Self.secrets[2])}, stall_timeout: 10m}
      dumps: {layout: npy, select: warm-up}
      compare: {reference: {form: plain}}
      """)
  }

  @Test(.timeLimit(.minutes(5)), arguments: [true, false])
  func valuesOfTheEnvironmentStayWithTheRuns(onThisMachine isLocal: Bool) async throws {
    try await Scratch.with { scratch in
      var server: LoopbackSSHD?
      if !isLocal { server = try await LoopbackSSHD(in: scratch, alias: "there") }
      defer { server?.stop() }
      try write(
        scratch, host: isLocal ? "local: true" : "ssh: there", sshConfiguration: server.map { $0.configurationFile })
      let rollcall = RollcallBinary(
        store: scratch.path("store"), directory: scratch.path,
        environment: ["ROLLCALL_FLEET": scratch.path("fleet.yaml")])
      let outcome = try await rollcall("run", "job.yaml", "--json")
      #expect(outcome.status == 3, "\(outcome.errorOutput)")
      let runs = try #require(try outcome.json()["cells"] as? [[String: Any]])
        .flatMap { $0["runs"] as? [[String: Any]] ?? [] }
      #expect(
        runs.compactMap { $0["state"] as? String }.sorted() == ["failed", "failed"]
          + Array(repeating: "succeeded", count: 4))

      try checkModes(scratch)
      let mode = try FileManager.default.attributesOfItem(atPath: rollcall.store)[.posixPermissions] as? Int
      #expect(mode == 0o700, "the store holds what was planned, with its values")

      try await checkTexts(rollcall, scratch, run: outcome)
    }
  }

  private func checkModes(_ scratch: Scratch) throws {
    let names = try FileManager.default.contentsOfDirectory(atPath: scratch.path("modes"))
    #expect(names.count == 6, "\(names)")
    var found: Set<String> = []
    for name in names {
      let lines = try #require(scratch.text("modes/\(name)")).split(separator: "\n").map { $0.split(separator: " ") }
      for line in lines where [".", "spec.json", "environment.sh"].contains(line[1]) {
        #expect(line[0] == (line[1] == "." ? "700" : "600"), "\(name): \(line)")
        found.insert(String(line[1]))
      }
    }
    #expect(found == [".", "spec.json", "environment.sh"])
  }

  /// Everything that we print or keep, but for the database's plan and fleet, which runs are launched from.
  private func checkTexts(_ rollcall: RollcallBinary, _ scratch: Scratch, run: RollcallBinary.Outcome) async throws {
    var texts = ["run --json": run.output, "run": run.errorOutput]
    let verbs = [
      ["status", "last"], ["status", "last", "--json"], ["explain", "form=failing.r1"],
      ["explain", "form=failing.r1", "--json"], ["logs", "--both"], ["logs", "--both", "--json"], ["history", "keys"],
      ["history", "keys", "--json"], ["hosts", "check"], ["hosts", "check", "--json"],
    ]
    for verb in verbs {
      let outcome = try await rollcall.run(verb)
      texts[verb.joined(separator: " ")] = outcome.output + outcome.errorOutput
    }
    for verb in [["plan", "job.yaml", "--verbose"], ["plan", "job.yaml", "--json"]] {
      let outcome = try await rollcall.run(verb)
      // The command's own words, too, name the beginnings of these only.
      for name in ["JOB_KEY", "FAILING_KEY"] { #expect(outcome.output.contains(name), "\(outcome.output)") }
      #expect(outcome.output.contains("***") && outcome.output.contains(scratch.path("modes")))
      texts[verb.joined(separator: " ")] = outcome.output + outcome.errorOutput
    }
    for format in ["html", "markdown", "json", "jsonl", "junit", "text"] {
      let outcome = try await rollcall("report", "last", "--format", format, "--explain")
      texts["report \(format)"] = outcome.output + outcome.errorOutput
    }
    let second = try await rollcall("retry", "--failed")
    texts["retry"] = second.output + second.errorOutput
    #expect(second.status == 3)

    // Every file of the store, and every column of its tables.
    let listing = try await runTool(
      testPython,
      [
        "-c",
        """
        import os, sqlite3, sys
        store = sys.argv[1]
        for folder, _, names in os.walk(store):
          for name in names:
            if name.startswith("rollcall.db"): continue
            path = os.path.join(folder, name)
            print("file", os.path.relpath(path, store), open(path, "rb").read().decode("latin-1").replace("\\n", " "))
        base = sqlite3.connect(f"file:{store}/rollcall.db?mode=ro", uri=True)
        kept = {("sweep", "plan"), ("sweep", "fleet")}
        for (table,) in base.execute("select name from sqlite_master where type = 'table'").fetchall():
          for row in base.execute(f'select * from "{table}"').description:
            if (table, row[0]) in kept: continue
            for (value,) in base.execute(f'select "{row[0]}" from "{table}"'): print("table", f"{table}.{row[0]}", value)
        """, rollcall.store,
      ])
    #expect(listing.output.contains("table event.detail ") && listing.output.contains("exit.json "))
    texts["the store"] = listing.output

    for (place, text) in texts {
      #expect(!text.isEmpty || place == "run", "\(place)")
      for secret in Self.secrets {
        let lines = text.split(separator: "\n").filter { $0.contains(secret) }.map { $0.prefix(200) }
        #expect(lines.isEmpty, "\(place): \(lines.prefix(3))")
      }
    }
  }
}
