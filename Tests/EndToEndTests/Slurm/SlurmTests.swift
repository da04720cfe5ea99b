import Foundation
import TestSupport
import Testing

/// The same jobs on a cluster: a real Slurm places them.
@Suite(
  .serialized,
  .enabled(if: SlurmCluster.isAvailable, "needs Slurm and root; as root: Deploy/slurm/cluster install"))
struct SlurmTests {
  private let jobs = RollcallBinary.repository + "/Jobs"

  private func runs(_ report: [String: Any]) throws -> [String: [String: Any]] {
    let cells = try #require(report["cells"] as? [[String: Any]])
    return Dictionary(
      cells.flatMap { ($0["runs"] as? [[String: Any]]) ?? [] }.compactMap { run in
        (run["id"] as? String ?? run["name"] as? String).map { ($0, run) }
      }
    ) { first, _ in first }
  }

  private func attempts(_ run: [String: Any]?) -> [[String: Any]] { run?["attempts"] as? [[String: Any]] ?? [] }

  @Test(.timeLimit(.minutes(15))) func theSweepsHaveTheVerdictsThatTheyHaveOnHosts() async throws {
    try await Scratch.with { scratch in
      try await SlurmCluster.with(in: scratch, accounting: true) { cluster in
        let rollcall = try cluster.rollcall(scratch, keys: ["max_jobs: 3"])
        let clean = try await rollcall("run", jobs + "/tp-sweep.yaml", "--json")
        #expect(clean.status == 0, "\(clean.errorOutput) \(clean.output.suffix(3000))")
        let report = try clean.json()
        #expect(report["verdict"] as? String == "pass")
        let pairs = try #require(report["pairs"] as? [[String: Any]]).compactMap { $0["comparison"] as? [String: Any] }
        #expect(pairs.count == 16)
        for pair in pairs {
          let coverage = try #require(pair["coverage"] as? [String: Any])
          #expect(coverage["compared"] as? Int == coverage["expected"] as? Int)
          #expect((coverage["compared"] as? Int ?? 0) > 0)
        }
        // Every run was a job of its own, submitted once.
        let names = try await cluster.jobs().map(\.name)
        #expect(names.count == 24)
        #expect(Set(names).count == 24)

        let broken = try await rollcall("run", jobs + "/planted-bug.yaml", "--json")
        #expect(broken.status == 1, "\(broken.errorOutput)")
        let finding = try #require(try broken.json()["pairs"] as? [[String: Any]]).compactMap { pair in
          ((pair["comparison"] as? [String: Any])?["findings"] as? [[String: Any]])?.first
        }
        #expect(!finding.isEmpty)
        for one in finding {
          #expect(one["cause"] as? String == "double-reduce")
          #expect(one["layer"] as? Int == 2)
          #expect(one["stage"] as? String == "MoE")
        }
      }
    }
  }

  /// One program, told what to do by its first argument.
  private static let program = """
    echo "$1 $ROLLCALL_ATTEMPT" >>"$BOOK/book"
    case $1 in
    restart) until [ -e "$BOOK/go" ]; do sleep 0.2; done ;;
    node) [ "$ROLLCALL_ATTEMPT" != 1 ] || sleep 600 ;;
    cancelled | own-limit | cluster-limit) sleep 600 ;;
    fails) echo out of luck; exit 3 ;;
    esac
    echo "$1 done"

    """

  private func writeJob(_ scratch: Scratch, _ what: [String], gpus: Int = 0) throws {
    try scratch.write("act.sh", Self.program)
    try scratch.write(
      "job.yaml",
      """
      name: acts
      matrix: {what: [\(what.joined(separator: ", "))]}
      run:
        command: sh act.sh ${{ what }}
        files: [act.sh]
        env: {BOOK: \(scratch.path)}
        gpus: \(gpus)
        timeout: 20m
        retries: 2

      """ + (what.contains("own-limit") ? "overrides: [{when: {what: own-limit}, run: {timeout: 2s}}]\n" : ""))
  }

  private func book(_ scratch: Scratch) -> [String] {
    (scratch.text("book") ?? "").split(separator: "\n").map(String.init).sorted()
  }

  /// sbatch in whose place the coordinator dies: at the first call before it submits, at the second after it has.
  private static func deadlySubmission(_ scratch: Scratch) throws -> String {
    let folder = try scratch.directory("commands")
    try scratch.write(
      "commands/sbatch",
      """
      #!/bin/sh
      calls=$(cat \(scratch.path("calls")) 2>/dev/null || echo 0)
      echo $((calls + 1)) >\(scratch.path("calls"))
      [ "$calls" -lt 2 ] || exec /usr/bin/sbatch "$@"
      [ "$calls" -eq 0 ] || /usr/bin/sbatch "$@" >/dev/null
      kill -KILL "$(cat \(scratch.path("pid")))"
      # And whoever would have heard of it.
      process=$PPID
      while tr '\\0' ' ' <"/proc/$process/cmdline" | grep -q slurm-submit; do
        next=$(sed -n 's/^PPid:[^0-9]*//p' "/proc/$process/status")
        kill -KILL "$process"
        process=$next
      done
      exit 1

      """, permissions: 0o755)
    return folder
  }

  @Test(.timeLimit(.minutes(12))) func nothingIsLostOrDoneTwiceWhateverFails() async throws {
    try await Scratch.with { scratch in
      try await SlurmCluster.with(in: scratch, accounting: false) { cluster in
        try writeJob(scratch, ["restart", "node", "cancelled", "cluster-limit", "plain", "own-limit", "fails"])
        let rollcall = try cluster.rollcall(
          scratch, keys: ["exclusive: true"], commands: try Self.deadlySubmission(scratch))
        let first = try await rollcall.start(["run", "job.yaml"], pidFile: scratch.path("pid"))
        #expect(first.status == 137, "the coordinator was to die between intent and submission: \(first.errorOutput)")
        let none = try await cluster.jobs()
        #expect(none.isEmpty, "nothing was submitted: \(none)")
        let second = try await rollcall.start(["resume", "last"], pidFile: scratch.path("pid"))
        #expect(second.status == 137, "the coordinator was to die after a submission: \(second.errorOutput)")
        let one = try await cluster.jobs()
        #expect(one.count == 1, "\(one)")

        async let third = rollcall.start(["resume", "last", "--json"], pidFile: scratch.path("pid"))
        let began = try await SlurmCluster.wait {
          Set(["restart 1", "node 1", "cancelled 1", "cluster-limit 1"]).isSubset(of: Set(book(scratch)))
        }
        #expect(began, "\(book(scratch))")
        let isTold = try await SlurmCluster.wait {
          try await rollcall("status", "last").output.contains("waits in Slurm: Resources")
        }
        #expect(isTold, "a job that waits has a reason")

        func job(_ position: Int) async throws -> SlurmCluster.Job {
          let found = try await cluster.jobs().last { $0.name.contains("-run\(position)-try1.") }
          return try #require(found)
        }
        try await cluster("scontrol", "update", "JobId=\(try await job(4).number)", "TimeLimit=1")
        try await cluster("scancel", try await job(3).number)
        let node = try await job(2).nodes
        try await cluster.change("control", "stop")
        try await Task.sleep(for: .seconds(1))
        try await cluster.change("control", "start")
        try await cluster.change("node", "kill", node)
        try scratch.write("go", "")

        let outcome = try await third
        let report = try outcome.json()
        let runs = try runs(report)
        func state(_ what: String) -> String { runs["what=\(what)"]?["state"] as? String ?? "none" }
        #expect(state("plain") == "succeeded")
        #expect(state("restart") == "succeeded", "the controller was restarted in the middle")
        #expect(state("node") == "succeeded", "its node was lost, and it was tried again")
        #expect(attempts(runs["what=node"]).count == 2)
        #expect(state("cancelled") == "cancelled")
        #expect((attempts(runs["what=cancelled"]).last?["why"] as? String)?.contains("somebody else") == true)
        #expect(state("own-limit") == "timed-out")
        #expect(state("cluster-limit") == "timed-out")
        #expect(state("fails") == "failed")
        #expect(attempts(runs["what=fails"]).count == 1, "a command's own failure is not tried again")
        // Each attempt ran once, and was one job.
        #expect(
          book(scratch)
            == [
              "cancelled 1", "cluster-limit 1", "fails 1", "node 1", "node 2", "own-limit 1", "plain 1", "restart 1",
            ])
        let names = try await cluster.jobs().map(\.name)
        #expect(Set(names).count == names.count, "\(names)")
        #expect(names.count == 8)
        let log = try await rollcall("logs", "what=fails")
        #expect(log.output.contains("out of luck"))
      }
    }
  }

  /// A controller that dies within seconds of a submission forgets that it had acknowledged it.
  @Test(.timeLimit(.minutes(6))) func aControllerThatLosesItsMemoryLosesNoRun() async throws {
    try await Scratch.with { scratch in
      try await SlurmCluster.with(in: scratch, accounting: false) { cluster in
        try writeJob(scratch, ["restart"])
        let rollcall = try cluster.rollcall(scratch)
        async let ended = rollcall.start(["run", "job.yaml", "--json"], pidFile: scratch.path("pid"))
        let began = try await SlurmCluster.wait { book(scratch) == ["restart 1"] }
        #expect(began)
        try await cluster.change("control", "kill")
        try await cluster.change("control", "start")
        try scratch.write("go", "")
        let outcome = try await ended
        let run = try runs(try outcome.json())["what=restart"]
        #expect(run?["state"] as? String == "succeeded", "\(outcome.output)")
        // Where its job was forgotten, another attempt followed; none ran twice.
        #expect(book(scratch) == attempts(run).indices.map { "restart \($0 + 1)" })
      }
    }
  }

  @Test(.timeLimit(.minutes(8)), arguments: [true, false])
  func whatSlurmHasForgottenIsFoundAgain(accounting: Bool) async throws {
    try await Scratch.with { scratch in
      try await SlurmCluster.with(in: scratch, accounting: accounting, minJobAge: 2) { cluster in
        try writeJob(scratch, ["restart", "cancelled"], gpus: 2)
        let rollcall = try cluster.rollcall(scratch)
        async let first = rollcall.start(["run", "job.yaml"], pidFile: scratch.path("pid"))
        let began = try await SlurmCluster.wait { book(scratch) == ["cancelled 1", "restart 1"] }
        try #require(began, "\(book(scratch))")
        let pid = try #require(scratch.text("pid").flatMap { Int32($0.trimmingCharacters(in: .newlines)) })
        #expect(kill(pid, SIGKILL) == 0)
        _ = try await first
        try scratch.write("go", "")
        let cancelled = try await cluster.jobs().last { $0.name.contains("-run2-try1.") }
        try await cluster("scancel", try #require(cancelled).number)
        let isForgotten = try await SlurmCluster.wait(seconds: 200) { try await cluster.jobs().isEmpty }
        #expect(isForgotten)

        let outcome = try await rollcall("resume", "last", "--json")
        let runs = try runs(try outcome.json())
        #expect(runs["what=restart"]?["state"] as? String == "succeeded", "\(outcome.output)")
        #expect(runs["what=cancelled"]?["state"] as? String == "cancelled")
        #expect(book(scratch) == ["cancelled 1", "restart 1"])
        let again = try await cluster.jobs()
        #expect(again.isEmpty, "nothing was submitted again: \(again)")
      }
    }
  }
}
