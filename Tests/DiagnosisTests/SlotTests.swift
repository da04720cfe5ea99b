import Alignment
import Comparison
import Coordination
import Diagnosis
import Dumps
import Foundation
import Reporting
import TestSupport
import Testing

@Suite("Slots of a batch")
struct SlotTests {
  private static let classes = "Embedding,Attention,MLP,MoE,Block"

  @Test("the same prompt in every slot is the same bytes")
  func invariant() async throws {
    let directory = try await Workload.shared.dumps(
      "--nproc 2 --dtype bf16 --prompts same", classes: Self.classes, isSmall: false)
    let report = try await DumpComparer.compareSlots(set: try load(directory), slots: 4)
    #expect(report.verdict == .pass, "\(report.findings) \(report.notes) \(report.coverage)")
    #expect(Set(report.rows.compactMap(\.slot)) == [1, 2, 3])
  }

  @Test("a kernel that depends on the slot fails where cosine sees nothing")
  func variant() async throws {
    let directory = try await Workload.shared.dumps(
      "--nproc 2 --dtype bf16 --prompts same --bug batch-variance --layer 1", classes: Self.classes, isSmall: false)
    let report = try await DumpComparer.compareSlots(set: try load(directory), slots: 4)
    #expect(report.verdict == .fail)
    #expect(report.firstDivergence?.layer == 1)
    #expect(report.findings.first?.cause == "batch-variance")
    let moe = report.rows.filter { $0.stage == "MoE" && $0.layer == 1 && $0.tensor == "hidden" && $0.verdict == .fail }
    #expect(!moe.isEmpty)
    #expect(moe.allSatisfy { $0.profileFlags["atom"] == "✓" || $0.profileFlags["atom"] == "?" })
  }

  @Test("other prompts in the slots are no variance")
  func differentPrompts() async throws {
    let directory = try await Workload.shared.dumps("--nproc 1 --dtype bf16")
    let report = try await DumpComparer.compareSlots(set: try load(directory), slots: 4)
    #expect(report.verdict == .inconclusive)
    #expect(report.findings.first?.cause == "input-mismatch")
    #expect(report.sentence.contains("different inputs"), "\(report.sentence)")
  }

  @Test("rule atom gives PyTorch's numbers in double precision")
  func parity() async throws {
    let directory = try await Workload.shared.dumps(
      "--nproc 2 --dtype bf16 --prompts same --bug batch-variance --layer 1", classes: Self.classes, isSmall: false)
    let report = try await DumpComparer.compareSlots(set: try load(directory), slots: 4, rule: .atom, rank: 0)
    let code = """
      import sys, torch, json
      rows = []
      for name in sys.argv[2:]:
          t = torch.load(sys.argv[1] + "/" + name)["hidden"]
          per = t.shape[0] // 4
          a = t[:per]
          for i in (1, 2, 3):
              b = t[i * per:(i + 1) * per]
              x, y = a.double().flatten(), b.double().flatten()
              d = (x - y).abs().max().item()
              same = (a.contiguous().view(torch.uint8) == b.contiguous().view(torch.uint8)).double().mean().item()
              rows.append([(x @ y / x.norm() / y.norm()).item(), d, d / max(y.abs().max().item(), 1e-12), same])
      print(json.dumps(rows))
      """
    let rows = report.rows.filter { $0.tensor == "hidden" }
    let names = rows.filter { $0.slot == 1 }.map { row in
      "layer0\(row.layer ?? 0)_\(row.stage)_rank0_call00\(row.call.target ?? 0).pt"
    }
    try #require(names.count > 10)
    let output = try await runPython(code, [directory] + names).output
    let expected = try JSONDecoder().decode([[Double]].self, from: Data(output.utf8))
    try #require(expected.count == rows.count)
    for (row, numbers) in zip(rows, expected) {
      let measures = try #require(row.measures)
      for (ours, theirs) in zip([measures.cos, measures.maxAbs, measures.rel, measures.byteEqual], numbers) {
        #expect(abs(ours - theirs) <= 1e-12 * max(abs(theirs), 1e-300), "\(row.stage) \(row.layer ?? -1)")
      }
    }
  }
}
