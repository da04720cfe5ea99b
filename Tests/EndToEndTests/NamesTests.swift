import Foundation
import TestSupport
import Testing

/// One model's dumps in several formats, compared with each other by name rules.
@Suite("Joins across formats") struct NamesTests {
  private static func withDumps(_ body: (RollcallBinary, Scratch) async throws -> Void) async throws {
    try await Scratch.with { scratch in
      try await runTool(
        warmPython, ["-B", RollcallBinary.repository + "/Tests/Fixtures/write_joined_formats.py", scratch.path])
      try scratch.write(
        "fleet.yaml",
        "hosts: [{name: here, local: true, workdir: \(scratch.path)/work, lease_dir: \(scratch.path)/leases}]")
      try await body(
        RollcallBinary(
          store: scratch.path("store"), directory: scratch.path,
          environment: ["ROLLCALL_FLEET": scratch.path("fleet.yaml")]), scratch)
    }
  }

  private static func unmatched(_ report: [String: Any]) -> [String] {
    (report["coverage"] as? [String: Any])?["unmatched"] as? [String] ?? []
  }

  @Test("each pair of formats: a clean one passes, a bug is found where it is", .timeLimit(.minutes(10)))
  func everyPair() async throws {
    let formats = ["atom", "sglang", "msprobe", "hf"]
    // Classes in ATOM's names; transformers keeps what modules without children give.
    let stages = ["atom": "TinyMLP", "sglang": "mlp", "msprobe": "mlp", "hf": "mlp.down_proj"]
    try await Self.withDumps { rollcall, _ in
      for reference in formats {
        for target in formats where target != reference {
          let pair = Set([reference, target])
          let preset = try #require(
            ["atom-sglang", "atom-hf", "sglang-hf", "msprobe-atom", "msprobe-sglang", "msprobe-hf"].first {
              Set($0.split(separator: "-").map(String.init)) == pair
            })
          let clean = try await rollcall(
            "compare", "reference-\(reference)", "target-\(target)", "--names", preset, "--json")
          let report = try clean.json()
          #expect(clean.status == 0, "\(reference) \(target): \(report["notes"] ?? "")")
          let rows = try #require(report["rows"] as? [[String: Any]])
          #expect(Set(rows.compactMap { $0["layer"] as? Int }) == [0, 1, 2, 3], "\(reference) \(target)")
          // Each side's ledger accounts for everything.
          let ledger = try #require((report["coverage"] as? [String: Any])?["ledger"] as? [String: Any])
          for side in ["reference", "target"] {
            let account = try #require(ledger[side] as? [String: Any])
            let counts = try #require(account["counts"] as? [String: Int])
            // Indexes are files without captures.
            let indexes = counts["index"] ?? 0
            #expect((indexes > 0) == ["msprobe", "hf"].contains(side == "reference" ? reference : target))
            #expect(
              account["captures"] as? Int == counts.values.reduce(account["compared"] as? Int ?? -1, +) - indexes,
              "\(reference) \(target) \(side)")
          }
          let bug = try await rollcall(
            "compare", "reference-\(reference)", "bug-\(target)", "--names", preset, "--json")
          #expect(bug.status == 1, "\(reference) \(target)")
          let first = try #require(try bug.json()["first_divergence"] as? [String: Any])
          #expect(first["layer"] as? Int == 2)
          #expect(first["stage"] as? String == stages[target], "\(reference) \(target)")
        }
      }
    }
  }

  @Test("fused and sliced weights are joined with a checkpoint's, and a wrong slice is found", .timeLimit(.minutes(5)))
  func weights() async throws {
    try await Self.withDumps { rollcall, _ in
      for format in ["atom", "sglang"] {
        for (reference, target) in [("checkpoint", format), (format, "checkpoint")] {
          let clean = try await rollcall(
            "compare", "weights-\(reference)", "weights-\(target)", "--names", "weights-\(format)", "--json")
          #expect(clean.status == 0, "\(reference) \(target): \(clean.output.prefix(400))")
          let rows = try #require(try clean.json()["rows"] as? [[String: Any]])
          #expect(rows.count == 24)
          #expect(rows.allSatisfy { $0["byte_equal"] as? Double == 1 })
        }
        let bug = try await rollcall(
          "compare", "weights-checkpoint", "weights-\(format)-bug", "--names", "auto", "--json")
        #expect(bug.status == 1)
        let wrong = try #require(try bug.json()["rows"] as? [[String: Any]]).filter {
          $0["verdict"] as? String == "fail"
        }
        let row = try #require(wrong.first)
        #expect(wrong.count == 1)
        #expect(row["layer"] as? Int == 1)
        #expect("\(row["stage"] ?? "").\(row["tensor"] ?? "")".contains("qkv_proj"))
      }
    }
  }

  @Test("without rules nothing is joined, and own rules say what they leave out", .timeLimit(.minutes(5)))
  func ownRules() async throws {
    try await Self.withDumps { rollcall, scratch in
      let bare = try await rollcall("compare", "reference-atom", "target-sglang", "--json")
      #expect(bare.status == 2)
      #expect(((try bare.json()["coverage"] as? [String: Any])?["compared"] as? Int) == 0)

      func compare(_ rules: String) async throws -> (status: Int, report: [String: Any]) {
        try scratch.write("names.yaml", rules)
        let outcome = try await rollcall(
          "compare", "reference-atom", "target-sglang", "--names", "names.yaml", "--json")
        return (outcome.status, try outcome.json())
      }
      let layers = "{reference: \"layer {n} {:Tiny}DecoderLayer.hidden\", target: \"layer {n} layer.output\"}"
      let whole = try await compare("[\(layers)]")
      #expect(whole.status == 0)
      #expect((whole.report["rows"] as? [Any])?.count == 4)

      let lost = try await compare(
        "[\(layers), {reference: \"layer {n} Nothing.hidden\", target: \"layer {n} mlp.output\"}]")
      #expect(lost.status == 2)
      let why = Self.unmatched(lost.report).joined(separator: "\n")
      #expect(why.contains("no name of the reference fits “layer {n} Nothing.hidden”"))
      #expect(why.contains("layer 3 mlp.output"))

      let double = try await compare(
        "[\(layers), {reference: \"layer {n} TinyMLP.hidden\", target: \"layer {n} layer.output\"}]")
      #expect(double.status == 2)
      #expect(
        Self.unmatched(double.report).contains {
          $0.contains("layer 0 layer.output of the target is already joined with layer 0 TinyDecoderLayer.hidden")
        })

      let half = try await compare(
        "[{reference: \"layer {n:[01]} TinyDecoderLayer.hidden\", target: \"layer {n:[01]} layer.output\"}]")
      #expect(half.status == 2)
      #expect(Self.unmatched(half.report).contains { $0.hasPrefix("layer 3 layer.output") }, "\(half.report)")
    }
  }

  @Test("a lost file of a joined stage is no PASS", .timeLimit(.minutes(5))) func lostFile() async throws {
    try await Self.withDumps { rollcall, scratch in
      try FileManager.default.removeItem(atPath: scratch.path("reference-atom/layer01_TinyMLP_rank0_call001.pt"))
      let outcome = try await rollcall("compare", "reference-atom", "target-sglang", "--names", "auto", "--json")
      #expect(outcome.status == 2)
      #expect(Self.unmatched(try outcome.json()).contains { $0.contains("layer 1 mlp.output") })
    }
  }

  @Test("what --names names and is not there is refused with the nearest preset") func refused() async throws {
    try await Scratch.with { scratch in
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      let word = try await rollcall("compare", "a", "b", "--names", "atom-sglan")
      #expect(word.status == 64)
      #expect(word.errorOutput.contains("did you mean `atom-sglang`?"))
      try scratch.write("names.yaml", "- {reference: \"layer {n mlp\", target: a}\n")
      let file = try await rollcall("compare", "a", "b", "--names", "names.yaml")
      #expect(file.status == 65)
      #expect(file.errorOutput.contains("names.yaml:1:15"))
      #expect(file.errorOutput.contains("{ is never closed"))
    }
  }

  @Test("a job's reference may be of another format", .timeLimit(.minutes(5))) func sweep() async throws {
    try await Self.withDumps { rollcall, scratch in
      for (side, status) in [("target", 0), ("bug", 1)] {
        try scratch.write(
          "job.yaml",
          """
          name: joins-\(side)
          matrix: {world_size: [2]}
          run: {command: cp -r \(scratch.path)/\(side)-atom/. "$ROLLCALL_DUMP_DIR"}
          dumps: {layout: atom}
          compare:
            reference: ./reference-hf
            names: [atom-hf]
          """)
        let outcome = try await rollcall("run", "job.yaml", "--json")
        #expect(outcome.status == status, "\(side): \(outcome.output.prefix(600)) \(outcome.errorOutput.suffix(600))")
      }
    }
  }

  @Test("evidence stands behind --explain", .timeLimit(.minutes(5))) func explanation() async throws {
    try await Self.withDumps { rollcall, _ in
      let arguments = ["compare", "reference-sglang", "bug-sglang"]
      let short = try await rollcall.run(arguments)
      let long = try await rollcall.run(arguments + ["--explain"])
      #expect(short.status == 1 && long.status == 1)
      for text in ["in order of execution:", "mlp output, rel_l2 by layer: 0: ", "other causes", "  ranks: replicated"]
      {
        #expect(!short.output.contains(text))
        #expect(long.output.contains(text), "\(text): \(long.output)")
      }
      // What is named is not ruled out, and what is ruled out has its figure.
      let others = long.output.components(separatedBy: "other causes").last ?? ""
      #expect(others.contains("token-corruption: 13 of 13 token rows are beyond noise"))
      let considered = try #require(
        try (try await rollcall.run(arguments + ["--json"])).json()["considered"] as? [[String: Any]])
      #expect(!considered.isEmpty)
      #expect(!considered.contains { ($0["cause"] as? String)?.contains("double-reduce") == true })
    }
  }

  @Test("proposed rules are shown, join when they are given, and are never used by themselves", .timeLimit(.minutes(5)))
  func proposals() async throws {
    try await Self.withDumps { rollcall, scratch in
      let pair = ["compare", "reference-atom", "target-sglang"]
      let proposed = try await rollcall.run(pair + ["--propose-names"])
      #expect(proposed.status == 2, "\(proposed.errorOutput)")
      #expect(proposed.output.contains("not used"))
      // As it is printed it is a file of rules.
      try scratch.write("names.yaml", proposed.output)
      let judged = try await rollcall.run(pair + ["--names", "names.yaml", "--json"])
      #expect(judged.status == 0, "\(judged.output.prefix(600))\n\(proposed.output)")
      let document = try await rollcall.run(pair + ["--propose-names", "--json"])
      let list = try #require(try document.json()["proposed"] as? [[String: Any]])
      let rules = Dictionary(
        uniqueKeysWithValues: list.compactMap { entry in
          (entry["reference"] as? String).flatMap { key in (entry["target"] as? String).map { (key, $0) } }
        })
      #expect(rules["layer {n} TinyMLP.hidden"] == "layer {n} mlp.output")
      #expect(rules["layer {n} TinyAttention.hidden"] == "layer {n} self_attn.output")
      #expect(rules["layer {n} TinyDecoderLayer.hidden"] == "layer {n} layer.output")
      #expect(list.allSatisfy { ($0["rel_l2"] as? Double ?? 1) < 0.05 })
      let mlp = try #require(list.first { $0["reference"] as? String == "layer {n} TinyMLP.hidden" })
      #expect((mlp["next_rel_l2"] as? Double ?? 0) > 0.3)
      #expect(Set(rules.values).count == list.count, "each name stands in one rule")
      // What is joined already is not proposed again.
      let rest = try await rollcall.run(pair + ["--propose-names", "--names", "atom-sglang"])
      #expect(!rest.output.contains("mlp.output"))
      #expect(try await rollcall.run(pair).status == 2)
    }
  }
}
