import Testing

@testable import Gathering

struct ExpectationTests {
  private func entry(_ path: String, bytes: Int = 10) -> ManifestEntry {
    ManifestEntry(
      path: path, byteCount: bytes, modified: 0, sha256: String(repeating: "0", count: 64),
      rank: DumpName.rank(of: path))
  }

  /// Every file of a world, as ATOM names them.
  private func world(_ size: Int, layers: Int, stages: [String], call: String = "") -> [ManifestEntry] {
    (0..<size).flatMap { rank in
      (0..<layers).flatMap { layer in
        stages.map { entry("layer0\(layer)_\($0)_rank\(rank)\(call).pt") }
      }
    }
  }

  @Test func `a whole world has no gaps`() {
    let expectation = Expectation(worldSize: 8, layers: [0, 1, 2], stages: ["Block", "MoE"], form: .oneShot)
    #expect(expectation.gaps(in: world(8, layers: 3, stages: ["Block", "MoE"])).isEmpty)
    let multi = Expectation(worldSize: 8, layers: [0, 1, 2], stages: ["Block", "MoE"], form: .multi)
    #expect(multi.gaps(in: world(8, layers: 3, stages: ["Block", "MoE"], call: "_call001")).isEmpty)
  }

  @Test func `a missing rank is one sentence`() {
    let expectation = Expectation(worldSize: 8, layers: [0, 1, 2], stages: ["Block"])
    let entries = world(8, layers: 3, stages: ["Block"]).filter { $0.rank != 3 }
    #expect(expectation.gaps(in: entries) == ["rank 3: no file"])
  }

  @Test func `missing layers and stages are named in runs`() {
    let expectation = Expectation(worldSize: 2, layers: Array(0...5), stages: ["Block", "MoE"])
    let entries = world(2, layers: 6, stages: ["Block", "MoE"]).filter { entry in
      let name = AtomName(entry.path)
      return !(entry.rank == 1 && name?.stage == "MoE" && [0, 2, 3, 4].contains(name?.layer))
    }
    #expect(expectation.gaps(in: entries) == ["rank 1: layer 0 MoE missing", "rank 1: layers 2-4 MoE missing"])
  }

  @Test func `layers without stages, and stages without layers`() {
    let entries = world(1, layers: 2, stages: ["Block"])
    #expect(Expectation(worldSize: 1, layers: [0, 1, 2]).gaps(in: entries) == ["rank 0: layer 2 missing"])
    #expect(Expectation(worldSize: 1, stages: ["Block", "MoE"]).gaps(in: entries) == ["rank 0: stage MoE missing"])
  }

  @Test func `the wrong form of names is not taken for the right one`() {
    let entries = world(1, layers: 2, stages: ["Block"], call: "_call000")
    let expectation = Expectation(worldSize: 1, layers: [0, 1], stages: ["Block"], form: .oneShot)
    #expect(expectation.gaps(in: entries) == ["rank 0: no one-shot layer file among its 2 layer files"])
    let mixed = entries + [entry("layer00_Block_rank0.pt")]
    #expect(
      expectation.gaps(in: mixed) == ["rank 0: layer 1 Block has no one-shot file, only the other form"])
  }

  @Test func `strange ranks, empty files and foreign names are named`() {
    let entries = [
      entry("layer00_Block_rank0.pt", bytes: 0), entry("layer00_Block_rank4.pt"), entry("notes_rank1.txt"),
    ]
    #expect(
      Expectation(worldSize: 2, layers: [0], stages: ["Block"]).gaps(in: entries) == [
        "rank 1: no layer file among its 1 files",
        "rank 4: unexpected in a world of 2 (layer00_Block_rank4.pt)",
        "rank 0: layer00_Block_rank0.pt is empty",
      ])
  }

  @Test func `other layouts are checked by rank alone`() {
    let entries = [entry("step=1___rank=0___dump_index=1___name=x.pt", bytes: 0)]
    #expect(
      Expectation(worldSize: 2, layers: [0], stages: ["MoE"], isAtom: false).gaps(in: entries) == ["rank 1: no file"])
  }

  @Test func `files that name no rank are the one rank's, and nobody's of several`() {
    let entries = [entry("logits.npy"), entry("step0/x.npy")]
    #expect(Expectation(worldSize: 1, isAtom: false).gaps(in: entries) == [])
    #expect(Expectation(worldSize: 1, isAtom: false).gaps(in: []) == ["rank 0: no file"])
    #expect(Expectation(worldSize: 1).gaps(in: entries) == ["rank 0: no file"])
    #expect(
      Expectation(worldSize: 1, isAtom: false).gaps(in: entries + [entry("rank1/x.npy")]) == [
        "rank 0: no file", "rank 1: unexpected in a world of 1 (rank1/x.npy)",
      ])
    let gaps = Expectation(worldSize: 2, isAtom: false).gaps(in: entries)
    #expect(gaps.count == 1)
    #expect(gaps.first?.hasPrefix("ranks 0-1: no file names its rank (logits.npy)") == true)
  }

  @Test(
    arguments: [
      ("x_rank_3.npy", 3), ("rank_12/x.npy", 12), ("crank_3.npy", nil),
      ("layer00_Block_rank3.pt", 3), ("layer00_A_rank1_rank0.pt", 0), ("layer07_MoE_rank12_call001.pt", 12),
      ("weight_rank5_layer0.pt", 5), ("step=0___rank=3___dump_index=1___name=a___tp_rank=1.pt", 3),
      ("step=0___rank=3___dump_index=1___name=m_rank7.pt", 3), ("TP0_PP0_Rank6_pid12/Pass00000.pt", 6),
      ("rank2/dump.json", 2), ("rank2/x_rank1.pt", 1), ("TP4/x.pt", 4),
      ("prank3.pt", nil), ("rank.pt", nil), ("rank1234567.pt", nil), ("HTTP3.pt", nil), ("embed.pt", nil),
      ("tp_rank=1.pt", nil),
    ] as [(String, Int?)])
  func `the rank is what the name says`(_ path: String, _ rank: Int?) {
    #expect(DumpName.rank(of: path) == rank)
  }

  @Test func `a name that could do harm is refused`() {
    let paths = [
      "", "/etc/passwd", "..", "a/../b", "./a", "a//b", "a/", "a\nb", "a\u{0}b", "a\u{7F}b", "a\u{202E}b",
      String(repeating: "x", count: 256), String(repeating: "x/", count: 2100) + "x",
    ]
    for path in paths { #expect(DumpName.refusal(of: path) != nil, "\(printable(path))") }
  }

  @Test func `an odd name is no harm`() {
    for path in ["a", "...", "-", "- n", "a b'c\"$(d)`e`", "ünï/cödé", "~", "*", "a\\b"] {
      #expect(DumpName.refusal(of: path) == nil, "\(path)")
    }
  }
}
