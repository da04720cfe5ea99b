import Foundation
import TestSupport
import Testing

/// The same jobs on a cluster: a real Slurm places them.
@Suite(
  .serialized,
  .enabled(if: SlurmCluster.isAvailable, "needs Slurm and root; as root: Deploy/slurm/cluster install"))
struct SlurmSweepTests {
  private let jobs = RollcallBinary.repository + "/Jobs"

  @Test(.timeLimit(.minutes(15)), arguments: [SlurmCluster.Memory.accounting, .none])
  func theSweepsHaveTheVerdictsThatTheyHaveOnHosts(memory: SlurmCluster.Memory) async throws {
    try await Scratch.with { scratch in
      try await SlurmCluster.with(in: scratch, memory: memory, minJobAge: 3600) { cluster in
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
}
