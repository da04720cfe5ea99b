import Foundation
import TestSupport
import Testing

/// What single ranks have printed, while they run and afterwards.
@Suite(.timeLimit(.minutes(5))) struct RankLogTests {
  /// Two runs: the ranks of one share a host and its streams, those of the other have a host each.
  private func with(_ body: (RollcallBinary, Scratch) async throws -> Void) async throws {
    try await Scratch.with { scratch in
      // As torch and as ATOM begin their lines; ranks 1 and 10 to 19 must not be taken for one another.
      try scratch.write(
        "ranks.py",
        """
        import os, sys, time
        here = [int(os.environ["NODE_RANK"])] if int(os.environ["NODES"]) > 1 else [0, 1, 10]
        for r in here:
            print(f"[rank{r}]: loads", flush=True)
            print(f"rank {r}: warns", file=sys.stderr, flush=True)
        print("loaded by all", flush=True)
        open(os.environ["PLACE"] + "/loaded-%s-%d" % (os.environ["NODES"], here[0]), "w").close()
        while not os.path.exists(os.environ["PLACE"] + "/go"):
            time.sleep(0.1)
        for r in here:
            print(f"rank {r}: ends\\r", flush=True)
        sys.stdout.write("[rank%d] last, without a newline" % here[-1])

        """)
      try scratch.write(
        "job.yaml",
        """
        name: ranks
        matrix: {nodes: [1, 2]}
        run:
          command: \(testPython) ranks.py
          files: [ranks.py]
          env: {PLACE: \(scratch.path), NODES: "${{ nodes }}"}
          gpus: 0
          nodes: "${{ nodes }}"
          timeout: 4m
        """)
      let rollcall = RollcallBinary(
        store: scratch.path("store"), directory: scratch.path,
        environment: ["ROLLCALL_FLEET": scratch.path("fleet.yaml")])
      try await LoopbackSSHD.withFleet(["alpha", "beta"], in: scratch, keys: "cpu_slots: 2") { _ in
        try await body(rollcall, scratch)
      }
    }
  }

  private func lines(_ outcome: RollcallBinary.Outcome) -> [String] {
    outcome.output.split(separator: "\n").map(String.init).sorted()
  }

  /// Follows into a file, so that what came before the end can be looked at.
  private func followed(_ rollcall: RollcallBinary, _ scratch: Scratch, _ name: String, _ arguments: String)
    async throws -> RollcallBinary.Outcome
  {
    let result = try await runTool(
      "sh",
      ["-c", "exec \"$1\" logs \(arguments) --follow > \"$2\"", "sh", try RollcallBinary.path, scratch.path(name)],
      environment: rollcall.variables, directory: rollcall.directory, mustSucceed: false)
    return .init(status: result.status, output: scratch.text(name) ?? "", errorOutput: result.errorOutput)
  }

  @Test func aRanksLinesAreToldOnceAsTheyComeAndAfterwards() async throws {
    try await with { rollcall, scratch in
      async let running = rollcall("run", "job.yaml")
      let marks = ["loaded-1-0", "loaded-2-0", "loaded-2-1"]
      while !marks.allSatisfy({ scratch.text($0) != nil }) { try await Task.sleep(for: .milliseconds(50)) }

      async let first = followed(rollcall, scratch, "first", "nodes=1 --rank 1 --both")
      async let every = followed(rollcall, scratch, "every", "--rank 1")
      async let whole = followed(rollcall, scratch, "whole", "nodes=2")
      while scratch.text("first")?.contains("warns") != true || scratch.text("every")?.contains("node1") != true
        || scratch.text("whole")?.contains("[rank1]: loads") != true
      {
        try await Task.sleep(for: .milliseconds(50))
      }
      try scratch.write("go", "")
      _ = try await running

      // Both streams of one host, and of them one rank.
      let one = lines(try await first)
      #expect(one == ["nodes=1 err | rank 1: warns", "nodes=1 out | [rank1]: loads", "nodes=1 out | rank 1: ends"])
      // The same rank of all runs, each line with the run and the host of the gang.
      let all = lines(try await every)
      #expect(
        all == [
          "nodes=1       | [rank1]: loads", "nodes=1       | rank 1: ends",
          "nodes=2 node1 | [rank1] last, without a newline",
          "nodes=2 node1 | [rank1]: loads", "nodes=2 node1 | rank 1: ends",
        ])
      // Without a rank: every line of both hosts.
      let both = lines(try await whole)
      #expect(both.count == 8 && both.allSatisfy { $0.hasPrefix("nodes=2 node") }, "\(both)")
      #expect(both.count { $0.hasSuffix("| loaded by all") } == 2)

      // From the store.
      let stored = try await rollcall("logs", "nodes=1", "--rank", "1")
      #expect(stored.output == "[rank1]: loads\nrank 1: ends\r\n")
      let tenth = try await rollcall("logs", "nodes=1", "--rank", "10")
      #expect(tenth.output == "[rank10]: loads\nrank 10: ends\r\n[rank10] last, without a newline\n")
      let document = try await rollcall("logs", "nodes=2", "--rank", "1", "--json").json()
      let streams = try #require(document["streams"] as? [[String: Any]])
      #expect(streams.map { $0["run"] as? String } == ["nodes=2 node0", "nodes=2 node1"])
      #expect(
        streams.map { $0["text"] as? String } == [
          "", "[rank1]: loads\nrank 1: ends\r\n[rank1] last, without a newline\n",
        ])
      // Nothing is no answer without a word.
      let nobody = try await rollcall("logs", "nodes=1", "--rank", "7")
      #expect(nobody.output.isEmpty && nobody.errorOutput.contains("[rank7]"), "\(nobody.errorOutput)")
      let negative = try await rollcall("logs", "nodes=1", "--rank=-1")
      #expect(negative.status == 64)
    }
  }
}
