import Foundation
import TestSupport
import Testing

/// What became of jobs that the controller has forgotten, while no coordinator was there to see them end.
@Suite(.enabled(if: SlurmCluster.isAvailable, "needs Slurm and root; as root: Deploy/slurm/cluster install"))
struct SlurmMemoryTests {
  private static let program = """
    echo "$1" >>"$BOOK/book"
    [ "$1" != well ] || until [ -e "$BOOK/go" ]; do sleep 0.2; done
    [ "$1" = well ] || sleep 600

    """

  @Test(.timeLimit(.minutes(8)), arguments: SlurmCluster.Memory.allCases)
  func theEndsAreToldAsIfTheyHadBeenSeen(memory: SlurmCluster.Memory) async throws {
    // Without a memory of its own the cluster leaves only what stands in the run directories: that the end came from
    // outside, and not why.
    let what = ["well", "cancelled"] + (memory == .none ? [] : ["limit", "preempted"])
    try await Scratch.with { scratch in
      try await SlurmCluster.with(in: scratch, memory: memory, minJobAge: 2) { cluster in
        try scratch.write("act.sh", Self.program)
        try scratch.write(
          "job.yaml",
          """
          name: acts
          matrix: {what: [\(what.joined(separator: ", "))]}
          run: {command: "sh act.sh ${{ what }}", files: [act.sh], env: {BOOK: "\(scratch.path)"}, gpus: 2, timeout: 20m, retries: 0}
          """)
        let rollcall = try cluster.rollcall(scratch, keys: ["partition: low"])
        func book() -> [String] { (scratch.text("book") ?? "").split(separator: "\n").map(String.init).sorted() }
        async let first = rollcall.start(["run", "job.yaml"], pidFile: scratch.path("pid"))
        let began = try await SlurmCluster.wait { book() == what.sorted() }
        try #require(began, "\(book())")
        let pid = try #require(scratch.text("pid").flatMap { Int32($0.trimmingCharacters(in: .newlines)) })
        #expect(kill(pid, SIGKILL) == 0)
        _ = try await first

        let jobs = try await cluster.jobs()
        func job(_ name: String) throws -> SlurmCluster.Job {
          let position = try #require(what.firstIndex(of: name)) + 1
          return try #require(jobs.first { $0.name.contains("-run\(position)-try1.") })
        }
        try await cluster("scancel", try job("cancelled").number)
        if memory != .none {
          try await cluster("scontrol", "update", "JobId=\(try job("limit").number)", "TimeLimit=1")
          try await cluster(
            "sbatch", "--partition=urgent", "--nodelist=\(try job("preempted").nodes)", "--exclusive", "--time=1",
            "--output=/dev/null", "--wrap=true")
        }
        try scratch.write("go", "")
        let isForgotten = try await SlurmCluster.wait(seconds: 240) { try await cluster.jobs().isEmpty }
        #expect(isForgotten)

        let outcome = try await rollcall("resume", "last", "--json")
        let cells = try #require(try outcome.json()["cells"] as? [[String: Any]])
        let runs = cells.flatMap { ($0["runs"] as? [[String: Any]]) ?? [] }
        func told(_ name: String) -> String {
          let run = runs.first { ($0["id"] as? String ?? $0["name"] as? String) == "what=\(name)" }
          let attempts = run?["attempts"] as? [[String: Any]] ?? []
          return "\(attempts.count) \(run?["state"] as? String ?? "none"): \(attempts.last?["why"] as? String ?? "")"
        }
        #expect(told("well").hasPrefix("1 succeeded"), "\(told("well"))")
        #expect(told("cancelled").hasPrefix("1 cancelled: "), "\(told("cancelled"))")
        #expect(told("cancelled").contains("somebody else"), "\(told("cancelled"))")
        if memory != .none {
          #expect(told("limit").hasPrefix("1 timed-out: "), "\(told("limit"))")
          #expect(told("preempted").hasPrefix("1 lost: Slurm says PREEMPTED of job"), "\(told("preempted"))")
        }
        #expect(book() == what.sorted(), "nothing ran again")
        let again = try await cluster.jobs()
        #expect(again.isEmpty, "nothing was submitted again: \(again)")
        let check = try await rollcall("hosts", "check")
        #expect(check.output.contains("only the run directory tells") == (memory == .none), "\(check.output)")
      }
    }
  }
}
