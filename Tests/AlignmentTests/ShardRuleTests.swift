import Alignment
import Dumps
import TestSupport
import Testing

@Suite("Shard rules and metadata")
struct ShardRuleTests {
  /// A rank's place, as a dumper states it.
  private static func place(_ dims: String?, _ axes: [String: (Int, Int)], _ values: [String: String] = [:])
    -> CaptureMetadata
  {
    CaptureMetadata(dims: dims, parallel: axes.mapValues { ParallelRank(rank: $0.0, size: $0.1) }, values: values)
  }

  private let files: TensorFiles
  private let whole: Grid
  private let reference: Tensor

  init() throws {
    files = try TensorFiles()
    var dice = SplitMix64(seed: 77)
    whole = Grid.random([48, 64], &dice)
    reference = try files.tensor(whole, .float32)
  }

  private func write(_ parts: [Grid]) throws -> [Tensor] { try parts.map { try files.tensor($0, .float32) } }

  private func plan(_ parts: [Grid], _ rule: ShardRule, reference: Tensor? = nil) throws -> ShardDecision {
    try ShardPlanner(rule: rule, place: "layer 0 X.hidden").plan(
      reference: [reference ?? self.reference], target: write(parts))
  }

  private func plan(
    _ parts: [Grid], metadata: [CaptureMetadata?], reference: Tensor? = nil, _ referenceDims: String? = nil
  ) throws -> ShardDecision {
    var planner = ShardPlanner(rule: .auto, place: "layer 0 X.hidden")
    planner.targetMetadata = metadata
    if let referenceDims { planner.referenceMetadata = [Self.place(referenceDims, [:])] }
    return try planner.plan(reference: [reference ?? self.reference], target: write(parts))
  }

  private func blocks(_ widths: [Int], ranks: Int) -> [Grid] {
    var start = 0
    let blocks = widths.map { width in
      defer { start += width }
      return whole.picked(1, start..<(start + width))
    }
    return (0..<ranks).map { rank in Grid.joined(blocks.map { $0.part(1, rank, of: ranks) }, axis: 1) }
  }

  @Test("blocks in any unit", arguments: [[32, 16, 16], [2, 1, 1], [4, 2, 2]])
  func blockSizes(sizes: [Int]) throws {
    let decision = try plan(blocks([32, 16, 16], ranks: 4), .blocks(sizes: sizes, axis: -1))
    #expect(decision.plan.kind == .blocks && decision.plan.axis == 1 && decision.plan.residual == 0)
    #expect(decision.plan.source == .given && !decision.isInferred)
    // The same layout as is inferred, so that layers can be compared with each other.
    let inferred = try plan(blocks([32, 16, 16], ranks: 4), .auto)
    #expect(inferred.target.layout.isLike(decision.target.layout))
  }

  @Test("heads: fused, with copies, alone")
  func heads() throws {
    // 4 query heads and 2 key/value heads of size 8.
    let fused = try plan(blocks([32, 16, 16], ranks: 2), .heads(HeadRule(query: 4, keyValue: 2)))
    #expect(fused.plan.kind == .blocks && fused.plan.residual == 0)
    let parts = (0..<4).map { rank in
      Grid.joined(
        [
          whole.picked(1, 0..<32).part(1, rank, of: 4), whole.picked(1, 32..<48).part(1, rank / 2, of: 2),
          whole.picked(1, 48..<64).part(1, rank / 2, of: 2),
        ], axis: 1)
    }
    let copied = try plan(parts, .heads(HeadRule(query: 4, keyValue: 2)))
    #expect(copied.plan.kind == .heads && copied.plan.residual == 0)
    // Keys and values of two pairs of ranks should be the same bytes.
    #expect(copied.target.layout.copies.map { $0.map(\.part) } == [[0, 1], [2, 3], [0, 1], [2, 3]])
    let keys = try plan((0..<4).map { whole.part(1, $0 / 2, of: 2) }, .heads(HeadRule(keyValue: 2)))
    #expect(keys.plan.kind == .heads && keys.plan.residual == 0)
    #expect(try plan((0..<4).map { whole.part(1, $0, of: 4) }, .heads(HeadRule(query: 8))).plan.kind == .concat)
  }

  @Test(
    "rules that the shapes contradict are refused with the reason",
    arguments: [
      (ShardRule.blocks(sizes: [3, 2], axis: -1), "do not divide"), (.blocks(sizes: [1, 3], axis: 7), "no axis 7"),
      (.blocks(sizes: [63, 1], axis: -1), "use heads where ranks hold copies"),
      (.blocks(sizes: [.max, .max], axis: 1), "do not divide"),
      (.heads(HeadRule(query: 6)), "6 query heads do not divide over 4 ranks"),
      (.heads(HeadRule(query: 8, keyValue: 3)), "3 key/value heads do not divide over 4 ranks"),
      (.heads(HeadRule()), "no heads"), (.unsupported("fold"), "is not supported"),
      (.concat(axis: 0), "whole shape is [192, 16]"),
    ])
  func refused(rule: ShardRule, message: String) throws {
    let parts = (0..<4).map { whole.part(1, $0, of: 4) }
    let error = #expect(throws: AlignmentError.self) { _ = try plan(parts, rule) }
    #expect(error?.message.contains(message) == true, "\(error?.description ?? "")")
  }

  @Test("one rank alone of an axis that has two is not the whole")
  func lonelyRank() throws {
    for text in ["t h[tp]", "t h # tp:replicated"] {
      let error = #expect(throws: AlignmentError.self) {
        _ = try plan([whole], metadata: [Self.place(text, ["tp": (0, 2)])])
      }
      #expect(error?.message.contains("tp has 2 ranks; missing: 1") == true, "\(error?.description ?? "")")
      #expect(try plan([whole], metadata: [Self.place(text, ["tp": (0, 1)])]).plan.kind == .single)
    }
  }

  @Test("a rule that the data contradict says so, with both numbers")
  func contradicted() throws {
    let fused = blocks([32, 32], ranks: 2)
    let decision = try plan(fused, .concat(axis: 1))
    #expect(decision.plan.kind == .concat)
    #expect(decision.plan.isContradicted)
    #expect(decision.plan.alternative?.kind == .blocks)
    #expect(decision.plan.alternative?.residual == 0)
    #expect((decision.plan.residual ?? 0) > 0.5)
    let right = try plan((0..<2).map { whole.part(1, $0, of: 2) }, .concat(axis: 1))
    #expect(!right.plan.isContradicted)
    // Replicas that are called partial.
    let replicas = try plan([whole, whole], .partial)
    #expect(replicas.plan.isContradicted && replicas.plan.alternative?.kind == .replicated)
  }

  // MARK: dims text

  @Test("one axis, from a rule, without the ranks' places")
  func oneAxis() throws {
    let columns = (0..<4).map { whole.part(1, $0, of: 4) }
    let sharded = try plan(columns, .dims(DimsText("t h[tp]")))
    #expect(sharded.plan.kind == .concat && sharded.plan.axis == 1 && sharded.plan.residual == 0)
    #expect(sharded.plan.why.contains("rule: dims “t h[tp]”") && sharded.plan.source == .given)
    var dice = SplitMix64(seed: 1)
    #expect(try plan(whole.terms(4, &dice), .dims(DimsText("t h[tp:partial]"))).plan.kind == .partial)
    let copies = try plan([whole, whole], .dims(DimsText("t h # tp:replicated")))
    #expect(copies.plan.kind == .replicated)
    #expect(copies.target.layout.copies.map { $0.map(\.part) } == [[0, 1]])
    let halves = (0..<2).map { rank in
      Grid.joined([whole.part(0, rank, of: 4), whole.part(0, 3 - rank, of: 4)], axis: 0)
    }
    for text in ["s[cp:zigzag] h", "t[cp:zigzag] h"] {
      let zigzag = try plan(halves, .dims(DimsText(text)))
      #expect(zigzag.plan.order == .zigzag && zigzag.plan.residual == 0, "\(zigzag.plan.why)")
    }
  }

  @Test("context parallel over packed sequences: lengths stated, or found")
  func sequences() throws {
    // Sequences of 16 and 32 tokens; then three of 16.
    func cut(_ lengths: [Int]) -> [Grid] {
      (0..<2).map { rank in
        var start = 0
        return Grid.joined(
          lengths.flatMap { length -> [Grid] in
            let tokens = whole.picked(0, start..<(start + length))
            start += length
            return [tokens.part(0, rank, of: 4), tokens.part(0, 3 - rank, of: 4)]
          }, axis: 0)
      }
    }
    let stated = try plan(
      cut([16, 32]),
      metadata: (0..<2).map {
        Self.place("t[cp:zigzag] h", ["cp": ($0, 2)], ["seq_lens[0]": "16", "seq_lens[1]": "32"])
      })
    #expect(stated.plan.residual == 0 && stated.plan.order == .zigzag)
    let found = try plan(cut([16, 16, 16]), metadata: (0..<2).map { Self.place("t[cp:zigzag] h", ["cp": ($0, 2)]) })
    #expect(found.plan.residual == 0 && found.plan.why.contains("3 sequences"), "\(found.plan.why)")
    #expect(found.plan.source == .metadata && !found.isInferred)
  }

  @Test("two axes, copies and slices inside slices, ranks in any order")
  func manyAxes() throws {
    // tp over columns, cp zigzag over tokens, each on two ep ranks.
    var parts: [Grid] = []
    var metadata: [CaptureMetadata?] = []
    for cp in 0..<2 {
      for ep in 0..<2 {
        for tp in [1, 0] {
          let tokens = Grid.joined([whole.part(0, cp, of: 4), whole.part(0, 3 - cp, of: 4)], axis: 0)
          parts.append(tokens.part(1, tp, of: 2))
          metadata.append(
            Self.place(
              "t[cp:zigzag] h[tp] # ep:replicated", ["cp": (cp, 2), "tp": (tp, 2), "ep": (ep, 2), "pp": (0, 1)]))
        }
      }
    }
    let decision = try plan(parts, metadata: metadata)
    #expect(decision.plan.residual == 0, "\(decision.plan.why)")
    #expect(decision.target.shape == [48, 64])
    #expect(Set(decision.target.layout.copies.map { $0.map(\.part) }) == [[1, 3], [0, 2], [5, 7], [4, 6]])
    // Every block size of reading gives the same.
    for size in [1, 7, 64, 100, 5000] {
      var reader = try decision.target.makeReader()
      var (bytes, values, all): ([UInt8], [Double], [Double]) = ([], [], [])
      for start in stride(from: 0, to: 48 * 64, by: size) {
        try reader.read(start..<min(start + size, 48 * 64), bytes: &bytes, values: &values)
        all += values
      }
      #expect(all == whole.values.map { Double(Float($0)) })
    }
    // Sums inside slices.
    var dice = SplitMix64(seed: 2)
    let terms = whole.terms(2, &dice)
    let sums = try plan(
      (0..<4).map { terms[$0 / 2].part(1, $0 % 2, of: 2) },
      metadata: (0..<4).map { Self.place("t h[tp,ep:partial]", ["tp": ($0 % 2, 2), "ep": ($0 / 2, 2)]) })
    #expect((sums.plan.residual ?? 1) < 1e-6, "\(sums.plan.why)")
    #expect(sums.target.isSum)
  }

  @Test("dimensions in another order, squeezed and fused")
  func views() throws {
    // The reference has t h; the target 1, then h and t swapped.
    let turned = Grid(shape: [1, 64, 48], values: (0..<64).flatMap { h in (0..<48).map { whole.values[$0 * 64 + h] } })
    let parts = (0..<2).map { turned.part(1, $0, of: 2) }
    let metadata = (0..<2).map { Self.place("1 h[tp] t", ["tp": ($0, 2)]) }
    let decision = try plan(parts, metadata: metadata, "t h")
    #expect(decision.plan.residual == 0, "\(decision.plan.why)")
    #expect(decision.reference.shape == decision.target.shape)
    // Heads fused in the reference, apart in the target.
    let heads = (0..<2).map { rank -> Grid in
      var part = whole.part(1, rank, of: 2)
      part.shape = [48, 4, 8]
      return part
    }
    let apart = try plan(heads, metadata: (0..<2).map { Self.place("s n[tp] d", ["tp": ($0, 2)]) }, "t (n*d)")
    #expect(apart.plan.residual == 0 && apart.target.shape == [48, 64], "\(apart.plan.why)")
  }

  @Test("a data-parallel group without elements is set aside, by name")
  func emptyGroups() throws {
    let empty = Grid(shape: [0, 32], values: [])
    let parts = [empty, whole.part(1, 0, of: 2), empty, whole.part(1, 1, of: 2)]
    for (text, axis) in [("t h[tp]", "dp"), ("t h[tp] # dp:=attn_dp", "attn_dp")] {
      let decision = try plan(
        parts, metadata: (0..<4).map { Self.place(text, ["tp": ($0 / 2, 2), axis: ($0 % 2, 2)]) })
      #expect(decision.plan.residual == 0)
      #expect(decision.plan.why.contains("\(axis) rank 1 alone has elements"))
    }
  }

  @Test("idle data-parallel ranks are no slices, also without a text")
  func idleRanks() throws {
    let empty = Grid(shape: [0, 32], values: [])
    let sharded = try plan(
      [empty, whole.part(1, 0, of: 2), empty, whole.part(1, 1, of: 2)],
      metadata: (0..<4).map { Self.place(nil, ["tp": ($0, 4), "attn_dp": ($0 % 2, 2)]) })
    #expect(sharded.plan.kind == .concat && sharded.plan.residual == 0)
    let none = Grid(shape: [0, 64], values: [])
    let copies = try plan(
      [whole, whole, none, none], metadata: (0..<4).map { Self.place(nil, ["tp": ($0 % 2, 2), "dp": ($0 / 2, 2)]) })
    #expect(copies.plan.kind == .replicated && copies.plan.residual == 0)
    // Without metadata an empty rank is no such thing.
    #expect(throws: AlignmentError.self) { _ = try plan([whole, none], .auto) }
  }

  @Test(
    "metadata that do not fit are errors with the way to mend them",
    arguments: [
      (
        "t h", [["tp": (0, 2)], ["tp": (1, 2)]], "the axis tp has 2 ranks in this dump and the text says nothing of it"
      ),
      ("t h[tp]", [["tp": (0, 2)], ["tp": (0, 2)]], "missing: 1"),
      ("t h[tp]", [["tp": (0, 2)], ["tp": (1, 4)]], "disagree about the size of tp"),
      ("t h[tp]", [["tp": (0, 2)], ["ep": (1, 2)]], "do not say where they stand on tp"),
      ("t h[tp]", [["tp": (0, 4)], ["tp": (3, 4)]], "missing: 1, 2"),
      ("t h[tp] # ep:replicated", [["tp": (0, 2), "ep": (0, 1)], ["tp": (1, 2), "ep": (0, 1)]], "remove it"),
      ("t 1 h[tp]", [["tp": (0, 2)], ["tp": (1, 2)]], "names 3 dimensions"),
      ("1 h[tp]", [["tp": (0, 2)], ["tp": (1, 2)]], "is called 1 and has 48 elements"),
      ("t h[tp,ep]", [[:], [:]], "does not say where its 2 ranks stand on tp and ep"),
      ("t h", [[:], [:]], "add [tp] to a dimension"),
      ("t[tp h", [["tp": (0, 2)], ["tp": (1, 2)]], "mend the dumper"),
      ("t h[tp]", [["tp": (0, 2), "dp": (0, 2)], ["tp": (1, 2), "dp": (1, 2)]], "all hold elements"),
      ("t[cp:zigzag] h", [["cp": (0, 2)], ["cp": (1, 2)]], "whole shape is [96, 32]"),
    ] as [(String, [[String: (Int, Int)]], String)])
  func mismatches(text: String, axes: [[String: (Int, Int)]], message: String) throws {
    let parts = (0..<2).map { whole.part(1, $0, of: 2) }
    let error = #expect(throws: AlignmentError.self) {
      _ = try plan(parts, metadata: axes.map { Self.place(text, $0) })
    }
    #expect(error?.description.contains(message) == true, "\(error?.description ?? "")")
  }

  @Test("an axis that follows from another needs no word; a rule overrides the dump's own text")
  func precedence() throws {
    let parts = (0..<2).map { whole.part(1, $0, of: 2) }
    let follows = try plan(
      parts, metadata: (0..<2).map { Self.place("t h[tp]", ["tp": ($0, 2), "attn_tp": ($0, 2)]) })
    #expect(follows.plan.residual == 0)
    var planner = ShardPlanner(rule: .concat(axis: 1), place: "X")
    planner.targetMetadata = (0..<2).map { Self.place("t[tp] h", ["tp": ($0, 2)]) }
    let ruled = try planner.plan(reference: [reference], target: write(parts))
    #expect(ruled.plan.residual == 0 && ruled.plan.source == .given)
    // Text that is wrong about the data is found out.
    let wrong = try plan([whole, whole], metadata: (0..<2).map { Self.place("t h[tp:partial]", ["tp": ($0, 2)]) })
    #expect(wrong.plan.isContradicted)
  }

  @Test("without a text the ranks stand in the order that the dump states")
  func statedOrder() throws {
    let parts = [3, 1, 0, 2].map { whole.part(1, $0, of: 4) }
    let decision = try plan(parts, metadata: [3, 1, 0, 2].map { Self.place(nil, ["tp": ($0, 4)]) })
    #expect(decision.plan.kind == .concat && decision.plan.residual == 0 && decision.plan.rankOrder == nil)
    // Without it, the order is a finding.
    let unknown = try plan(parts, .auto)
    #expect(unknown.plan.rankOrder?.sources == [2, 1, 3, 0])
  }
}
