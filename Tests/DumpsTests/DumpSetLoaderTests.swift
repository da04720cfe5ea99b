import Dumps
import Foundation
import TestSupport
import Testing

@Suite struct DumpSetLoaderTests {
  @Test func cataloguesAnATOMDirectory() async throws {
    let corpus = try await Corpus("atom")
    let set = try DumpSetLoader.load(directory: corpus.path + "/", layout: .atom)
    #expect(set.root == corpus.path)

    let first = set.captures.filter { $0.file == "rank1/layer01_Block_rank1_call002.pt" }
    #expect(
      first.map(\.tensor.name) == ["hidden", "input", "input_fields.residual", "output_fields.x_prev"])
    #expect(first.allSatisfy { $0.rank == 1 && $0.layer == 1 && $0.stage == "Block" && $0.call == 2 })
    #expect(first[3].tensor.shape == [3, 4])
    // Ranks, layers, calls; four tensors in each file.
    let inRankFolders = 2 * 2 * 2 * 4
    #expect(set.captures.count { $0.file.hasPrefix("rank") } == inRankFolders)
    #expect(set.ranks == [0, 1, 3])
    #expect(set.worldSizeSeen == 4)

    func capture(_ file: String) -> [String] {
      set.captures.filter { $0.file == file }.map {
        "\($0.rank) \($0.layer ?? -1) \($0.stage) \($0.call ?? -1) \($0.tensor.name)"
      }
    }
    #expect(capture("one/layer100_MoE_rank0.pt") == ["0 100 MoE -1 hidden"])
    #expect(capture("one/layer101_MoE_rank0.pt") == ["0 101 MoE -1 hidden"])
    #expect(capture("one/layer00_A_rank1_rank0.pt") == ["0 0 A_rank1 -1 hidden"])
    #expect(capture("one/layer00_rank3.pt") == ["3 0 Block -1 hidden"])
    #expect(capture("ref/ref_layer00_Attn__hidden_out_rank0.pt") == ["0 0 Attn -1 hidden"])
    #expect(capture("ref/ref_layer00_Attn__hidden_in_rank0.pt") == ["0 0 Attn -1 input"])
    #expect(capture("ref/ref_layer00_Attn__q_norm_rank0.pt") == ["0 0 Attn.q_norm -1 hidden"])
    #expect(capture("one/layer05_NoHidden_rank0.pt") == ["0 5 NoHidden -1 other"])
    // The whole storage beside the damaged one is good.
    #expect(capture("one/layer08_Damaged_rank0.pt") == ["0 8 Damaged -1 input"])

    let unreadable = Dictionary(grouping: set.unreadable, by: \.file).mapValues { $0.map(\.why).joined() }
    #expect(
      Set(unreadable.keys) == [
        "one/layer05_NoHidden_rank0.pt", "one/layer06_Cut_rank0.pt", "one/layer08_Damaged_rank0.pt",
        "one/layer102_MoE_rank0.pt", "same/layer07_Same_rank0.pt",
      ])
    #expect(unreadable["one/layer06_Cut_rank0.pt"]?.contains("cut") == true)
    #expect(unreadable["one/layer08_Damaged_rank0.pt"]?.hasPrefix("hidden: ") == true)
    #expect(unreadable["same/layer07_Same_rank0.pt"]?.contains("same/layer007_Same_rank0.pt") == true)
    #expect(
      set.unrecognised.sorted() == [
        "one/layer103_MoE_rank0.pt (not a regular file)", "one/loop (a link to a directory is not followed)",
        "one/notes.txt",
      ])
  }

  @Test func manyViewsOfOneFileThatRepeatItsBytesMeetALimit() async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    // Each claims 2^38 bytes of four, and fifty may not what four may.
    try await runPython(
      """
      import torch
      view = torch.ones(1)
      torch.save({"hidden": view, "output_fields": {f"v{i}": view.expand(1 << 36) for i in range(50)}},
                 "layer00_Block_rank0.pt")
      torch.save({"hidden": view.expand(1 << 36)}, "layer01_Block_rank0.pt")
      """, directory: scratch.path)
    let set = try DumpSetLoader.load(directory: scratch.path, layout: .atom)
    #expect(set.captures.count { $0.layer == 0 } == 4 && set.captures.count { $0.layer == 1 } == 1)
    #expect(set.unreadable.count == 47 && set.unreadable.allSatisfy { $0.why.contains("which is not read") })
    #expect(set.unreadable.first?.values == ["output_fields.v3"], "\(set.unreadable.first.debugDescription)")
  }

  @Test func takesTimesFromTheManifest() async throws {
    let corpus = try await Corpus("atom")
    let file = "one/layer100_MoE_rank0.pt"
    let set = try DumpSetLoader.load(directory: corpus.path, layout: .atom, modificationTimes: [file: 17])
    #expect(set.captures.first { $0.file == file }?.modified == 17)
    let other = try #require(set.captures.first { $0.file != file })
    let date = try FileManager.default.attributesOfItem(atPath: corpus.file(other.file))[.modificationDate] as? Date
    let seconds = try #require(date).timeIntervalSince1970
    #expect(abs(Double(other.modified) / 1e9 - seconds) < 1e-3)
  }

  /// Files of one capture each, that of the first directory and of the second the same.
  @Test(arguments: [
    (["night1", "night2"], "night1 and night2"), (["tp1", "tp8"], "tp1 and tp8"),
    (["", "old"], "the directory itself and old"), (["", "a"], "the directory itself and a"),
    (["a/x/rank0", "b/x/rank0"], "a and b"), (["20260101/a", "20260102/a"], "20260101 and 20260102"),
    // Ranks and steps of one run.
    (["tp0", "tp1"], nil), (["dp_00", "dp_01", "dp_02"], nil), (["step3/x", "step4/x"], nil), (["0", "1"], nil),
  ])
  func directoriesOfTwoRunsAreNotOne(_ folders: [String], _ named: String?) async throws {
    try await Scratch.with { scratch in
      for folder in folders.map({ $0.isEmpty ? "dumps" : "dumps/\($0)" }) {
        try scratch.directory(folder)
        try await runPython(
          """
          import numpy, os, sys
          numpy.save(sys.argv[1] + "/layer00_Block_rank0.npy", numpy.arange(8.0))
          # What the first has not, the others have.
          if len(os.listdir(os.path.dirname(sys.argv[1]))) > 1:
              numpy.save(sys.argv[1] + "/layer01_Block_rank0.npy", numpy.arange(8.0))
          """, [scratch.path(folder)])
      }
      let dumps = scratch.path("dumps")
      guard let named else {
        let set = try DumpSetLoader.load(directory: dumps, layout: .npy)
        #expect(!set.captures.isEmpty && set.unreadable.contains { $0.why.contains("holds the same captures") })
        return
      }
      let error = #expect(throws: DumpError.self) { try DumpSetLoader.load(directory: dumps, layout: .npy) }
      #expect(error?.code == .severalRuns && error?.message.hasPrefix("\(named) hold the same") == true)
    }
  }

  @Test func cataloguesWeights() async throws {
    let corpus = try await Corpus("weights")
    let set = try DumpSetLoader.load(directory: corpus.file("a"), layout: .weights)
    #expect(set.captures.count == 5)
    #expect(set.captures.allSatisfy { $0.stage == "weights" && $0.rank == 0 && $0.layer == 0 && $0.call == nil })
    #expect(set.captures.first?.tensor.name == "model.layers.0.q.weight")
  }

  @Test func saysHowToMendAWrongDirectory() async throws {
    let corpus = try await Corpus("weights")
    let scratch = try Scratch()
    defer { scratch.remove() }
    let empty = try Scratch()
    defer { empty.remove() }
    try scratch.write("file", [])
    func error(_ path: String, _ layout: DumpLayout = .atom) -> DumpError? {
      #expect(throws: DumpError.self) { try DumpSetLoader.load(directory: path, layout: layout) }
    }
    #expect(error(corpus.file("none"))?.code == .notFound)
    #expect(error(scratch.path("file"))?.message.contains("is a file") == true)
    let wrong = error(corpus.file("a"))
    #expect(wrong?.code == .noDumps)
    #expect(wrong?.message.contains("no ATOM dump file (layerNN_Class_rankR.pt)") == true)
    #expect(wrong?.message.contains("--layout weights") == true)
    #expect(error(empty.path, .weights)?.message.contains("no file at all") == true)
    #expect(error(corpus.file("a"), .msprobe)?.message.contains("no dump of msprobe") == true)
  }

  @Test(
    "names that look like dumps and are not",
    arguments: [
      "layer_Block_rank0.pt", "layer0_Block.pt", "layer0_Block_rank.pt", "layer0_Block_rank0.npy",
      "xlayer0_Block_rank0.pt",
      "layer0_Bl-ock_rank0.pt", "layer0__rank0_call.pt", "layer99999999999999999999_Block_rank0.pt",
      "layer0Block_rank0.pt",
      "a_b_layer0_C__out_rank0.pt", "ref_layer0_C_rank0.pt", ".layer0_Block_rank0.pt.tmp", "_layer0_C__out_rank0.pt",
      "ref_layer0_C__out_rank0_call001.pt", "weight_rank0_layer0.pt",
    ])
  func doesNotGuessNames(name: String) throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try scratch.write(name, [])
    try scratch.write("layer0_Block_rank0.pt", [])
    let set = try DumpSetLoader.load(directory: scratch.path, layout: .atom)
    #expect(set.unrecognised == [name])
    #expect(set.unreadable.map(\.file) == ["layer0_Block_rank0.pt"])
  }

  /// A layout, and what a file of rank # is called in it.
  private static let ranked: [(DumpLayout, String)] = [
    (.atom, "layer00_MLP_rank#_call001.pt"), (.weights, "weight_rank#_layer0.pt"), (.npy, "rank#.npz"),
    (.safetensors, "rank#/model.safetensors"), (.custom, "of-rank#.npy"),
    (.sglang, "step=0___rank=#___dump_index=1___name=a.pt"), (.sglang, "TP1_PP0_Rank#_pid7/Pass00001.pt"),
    (.msprobe, "step0/rank#/dump.json"), (.huggingFace, "rank#/Model_debug_tree_FULL_TENSORS.json"),
  ]

  @Test(arguments: ranked)
  func aRankOfWhichNothingCanBeReadIsSeen(layout: DumpLayout, name: String) throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try scratch.write("dumps/" + name.replacingOccurrences(of: "#", with: "3"), "cut")
    let set = try DumpSetLoader.load(
      directory: scratch.path("dumps"), layout: layout, pattern: layout == .custom ? "of-rank(?<rank>[0-9]+).npy" : nil)
    #expect(set.captures.isEmpty && !set.unreadable.isEmpty)
    #expect(set.worldSizeSeen == 4)
  }

  /// Whoever asks which ranks are missing looks at every one.
  @Test(arguments: ranked, ["65536", "99999999"])
  func aRankThatNoWorldHasIsNoneOfThisOne(named: (DumpLayout, String), rank: String) throws {
    let (layout, name) = named
    let scratch = try Scratch()
    defer { scratch.remove() }
    try scratch.write("dumps/" + name.replacingOccurrences(of: "#", with: rank), "cut")
    let set = try DumpSetLoader.load(
      directory: scratch.path("dumps"), layout: layout, pattern: layout == .custom ? "of-rank(?<rank>[0-9]+).npy" : nil)
    #expect(set.worldSizeSeen == 0)
    #expect(set.unreadable.contains { $0.why.contains("rank \(rank)") }, "\(set.unreadable)")
  }

  /// Not as rank 0, which another file may be.
  @Test func aRankBeyondAllNumbersIsNoneOfThisOne() throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    let name = "rank99999999999999999999.npy"
    try scratch.write(name, "cut")
    let set = try DumpSetLoader.load(directory: scratch.path, layout: .npy)
    #expect(set.unreadable.map(\.file) == [name])
    #expect(set.worldSizeSeen == 0)
  }

  @Test func namesThatAreNoUTF8AreToldApart() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import os, sys
        root = os.fsencode(sys.argv[1])
        for name in (b"\\xe2", b"\\xb0", b"a\\xffb.pt"):
            open(root + b"/" + name, "wb").close()
        """, [try scratch.directory("names")])
      try scratch.write("names/layer0_Block_rank0.pt", [])
      let set = try DumpSetLoader.load(directory: scratch.path("names"), layout: .atom)
      #expect(set.unrecognised == [])
      let named = set.unreadable.filter { $0.why.contains("UTF-8") }.map(\.file).sorted()
      #expect(named == ["\\xB0", "\\xE2", "a\\xFFb.pt"])
    }
  }
}
