import Foundation
import TestSupport
import Testing

@Suite("One core and all cores") struct CoreCountTests {
  @Test("give the same record, byte for byte, and the first coordinate that PyTorch gives", .timeLimit(.minutes(10)))
  func sameBytes() async throws {
    try await Scratch.with { scratch in
      // Several chunks in a tensor, tensors of one rank and of two, noise and a few large differences.
      let output = try await runPython(
        """
        import json, os, sys, torch
        root = sys.argv[1]
        torch.manual_seed(5)
        first = {}
        for side in ("reference", "target"):
            os.makedirs(f"{root}/{side}")
        for stage, shape in (("Block", (5, 700_000)), ("MoE", (40, 70_000)), ("QProj", (1300, 1024))):
            whole = torch.randn(shape).bfloat16()
            other = whole.clone()
            generator = torch.Generator().manual_seed(len(stage))
            places = torch.randint(whole.numel() // 3, whole.numel(), (5000,), generator=generator)
            other.view(-1)[places] += 1
            first[stage] = (other != whole).nonzero()[0].tolist()
            torch.save({"hidden": whole, "shape": shape}, f"{root}/reference/layer00_{stage}_rank0.pt")
            for rank in range(2):
                part = other.chunk(2, dim=1)[rank].clone() if stage == "QProj" else other
                torch.save(
                    {"hidden": part, "shape": tuple(part.shape)}, f"{root}/target/layer00_{stage}_rank{rank}.pt")
        print(json.dumps(first))
        """, [scratch.path]
      ).output
      let first = try JSONDecoder().decode([String: [Int]].self, from: Data(output.utf8))
      let arguments = [
        "compare", scratch.path("reference"), scratch.path("target"), "--select", "warm-up", "--json",
      ]
      let environment = ["ROLLCALL_STORE": scratch.path("store")]
      let all = try await runTool(try RollcallBinary.path, arguments, environment: environment, mustSucceed: false)
      let one = try await runTool(
        "taskset", ["-c", "0", try RollcallBinary.path] + arguments, environment: environment, mustSucceed: false)
      #expect(all.status == one.status && all.output == one.output)
      struct Report: Decodable {
        struct Row: Decodable {
          var stage: String
          var firstCoordinate: [Int]?
        }
        var rows: [Row]
      }
      let decoder = JSONDecoder()
      decoder.keyDecodingStrategy = .convertFromSnakeCase
      let rows = try decoder.decode(Report.self, from: Data(all.output.utf8)).rows
      #expect(rows.count == 3)
      for row in rows { #expect(row.firstCoordinate == first[row.stage], "\(row.stage)") }
    }
  }
}
