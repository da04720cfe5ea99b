import Foundation
import TestSupport
import Testing

/// `nodes: 2`: one run over two hosts, with real process groups of torch.distributed.
@Suite(.serialized, .timeLimit(.minutes(6))) struct GangSweepTests {
  /// One process a host: sums over gloo, then writes its rank's dumps.
  private static let program = """
    import os, time, torch, torch.distributed as dist
    rank = int(os.environ.get("NODE_RANK", "0"))
    with open(os.environ["BOOK"], "a") as book:
        book.write("%s %s %d\\n" % (os.environ["ROLLCALL_RUN"], os.environ["ROLLCALL_ATTEMPT"], rank))
    if int(os.environ.get("NNODES", "1")) > 1:
        os.environ["RANK"] = str(rank)
        dist.init_process_group("gloo")
        total = torch.ones(8, 16) * (dist.get_rank() + 1)
        dist.all_reduce(total)
        if os.environ.get("FAILING") == str(rank):
            print("out of luck", flush=True)
            os._exit(5)  # without gloo's own end, which may abort when its peer has gone
        try:
            dist.barrier()
        except Exception:
            # So that the other's end is the first one, whatever the clocks are known to.
            time.sleep(5)
            raise
        world = dist.get_world_size()
    else:
        total, world = torch.ones(8, 16) * 3, 1
    for layer in range(3):
        name = "layer%02d_Block_rank%d.pt" % (layer, rank)
        torch.save({"hidden": total * (layer + 1)}, os.path.join(os.environ["ROLLCALL_DUMP_DIR"], name))
    print("OK world", world, "sum", int(total[0, 0]), flush=True)

    """

  private func with(
    extra: String = "", _ body: (RollcallBinary, Scratch) async throws -> Void
  ) async throws {
    try await Scratch.with { scratch in
      try scratch.write("sum.py", Self.program)
      try scratch.write(
        "job.yaml",
        """
        name: gang
        matrix: {world_size: [1, 2]}
        run:
          command: \(testPython) sum.py
          files: [sum.py]
          env: {BOOK: \(scratch.path("book")), GLOO_SOCKET_IFNAME: lo\(extra)}
          gpus: 1
          nodes: "${{ world_size }}"
          timeout: 3m
          retries: 1
        dumps: {layout: atom, select: warm-up, expect: {layers: 0-2}}
        compare: {reference: {world_size: 1}, noise: strict}
        """)
      let rollcall = RollcallBinary(
        store: scratch.path("store"), directory: scratch.path,
        environment: ["ROLLCALL_FLEET": scratch.path("fleet.yaml")])
      try await LoopbackSSHD.withFleet(["alpha", "beta"], in: scratch, keys: "gpus: 1") { _ in
        try await body(rollcall, scratch)
      }
    }
  }

  @Test func theDumpsOfBothHostsAreOneRun() async throws {
    try await with { rollcall, scratch in
      let outcome = try await rollcall("run", "job.yaml", "--json")
      #expect(outcome.status == 0, "\(outcome.errorOutput) \(outcome.output.suffix(3000))")
      let report = try outcome.json()
      let id = try #require(report["id"] as? String)
      let gang = try #require(try BookedSweep.runs(of: report).first { $0["id"] as? String == "world_size=2" })
      let attempts = try #require(gang["attempts"] as? [[String: Any]])
      #expect(Set(attempts.compactMap { $0["host"] as? String }) == ["alpha", "beta"])
      #expect(attempts.compactMap { $0["state"] as? String } == ["succeeded", "succeeded"])
      #expect((gang["coverage"] as? [String: Any])?["files"] as? Int == 6)
      // Ranks of both hosts, none lost, compared with the run on one host.
      let directory = scratch.path("store/sweeps/\(id)/world_size=2")
      for rank in 0..<2 {
        let names = try FileManager.default.contentsOfDirectory(atPath: "\(directory)/rank\(rank)").sorted()
        #expect(names == (0..<3).map { "layer0\($0)_Block_rank\(rank).pt" })
      }
      let pair = try #require((report["pairs"] as? [[String: Any]])?.first?["comparison"] as? [String: Any])
      let coverage = try #require(pair["coverage"] as? [String: Any])
      #expect(coverage["compared"] as? Int == 3)
      let status = try await rollcall("status", "last")
      #expect(status.output.contains("alpha, beta") || status.output.contains("beta, alpha"))
      let told = try await rollcall("status", "last", "--json").json()
      let runs = try #require(((told["sweeps"] as? [[String: Any]])?.first)?["runs"] as? [[String: Any]])
      let line = try #require(runs.first { $0["name"] as? String == "world_size=2" })
      let both = try #require(line["hosts"] as? [String])
      #expect(both.sorted() == ["alpha", "beta"])
      #expect(line["host"] as? String == both.first)
      let logs = try await rollcall("logs", "world_size=2")
      for node in 0..<2 { #expect(logs.output.contains("world_size=2 node\(node) | OK world 2 sum 3")) }
      // The book of the workload: each rank began once.
      let book = try #require(scratch.text("book")).split(separator: "\n").sorted()
      #expect(book == ["world_size=1 1 0", "world_size=2 1 0", "world_size=2 1 1"])
    }
  }

  /// A gang is claimed, released, gathered in many steps: its coordinator dies between any two of them.
  @Test func aKilledCoordinatorStartsNoRankTwice() async throws {
    try await with { rollcall, scratch in
      var arguments = ["run", "job.yaml", "--json"]
      var kills = 0
      var last: ToolResult?
      while true {
        // Later and later: torch takes its time on a slow machine.
        let seconds = Double.random(in: 0.05...0.6) + Double(kills) * 0.2
        let result = try await runTool(
          "timeout",
          ["--foreground", "--preserve-status", "-s", "KILL", String(seconds), try RollcallBinary.path] + arguments,
          environment: rollcall.variables, directory: rollcall.directory, mustSucceed: false)
        if result.status == 64, result.errorOutput.contains("holds no sweep") { continue }
        guard result.status == 137 else {
          #expect(result.status == 0, "\(result.errorOutput) \(result.output.suffix(2000))")
          last = result
          break
        }
        kills += 1
        if FileManager.default.fileExists(atPath: rollcall.store + "/rollcall.db"),
          try await rollcall("status", "last").status == 0
        {
          arguments = ["resume", "last", "--json"]
        }
      }
      #expect(kills > 2)
      let book = try #require(scratch.text("book")).split(separator: "\n").sorted()
      #expect(Set(book).count == book.count, "a rank began twice: \(book)")
      #expect(book.filter { $0.hasPrefix("world_size=1 ") } == ["world_size=1 1 0"])
      // On a machine so slow that no coordinator lives to ask for a minute, a share lets go: another attempt follows.
      let output = try #require(last).output
      let report = try #require(try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any])
      let gang = try #require(try BookedSweep.runs(of: report).first { $0["id"] as? String == "world_size=2" })
      let listed = try #require(gang["attempts"] as? [[String: Any]])
      let attempts = Dictionary(grouping: listed) { $0["number"] as? Int ?? 0 }
      let count = try #require(attempts.keys.max())
      for number in 1..<count {
        let reasons = (attempts[number] ?? []).compactMap { $0["why"] as? String }
        let letGo = reasons.contains { $0.contains("not-released") || $0.contains("not released in time") }
        #expect(letGo, "attempt \(number): \(reasons)")
      }
      #expect(book.filter { $0.hasPrefix("world_size=2 \(count) ") }.count == 2, "\(book)")
      if count == 1 { #expect(book.count == 3) }
    }
  }

  @Test func oneRankThatFailsEndsTheOthersAndIsTheCause() async throws {
    try await with(extra: ", FAILING: \"1\"") { rollcall, scratch in
      let outcome = try await rollcall("run", "job.yaml", "--json")
      #expect(outcome.status == 3, "\(outcome.errorOutput)")
      let run = try #require(try BookedSweep.runs(of: try outcome.json()).last)
      #expect(run["state"] as? String == "failed")
      let attempts = try #require(run["attempts"] as? [[String: Any]])
      #expect(attempts.count == 2, "a command that fails by itself is not tried again")
      #expect(attempts.last?["exit_code"] as? Int == 5)
      let notes = try await rollcall("status", "last")
      #expect(notes.output.contains("exit code 5"))
      #expect(scratch.text("book")?.split(separator: "\n").count == 3)
    }
  }

  @Test func aGangIsFollowedAndCancelledOnBothHosts() async throws {
    try await with { rollcall, scratch in
      try scratch.write(
        "waiting.yaml",
        """
        name: waiting
        run:
          command: "echo here is $NODE_RANK; echo $NODE_RANK >> \(scratch.path("ranks")); setsid sleep 600 & sleep 601"
          gpus: 1
          nodes: 2
          timeout: 20m
        """)
      async let running = rollcall("run", "waiting.yaml")
      while scratch.text("ranks")?.split(separator: "\n").count != 2 { try await Task.sleep(for: .milliseconds(50)) }
      #expect(try launchedProcesses(below: scratch.path).count >= 4)
      async let followed = runTool(
        "sh", ["-c", #"exec "$1" logs run --follow > "$2""#, "sh", try RollcallBinary.path, scratch.path("followed")],
        environment: rollcall.variables, directory: rollcall.directory, mustSucceed: false)
      let lines = ["run node0 | here is 0\n", "run node1 | here is 1\n"]
      while !lines.allSatisfy({ scratch.text("followed")?.contains($0) == true }) {
        try await Task.sleep(for: .milliseconds(50))
      }
      let cancelled = try await rollcall("cancel", "last", "--wait")
      #expect(cancelled.status == 0, "\(cancelled.errorOutput)")
      #expect(try await running.status == 3)
      _ = try await followed
      #expect(try launchedProcesses(below: scratch.path) == [])
      for host in ["alpha", "beta"] {
        let leases = scratch.path("leases-\(host)")
        let names = try FileManager.default.contentsOfDirectory(atPath: leases)
        #expect(!names.isEmpty)
        for name in names { try await runTool("flock", ["-n", "\(leases)/\(name)", "true"]) }
      }
    }
  }
}
