import Foundation
import TestSupport
import Testing

/// What a cluster lets one user have: a real Slurm with accounting says no.
@Suite(
  .serialized,
  .enabled(if: SlurmCluster.isAvailable, "needs Slurm and root; as root: Deploy/slurm/cluster install"))
struct SlurmLimitTests {
  @Test(.timeLimit(.minutes(8))) func aLimitMakesRunsWaitAndFailsNone() async throws {
    try await Scratch.with { scratch in
      try await SlurmCluster.with(in: scratch, memory: .accounting) { cluster in
        try scratch.write(
          "job.yaml",
          """
          name: many
          matrix: {n: [1, 2, 3, 4, 5, 6]}
          run:
            command: echo ${{ n }} >> \(scratch.path)/book; until [ -e \(scratch.path)/go ]; do sleep 0.2; done
            gpus: 0
            timeout: 10m
            retries: 0
          """)
        let rollcall = try cluster.rollcall(scratch)
        try await cluster("sacctmgr", "-i", "modify", "qos", "normal", "set", "MaxSubmitJobsPerUser=3")
        let isKnown = try await SlurmCluster.wait {
          try await rollcall("hosts", "check").output.contains(
            "the cluster lets you have 3 jobs at a time (MaxSubmitJobsPerUser of QoS normal)")
        }
        let check = try await rollcall("hosts", "check")
        #expect(isKnown, "\(check.output)")
        // One of them is taken by a job that is none of ours, which only a refusal tells.
        let other = try await cluster(
          "sbatch", "--parsable", "--output=/dev/null", "--wrap=sleep 600"
        ).trimmingCharacters(in: .whitespacesAndNewlines)

        async let ended = rollcall("run", "job.yaml", "--json")
        let isTold = try await SlurmCluster.wait {
          try await rollcall("status", "last").output.contains(
            "the cluster takes no more jobs now: QOSMaxSubmitJobPerUserLimit")
        }
        let status = try await rollcall("status", "last")
        #expect(isTold, "a run that the cluster does not take has a reason: \(status.output)")
        let explained = try await rollcall("explain", "n=6")
        #expect(explained.output.contains("3 at a time by MaxSubmitJobsPerUser of QoS normal"), "\(explained.output)")
        var reasons: [String] = []
        for n in 1...3 { reasons.append(try await rollcall("explain", "n=\(n)").output) }
        #expect(
          reasons.contains { $0.contains("is being launched: attempt 1 on slurm: the cluster takes no more jobs now") },
          "\(reasons)")
        let ours = try await cluster.jobs().filter { $0.number != other }
        #expect(ours.count == 2, "\(ours)")
        try await cluster("scancel", other)
        try scratch.write("go", "")
        let outcome = try await ended
        #expect(outcome.status == 0 || outcome.status == 2, "\(outcome.errorOutput)")
        let cells = try #require(try outcome.json()["cells"] as? [[String: Any]])
        let runs = cells.flatMap { ($0["runs"] as? [[String: Any]]) ?? [] }
        #expect(runs.count == 6)
        for run in runs {
          #expect(run["state"] as? String == "succeeded", "\(run)")
          #expect((run["attempts"] as? [[String: Any]])?.count == 1, "nothing was tried twice: \(run)")
        }
        #expect((scratch.text("book") ?? "").split(separator: "\n").sorted() == ["1", "2", "3", "4", "5", "6"])
        let names = try await cluster.jobs().filter { $0.number != other }.map(\.name)
        #expect(names.count == 6 && Set(names).count == 6, "one job an attempt: \(names)")
      }
    }
  }
}
