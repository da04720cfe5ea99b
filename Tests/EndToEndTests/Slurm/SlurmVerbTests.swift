import Foundation
import TestSupport
import Testing

/// What a person does with a cluster: over SSH to its login node, with gangs, in a partition that others may clear.
@Suite(
  .serialized,
  .enabled(if: SlurmCluster.isAvailable, "needs Slurm and root; as root: Deploy/slurm/cluster install"))
struct SlurmVerbTests {
  /// One process a node: sums over gloo, then writes its rank's dumps.
  private static let sum = """
    import os, sys, torch, torch.distributed as dist
    rank, count = int(os.environ.get("NODE_RANK", "0")), int(os.environ.get("NNODES", "1"))
    with open(os.environ["BOOK"], "a") as book:
        book.write("%s %d/%d %s %s\\n" % (
            os.environ["ROLLCALL_RUN"], rank, count, os.environ["SLURMD_NODENAME"], os.environ["CUDA_VISIBLE_DEVICES"]))
    total = torch.ones(8, 16) * 3
    if count > 1:
        os.environ["RANK"] = str(rank)
        dist.init_process_group("gloo")
        total = torch.ones(8, 16) * (rank + 1)
        dist.all_reduce(total)
        if count == 3 and rank == 1:
            print("out of luck", flush=True)
            os._exit(5)
        dist.barrier()
    for layer in range(3):
        name = "layer%02d_Block_rank%d.pt" % (layer, rank)
        torch.save({"hidden": total * (layer + 1)}, os.path.join(os.environ["ROLLCALL_DUMP_DIR"], name))

    """

  @Test(.timeLimit(.minutes(8))) func aGangOverTwoNodesSubmittedThroughTheLoginNode() async throws {
    try await Scratch.with { scratch in
      try await SlurmCluster.with(in: scratch) { cluster in
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        let login = try await LoopbackSSHD(
          in: scratch, alias: "login",
          serverOptions: [
            "ForceCommand SLURM_CONF=\(cluster.configuration) PATH=\(path) exec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\""
          ])
        defer { login.stop() }
        try scratch.write("sum.py", Self.sum)
        try scratch.write(
          "job.yaml",
          """
          name: gang
          matrix: {world_size: [1, 2, 3]}
          run:
            command: \(testPython) sum.py
            files: [sum.py]
            env: {BOOK: \(scratch.path("book")), GLOO_SOCKET_IFNAME: lo}
            gpus: 1
            nodes: "${{ world_size }}"
            timeout: 3m
          dumps: {layout: atom, select: warm-up, expect: {layers: 0-2}}
          compare: {reference: {world_size: 1}, noise: strict}
          """)
        // Without SLURM_CONF: only the login node has Slurm.
        var rollcall = try cluster.rollcall(
          scratch, keys: ["submit: login", "ssh_config: \(login.configurationFile)"])
        rollcall.environment["SLURM_CONF"] = "/nonexistent"
        let outcome = try await rollcall("run", "job.yaml", "--json")
        try #require(!outcome.output.isEmpty, "\(outcome.errorOutput)")
        let report = try outcome.json()
        let cells = try #require(report["cells"] as? [[String: Any]])
        var states: [String: String] = [:]
        for run in cells.flatMap({ ($0["runs"] as? [[String: Any]]) ?? [] }) {
          states[run["id"] as? String ?? "?"] = run["state"] as? String
        }
        let gang = "world_size=2"
        #expect(states[gang] == "succeeded", "\(outcome.errorOutput) \(states)")
        #expect(states["world_size=3"] == "failed")
        #expect(outcome.output.contains("exit code 5"), "the first node that failed by itself is told")
        let book = (scratch.text("book") ?? "").split(separator: "\n").filter { $0.hasPrefix(gang + " ") }.map {
          $0.split(separator: " ").map(String.init)
        }
        #expect(Set(book.map { $0[1] }) == ["0/2", "1/2"])
        #expect(Set(book.map { $0[2] }).count == 2, "two nodes")
        #expect(book.allSatisfy { $0.count == 4 && $0[3].split(separator: ",").count == 1 }, "one GPU each: \(book)")
        let pairs = try #require(report["pairs"] as? [[String: Any]])
        let verdicts = pairs.compactMap { ($0["comparison"] as? [String: Any])?["verdict"] as? String }
        #expect(verdicts.contains("pass"), "the sums are those of one rank; \(pairs) \(report["notes"] ?? "")")
      }
    }
  }

  @Test(.timeLimit(.minutes(8))) func checkedFollowedPreemptedAndCancelled() async throws {
    try await Scratch.with { scratch in
      try await SlurmCluster.with(in: scratch, memory: .accounting) { cluster in
        try scratch.write(
          "job.yaml",
          """
          name: slow
          run:
            command: >-
              echo "try $ROLLCALL_ATTEMPT on $ROLLCALL_GPUS"; echo "$ROLLCALL_ATTEMPT" >> \(scratch.path)/book; sleep 300
            gpus: 2
            timeout: 10m
            retries: 1
          """)
        let rollcall = try cluster.rollcall(scratch, keys: ["partition: low", "exclusive: true"])
        let plan = try await rollcall("plan", "job.yaml", "--fleet", scratch.path("fleet.yaml"))
        #expect(plan.status == 0 && plan.output.contains("slurm"), "\(plan.output)")
        let check = try await rollcall("hosts", "check")
        #expect(check.status == 0, "\(check.output) \(check.errorOutput)")
        #expect(check.output.contains("partition low: up"))
        #expect(check.output.contains("GPUs 8 of 8 free"))
        let wrong = try await rollcall(
          "hosts", "check", "--fleet",
          try scratch.write("wrong.yaml", "launcher: slurm\npartition: nix\nworkdir: \(scratch.path)/shared\n"))
        #expect(wrong.status == 69)
        #expect(wrong.output.contains("no partition nix; it has: main, low, urgent, hidden"), "\(wrong.output)")
        let refused = try await rollcall(
          "hosts", "check", "--fleet",
          try scratch.write(
            "refused.yaml", "launcher: slurm\npartition: low\nconstraint: nix\nworkdir: \(scratch.path)/shared\n"))
        #expect(refused.output.contains("would be refused"), "\(refused.output)")

        async let ended = rollcall.start(["run", "job.yaml", "--json"], pidFile: scratch.path("pid"))
        let began = try await SlurmCluster.wait { scratch.text("book") == "1\n" }
        #expect(began)
        async let followed = rollcall("logs", "run", "--follow")
        async let watched = runTool(
          "script",
          [
            "-qefc", "stty rows 40 cols 160; exec \"$ROLLCALL_BINARY\" status last --watch", scratch.path("watched"),
          ],
          environment: rollcall.variables.merging(["ROLLCALL_BINARY": try RollcallBinary.path, "SHELL": "/bin/sh"]) {
            $1
          }, directory: rollcall.directory, timeout: .seconds(400), mustSucceed: false)
        // Slurm starts a job before the coordinator hears of it, and the watcher is later still.
        let seen = try await SlurmCluster.wait { scratch.text("watched")?.contains("1 running") == true }
        #expect(seen)
        // Somebody with more right to the nodes takes all of them for a moment.
        try await cluster(
          "sbatch", "--partition=urgent", "--nodes=4", "--exclusive", "--time=1", "--output=/dev/null",
          "--wrap=sleep 3")
        let again = try await SlurmCluster.wait { scratch.text("book") == "1\n2\n" }
        #expect(again, "a preempted job is tried again")
        let states = try await cluster.jobs().filter { $0.name.contains("-try1.") }.map(\.state)
        #expect(states == ["PREEMPTED"])
        let cancel = try await rollcall("cancel", "last")
        #expect(cancel.status == 0, "\(cancel.errorOutput)")
        let outcome = try await ended
        #expect(outcome.output.contains("\"cancelled\""), "\(outcome.output.suffix(2000))")
        #expect(outcome.output.contains("PREEMPTED"), "why the first attempt ended is told")
        let isGone = try await SlurmCluster.wait {
          try await cluster.jobs().allSatisfy { ["CANCELLED", "PREEMPTED", "COMPLETED"].contains($0.state) }
        }
        let left = try await cluster.jobs()
        #expect(isGone, "\(left)")
        // A person who watched has seen it run, wait for its second try, and end.
        _ = try await watched
        let drawn = try #require(scratch.text("watched"))
        for part in ["1 running", "slurm", "cancelled"] { #expect(drawn.contains(part), "\(part): \(drawn)") }
        let log = try await followed
        #expect(log.output.contains("on 0,1"), "\(log.output)")
      }
    }
  }
}
