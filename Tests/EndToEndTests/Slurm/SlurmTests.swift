import Foundation
import TestSupport
import Testing

/// Runs on a cluster when something fails: a real Slurm places them.
@Suite(
  .serialized,
  .enabled(if: SlurmCluster.isAvailable, "needs Slurm and root; as root: Deploy/slurm/cluster install"))
struct SlurmTests {
  private func runs(_ report: [String: Any]) throws -> [String: [String: Any]] {
    let cells = try #require(report["cells"] as? [[String: Any]])
    return Dictionary(
      cells.flatMap { ($0["runs"] as? [[String: Any]]) ?? [] }.compactMap { run in
        (run["id"] as? String ?? run["name"] as? String).map { ($0, run) }
      }
    ) { first, _ in first }
  }

  private func attempts(_ run: [String: Any]?) -> [[String: Any]] { run?["attempts"] as? [[String: Any]] ?? [] }

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

      """ + (what.contains("own-limit") ? "overrides: [{when: {what: own-limit}, run: {timeout: 10s}}]\n" : ""))
  }

  private func book(_ scratch: Scratch) -> [String] {
    (scratch.text("book") ?? "").split(separator: "\n").map(String.init).sorted()
  }

  @Test(.timeLimit(.minutes(12))) func nothingIsLostOrDoneTwiceWhateverFails() async throws {
    try await Scratch.with { scratch in
      try await SlurmCluster.with(in: scratch, minJobAge: 3600) { cluster in
        try writeJob(scratch, ["restart", "node", "cancelled", "cluster-limit", "plain", "own-limit", "fails"])
        let rollcall = try cluster.rollcall(
          scratch, keys: ["exclusive: true"], commands: try SlurmCluster.deadlySubmission(scratch))
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
        let retried = try #require(try await cluster.jobs().last { $0.name.contains("-run2-try2.") }).number
        let again = try await cluster("scontrol", "show", "job", retried)
        #expect(again.contains("ExcNodeList=\(node)"), "not on that node again: \(again)")
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
      try await SlurmCluster.with(in: scratch) { cluster in
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
}
