import Foundation
import Launching
import TestSupport
import Testing

/// Places for dumps that several nodes of a job share, or do not: what a job runs on its nodes, without a cluster.
@Suite(.timeLimit(.minutes(3)))
struct SharedScratchTests {
  /// A job of two nodes that has begun.
  private struct Job {
    let scratch: Scratch
    let id: String
    let script: String
    var place: String { scratch.path("disk/rollcall-\(id)") }
    var directory: String { scratch.path("shared/attempts/\(id)") }

    init(_ scratch: Scratch, _ id: String) async throws {
      self.scratch = scratch
      self.id = id
      var spec = AttemptSpec(
        id: id, token: "t", sweep: "s", run: "r", number: 1,
        command: "echo $NODE_RANK >\"\(scratch.path("disk/rollcall-\(id)"))/rank$NODE_RANK\"", environment: [],
        gpuCount: 0,
        timeout: 60, stallTimeout: nil)
      spec.nodes = 2
      spec.dumpDirectory = scratch.path("disk/rollcall-\(id)")
      let launcher = SlurmLauncher(
        transport: try ModelledSlurm(scratch).login, workdir: scratch.path("shared"),
        options: SlurmLauncher.Options(), name: "model")
      let outcome = try await launcher.launch(spec, files: [])
      try #require(outcome == .submitted)
      let folder = scratch.path("shared/agent")
      let name = try #require(try FileManager.default.contentsOfDirectory(atPath: folder).first { $0.hasSuffix(".sh") })
      script = "\(folder)/\(name)"
      _ = try scratch.directory("shared/attempts/\(id)/nodes")
    }

    private func run(_ words: [String], on node: Int) async throws -> Int {
      let environment = [
        "SLURMD_NODENAME": "n\(node)", "SLURM_PROCID": "\(node)", "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_NODELIST": "n[0-1]",
      ]
      return try await runTool("sh", [script, "-"] + words, environment: environment, mustSucceed: false).status
    }

    func begin(on node: Int) async throws -> Int { try await run(["slurm-node", directory], on: node) }
    func bring(from node: Int) async throws -> Int {
      try await run(["slurm-copy", directory, place, "copy"], on: node)
    }
    func dump(_ node: Int) -> String? { scratch.text("shared/attempts/\(id)/dumps/rank\(node)") }
  }

  @Test func `a node that comes when another has brought their place is content`() async throws {
    try await Scratch.with { scratch in
      let job = try await Job(scratch, "a1")
      for node in 0...1 {
        let code = try await job.begin(on: node)
        #expect(code == 0)
      }
      for node in 0...1 {
        let code = try await job.bring(from: node)
        #expect(code == 0, "\(scratch.text("shared/attempts/a1/uncopied") ?? "")")
        #expect(job.dump(node) == "\(node)\n")
      }
      #expect(scratch.text("shared/attempts/a1/uncopied") == nil)
      let left = try FileManager.default.contentsOfDirectory(atPath: scratch.path("disk"))
      #expect(left == [])
    }
  }

  @Test func `a node whose own place is gone has lost its dumps`() async throws {
    try await Scratch.with { scratch in
      let job = try await Job(scratch, "a1")
      for node in 0...1 {
        // Each has a disk of its own: what the first has left is not there.
        var code = try await job.begin(on: node)
        #expect(code == 0)
        if node == 1 { try FileManager.default.removeItem(atPath: job.place) }
        code = try await job.bring(from: node)
        #expect((code == 0) == (node == 0))
      }
      #expect(job.dump(0) == "0\n")
      #expect(scratch.text("shared/attempts/a1/uncopied")?.hasPrefix("n1: ") == true)
    }
  }
}
