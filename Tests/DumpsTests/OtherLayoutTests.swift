import Dumps
import Foundation
import TestSupport
import Testing

@Suite struct OtherLayoutTests {
  /// rank, layer, stage, call, tensor of every capture.
  private func places(_ set: DumpSet) -> Set<String> {
    Set(
      set.captures.map {
        "\($0.rank) \($0.layer.map(String.init) ?? "-") \($0.stage) \($0.call.map(String.init) ?? "-") \($0.tensor.name)"
      })
  }

  @Test func placesSafetensorsByTheirNamesAndFolders() async throws {
    let corpus = try await Corpus(otherFormat: "layouts")
    let set = try DumpSetLoader.load(directory: corpus.file("safetensors/a"), layout: .safetensors)
    #expect(set.unreadable.isEmpty)
    #expect(set.unrecognised.isEmpty)
    #expect(
      places(set)
        == Set(
          (0...1).flatMap {
            [
              "\($0) 3 model.mlp - out", "\($0) - model.norm - weight", "\($0) - step1/dump - logits",
              "\($0) 4 attn_out - value",
            ]
          }))
    let other = try DumpSetLoader.load(directory: corpus.file("safetensors/b"), layout: .safetensors)
    #expect(places(set) == places(other))
  }

  @Test func placesArrays() async throws {
    let corpus = try await Corpus(otherFormat: "layouts")
    let set = try DumpSetLoader.load(directory: corpus.file("npy"), layout: .npy)
    #expect(
      places(set) == [
        "2 3 attn - value", "1 7 model.mlp - value", "0 1 MoE 2 value", "0 2 q - out", "0 - frank1 - x",
      ])
    #expect(set.unrecognised == ["notes.txt"])
    #expect(set.unreadable.isEmpty)
  }

  @Test func placesBundles() async throws {
    let corpus = try await Corpus(otherFormat: "layouts")
    let set = try DumpSetLoader.load(directory: corpus.file("bundle"), layout: .atom)
    #expect(places(set) == ["1 - embed.input_ids - hidden", "1 0 attn_out - hidden", "1 12 moe.out - hidden"])
    #expect(set.unrecognised == ["other_rank1_fwd.pt"])
    #expect(set.unreadable.isEmpty)
  }

  @Test("shards are read once, through their index, and a missing one is named with its tensors")
  func readsShardsOnce() async throws {
    let corpus = try await Corpus(otherFormat: "sharded")
    let scratch = try Scratch()
    defer { scratch.remove() }
    let second = "model-00002-of-00002.safetensors"
    for name in ["model.safetensors.index.json", "model-00001-of-00002.safetensors", second] {
      try scratch.write(name, try corpus.contents(name))
    }
    var set = try DumpSetLoader.load(directory: scratch.path, layout: .safetensors)
    #expect(set.unreadable.isEmpty)
    #expect(set.unrecognised.isEmpty)
    #expect(
      places(set) == Set((0..<4).flatMap { ["0 \($0) model.q - weight", "0 \($0) model.k - weight"] }))
    #expect(set.captures.allSatisfy { $0.tensor.storage.path.hasSuffix($0.file) })

    try FileManager.default.removeItem(atPath: scratch.path(second))
    set = try DumpSetLoader.load(directory: scratch.path, layout: .safetensors)
    #expect(set.captures.count == 4)
    #expect(set.unreadable.map(\.file) == [second])
    #expect(set.unreadable.first?.why.contains("model.layers.0.k.weight") == true)

    try FileManager.default.removeItem(atPath: scratch.path("model-00001-of-00002.safetensors"))
    set = try DumpSetLoader.load(directory: scratch.path, layout: .safetensors)
    #expect(set.captures.isEmpty)
    #expect(set.unreadable.count == 2)
  }

  @Test("a shard that the index does not name is there, and is said not to be in the index")
  func strayShards() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import json, os, torch
        from safetensors.torch import save_file
        for stray in (2, 3):
            os.makedirs(f"{stray}")
            weights = {}
            for shard in (1, 2) if stray == 2 else (1, 2, 3):
                name = f"model-{shard:05d}-of-00002.safetensors"
                save_file({f"layers.{shard}.w": torch.ones(4)}, f"{stray}/{name}")
                if shard != stray: weights[f"layers.{shard}.w"] = name
            with open(f"{stray}/model.safetensors.index.json", "w") as f:
                json.dump({"weight_map": weights}, f)
        """, directory: scratch.path)
      for stray in [2, 3] {
        let set = try DumpSetLoader.load(directory: scratch.path("\(stray)"), layout: .safetensors)
        #expect(set.unreadable.map(\.file) == ["model-0000\(stray)-of-00002.safetensors"])
        let why = set.unreadable.first?.why ?? ""
        #expect(why.contains("not in the index") && !why.contains("missing"), "\(why)")
        #expect(set.captures.count == stray - 1)
      }
    }
  }

  @Test func readsNamesByAPattern() async throws {
    let directory = try await Corpus(otherFormat: "layouts").file("custom")
    for pattern in [
      #"L(?<layer>\d+)-(?<stage>\w+)-r(?<rank>\d+)-n(?<call>\d+)\.\w+"#,
      #"run/L(?P<layer>\d+)-(?P<stage>\w+)-r(?P<rank>\d+)-n(?P<call>\d+)\..*"#,
    ] {
      let set = try DumpSetLoader.load(directory: directory, layout: .custom, pattern: pattern)
      #expect(places(set) == ["3 5 attn 7 hidden", "3 6 mlp 8 value"])
      #expect(set.unrecognised == ["run/L99999999999999999999-mlp-r3-n8.npy"])
    }
    let few = try DumpSetLoader.load(directory: directory, layout: .custom, pattern: #"L5.*r(?<rank>\d+).*"#)
    #expect(places(few) == ["3 - run/L5-attn-r-n7 - hidden"])
    for (pattern, words) in [
      (nil, "needs a pattern"), ("(", "no regular expression"), ("L.*", "none of the named groups"),
      ("x(?<rank>.)", "matches wholly"),
    ] {
      let error = #expect(throws: DumpError.self) {
        try DumpSetLoader.load(directory: directory, layout: .custom, pattern: pattern)
      }
      #expect(error?.message.contains(words) == true, "\(error?.description ?? "")")
    }
  }

  /// Ranks, layers and calls of one stage share its name, whatever stands around their numbers.
  @Test(
    arguments: [
      (#"attn_tp(?<rank>\d+)\.pt"#, ["attn_tp0.pt", "attn_tp1.pt"], ["0 - attn_tp -", "1 - attn_tp -"]),
      (#"(?<rank>\d+)/attn\.pt"#, ["0/attn.pt", "1/attn.pt"], ["0 - attn -", "1 - attn -"]),
      (#"tp(?<rank>\d+)/attn\.pt"#, ["tp0/attn.pt", "tp1/attn.pt"], ["0 - tp/attn -", "1 - tp/attn -"]),
      (#"attn-(?<rank>\d+)\.pt"#, ["attn-0.pt", "attn-1.pt"], ["0 - attn -", "1 - attn -"]),
      (#"attn_rank(?<rank>\d+)\.pt"#, ["attn_rank0.pt", "attn_rank1.pt"], ["0 - attn -", "1 - attn -"]),
      (#"(?<layer>\d+)_attn_(?<rank>\d+)\.pt"#, ["3_attn_1.pt", "4_attn_1.pt"], ["1 3 attn -", "1 4 attn -"]),
      (#"layer(?<layer>\d+)_attn\.pt"#, ["layer3_attn.pt", "layer4_attn.pt"], ["0 3 attn -", "0 4 attn -"]),
      (#"attn_s(?<call>\d+)\.pt"#, ["attn_s1.pt", "attn_s20.pt"], ["0 - attn_s 1", "0 - attn_s 20"]),
    ] as [(String, [String], [String])])
  func numbersThatAPatternTakesAreNoPartOfTheStage(pattern: String, files: [String], expected: [String]) async throws {
    let tensor = try await Corpus(otherFormat: "layouts").contents("custom/run/L5-attn-r3-n7.pt")
    let scratch = try Scratch()
    defer { scratch.remove() }
    for file in files { try scratch.write(file, tensor) }
    let set = try DumpSetLoader.load(directory: scratch.path, layout: .custom, pattern: pattern)
    #expect(places(set) == Set(expected.map { "\($0) hidden" }))
  }

  @Test func saysWhereNothingIsFound() async throws {
    let directory = try await Corpus(otherFormat: "layouts").file("custom")
    let error = #expect(throws: DumpError.self) {
      try DumpSetLoader.load(directory: directory, layout: .safetensors)
    }
    #expect(error?.code == .noDumps)
    #expect(error?.message.contains("no .safetensors file") == true)
  }

  /// Two sides that lost the same shard hold the same names.
  @Test(arguments: ["safetensors", "bin"], [0, 1])
  func aShardThatNoIndexNamesIsMissed(suffix: String, first: Int) async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import os, sys, torch
        from safetensors.torch import save_file
        for i in range(3):
            name = f"{{}}/model-{i + \(first):05d}-of-00003.\(suffix)"
            for folder in ("whole", "cut"):
                os.makedirs(folder, exist_ok=True)
                write = save_file if "\(suffix)" == "safetensors" else torch.save
                if folder == "whole" or i != 1:
                    write({f"layers.{i}.w": torch.ones(4)}, name.format(folder))
        """, directory: scratch.path)
      let (whole, cut) = (scratch.path("whole"), scratch.path("cut"))
      #expect(try SchemaReport.compare(reference: whole, target: whole).verdict == .pass)
      let lost = "model-0000\(1 + first)-of-00003.\(suffix)"
      for sides in [(cut, cut), (whole, cut), (cut, whole)] {
        let report = try SchemaReport.compare(reference: sides.0, target: sides.1)
        #expect(report.verdict == .inconclusive, "\(report)")
        #expect(report.unreadable.allSatisfy { $0.file == lost } && !report.unreadable.isEmpty, "\(report)")
      }
      guard suffix == "safetensors" else { return }
      #expect(try DumpSetLoader.load(directory: whole, layout: .safetensors).unreadable.isEmpty)
      #expect(try DumpSetLoader.load(directory: cut, layout: .safetensors).unreadable.map(\.file) == [lost])
    }
  }
}
