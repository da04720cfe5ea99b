import Foundation
import TestSupport
import Testing

/// Dumps that a cluster's jobs have left on its shared file system.
@Suite(
  .serialized,
  .enabled(if: SlurmCluster.isAvailable, "needs Slurm and root; as root: Deploy/slurm/cluster install"))
struct SlurmPruneTests {
  @Test(.timeLimit(.minutes(8))) func dumpsOfJobsThatHaveEndedGo() async throws {
    try await Scratch.with { scratch in
      try await SlurmCluster.with(in: scratch) { cluster in
        try scratch.write(
          "job.yaml",
          """
          name: leaves
          run: {command: "echo began; head -c 5000 /dev/zero > $ROLLCALL_DUMP_DIR/notes_rank0.bin", timeout: 5m}
          """)
        let rollcall = try cluster.rollcall(scratch)
        let outcome = try await rollcall("run", "job.yaml", "--json")
        let attempts = scratch.path("shared/attempts")
        let id = try #require(try FileManager.default.contentsOfDirectory(atPath: attempts).first, "\(outcome)")
        let dump = "\(attempts)/\(id)/dumps/notes_rank0.bin"
        try #require(FileManager.default.fileExists(atPath: dump), "\(outcome)")
        func prune() async throws -> (attempts: Int?, errorOutput: String) {
          let done = try await rollcall("prune", "--hosts", "--apply", "--json")
          #expect(done.status == 0, "\(done.errorOutput)")
          let host = (try done.json()["hosts"] as? [[String: Any]])?.first
          return (host?["attempts"] as? Int, done.errorOutput)
        }
        // Its processes are on another machine: without a record nobody here knows that they have ended.
        let record = "\(attempts)/\(id)/exit.json"
        try FileManager.default.moveItem(atPath: record, toPath: record + ".away")
        let open = try await prune()
        #expect(open.attempts == 0 && open.errorOutput.contains("it has not ended"), "\(open)")
        #expect(FileManager.default.fileExists(atPath: dump))
        try FileManager.default.moveItem(atPath: record + ".away", toPath: record)
        #expect(try await prune().attempts == 1)
        #expect(!FileManager.default.fileExists(atPath: dump))
        #expect(FileManager.default.fileExists(atPath: record))
      }
    }
  }
}
