import Alignment
import Comparison
import Coordination
import Diagnosis
import Dumps
import Reporting
import TestSupport
import Testing

/// Layouts that seldom come, in files that `torch.save` wrote: shares of unequal length, and fused blocks in the middle.
@Suite("Seldom parallel layouts")
struct ParallelLayoutTests {
  /// Layers of one stage each, whose parts are made by a piece of Python; `fault` is in layer 2.
  private static func writer(_ cut: String) -> String {
    """
    import os, sys, torch
    def save(side, layer, stage, rank, value):
        os.makedirs(os.path.join(folder, side), exist_ok=True)
        torch.save({"hidden": value.contiguous()},
                   os.path.join(folder, side, "layer%02d_%s_rank%d_call000.pt" % (layer, stage, rank)))
    draw = torch.Generator().manual_seed(3)
    def noisy(x):
        return x + 0.004 * torch.randn(x.shape, generator=draw) * x.abs()
    \(cut)
    for fault in sys.argv[2].split(","):
        for ranks in (2, 4, 8):
            folder = os.path.join(sys.argv[1], "%s-%d" % (fault, ranks))
            for layer in range(4):
                name, whole = make(layer)
                save("reference", layer, name, 0, whole.bfloat16())
                for rank, part in enumerate(parts(noisy(whole), layer)):
                    save("target", layer, name, rank, part.bfloat16())
    """
  }

  /// Tokens over context-parallel ranks that do not divide them: zigzag, and in order.
  private static let tokens = """
    length = 103
    def make(layer):
        return "Block", torch.randn(length, 64, generator=draw)
    def parts(whole, layer):
        if fault == "shift" and layer == 2:
            whole = whole.roll(1, 0)
        if os.environ["ORDER"] == "natural":
            return torch.tensor_split(whole, ranks)
        chunks = torch.tensor_split if os.environ["ORDER"] == "zigzag" else torch.chunk
        split = list(chunks(whole, 2 * ranks))
        split += [whole[:0]] * (2 * ranks - len(split))
        return [torch.cat([split[rank], split[2 * ranks - 1 - rank]]) for rank in range(ranks)]
    """

  /// What is wrong in layer 2, and over how many ranks it is cut.
  private static func reports(
    _ cut: String, _ faults: [String], _ environment: [String: String],
    _ check: (_ fault: String, _ ranks: Int, ComparisonReport) throws -> Void
  ) async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try scratch.write("writer.py", writer(cut))
    _ = try await runTool(
      warmPython, [scratch.path("writer.py"), scratch.path, faults.joined(separator: ",")], environment: environment)
    for fault in faults {
      for ranks in [2, 4, 8] {
        let folder = scratch.path("\(fault)-\(ranks)")
        try check(fault, ranks, try await compare("\(folder)/reference", "\(folder)/target") { $0.slots = nil })
      }
    }
  }

  @Test(
    "shares of unequal length are joined, and a fault in them is no layout", arguments: ["natural", "zigzag", "chunk"])
  func unevenShares(order: String) async throws {
    try await Self.reports(Self.tokens, ["none", "shift"], ["ORDER": order]) { fault, ranks, report in
      #expect(report.verdict == (fault == "none" ? .pass : .fail), "\(order) \(ranks) \(fault): \(report.notes)")
      for row in report.rows {
        #expect(row.verdict == (fault == "shift" && row.layer == 2 ? .fail : .pass), "\(order) \(ranks): \(row)")
        if row.layer != 2 || fault == "none" {
          #expect(row.shard.kind == .concat, "\(row.shard)")
          #expect((row.shard.order == .zigzag) == (order != "natural"), "\(row.shard)")
        }
      }
      if fault == "shift" { #expect(report.findings.first?.layer == 2) }
    }
  }

  /// Fused weights of experts: gate and up in the middle, or behind where the weight is transposed.
  private static let experts = """
    axis = int(os.environ["AXIS"])
    def make(layer):
        shape = [4, 24, 24]
        shape[axis] = 96
        return "GateUp", torch.randn(shape, generator=draw)
    def parts(whole, layer):
        gate, up = whole.chunk(2, axis)
        if fault == "swapped" and layer == 2:
            gate, up = up, gate
        return [torch.cat([gate.chunk(ranks, axis)[rank], up.chunk(ranks, axis)[rank]], axis) for rank in range(ranks)]
    """

  @Test("fused blocks are joined on every dimension, and swapped halves are seen there", arguments: [0, 1, 2])
  func fusedBlocks(axis: Int) async throws {
    try await Self.reports(Self.experts, ["none", "swapped"], ["AXIS": String(axis)]) { fault, ranks, report in
      #expect(report.verdict == (fault == "none" ? .pass : .fail), "\(axis) \(ranks) \(fault): \(report.notes)")
      for row in report.rows where row.layer != 2 || fault == "none" {
        #expect(row.verdict == .pass)
        #expect(row.shard.kind == .blocks && row.shard.axis == axis, "\(row.shard)")
      }
      guard fault == "swapped" else { return }
      #expect(report.findings.first?.layer == 2)
      // Along the tokens' dimension swapped halves are chunks in another order.
      let cause = report.findings.first?.cause
      #expect(axis == 0 ? cause != nil : cause == "halves-swapped", "axis \(axis): \(report.findings)")
    }
  }

  @Test(
    "two sharded sides that no known layout joins are open, and a fault in a layout that fits is one",
    arguments: [
      // Columns dealt out by chance; more of them than there are; more than any padding.
      ("x.chunk(4, 1)", "x[:, torch.randperm(64)].chunk(8, 1)", Verdict.inconclusive),
      ("x.chunk(4, 1)", "[torch.randn(20, 12) for _ in range(8)]", .inconclusive),
      ("x.chunk(4, 1)", "[torch.randn(20, 40) for _ in range(8)]", .inconclusive),
      ("[torch.randn(20, 12) for _ in range(8)]", "x.chunk(4, 1)", .inconclusive),
      ("x.chunk(2, 1)", "(1.5 * x).chunk(4, 1)", .fail), ("[x, x]", "x.flip(0).chunk(4, 1)", .fail),
    ])
  func unknownLayout(reference: String, target: String, verdict: Verdict) async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import os, torch
        torch.manual_seed(5)
        x = torch.randn(20, 64)
        for side, parts in (("a", \(reference)), ("b", \(target))):
            os.makedirs(side)
            for rank, part in enumerate(parts):
                torch.save({"hidden": part.contiguous()}, f"{side}/layer00_QKV_rank{rank}_call000.pt")
        """, directory: scratch.path)
      let report = try await compare(scratch.path("a"), scratch.path("b")) { $0.selection = .number(0) }
      #expect(report.verdict == verdict, "\(report.rows)")
    }
  }
}
