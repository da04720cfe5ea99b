import Foundation
import TestSupport
import Testing

/// A finished sweep, judged again by other rules: stored measures do where files and joining stayed as they were.
@Suite struct RejudgingTests {
  private static let classes = "Embedding,Attention,MoE,Block"

  /// Two world sizes of a very small model, with repeats.
  private func job(compare: String) -> String {
    """
    name: rejudge
    matrix: {world_size: [1, 2]}
    repeat: 2
    run:
      command: >-
        ${ROLLCALL_PYTHON:-python3} \(RollcallBinary.repository)/Jobs/workloads/tiny_tp.py --device cpu
        --nproc ${{ world_size }} --dtype bf16 --hidden 64 --heads 4 --kv-heads 4 --head-dim 16 --intermediate 64
        --expert-width 32 --experts 4 --layers 3 --prompt-length 5 --decode-steps 1 --vocabulary 64
      env:
        ATOM_FWD_DUMP_DIR: ${{ dump_dir }}
        ATOM_FWD_DUMP_ONE_SHOT: "0"
        ATOM_FWD_DUMP_BLOCK_CLASS: \(Self.classes)
      gpus: 0
      timeout: 5m
    dumps: {layout: atom, slots: 4, select: prefill}
    compare: {reference: {world_size: 1}, \(compare)}
    """
  }

  private func withSweep(_ body: (RollcallBinary, Scratch, String) async throws -> Void) async throws {
    try await Scratch.with { scratch in
      try scratch.write(
        "fleet.yaml",
        "hosts: [{name: here, local: true, workdir: \(scratch.path)/work, lease_dir: \(scratch.path)/leases}]")
      try scratch.write("job.yaml", job(compare: "noise: measured"))
      let rollcall = RollcallBinary(
        store: scratch.path("store"), directory: scratch.path,
        environment: ["ROLLCALL_FLEET": scratch.path("fleet.yaml")])
      let outcome = try await rollcall("run", "job.yaml", "--json")
      #expect(outcome.status == 0, "\(outcome.errorOutput) \(outcome.output.suffix(2000))")
      let id = try #require(try outcome.json()["id"] as? String)
      try await body(rollcall, scratch, id)
    }
  }

  /// Overwrites the bytes of every object of the store in place: names, sizes and links stay.
  private func damageObjects(_ scratch: Scratch) throws {
    let objects = scratch.path("store/objects")
    let names = try FileManager.default.contentsOfDirectory(atPath: objects)
    try #require(names.count > 10)
    for name in names {
      let path = "\(objects)/\(name)"
      try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
      let size = try Data(contentsOf: URL(filePath: path)).count
      let handle = try FileHandle(forWritingTo: URL(filePath: path))
      try handle.write(contentsOf: Data(repeating: 0x5A, count: size))
      try handle.close()
    }
  }

  private func notes(_ report: [String: Any]) throws -> String {
    try #require(report["notes"] as? [String]).joined(separator: "\n")
  }

  @Test(.timeLimit(.minutes(30))) func changedNoiseOpensNoDumpAndAChangedShardRuleDoes() async throws {
    try await withSweep { rollcall, scratch, id in
      let sweep = scratch.path("store/sweeps/\(id)")
      let runs = try FileManager.default.contentsOfDirectory(atPath: sweep).sorted()
      let one = try #require(runs.first { $0.hasPrefix("world_size=1") })
      let two = try #require(runs.first { $0.hasPrefix("world_size=2") })
      let first = try await rollcall("compare", "\(sweep)/\(one)", "\(sweep)/\(two)", "--json")
      #expect(first.status == 0, "\(first.errorOutput) \(first.output.suffix(2000))")
      let asBefore = try await rollcall("report", id, "--again", "--json")
      #expect(asBefore.status == 0, "\(asBefore.output.suffix(2000))")

      // Whoever reads a dump from here on finds garbage, and says so.
      try damageObjects(scratch)
      let strict = try await rollcall("report", id, "--again", "--noise", "strict", "--json")
      #expect(strict.status == 1, "\(strict.errorOutput)")
      let report = try strict.json()
      #expect(try notes(report).contains("no dump file was opened"))
      #expect(!(try notes(report).contains("measured again")))
      for pair in try #require(report["pairs"] as? [[String: Any]]) {
        let comparison = try #require(pair["comparison"] as? [String: Any])
        #expect(comparison["verdict"] as? String == "fail")
        let coverage = try #require(comparison["coverage"] as? [String: Any])
        #expect((coverage["unreadable"] as? [Any])?.isEmpty == true)
        #expect(coverage["compared"] as? Int == coverage["expected"] as? Int)
      }
      let limits = try await rollcall("report", id, "--again", "--noise", "cos=0.5,rel=0.9", "--json")
      #expect(limits.status == 0, "\(limits.output.suffix(2000))")

      try scratch.write("strict.yaml", job(compare: "noise: strict"))
      let changed = try await rollcall("report", id, "--again", "--job", "strict.yaml", "--json")
      #expect(changed.status == 1, "\(changed.errorOutput)")

      let pair = try await rollcall("compare", "\(sweep)/\(one)", "\(sweep)/\(two)", "--noise", "strict", "--json")
      #expect(pair.status == 1, "\(pair.errorOutput)")
      #expect(try notes(try pair.json()).contains("no dump file was opened"))

      // Another rule for the ranks needs the tensors, and they are gone.
      try scratch.write("shard.yaml", job(compare: "noise: measured, shard: {Attention: replicated}"))
      let sharded = try await rollcall("report", id, "--again", "--job", "shard.yaml", "--json")
      #expect(sharded.status == 2, "\(sharded.errorOutput) \(sharded.output.prefix(2000))")
      let words = try notes(try sharded.json())
      #expect(words.contains("measured again"))
      #expect(words.contains("shardRules"))

      // So does reading on demand.
      let read = try await rollcall("report", id, "--again", "--read", "--json")
      #expect(read.status == 2)
      let direct = try await rollcall("compare", "\(sweep)/\(one)", "\(sweep)/\(two)", "--read", "--json")
      #expect(direct.status != 0)
      #expect(direct.status != 1)
    }
  }

  @Test(.timeLimit(.minutes(30))) func aFileThatIsGoneIsNamedAndNeverPasses() async throws {
    try await withSweep { rollcall, scratch, id in
      let sweep = scratch.path("store/sweeps/\(id)")
      let two = try #require(
        try FileManager.default.contentsOfDirectory(atPath: sweep).sorted().first { $0.hasPrefix("world_size=2") })
      try FileManager.default.removeItem(atPath: "\(sweep)/\(two)/rank1")
      let outcome = try await rollcall("report", id, "--again", "--json")
      #expect(outcome.status == 2, "\(outcome.errorOutput)")
      let words = try notes(try outcome.json())
      #expect(words.contains("measured again"))
      #expect(words.contains("rank1/"))
      #expect(words.contains("missing"))
    }
  }

  @Test func judgingOptionsWithoutAgainAreRefused() async throws {
    try await Scratch.with { scratch in
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      for arguments in [["report", "last", "--noise", "strict"], ["report", "last", "--read"]] {
        let outcome = try await rollcall.run(arguments)
        #expect(outcome.status == 64)
        #expect(outcome.errorOutput.contains("--again"))
      }
    }
  }

  @Test(.timeLimit(.minutes(30))) func measuresOfPlainDirectoriesAreKeptInAFile() async throws {
    try await Scratch.with { scratch in
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      try await runPython(
        """
        import os, sys, torch
        for side, noise in (("a", 0), ("b", 1)):
            os.makedirs(side)
            for layer in range(2):
                torch.manual_seed(layer)
                x = torch.randn(20, 32)
                x[3, 5] += noise * 1e-7
                torch.save({"hidden": x, "shape": tuple(x.shape)}, f"{side}/layer{layer:02d}_Block_rank0_call001.pt")
                torch.save({"hidden": torch.zeros(64, 32)}, f"{side}/layer{layer:02d}_Block_rank0_call000.pt")
        """, directory: scratch.path)
      let save = try await rollcall("compare", "a", "b", "--save-measures", "m", "--json")
      #expect(save.status == 0, "\(save.errorOutput) \(save.output.suffix(1500))")
      let strict = try await rollcall("compare", "a", "b", "--measures", "m", "--noise", "strict", "--json")
      #expect(strict.status == 1, "\(strict.errorOutput)")
      #expect(try notes(try strict.json()).contains("no dump file was opened"))
      let other = try await rollcall("compare", "a", "b", "--measures", "m", "--select", "warm-up", "--json")
      #expect(try notes(try other.json()).contains("measured again from the dumps: other selection"))
      let none = try await rollcall("compare", "a", "b", "--measures", "nothing-here")
      #expect(none.status == 65)
      #expect(none.errorOutput.contains("nothing-here"))
      try scratch.write("m", "garbage")
      let broken = try await rollcall("compare", "a", "b", "--measures", "m", "--json")
      #expect(broken.status == 0)
      #expect(try notes(try broken.json()).contains("measured again"))
    }
  }
}
