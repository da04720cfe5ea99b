import Foundation
import TestSupport
import Testing

/// Rule `atom` on real dumps: cos, max_abs and rel are those of a PyTorch computation in double precision.
@Suite struct ParityTests {
  /// The definitions of ATOM's compare, in double precision, over the call that its rule picks.
  private static let oracle = """
    import glob, json, os, re, sys
    import torch

    def measures(a, b):
        a, b = a.double().flatten(), b.double().flatten()
        cos = (a @ b / (a.norm() * b.norm())).item()
        max_abs = (a - b).abs().max().item()
        return {"cos": cos, "max_abs": max_abs, "rel": max_abs / max(b.abs().max().item(), 1e-12)}

    def calls(folder):
        found = {}
        for path in sorted(glob.glob(os.path.join(folder, "layer*.pt"))):
            layer, stage, rank, call = re.fullmatch(
                r"layer(\\d+)_(\\w+?)_rank(\\d+)_call(\\d+)\\.pt", os.path.basename(path)).groups()
            if int(rank) == 0:
                hidden = torch.load(path, weights_only=True)["hidden"]
                found.setdefault((int(layer), stage), []).append((int(call), hidden))
        return found

    def pick(candidates, slots):
        fit = [c for c in candidates if c[1].shape[0] % slots == 0 and c[1].shape[0] > slots]
        odd = [c for c in fit if c[1].shape[0] & (c[1].shape[0] - 1)]
        return min(odd or fit, key=lambda c: c[0])[1]

    mode, slots, first, *rest = sys.argv[1:]
    slots, rows = int(slots), []
    a = calls(first)
    if mode == "slots":
        for (layer, stage), candidates in a.items():
            parts = pick(candidates, slots).chunk(slots, 0)
            for slot in range(1, slots):
                rows.append({"layer": layer, "stage": stage, "slot": slot, **measures(parts[0], parts[slot])})
    else:
        b = calls(rest[0])
        for (layer, stage), candidates in a.items():
            rows.append({"layer": layer, "stage": stage, "slot": None,
                         **measures(pick(b[layer, stage], slots), pick(candidates, slots))})
    print(json.dumps(rows))
    """

  private func dump(_ folder: String, _ arguments: [String]) async throws {
    try await runTool(
      warmPython, [RollcallBinary.repository + "/Jobs/workloads/tiny_tp.py"] + arguments,
      environment: [
        "ATOM_FWD_DUMP_DIR": folder, "ATOM_FWD_DUMP_ONE_SHOT": "0",
        "ATOM_FWD_DUMP_BLOCK_CLASS": "Block,Attention,MoE,MLP",
      ])
  }

  /// Every row of the oracle is a row of ours with the same figures.
  private func expect(_ report: [String: Any], equals oracle: String) throws {
    let rows = try #require(report["rows"] as? [[String: Any]]).filter { $0["tensor"] as? String == "hidden" }
    let expected = try #require(
      try JSONSerialization.jsonObject(with: Data(oracle.utf8)) as? [[String: Any]])
    try #require(!expected.isEmpty)
    for wanted in expected {
      let name = "\(wanted["layer"] ?? "") \(wanted["stage"] ?? "") \(wanted["slot"] ?? "")"
      let row = try #require(
        rows.first { row in
          row["layer"] as? Int == wanted["layer"] as? Int && row["stage"] as? String == wanted["stage"] as? String
            && row["slot"] as? Int == wanted["slot"] as? Int
        }, "no row for \(name)")
      for figure in ["cos", "max_abs", "rel"] {
        let theirs = try #require(wanted[figure] as? Double)
        let ours = try #require(row[figure] as? Double, "\(name) has no \(figure)")
        #expect(abs(ours - theirs) <= 1e-12 * max(abs(theirs), .leastNormalMagnitude), "\(name) \(figure)")
      }
    }
  }

  @Test(.timeLimit(.minutes(3))) func slotsGivePyTorchsFigures() async throws {
    try await Scratch.with { scratch in
      let folder = try scratch.directory("dumps")
      // Different prompts in the slots: every figure is far from trivial.
      try await dump(folder, ["--nproc", "1", "--backend", "eager"])
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      let outcome = try await rollcall(
        "slots", folder, "--slots", "4", "--rule", "atom", "--rank", "0", "--json")
      let oracle = try await runPython(Self.oracle, ["slots", "4", folder])
      try expect(try outcome.json(), equals: oracle.output)
    }
  }

  @Test(.timeLimit(.minutes(3))) func compareGivesPyTorchsFigures() async throws {
    try await Scratch.with { scratch in
      let (first, second) = (try scratch.directory("first"), try scratch.directory("second"))
      try await dump(first, ["--nproc", "1", "--backend", "eager"])
      try await dump(second, ["--nproc", "1", "--backend", "split"])
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      let outcome = try await rollcall("compare", first, second, "--rule", "atom", "--slots", "4", "--json")
      let oracle = try await runPython(Self.oracle, ["compare", "4", first, second])
      try expect(try outcome.json(), equals: oracle.output)
    }
  }

  /// Weights are often kept transposed: what they are does not depend on how they lie in the file.
  @Test(.timeLimit(.minutes(3))) func transposedTensorsHaveTheSameFiguresToTheBit() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import os, torch
        torch.manual_seed(0)
        x = torch.randn(6000, 1100)
        y = x + 1e-3 * torch.randn(6000, 1100)
        for name, value in [("x", x), ("y", y), ("xt", x.t().contiguous().t()), ("yt", y.t().contiguous().t())]:
            os.mkdir(name)
            torch.save({"hidden": value}, f"{name}/layer00_Block_rank0_call000.pt")
        """, directory: scratch.path)
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      func rows(_ reference: String, _ target: String) async throws -> [String] {
        let outcome = try await rollcall("compare", reference, target, "--select", "0", "--json")
        let rows = try #require(try outcome.json()["rows"] as? [[String: Any]])
        return try rows.map {
          String(decoding: try JSONSerialization.data(withJSONObject: $0, options: .sortedKeys), as: UTF8.self)
        }
      }
      let plain = try await rows("x", "y")
      #expect(plain.count == 1)
      for (reference, target) in [("xt", "yt"), ("x", "yt"), ("xt", "y")] {
        let found = try await rows(reference, target)
        #expect(found == plain, "\(reference) \(target)")
      }
    }
  }
}
