import Dumps
import Foundation
import TestSupport
import Testing

@Suite struct SchemaTests {
  @Test("weights that differ only in `model.` and in bookkeeping pass, as files and as directories")
  func passes() async throws {
    let corpus = try await Corpus("weights")
    for (a, b) in [
      ("a", "same"), ("a/weight_rank0_layer0.pt", "same/ref_rank0_layer0.pt"), ("a/", "same/ref_rank0_layer0.pt"),
    ] {
      let report = try SchemaReport.compare(reference: corpus.file(a), target: corpus.file(b))
      #expect(report.verdict == .pass)
      #expect(
        report.common == [
          "layers.0.q.weight", "layers.0.k.weight", "buffer:layers.0.inv", "layers.0.fp8", "layers.0.scalar",
        ])
      #expect(report.byteEqual == report.common)
      #expect(report.onlyReference.isEmpty && report.onlyTarget.isEmpty && report.unreadable.isEmpty)
    }
  }

  @Test func namesEveryDifference() async throws {
    let corpus = try await Corpus("weights")
    let report = try SchemaReport.compare(reference: corpus.file("a"), target: corpus.file("different"))
    #expect(report.verdict == .fail)
    #expect(report.onlyReference == ["buffer:layers.0.inv"])
    #expect(report.onlyTarget == ["layers.0.new", "_orig_mod.new"])
    #expect(
      report.mismatched.map { "\($0.name) \($0.field) \($0.reference) \($0.target)" } == [
        "layers.0.k.weight shape [4, 4] [2, 4]", "layers.0.fp8 dtype float8_e4m3fn float8_e4m3fnuz",
      ])
    #expect(report.byteEqual == ["layers.0.scalar"])

    let json = try #require(JSONSerialization.jsonObject(with: JSONEncoder().encode(report)) as? [String: Any])
    #expect(json["schema"] as? String == "rollcall.schema/1")
    #expect(json["verdict"] as? String == "fail")
    #expect((json["mismatched"] as? [[String: Any]])?.first?["target"] as? [Int] == [2, 4])
    #expect((json["mismatched"] as? [[String: Any]])?.last?["reference"] as? String == "float8_e4m3fn")
    let finding = try #require((json["findings"] as? [[String: Any]])?.first)
    #expect(finding["cause"] as? String == "missing-weight")
    #expect(finding["tensors"] as? [String] == ["buffer:layers.0.inv"])
    #expect(
      (json["unequal"] as? [[String: Any]])?.map { $0["name"] as? String } == ["layers.0.q.weight", "layers.0.fp8"])
  }

  @Test("what a compiled model's names begin with is no bookkeeping", arguments: [true, false])
  func compiled(isEqual: Bool) async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try await runPython(
      """
      import torch
      for number, side in enumerate(("a.pt", "b.pt")):
          torch.save({"_orig_mod.layers.0.q.weight": torch.ones(4) * (1 + number * \(isEqual ? 0 : 1))}, side)
      """, directory: scratch.path)
    let report = try SchemaReport.compare(reference: scratch.path("a.pt"), target: scratch.path("b.pt"))
    #expect(report.common == ["_orig_mod.layers.0.q.weight"])
    #expect(report.byteEqual == (isEqual ? report.common : []))
    #expect((report.verdict == .pass) == isEqual)
  }

  @Test("ranks are matched one by one, and a missing one is named")
  func matchesRanks() async throws {
    let corpus = try await Corpus("weights")
    let scratch = try Scratch()
    defer { scratch.remove() }
    let bytes = try corpus.contents("a/weight_rank0_layer0.pt")
    for file in ["a/weight_rank0_layer0.pt", "a/weight_rank1_layer0.pt", "b/weight_rank0_layer0.pt"] {
      try scratch.write(file, bytes)
    }
    let report = try SchemaReport.compare(reference: scratch.path("a"), target: scratch.path("b"))
    #expect(report.verdict == .inconclusive)
    #expect(report.findings.map(\.cause) == ["incomplete-ranks"] && report.findings.first?.ranks == [1])
    #expect(report.onlyReference.count == 5 && report.onlyReference.allSatisfy { $0.hasPrefix("rank1/") })
    #expect(report.common.allSatisfy { $0.hasPrefix("rank0/") })
    // A file of its own says nothing of ranks: it is the whole, and these ranks are its copies.
    let whole = try SchemaReport.compare(
      reference: scratch.path("a"), target: scratch.path("b/weight_rank0_layer0.pt"))
    #expect(whole.verdict == .pass)
    #expect(whole.shards.allSatisfy { $0.kind == "replicated" && $0.ranks == 2 && $0.isProven })
    #expect(whole.byteEqual == whole.common && whole.common.count == 5)

    // What could not be read is not missing, and is no reason to pass.
    try scratch.write("b/weight_rank1_layer0.pt", Array(bytes.dropLast(40)))
    let broken = try SchemaReport.compare(reference: scratch.path("a"), target: scratch.path("b"))
    #expect(broken.verdict == .inconclusive)
    #expect(broken.unreadable.map(\.file) == ["weight_rank1_layer0.pt"])
  }

  @Test("a damaged tensor is inconclusive, not missing and not equal")
  func damagedTensor() async throws {
    let corpus = try await Corpus("weights")
    let scratch = try Scratch()
    defer { scratch.remove() }
    let file = corpus.file("a/weight_rank0_layer0.pt")
    var bytes = try corpus.contents("a/weight_rank0_layer0.pt")
    let tensor = try #require(try DumpFileReader.read(path: file).tensors.last)
    bytes[tensor.storage.offset] ^= 1
    try scratch.write("b.pt", bytes)
    let report = try SchemaReport.compare(reference: file, target: scratch.path("b.pt"))
    #expect(report.verdict == .inconclusive)
    #expect(report.onlyReference.isEmpty)
    #expect(report.unreadable.count == 1)
    #expect(!report.byteEqual.contains(tensor.name))
  }

  /// Weights of one rank and of two, as ATOM's files and, without a word of the world's size, as safetensors.
  private static let oneAndTwoRanks = """
    import os, torch
    from safetensors.torch import save_file
    for folder in ("pt1", "pt2", "st1", "st2"):
        os.makedirs(folder)
    layers = [{f"layers.{i}.o": torch.randn(8, 8), f"layers.{i}.norm": torch.randn(8)} for i in range(2)]
    for size in (1, 2):
        for rank in range(size):
            def part(t):
                return t.chunk(size, -1)[rank].clone() if t.dim() > 1 else t.clone()
            for i, layer in enumerate(layers):
                own = {"_tp_rank": rank, "_tp_size": size, "_layer": i, **{k: part(t) for k, t in layer.items()}}
                torch.save(own, f"pt{size}/weight_rank{rank}_layer{i}.pt")
            save_file({k: part(t) for layer in layers for k, t in layer.items()}, f"st{size}/rank{rank}.safetensors")
    """

  @Test(
    "what a lost file of a rank explains is neither missing nor of another shape",
    arguments: [
      ("pt", ["weight_rank1_layer1.pt"], false), ("pt", ["weight_rank1_layer1.pt"], true),
      ("pt", ["weight_rank1_layer0.pt", "weight_rank1_layer1.pt"], false),
      ("pt", ["weight_rank1_layer0.pt", "weight_rank1_layer1.pt"], true), ("st", ["rank1.safetensors"], true),
    ])
  func lostFiles(kind: String, files: [String], isCut: Bool) async throws {
    try await Scratch.with { scratch in
      try await runPython(Self.oneAndTwoRanks, directory: scratch.path)
      let (one, two) = (scratch.path(kind + "1"), scratch.path(kind + "2"))
      #expect(try SchemaReport.compare(reference: one, target: two).verdict == .pass)
      try FileManager.default.copyItem(atPath: two, toPath: scratch.path("whole"))
      for file in files {
        if isCut {
          try scratch.write("\(kind)2/\(file)", "cut")
        } else {
          try FileManager.default.removeItem(atPath: "\(two)/\(file)")
        }
      }
      for (a, b) in [(one, two), (two, one), (scratch.path("whole"), two), (two, scratch.path("whole"))] {
        let report = try SchemaReport.compare(reference: a, target: b)
        #expect(report.verdict == .inconclusive, "\(report)")
        #expect(report.findings.allSatisfy { $0.cause == "incomplete-ranks" && $0.ranks == [1] }, "\(report)")
        #expect(!report.findings.isEmpty || isCut && files.count == 1, "\(report)")
        #expect(report.mismatched.isEmpty && !report.unreadable.isEmpty, "\(report)")
      }
    }
  }

  @Test("what a rank lacks whose files are all here is missing")
  func missingInAWholeFile() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        Self.oneAndTwoRanks
          + """

          from safetensors.torch import load_file
          held = load_file("st2/rank1.safetensors")
          name = sorted(held)[0]
          del held[name]
          save_file(held, "st2/rank1.safetensors")
          open("name", "w").write(name.removeprefix("model."))
          """, directory: scratch.path)
      let name = try #require(scratch.text("name"))
      let (one, two) = (scratch.path("st1"), scratch.path("st2"))
      let report = try SchemaReport.compare(reference: one, target: two)
      #expect(report.verdict == .fail)
      #expect(report.findings.map(\.cause) == ["missing-weight"], "\(report)")
      #expect(report.onlyReference == ["rank1/\(name)"])
      let turned = try SchemaReport.compare(reference: two, target: one)
      #expect(turned.verdict == .fail && turned.onlyTarget == ["rank1/\(name)"], "\(turned)")
    }
  }

  @Test("an infinity of both sides is one under any type; codes packed into another type hold no NaN")
  func maskAndPackedCodes() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import torch
        mask = torch.tensor([0.0, float("-inf"), 1.5, 2.0])
        torch.save({"mask": mask}, "float32.pt")
        torch.save({"mask": mask.to(torch.bfloat16)}, "bfloat16.pt")
        torch.save({"mask": -mask}, "other.pt")
        codes = torch.arange(256, dtype=torch.uint8).repeat(2).view(torch.bfloat16).reshape(-1, 1)
        beside = {"w.absmax": torch.ones(4), "w.quant_map": torch.linspace(-1, 1, 16)}
        torch.save({"w": codes, **beside}, "packed.pt")
        torch.save({"w": codes}, "plain.pt")
        """, directory: scratch.path)
      func report(_ a: String, _ b: String) throws -> SchemaReport {
        try SchemaReport.compare(reference: scratch.path("\(a).pt"), target: scratch.path("\(b).pt"), values: .require)
      }
      #expect(try report("float32", "bfloat16").verdict == .pass)
      #expect(try report("float32", "other").findings.contains { $0.cause == "non-finite" })
      #expect(try report("packed", "packed").verdict == .pass)
      #expect(try report("plain", "plain").findings.map(\.cause) == ["non-finite"])
    }
  }

  @Test("what no rank holds is missing")
  func missingOnAllRanks() async throws {
    try await Scratch.with { scratch in
      try await runPython(Self.oneAndTwoRanks, directory: scratch.path)
      for rank in 0..<2 {
        try FileManager.default.removeItem(atPath: scratch.path("pt2/weight_rank\(rank)_layer1.pt"))
      }
      let report = try SchemaReport.compare(reference: scratch.path("pt1"), target: scratch.path("pt2"))
      #expect(report.verdict == .fail)
      #expect(report.findings.map(\.cause) == ["missing-weight"])
      #expect(report.onlyReference == ["layers.1.o", "layers.1.norm"])
    }
  }

  /// The bits of one NaN or infinity of each type, as torch writes them.
  @Test(
    "NaN is no pass, on either side and on both; infinity is one on both alone, as in a mask's buffer",
    arguments: [
      "float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz",
      "float8_e5m2fnuz", "float8_e8m0fnu", "complex64",
    ], ["nan", "inf", "-inf"])
  func nonfinite(type: String, value: String) async throws {
    // No infinity in these.
    let kinds = ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]
    if kinds.contains(type), value != "nan" { return }
    try await Scratch.with { scratch in
      try await runPython(
        """
        import os, torch
        whole = torch.tensor([1.0, 0.5, 128.0, 2.0] * 4)
        for name, value in (("finite", 4.0), ("bad", float("\(value)"))):
            t = whole.clone()
            t[6] = value
            torch.save({"w": t.to(torch.\(type))}, name + ".pt")
            for rank in range(2):
                part = {"_tp_rank": rank, "_tp_size": 2, "_layer": 0, "w": t.to(torch.\(type))[8 * rank:8 * rank + 8].clone()}
                os.makedirs(name, exist_ok=True)
                torch.save(part, f"{name}/weight_rank{rank}_layer0.pt")
        """, directory: scratch.path)
      let (finite, bad) = (scratch.path("finite.pt"), scratch.path("bad.pt"))
      #expect(try SchemaReport.compare(reference: finite, target: finite, values: .require).verdict == .pass)
      for (a, b, words) in [
        (bad, bad, "both sides hold"), (finite, bad, "the target holds"), (bad, finite, "the reference holds"),
        (bad, scratch.path("bad"), "both sides hold"), (scratch.path("finite"), bad, "the target holds"),
      ] {
        for values in [SchemaReport.Values.report, .require] {
          let report = try SchemaReport.compare(reference: a, target: b, values: values)
          let finding = report.findings.first { $0.cause == "non-finite" }
          if value != "nan", words.hasPrefix("both") {
            #expect(report.verdict == .pass && finding == nil, "\(report)")
            continue
          }
          #expect(report.verdict == .fail, "\(report)")
          #expect(finding?.tensors == ["w"] && finding?.summary.contains(words) == true, "\(report)")
        }
      }
      #expect(try SchemaReport.compare(reference: bad, target: bad, values: .ignore).verdict == .pass)
    }
  }
}
