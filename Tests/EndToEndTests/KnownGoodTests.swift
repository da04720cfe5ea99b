import Foundation
import TestSupport
import Testing

/// Floors from comparisons that a person knows to be right.
@Suite("Known-good floors") struct KnownGoodTests {
  /// Directories a, b, c, d: MoE outputs of four layers; b and c are 3 % off a, each in its own way, d is 60 % off.
  private static let dumps = """
    import os, sys, torch
    torch.manual_seed(1)
    clean = [torch.randn(24, 64) for _ in range(4)]
    for name, share in (("a", 0), ("b", 0.03), ("c", 0.03), ("d", 0.6)):
        os.makedirs(f"{sys.argv[1]}/{name}")
        for layer, x in enumerate(clean):
            y = (x + share * torch.randn_like(x)).to(torch.bfloat16)
            torch.save({"hidden": y, "shape": tuple(y.shape)}, f"{sys.argv[1]}/{name}/layer{layer:02d}_MoE_rank0_call000.pt")
    """

  @Test("a good pair's distances are honest noise for the next, and shown", .timeLimit(.minutes(5)))
  func floors() async throws {
    try await Scratch.with { scratch in
      try await runPython(Self.dumps, [scratch.path])
      try scratch.write(
        "fleet.yaml",
        "hosts: [{name: here, local: true, workdir: \(scratch.path)/work, lease_dir: \(scratch.path)/leases}]")
      let rollcall = RollcallBinary(
        store: scratch.path("store"), directory: scratch.path,
        environment: ["ROLLCALL_FLEET": scratch.path("fleet.yaml")])
      let pair = ["compare", "a", "c", "--json"]
      #expect(try await rollcall.run(pair).status == 1)

      let good = try await rollcall("compare", "a", "b", "--noise", "rel=1", "--json")
      #expect(good.status == 0, "\(good.output.prefix(400))")
      try scratch.write("good.json", good.output)
      let judged = try await rollcall.run(pair + ["--known-good", "good.json"])
      #expect(judged.status == 0, "\(judged.output.prefix(400))")
      let notes = try #require(try judged.json()["notes"] as? [String])
      #expect(
        notes.contains { $0.contains("MoE.hidden bfloat16") && $0.contains("(known-good, 4 captures)") }, "\(notes)")
      #expect(try await rollcall("compare", "a", "d", "--known-good", "good.json").status == 1)

      // One that did not pass gives nothing, and that is said.
      try scratch.write("bad.json", try await rollcall("compare", "a", "b", "--json").output)
      let unhelped = try await rollcall.run(pair + ["--known-good", "bad.json"])
      #expect(unhelped.status == 1)
      #expect(unhelped.output.contains("did not pass, so it gives no floor"))
      #expect(try await rollcall.run(pair + ["--known-good", "nowhere.json"]).status == 65)
      let directory = try await rollcall.run(pair + ["--known-good", "a"])
      #expect(directory.status == 65 && directory.errorOutput.contains("is a directory"), "\(directory.errorOutput)")
      #expect(try await rollcall.run(pair + ["--known-good", "good.json", "--noise", "strict"]).status == 64)

      for (known, status) in [("", 1), (", known_good: good.json", 0), (", known_good: nowhere.json", 65)] {
        try scratch.write(
          "job.yaml",
          """
          name: known-good
          run: {command: cp \(scratch.path)/c/*.pt "$ROLLCALL_DUMP_DIR"}
          dumps: {layout: atom}
          compare: {reference: ./a\(known)}
          """)
        let outcome = try await rollcall("run", "job.yaml", "--json")
        #expect(outcome.status == status, "\(known): \(outcome.output.prefix(500)) \(outcome.errorOutput.suffix(300))")
        if status == 65 { #expect(outcome.errorOutput.contains(":4:39: the report nowhere.json does not exist")) }
      }
    }
  }
}
