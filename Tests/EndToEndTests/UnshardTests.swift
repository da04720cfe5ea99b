import Foundation
import TestSupport
import Testing

/// `rollcall unshard`, read back with the safetensors package and held against torch, bit for bit.
@Suite struct UnshardTests {
  private func with(_ body: (RollcallBinary, Scratch) async throws -> Void) async throws {
    try await Scratch.with { scratch in
      try await body(RollcallBinary(store: scratch.path("store"), directory: scratch.path), scratch)
    }
  }

  /// Helpers of every script: `dump` writes one rank's file as ATOM does, `same` compares with what rollcall wrote.
  private static let prelude = """
    import os, sys, torch
    import safetensors.torch
    from safetensors import deserialize
    torch.manual_seed(3)

    def dump(folder, layer, cls, rank, hidden, call=None, **more):
        os.makedirs(folder, exist_ok=True)
        tail = "" if call is None else f"_call{call:03d}"
        value = dict(hidden=hidden, shape=tuple(hidden.shape), **more)
        torch.save(value, f"{folder}/layer{layer:02d}_{cls}_rank{rank}{tail}.pt")

    def same(path, expected):
        data = open(path, "rb").read()
        assert int.from_bytes(data[:8], "little") % 8 == 0, "the header is not aligned"
        expected = {k: v.detach().resolve_conj().resolve_neg().contiguous().clone() for k, v in expected.items()}
        got = dict(deserialize(data))
        wanted = dict(deserialize(safetensors.torch.save(expected)))
        assert sorted(got) == sorted(wanted), (sorted(got), sorted(wanted))
        for name in wanted:
            for key in ("dtype", "shape", "data"):
                assert got[name][key] == wanted[name][key], (name, key)
    """

  private func rows(_ outcome: RollcallBinary.Outcome) throws -> [[String: Any]] {
    let json = try outcome.json()
    #expect(json["schema"] as? String == "rollcall.unshard/1")
    return try #require(json["rows"] as? [[String: Any]])
  }

  @Test func rulesJoinAsTorchDoes() async throws {
    try await with { rollcall, scratch in
      let script = """
        \(Self.prelude)
        whole = torch.randn(6, 12).to(torch.bfloat16)
        parts = [torch.randn(5, 7, dtype=torch.float32).to(torch.bfloat16) * 10 ** r for r in range(3)]
        wide = [torch.randn(2, 3, dtype=torch.float64) for _ in range(3)]
        if sys.argv[1] == "write":
            for call in (0, 3):
                for r in range(3):
                    # Views with strides: what a rank holds need not be contiguous.
                    dump("tp3", 0, "QKV", r, whole[:, 4 * r:4 * r + 4] + call, call)
                    dump("tp3", 0, "Tokens", r, whole[2 * r:2 * r + 2].t().contiguous().t(), call)
                    dump("tp3", 1, "MoE", r, parts[r], call, input=whole)
                    dump("tp3", 1, "Wide", r, wide[r], call)
        else:
            expected = {}
            for call in (0, 3):
                end = f".call.{call}"
                expected["layer.0.QKV.hidden" + end] = torch.cat(
                    [whole[:, 4 * r:4 * r + 4] + call for r in range(3)], -1)
                expected["layer.0.Tokens.hidden" + end] = torch.cat([whole[2 * r:2 * r + 2] for r in range(3)], 0)
                total = parts[0].double() + parts[1].double() + parts[2].double()
                expected["layer.1.MoE.hidden" + end] = total.float()
                expected["layer.1.MoE.input" + end] = whole
                expected["layer.1.Wide.hidden" + end] = wide[0] + wide[1] + wide[2]
            same("out.safetensors", expected)
            back = safetensors.torch.load_file("out.safetensors")
            assert torch.equal(back["layer.0.QKV.hidden.call.0"], whole)
        """
      try await runPython(script, ["write"], directory: scratch.path)
      let outcome = try await rollcall(
        "unshard", "tp3", "-o", "out.safetensors", "--rule", "QKV=-1", "--rule", "Tokens=0", "--rule",
        "MoE.input=replicated", "--rule", "MoE|Wi.*=partial", "--json")
      #expect(outcome.status == 0, "\(outcome.output)\(outcome.errorOutput)")
      let written = try #require(try outcome.json()["written"] as? [String: Any])
      #expect(written["tensors"] as? Int == 10)
      #expect(written["path"] as? String == "out.safetensors")
      let shards = try rows(outcome).compactMap { ($0["shard"] as? [String: Any])?["kind"] as? String }
      #expect(Set(shards) == ["concat", "partial", "replicated"] && shards.count == 10)
      try await runPython(script, ["check"], directory: scratch.path)
    }
  }

  @Test func fusedHeadsAndDimsJoinAsTheirTextSays() async throws {
    try await with { rollcall, scratch in
      let script = """
        \(Self.prelude)
        blocks = torch.randn(5, 16)
        q, k, v = torch.randn(3, 8), torch.randn(3, 4), torch.randn(3, 4)
        rows = torch.randn(8, 6)
        if sys.argv[1] == "write":
            for r in range(4):
                dump("tp4", 0, "GateUp", r, torch.cat([blocks[:, 2 * r:2 * r + 2], blocks[:, 8 + 2 * r:10 + 2 * r]], 1))
                # Two key/value heads of width 2 on four ranks: neighbours hold the same.
                h = slice(2 * (r // 2), 2 * (r // 2) + 2)
                dump("tp4", 0, "QKV", r, torch.cat([q[:, 2 * r:2 * r + 2], k[:, h], v[:, h]], 1))
                os.makedirs("dims", exist_ok=True)
                tags = {"step": 0, "rank": r, "dump_index": 1, "name": "mlp", "recompute_status": "disabled"}
                meta = dict(tags, dims="t[tp] h", sglang_parallel_info={"tp_rank": r, "tp_size": 4})
                name = "___".join(f"{key}={value}" for key, value in tags.items())
                torch.save({"value": rows[2 * r:2 * r + 2], "meta": meta}, f"dims/{name}.pt")
        elif sys.argv[1] == "check":
            same("out.safetensors", {"layer.0.GateUp.hidden": blocks, "layer.0.QKV.hidden": torch.cat([q, k, v], 1)})
        else:
            got = safetensors.torch.load_file("dims.safetensors")
            assert [torch.equal(x, rows) for x in got.values()] == [True], got
        """
      try await runPython(script, ["write"], directory: scratch.path)
      let joined = try await rollcall(
        "unshard", "tp4", "-o", "out.safetensors", "--rule", "GateUp=blocks:1,1", "--rule", "QKV=heads:q4,kv2@1",
        "--json")
      #expect(joined.status == 0, "\(joined.output)\(joined.errorOutput)")
      #expect(
        try rows(joined).compactMap { ($0["shard"] as? [String: Any])?["kind"] as? String } == ["blocks", "heads"])
      try await runPython(script, ["check"], directory: scratch.path)
      // What the dump states needs no rule; a rule stands above it.
      for rule in [[], ["--rule", "mlp=dims:t[tp] h"]] {
        let stated = try await rollcall.run(["unshard", "dims", "-o", "dims.safetensors", "--json"] + rule)
        #expect(stated.status == 0, "\(rule): \(stated.output)\(stated.errorOutput)")
        let source = try #require(try rows(stated).first?["shard"] as? [String: Any])["source"] as? String
        #expect(source == (rule.isEmpty ? "metadata" : "given"))
        try await runPython(script, ["dims"], directory: scratch.path)
      }
      for wrong in ["QKV=heads:4", "QKV=blocks:1,0", "QKV=dims:t[tpp]", "QKV=blocks:1@x"] {
        #expect(try await rollcall("unshard", "tp4", "-o", "no.safetensors", "--rule", wrong).status == 64, "\(wrong)")
      }
    }
  }

  @Test func aDumpThatNobodyReadsIsNotComplete() async throws {
    try await with { rollcall, scratch in
      try await runPython(
        "\(Self.prelude)\ndump('tp1', 0, 'Block', 0, torch.ones(2))\nopen('tp1/notes.txt', 'w')",
        directory: scratch.path)
      let words = ["unshard", "tp1", "-o", "out.safetensors"]
      #expect(try await rollcall.run(words).status == 0)
      try scratch.write("tp1/ballast.bin", "x")
      #expect(try await rollcall.run(words).status == 0)
      try scratch.write("tp1/block.bin", "PK\u{3}\u{4}")
      let outcome = try await rollcall.run(words)
      #expect(outcome.status == 2 && outcome.output.contains("nobody read: 1"), "\(outcome.output)")
    }
  }

  @Test func aLastRankThatTheOthersCountIsMissed() async throws {
    try await with { rollcall, scratch in
      try await runPython(
        """
        import os, torch
        os.makedirs("tp4")
        for rank in range(3):
            tags = {"step": 0, "rank": rank, "dump_index": 1, "name": "X"}
            meta = dict(tags, world_size=4, sglang_parallel_info={"tp_rank": rank, "tp_size": 4})
            name = "___".join(f"{key}={value}" for key, value in tags.items())
            torch.save({"value": torch.randn(6, 2), "meta": meta}, f"tp4/{name}.pt")
        """, directory: scratch.path)
      let words = ["unshard", "tp4", "-o", "out.safetensors", "--rule", "X=1", "--json"]
      let lost = try await rollcall.run(words)
      #expect(lost.status == 2, "\(lost.output)\(lost.errorOutput)")
      #expect(try rows(lost).compactMap { $0["why"] as? String } == ["rank 3 of 4 is missing"])
      let given = try await rollcall.run(words + ["--world-size", "3"])
      #expect(given.status == 0 && given.errorOutput.contains("state a world of 4 ranks"), "\(given.errorOutput)")
    }
  }

  @Test func aReferenceTellsTheLayoutAndDoubtIsRefused() async throws {
    try await with { rollcall, scratch in
      let script = """
        \(Self.prelude)
        columns, rows_, total, copy = (torch.randn(6, 8) for _ in range(4))
        share = torch.randn(6, 8)
        flat = 1 + 0.01 * torch.randn(6, 8)
        noise = 0.02 * torch.randn(6, 8)
        stranger = [torch.randn(6, 8) for _ in range(3)]
        if sys.argv[1] == "write":
            for cls, whole in dict(Columns=columns, Rows=rows_, Sum=total, Copy=copy, Doubt=copy, Flat=flat,
                                   Stranger=stranger[2], Twice=copy * 2).items():
                dump("tp1", 0, cls, 0, whole)
            for r in range(2):
                dump("tp2", 0, "Columns", r, columns[:, 4 * r:4 * r + 4])
                dump("tp2", 0, "Rows", r, rows_[3 * r:3 * r + 3])
                dump("tp2", 0, "Sum", r, share if r == 0 else total - share)
                dump("tp2", 0, "Copy", r, copy)
                dump("tp2", 0, "Stranger", r, stranger[r])
                dump("tp2", 0, "Twice", r, copy)
                dump("tp2", 0, "Unknown", r, copy)
                # Nearly constant: slices fit, and so do the slices of fused blocks.
                dump("tp2", 0, "Flat", r, (flat + noise)[:, 4 * r:4 * r + 4])
                # The sum is the whole, and so is rank 0.
                dump("tp2", 0, "Doubt", r, copy * (1 - r))
        else:
            same("out.safetensors", {
                "layer.0.Columns.hidden": columns, "layer.0.Rows.hidden": rows_, "layer.0.Copy.hidden": copy,
                "layer.0.Sum.hidden": (share.double() + (total - share).double()).float()})
        """
      try await runPython(script, ["write"], directory: scratch.path)
      let outcome = try await rollcall("unshard", "tp2", "-o", "out.safetensors", "--reference", "tp1", "--json")
      #expect(outcome.status == 2, "\(outcome.errorOutput)")
      let refused = try rows(outcome).filter { $0["why"] is String }
      #expect(Set(refused.compactMap { $0["stage"] as? String }) == ["Doubt", "Flat", "Stranger", "Twice", "Unknown"])
      try await runPython(script, ["check"], directory: scratch.path)

      // Without rule and reference nothing is known, and no file appears.
      let blind = try await rollcall("unshard", "tp2", "-o", "blind.safetensors", "--json")
      #expect(blind.status == 2)
      #expect(try rows(blind).allSatisfy { ($0["why"] as? String)?.contains("no rule") ?? false })
      #expect(try blind.json()["written"] is NSNull)
      #expect(!FileManager.default.fileExists(atPath: scratch.path("blind.safetensors")))
    }
  }

  @Test func anAbsentRankABrokenFileAndAFalseCopyAreRefusedByName() async throws {
    try await with { rollcall, scratch in
      let script = """
        \(Self.prelude)
        whole = torch.randn(4, 6)
        if sys.argv[1] == "write":
            for layer in range(4):
                for r in range(2):
                    if (layer, r) != (1, 1):
                        dump("tp2", layer, "Copy", r, whole)
                    dump("tp2", layer, "Rows", r, whole[2 * r:2 * r + 2])
            other = whole.clone(); other[3, 5] += 1e-6
            dump("tp2", 2, "Copy", 1, other)
            path = "tp2/layer03_Rows_rank0.pt"
            os.truncate(path, os.path.getsize(path) // 2)
        else:
            expected = {f"layer.{n}.Copy.hidden": whole for n in (0, 3)}
            expected |= {f"layer.{n}.Rows.hidden": whole for n in (0, 1, 2)}
            same("out.safetensors", expected)
        """
      try await runPython(script, ["write"], directory: scratch.path)
      let rules = ["--rule", "Copy=replicated", "--rule", "Rows=0", "--json"]
      let outcome = try await rollcall.run(["unshard", "tp2", "-o", "out.safetensors"] + rules)
      #expect(outcome.status == 2, "\(outcome.errorOutput)")
      func why(_ layer: Int, _ stage: String) throws -> String {
        let row = try rows(outcome).first { $0["layer"] as? Int == layer && $0["stage"] as? String == stage }
        return try #require(row)["why"] as? String ?? ""
      }
      #expect(try why(1, "Copy") == "rank 1 of 2 is missing")
      #expect(try why(2, "Copy").contains("rank 1 differs from rank 0"))
      #expect(try why(3, "Rows") == "rank 0 of 2 is missing")
      let unreadable = try #require(try outcome.json()["unreadable"] as? [[String: Any]])
      #expect(unreadable.compactMap { $0["file"] as? String } == ["layer03_Rows_rank0.pt"])
      try await runPython(script, ["check"], directory: scratch.path)

      // A rank that wrote nothing at all shows only against the world size.
      let whole = try await rollcall.run(["unshard", "tp2", "-o", "three.safetensors", "--world-size", "3"] + rules)
      #expect(whole.status == 2)
      #expect(try rows(whole).allSatisfy { ($0["why"] as? String)?.contains("missing") ?? false })
      let wrong = try await rollcall.run(["unshard", "tp2", "-o", "x.safetensors", "--world-size", "1"] + rules)
      #expect(wrong.status == 64)
    }
  }

  @Test func everyTypeOfTheFormatIsWrittenAndOthersAreNamed() async throws {
    try await with { rollcall, scratch in
      let script = """
        \(Self.prelude)
        names = '''float64 float32 float16 bfloat16 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz
            float8_e8m0fnu float4_e2m1fn_x2 int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool complex64'''.split()
        raw = torch.randint(0, 2, (3, 16), dtype=torch.uint8)
        fields = {n: raw.clone().view(getattr(torch, n)) for n in names}
        fields['quote" \\\\ é'] = torch.ones(())
        fields["empty"] = torch.empty(0, 4)
        if sys.argv[1] == "write":
            more = dict(fields, complex128=torch.ones(2, dtype=torch.complex128))
            dump("tp1", 0, "Block", 0, torch.ones(2), output_fields=more)
        else:
            expected = {f"layer.0.Block.output_fields.{n}": t for n, t in fields.items()}
            expected["layer.0.Block.hidden"] = torch.ones(2)
            same("out.safetensors", expected)
        """
      try await runPython(script, ["write"], directory: scratch.path)
      let outcome = try await rollcall("unshard", "tp1", "-o", "out.safetensors", "--json")
      #expect(outcome.status == 2, "\(outcome.output)\(outcome.errorOutput)")
      let refused = try rows(outcome).filter { $0["why"] is String }
      #expect(refused.compactMap { $0["tensor"] as? String } == ["output_fields.complex128"])
      #expect((refused.first?["why"] as? String)?.contains("complex128") ?? false)
      try await runPython(script, ["check"], directory: scratch.path)
    }
  }

  @Test func nothingIsLeftWhereTheFileCannotBeWritten() async throws {
    try await with { rollcall, scratch in
      try await runPython(
        "\(Self.prelude)\ndump('tp1', 0, 'Block', 0, torch.ones(2))\nos.makedirs('taken/inside')",
        directory: scratch.path)
      let nowhere = try await rollcall("unshard", "tp1", "-o", "absent/out.safetensors")
      #expect(nowhere.status == 69, "\(nowhere.errorOutput)")
      #expect(nowhere.errorOutput.contains("absent/out.safetensors"))
      let taken = try await rollcall("unshard", "tp1", "-o", "taken")
      #expect(taken.status == 69, "\(taken.errorOutput)")
      let left = try FileManager.default.contentsOfDirectory(atPath: scratch.path).filter { $0.contains(".part-") }
      #expect(left.isEmpty)
    }
  }

  @Test(arguments: ["tp1/layer00_Block_rank0.pt", "tp1/notes.txt", "whole/layer00_Block_rank0.pt", "link", "hard"])
  func aFileOfTheInputIsNoOutput(_ output: String) async throws {
    try await with { rollcall, scratch in
      try await runPython(
        """
        \(Self.prelude)
        for folder in ("tp1", "whole"):
            dump(folder, 0, "Block", 0, torch.ones(2))
        open("tp1/notes.txt", "w")
        os.symlink("tp1/layer00_Block_rank0.pt", "link")
        os.link("whole/layer00_Block_rank0.pt", "hard")
        """, directory: scratch.path)
      let before = try Data(contentsOf: URL(filePath: scratch.path(output)))
      let words = ["unshard", "tp1", "--reference", "./whole/", "-o"]
      let refused = try await rollcall.run(words + [output])
      #expect(refused.status == 64, "\(refused.output) \(refused.errorOutput)")
      #expect(refused.errorOutput.contains(output), "\(refused.errorOutput)")
      #expect(try Data(contentsOf: URL(filePath: scratch.path(output))) == before)
      // What it wrote itself it may write again.
      for _ in 0..<2 { #expect(try await rollcall.run(words + ["out.safetensors"]).status == 0) }
    }
  }

  @Test func whatIsNoFileIsNotReplacedByOne() async throws {
    try await with { rollcall, scratch in
      try await runPython(
        """
        \(Self.prelude)
        dump("tp1", 0, "Block", 0, torch.ones(2))
        os.mkdir("real")
        open("real/file", "w").write("old")
        os.symlink("real/file", "link")
        os.symlink("real/new", "fresh")
        os.mkfifo("pipe")
        os.symlink("pipe", "to-pipe")
        """, directory: scratch.path)
      func kind(_ name: String) -> mode_t {
        var facts = stat()
        return lstat(scratch.path(name), &facts) == 0 ? facts.st_mode & S_IFMT : 0
      }
      for command in [["unshard", "tp1", "-o"], ["compare", "tp1", "tp1", "--save-measures"]] {
        for output in ["pipe", "to-pipe"] {
          let refused = try await rollcall.run(command + [output])
          #expect(refused.status == 64 && refused.errorOutput.contains(output), "\(refused.errorOutput)")
        }
        try scratch.write("real/file", "old")
        unlink(scratch.path("real/new"))
        for output in ["plain", "link", "fresh"] {
          let written = try await rollcall.run(command + [output])
          // Which call it is, one dumped tensor does not say.
          #expect([0, 2].contains(written.status), "\(written.output) \(written.errorOutput)")
        }
        for name in ["plain", "real/file", "real/new"] {
          #expect(kind(name) == S_IFREG, "\(name)")
          #expect(try Data(contentsOf: URL(filePath: scratch.path(name))).count > 100, "\(name)")
        }
        #expect(["pipe", "to-pipe", "link", "fresh"].map(kind) == [S_IFIFO, S_IFLNK, S_IFLNK, S_IFLNK])
      }
    }
  }
}
