import Foundation
import TestSupport
import Testing

/// Dumps that stay on their hosts: which of them go, and what goes on as if they were there.
@Suite(.timeLimit(.minutes(8))) struct HostPruneTests {
  /// Dump files under a host's work directory.
  private func dumps(_ sweep: BookedSweep, _ host: String) -> [String] {
    let files = FileManager.default.enumerator(atPath: sweep.scratch.path("work-\(host)/attempts"))
    let names = files?.compactMap { $0 as? String } ?? []
    return names.filter { $0.contains("/dumps/") && $0.hasSuffix(".npy") }.sorted()
  }

  /// The names that launches have left on a host.
  private func launches(_ sweep: BookedSweep, _ host: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: sweep.scratch.path("work-\(host)/begun")).sorted()
  }

  private func attempts(_ document: [String: Any]) -> [String: Int] {
    let hosts = document["hosts"] as? [[String: Any]] ?? []
    return Dictionary(hosts.map { ($0["name"] as? String ?? "?", $0["attempts"] as? Int ?? -1) }) { $1 }
  }

  private func objects(_ sweep: BookedSweep) throws -> Int {
    try FileManager.default.contentsOfDirectory(atPath: sweep.rollcall.store + "/objects").count
  }

  @Test(arguments: [false, true]) func onlyTheDumpsGoAndOnlyOurs(isLocal: Bool) async throws {
    var form = BookedSweep.Form()
    form.hosts = ["alpha"]
    form.isLocal = isLocal
    form.last = #"[ "$ROLLCALL_WORLD_SIZE" = 1 ] || [ -e "$BOOK/open" ] || exit 3"#
    try await BookedSweep.with(form) { sweep in
      let rollcall = sweep.rollcall
      var other = rollcall
      other.store = sweep.scratch.path("other")
      #expect(try await other("run", "job.yaml", "--json").status == 3)
      let others = dumps(sweep, "alpha")
      let othersNames = try launches(sweep, "alpha")
      #expect(othersNames.count == 2)
      #expect(others.count == 9, "\(others)")
      #expect(try await rollcall("run", "job.yaml", "--json").status == 3)
      let all = dumps(sweep, "alpha")
      #expect(all.count == 18)
      let held = try objects(sweep)

      for arguments in [[], ["--job", "nix"], ["--older-than", "1d"], ["--keep", "1"], ["--verdict", "pass"]] {
        let look = try await rollcall.run(["prune", "--hosts", "--json"] + arguments)
        #expect(look.status == 0, "\(look.errorOutput)")
        #expect(attempts(try look.json()) == (arguments.isEmpty ? ["alpha": 2] : [:]), "\(arguments) \(look.output)")
      }
      #expect(try await rollcall("prune", "--hosts", "--max-size", "1G").status == 64)
      #expect(try await rollcall("prune", "--keep", "0", "--fleet", "fleet.yaml").status == 64)
      #expect(dumps(sweep, "alpha") == all, "a look removes nothing")
      #expect(try launches(sweep, "alpha").count == 4)
      let unknown = try sweep.scratch.write("others.yaml", "hosts: [{name: gamma, local: true}]\n")
      let elsewhere = try await rollcall("prune", "--hosts", "--apply", "--fleet", unknown)
      #expect(elsewhere.status == 0)
      #expect(elsewhere.errorOutput.contains("alpha, which had 2 attempts, is not in the fleet"))
      #expect(dumps(sweep, "alpha") == all)

      let done = try await rollcall("prune", "--hosts", "--apply", "--json").json()
      #expect(attempts(done) == ["alpha": 2])
      let bytes = (done["hosts"] as? [[String: Any]])?.first?["bytes"] as? Int ?? 0
      #expect((9 * 200...9 * 10_000).contains(bytes), "\(bytes)")
      #expect(dumps(sweep, "alpha") == others, "another store's stay")
      #expect(try launches(sweep, "alpha") == othersNames)
      #expect(try objects(sweep) == held, "the store's stay")
      let directories = sweep.scratch.path("work-alpha/attempts")
      for id in try FileManager.default.contentsOfDirectory(atPath: directories) {
        for name in ["exit.json", "token", "stdout.log", "dumps"] {
          #expect(FileManager.default.fileExists(atPath: "\(directories)/\(id)/\(name)"), "\(id)/\(name)")
        }
      }
      #expect(try await rollcall("prune", "--hosts", "--apply").output == "Nothing to prune.\n")

      // The sweep goes on as if they were there.
      #expect(try await rollcall("resume", "last").status == 3)
      try sweep.openGate()
      let retried = try await rollcall("retry", "--failed", "--json")
      #expect(retried.status == 0, "\(retried.errorOutput)")
      #expect(sweep.starts.count == 5, "only what had failed was run again: \(sweep.starts)")
      #expect(try await rollcall("report", "last", "--again", "--read", "--json").status == 0)
      #expect(attempts(try await rollcall("prune", "--hosts", "--apply", "--json").json()) == ["alpha": 1])
      #expect(try await rollcall("report", "last", "--again", "--read", "--json").status == 0)
      #expect(dumps(sweep, "alpha") == others)
    }
  }

  @Test func whatRunsIsLeftAloneAndADeadHostKeepsNoOtherFromIt() async throws {
    var form = BookedSweep.Form()
    form.slots = 1
    form.last = #"[ "$ROLLCALL_WORLD_SIZE" = 1 ] || "# + BookedSweep.gate
    try await BookedSweep.with(form) { sweep in
      let outcome = try await sweep.during("run", "job.yaml", "--json") { _ in
        // One has ended; the other has dumped and goes on.
        try await sweep.until { sweep.starts.count == 2 }
        try await sweep.until { try await sweep.states().sorted() == ["running", "succeeded"] }
        try await sweep.until { dumps(sweep, "alpha").count + dumps(sweep, "beta").count == 9 }
        let early = try await sweep.rollcall("prune", "--hosts", "--apply", "--json")
        #expect(early.status == 0, "\(early.errorOutput)")
        #expect(attempts(try early.json()) == [:])
        #expect(dumps(sweep, "alpha").count + dumps(sweep, "beta").count == 9)
        try sweep.openGate()
      }
      #expect(outcome.status == 0, "\(outcome.errorOutput)")
      try #require(!dumps(sweep, "alpha").isEmpty && !dumps(sweep, "beta").isEmpty)

      try sweep.server("beta").stop()
      let partly = try await sweep.rollcall("prune", "--hosts", "--apply", "--json")
      #expect(partly.status == 69)
      #expect(partly.errorOutput.contains("host beta: no connection"), "\(partly.errorOutput)")
      #expect(attempts(try partly.json()) == ["alpha": 1, "beta": 0])
      let hosts = try #require(try partly.json()["hosts"] as? [[String: Any]])
      #expect(hosts.map { $0["error"] != nil } == [false, true])
      #expect(dumps(sweep, "alpha").isEmpty && !dumps(sweep, "beta").isEmpty)

      try await sweep.server("beta").start()
      // What the store has lost is at its host alone.
      let store = sweep.rollcall.store + "/objects"
      let names = try FileManager.default.contentsOfDirectory(atPath: store)
      for name in names { try FileManager.default.moveItem(atPath: "\(store)/\(name)", toPath: "\(store)-\(name)") }
      let kept = try await sweep.rollcall("prune", "--hosts", "--apply")
      #expect(kept.output == "Nothing to prune.\n")
      #expect(kept.errorOutput.contains("beta: kept the dumps of 1 attempt that the store does not have whole"))
      for name in names { try FileManager.default.moveItem(atPath: "\(store)-\(name)", toPath: "\(store)/\(name)") }
      let rest = try await sweep.rollcall("prune", "--hosts", "--apply", "--json")
      #expect(rest.status == 0, "\(rest.errorOutput)")
      #expect(attempts(try rest.json()) == ["alpha": 0, "beta": 1])
      #expect(dumps(sweep, "beta").isEmpty)
    }
  }

  @Test func whatMayStillLiveAtItsHostKeepsItsDumpsUntilItIsFenced() async throws {
    var form = BookedSweep.Form()
    form.slots = 1
    form.fleetLines = "lost_after: 3s\n"
    form.last = BookedSweep.gate
    try await BookedSweep.with(form) { sweep in
      let alpha = try sweep.server("alpha")
      let outcome = try await sweep.during("run", "job.yaml", "--json") { _ in
        try await sweep.begun(2)
        try await sweep.until { dumps(sweep, "alpha").count + dumps(sweep, "beta").count == 9 }
        alpha.stop()
        try sweep.openGate()
      }
      #expect(outcome.status == 0, "\(outcome.errorOutput)")
      let late = dumps(sweep, "alpha")
      try #require(!late.isEmpty)
      try await alpha.start()
      let done = try await sweep.rollcall("prune", "--hosts", "--apply", "--json")
      #expect(attempts(try done.json()) == ["beta": 2], "\(done.output)")
      #expect(dumps(sweep, "alpha") == late)
      // Whoever coordinates next fences it; no verdict rests on what it left.
      try await sweep.until {
        let next = try await sweep.rollcall("run", "job.yaml", "--json")
        let pruned = try await sweep.rollcall("prune", "--hosts", "--apply")
        #expect(next.status == 0 && pruned.status == 0, "\(next.errorOutput) \(pruned.errorOutput)")
        return dumps(sweep, "alpha").isEmpty
      }
    }
  }

  /// The sweeps that go from the store go from their hosts; the store's own reasons to keep one hold no copy there.
  @Test func theSameRulesNameSweepsOnHostsAndInTheStore() async throws {
    var form = BookedSweep.Form()
    form.hosts = ["alpha"]
    form.isLocal = true
    try await BookedSweep.with(form) { sweep in
      for _ in 1...3 { #expect(try await sweep.rollcall("run", "job.yaml", "--json").status == 0) }
      let baseline = try #require(try await sweep.rollcall("status", "--json").json()["sweeps"] as? [[String: Any]])
      let ids = baseline.compactMap { $0["id"] as? String }
      _ = try await sweep.rollcall("golden", "set", try #require(ids.last), "--why", "kept")
      #expect(dumps(sweep, "alpha").count == 27)
      let alone = try await sweep.rollcall("prune", "--hosts", "--job", "booked", "--json").json()
      #expect(attempts(alone) == ["alpha": 6])
      #expect((alone["pruned"] as? [Any])?.isEmpty == true && (alone["kept"] as? [Any])?.isEmpty == true)
      let done = try await sweep.rollcall("prune", "--keep", "1", "--hosts", "--apply", "--json").json()
      #expect((done["pruned"] as? [[String: Any]])?.compactMap { $0["sweep"] as? String } == [ids[1]])
      #expect(attempts(done) == ["alpha": 4])
      let left = dumps(sweep, "alpha")
      #expect(left.count == 9 && left.allSatisfy { $0.hasPrefix(ids[0]) }, "\(left)")
      #expect(try await sweep.rollcall("report", ids[2], "--again", "--read", "--json").status == 0)
    }
  }
}
