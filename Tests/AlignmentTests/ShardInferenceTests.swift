import Alignment
import Dumps
import Foundation
import TestSupport
import Testing

/// Generated tensors cut up as engines do, with the noise of bfloat16, for the planner to recover.
@Suite("Inferring layouts")
struct ShardInferenceTests {
  /// One way to lay a tensor over ranks.
  struct Cut: Sendable, CustomTestStringConvertible {
    var name: String
    var kind: ShardKind
    var axis: Int?
    var order: ShardLayout.Order?
    /// World sizes for which it can be cut.
    var worldSizes = [2, 4, 8]
    var shape = [64, 96]
    /// The ranks' tensors of the whole one.
    var cut: @Sendable (Grid, Int, inout SplitMix64) -> [Grid]

    var testDescription: String { name }
  }

  static let cuts: [Cut] = [
    Cut(name: "columns", kind: .concat, axis: 1) { whole, n, _ in (0..<n).map { whole.part(1, $0, of: n) } },
    Cut(name: "sequence parallel", kind: .concat, axis: 0) { whole, n, _ in (0..<n).map { whole.part(0, $0, of: n) } },
    Cut(name: "middle axis", kind: .concat, axis: 1, shape: [6, 16, 10]) { whole, n, _ in
      (0..<n).map { whole.part(1, $0, of: n) }
    },
    Cut(name: "sequence of a batch", kind: .concat, axis: 1, shape: [1, 512, 24]) { whole, n, _ in
      (0..<n).map { whole.part(1, $0, of: n) }
    },
    Cut(name: "a vector", kind: .concat, axis: 0, shape: [192]) { whole, n, _ in
      (0..<n).map { whole.part(0, $0, of: n) }
    },
    Cut(name: "gate_up", kind: .blocks, axis: 1) { whole, n, _ in
      let halves = [whole.part(1, 0, of: 2), whole.part(1, 1, of: 2)]
      return (0..<n).map { rank in Grid.joined(halves.map { $0.part(1, rank, of: n) }, axis: 1) }
    },
    Cut(name: "gate_up weight", kind: .blocks, axis: 0, shape: [96, 40]) { whole, n, _ in
      let halves = [whole.part(0, 0, of: 2), whole.part(0, 1, of: 2)]
      return (0..<n).map { rank in Grid.joined(halves.map { $0.part(0, rank, of: n) }, axis: 0) }
    },
    // 8 query heads for each key/value head, and 7, of size 8.
    Cut(name: "qkv 8:1:1", kind: .blocks, axis: 1, shape: [40, 640]) { whole, n, _ in
      fused(whole, [512, 64, 64], ranks: n)
    },
    Cut(name: "qkv 7:1:1", kind: .blocks, axis: 1, shape: [40, 576]) { whole, n, _ in
      fused(whole, [448, 64, 64], ranks: n)
    },
    // Two key/value heads of size 8 on more ranks.
    Cut(name: "key heads on several ranks", kind: .heads, axis: 1, worldSizes: [4, 8], shape: [48, 16]) { whole, n, _ in
      (0..<n).map { whole.part(1, $0 / (n / 2), of: 2) }
    },
    Cut(
      name: "key heads on strided ranks", kind: .heads, axis: 1, order: .strided, worldSizes: [4, 8], shape: [48, 16]
    ) { whole, n, _ in (0..<n).map { whole.part(1, $0 % 2, of: 2) } },
    // 16 query heads, 2 key/value heads, fused.
    Cut(name: "qkv with copies", kind: .heads, axis: 1, worldSizes: [4, 8], shape: [48, 160]) { whole, n, _ in
      let blocks = [whole.picked(1, 0..<128), whole.picked(1, 128..<144), whole.picked(1, 144..<160)]
      return (0..<n).map { rank in
        let head = rank / (n / 2)
        return Grid.joined(
          [blocks[0].part(1, rank, of: n), blocks[1].part(1, head, of: 2), blocks[2].part(1, head, of: 2)], axis: 1)
      }
    },
    Cut(name: "one key head everywhere in qkv", kind: .heads, axis: 1, shape: [48, 144]) { whole, n, _ in
      (0..<n).map { rank in
        Grid.joined([whole.picked(1, 0..<128).part(1, rank, of: n), whole.picked(1, 128..<144)], axis: 1)
      }
    },
    Cut(name: "partial sums", kind: .partial) { whole, n, dice in whole.terms(n, &dice) },
    Cut(name: "partial sums, each on two ranks", kind: .partial, worldSizes: [4, 8]) { whole, n, dice in
      whole.terms(n / 2, &dice).flatMap { [$0, $0] }
    },
    Cut(name: "replicas", kind: .replicated) { whole, n, _ in Array(repeating: whole, count: n) },
    Cut(name: "padded vocabulary", kind: .concat, axis: 1, shape: [32, 125]) { whole, n, _ in
      let padded = Grid.joined([whole, Grid(shape: [32, 3], values: Array(repeating: 0, count: 96))], axis: 1)
      return (0..<n).map { padded.part(1, $0, of: n) }
    },
    Cut(name: "padded embedding", kind: .concat, axis: 0, shape: [509, 20]) { whole, n, _ in
      let padded = Grid.joined([whole, Grid(shape: [3, 20], values: Array(repeating: 0, count: 60))], axis: 0)
      return (0..<n).map { padded.part(0, $0, of: n) }
    },
    Cut(name: "zigzag", kind: .concat, axis: 0, order: .zigzag) { whole, n, _ in
      (0..<n).map { rank in
        Grid.joined([whole.part(0, rank, of: 2 * n), whole.part(0, 2 * n - 1 - rank, of: 2 * n)], axis: 0)
      }
    },
    Cut(name: "zigzag of three sequences", kind: .concat, axis: 0, order: .zigzag, shape: [96, 30]) { whole, n, _ in
      (0..<n).map { rank in
        Grid.joined(
          (0..<3).flatMap { sequence in
            let tokens = whole.part(0, sequence, of: 3)
            return [tokens.part(0, rank, of: 2 * n), tokens.part(0, 2 * n - 1 - rank, of: 2 * n)]
          }, axis: 0)
      }
    },
    // Lengths that the chunks do not divide: the first ones longer, or the last one shorter.
    Cut(name: "uneven zigzag", kind: .concat, axis: 0, order: .zigzag, shape: [103, 24]) { whole, n, _ in
      zigzag(whole, chunks(103, 2 * n))
    },
    Cut(name: "uneven zigzag, torch.chunk", kind: .concat, axis: 0, order: .zigzag, shape: [107, 24]) { whole, n, _ in
      zigzag(whole, (0..<2 * n).map { index in max(0, min(106 / (2 * n) + 1, 107 - index * (106 / (2 * n) + 1))) })
    },
    Cut(name: "uneven zigzag of three sequences", kind: .concat, axis: 0, order: .zigzag, shape: [105, 30]) {
      whole, n, _ in
      let sequences = (0..<3).map { zigzag(whole.part(0, $0, of: 3), chunks(35, 2 * n)) }
      return (0..<n).map { rank in Grid.joined(sequences.map { $0[rank] }, axis: 0) }
    },
    Cut(name: "two uneven sequences in order", kind: .concat, axis: 0, shape: [106, 30]) { whole, n, _ in
      let sequences = (0..<2).map { pieces(whole.part(0, $0, of: 2), chunks(53, n)) }
      return (0..<n).map { rank in Grid.joined(sequences.map { $0[rank] }, axis: 0) }
    },
    Cut(name: "padded zigzag", kind: .concat, axis: 0, order: .zigzag, shape: [93, 24]) { whole, n, _ in
      let padded = Grid.joined([whole, Grid(shape: [3, 24], values: Array(repeating: 0, count: 72))], axis: 0)
      return zigzag(padded, chunks(96, 2 * n))
    },
    Cut(name: "uneven sequence parallel", kind: .concat, axis: 0, shape: [101, 24]) { whole, n, _ in
      pieces(whole, chunks(101, n))
    },
    // Fused blocks of experts: gate and up in the middle, and behind in a transposed weight.
    Cut(name: "gate_up of experts", kind: .blocks, axis: 1, shape: [6, 96, 10]) { whole, n, _ in
      fused(whole, [48, 48], ranks: n)
    },
    Cut(name: "gate_up of experts, transposed", kind: .blocks, axis: 2, shape: [6, 10, 96]) { whole, n, _ in
      fused(whole, [48, 48], ranks: n, axis: 2)
    },
    Cut(name: "qkv of a batch", kind: .blocks, axis: 2, shape: [2, 20, 320]) { whole, n, _ in
      fused(whole, [256, 32, 32], ranks: n, axis: 2)
    },
    Cut(name: "qkv in the middle", kind: .blocks, axis: 1, shape: [2, 320, 12]) { whole, n, _ in
      fused(whole, [256, 32, 32], ranks: n)
    },
    Cut(name: "experts", kind: .concat, axis: 0, shape: [16, 6, 10]) { whole, n, _ in
      (0..<n).map { whole.part(0, $0, of: n) }
    },
    Cut(name: "experts dealt out in turn", kind: .concat, axis: 0, order: .interleaved, shape: [40, 6, 10]) {
      whole, n, _ in
      (0..<n).map { rank in whole.picked(0, stride(from: rank, to: 40, by: n)) }
    },
    Cut(name: "experts with a shared one last", kind: .concat, axis: 0, shape: [17, 6, 10]) { whole, n, _ in
      (0..<n).map { Grid.joined([whole.picked(0, 0..<16).part(0, $0, of: n), whole.picked(0, [16])], axis: 0) }
    },
    Cut(name: "experts with two shared ones first", kind: .concat, axis: 0, shape: [18, 6, 10]) { whole, n, _ in
      (0..<n).map { Grid.joined([whole.picked(0, 0..<2), whole.picked(0, 2..<18).part(0, $0, of: n)], axis: 0) }
    },
  ]

  private static func fused(_ whole: Grid, _ widths: [Int], ranks: Int, axis: Int = 1) -> [Grid] {
    let blocks = pieces(whole, widths, axis: axis)
    return (0..<ranks).map { rank in Grid.joined(blocks.map { $0.part(axis, rank, of: ranks) }, axis: axis) }
  }

  /// Nearly equal, the first ones longer.
  private static func chunks(_ length: Int, _ count: Int) -> [Int] {
    (0..<count).map { length / count + ($0 < length % count ? 1 : 0) }
  }

  private static func pieces(_ whole: Grid, _ lengths: [Int], axis: Int = 0) -> [Grid] {
    var start = 0
    return lengths.map { length in
      defer { start += length }
      return whole.picked(axis, start..<(start + length))
    }
  }

  /// Of 2n chunks rank r holds r and 2n - 1 - r.
  private static func zigzag(_ whole: Grid, _ lengths: [Int]) -> [Grid] {
    let chunks = pieces(whole, lengths)
    return (0..<lengths.count / 2).map { Grid.joined([chunks[$0], chunks[lengths.count - 1 - $0]], axis: 0) }
  }

  private struct Case {
    var decision: ShardDecision
    var planner: ShardPlanner
    var ranks: Int
  }

  private static func plan(_ cut: Cut, _ worldSize: Int, seed: Int, wrong: Bool = false) throws -> Case {
    let files = try TensorFiles()
    var dice = SplitMix64(seed: UInt64(seed))
    let whole = Grid.random(cut.shape, &dice)
    // Copies are copies after the noise, too.
    let source = wrong ? Grid.random(cut.shape, &dice) : whole.noisy(0.004, &dice)
    let parts = try cut.cut(source, worldSize, &dice).map { try files.tensor($0) }
    let planner = ShardPlanner(rule: .auto, place: cut.name)
    return Case(
      decision: try planner.plan(reference: [files.tensor(whole)], target: parts), planner: planner, ranks: worldSize)
  }

  @Test("every layout is recovered at every world size", arguments: cuts)
  func recovered(cut: Cut) throws {
    for (number, worldSize) in cut.worldSizes.enumerated() {
      for seed in 0..<3 {
        let result = try Self.plan(cut, worldSize, seed: 100 * number + seed)
        let plan = result.decision.plan
        #expect(plan.kind == cut.kind, "\(worldSize) ranks: \(plan.why)")
        #expect(plan.axis == cut.axis, "\(worldSize) ranks: \(plan.why)")
        #expect(plan.order == cut.order, "\(worldSize) ranks: \(plan.why)")
        #expect((plan.residual ?? 1) < 0.03, "\(worldSize) ranks: \(plan.why)")
        #expect((plan.margin ?? 1) > 0.9, "\(worldSize) ranks: \(plan.why)")
        #expect(plan.rankOrder == nil)
        #expect(plan.source == .inferred)
        #expect(result.decision.sampledElements <= result.planner.readLimit(ranks: worldSize))
        #expect((plan.padding?.isEmpty ?? true))
      }
    }
  }

  @Test("wrong data never fit: the residual is high or the layout ambiguous", arguments: cuts)
  func wrong(cut: Cut) throws {
    for worldSize in cut.worldSizes {
      let plan = try Self.plan(cut, worldSize, seed: 7 * worldSize, wrong: true).decision.plan
      #expect((plan.residual ?? 9) > 0.5, "\(worldSize) ranks: \(plan.why)")
      #expect(plan.rankOrder == nil, "\(worldSize) ranks: \(plan.why)")
    }
  }

  @Test("ranks in another order are a finding and are left as they stand", arguments: [2, 4, 8])
  func permuted(worldSize: Int) throws {
    for cut in Self.cuts where [.concat, .blocks].contains(cut.kind) && cut.order != .strided {
      guard cut.worldSizes.contains(worldSize), !cut.name.contains("padded"), !cut.name.contains("shared") else {
        continue
      }
      let files = try TensorFiles()
      var dice = SplitMix64(seed: UInt64(worldSize))
      let whole = Grid.random(cut.shape, &dice)
      let parts = try cut.cut(whole.noisy(0.004, &dice), worldSize, &dice).map { try files.tensor($0) }
      // Shares of unequal length fit in no other order.
      guard Set(parts.map(\.shape)).count == 1 else { continue }
      // Rank r holds what rank r + 1 should.
      let turned = Array(parts.dropFirst() + parts.prefix(1))
      let decision = try ShardPlanner(rule: .auto, place: cut.name).plan(
        reference: [files.tensor(whole)], target: turned)
      let plan = decision.plan
      #expect((plan.residual ?? 9) > 0.5, "\(cut.name): \(plan.why)")
      let order = try #require(plan.rankOrder, "\(cut.name) at \(worldSize): \(plan.why)")
      #expect(order.isPermutation && !order.isIdentity)
      #expect(order.residual < 0.03)
      #expect(order.sources == (0..<worldSize).map { ($0 + worldSize - 1) % worldSize }, "\(cut.name)")
      // What is compared is what stands there.
      #expect(decision.target.layout.pieces.first?.part == 0)
    }
  }

  @Test("a shard that was loaded twice is no permutation")
  func duplicate() throws {
    let files = try TensorFiles()
    var dice = SplitMix64(seed: 3)
    let whole = Grid.random([64, 96], &dice)
    let parts = try [0, 0, 1, 1].map { try files.tensor(whole.part(1, $0, of: 4)) }
    let plan = try ShardPlanner(rule: .auto, place: "k").plan(reference: [files.tensor(whole)], target: parts).plan
    #expect(plan.kind == .concat)
    #expect((plan.residual ?? 9) > 0.5)
    #expect(plan.rankOrder == nil)
  }

  @Test("reduces that are wrong stay what they are", arguments: [2, 4, 8])
  func reduces(worldSize: Int) throws {
    let files = try TensorFiles()
    var dice = SplitMix64(seed: UInt64(worldSize))
    let whole = Grid.random([64, 96], &dice)
    let reference = try files.tensor(whole)
    func plan(_ parts: [Grid]) throws -> ShardPlan {
      try ShardPlanner(rule: .auto, place: "MoE").plan(
        reference: [reference], target: try parts.map { try files.tensor($0) }
      ).plan
    }
    // Not reduced: the terms are a partial, not a layout of anything else.
    #expect(try plan(whole.terms(worldSize, &dice)).kind == .partial)
    // Reduced twice, averaged: equal ranks are replicas, and far away.
    for factor in [Double(worldSize), 1 / Double(worldSize)] {
      let scaled = try plan(Array(repeating: whole.scaled(factor), count: worldSize))
      #expect(scaled.kind == .replicated)
      #expect(abs((scaled.residual ?? 0) - abs(factor - 1)) < 0.01)
    }
    // A term of one rank lost before the reduce: replicas, far away.
    var terms = whole.terms(worldSize, &dice)
    terms.removeLast()
    var sum = terms[0]
    for term in terms.dropFirst() { for index in sum.values.indices { sum.values[index] += term.values[index] } }
    let absent = try plan(Array(repeating: sum, count: worldSize))
    #expect(absent.kind == .replicated && (absent.residual ?? 0) > 0.5)
    // Each rank its own residual plus a term: nothing fits.
    let unreduced = try plan(
      whole.terms(worldSize, &dice).map { term in
        Grid(shape: term.shape, values: zip(term.values, whole.values).map(+))
      })
    #expect(unreduced.kind == .ambiguous && (unreduced.residual ?? 9) > 0.5)
  }

  @Test("a plain concatenation that nearly fits does not hide fused blocks")
  func nearlyPlain() throws {
    // The columns of a row nearly alike, so that any slice is nearly any other: the plain reading leaves 4 %.
    let files = try TensorFiles()
    var dice = SplitMix64(seed: 11)
    let whole = Grid.random([64, 96], &dice)
    let flat = Grid(
      shape: whole.shape,
      values: whole.values.indices.map { index in whole.values[index / 96 * 96] * (1 + 0.03 * dice.normal()) })
    let blocks = [flat.part(1, 0, of: 2), flat.part(1, 1, of: 2)]
    let parts = try (0..<2).map { rank in
      try files.tensor(Grid.joined(blocks.map { $0.part(1, rank, of: 2) }, axis: 1))
    }
    let plan = try ShardPlanner(rule: .auto, place: "gate_up").plan(reference: [files.tensor(flat)], target: parts).plan
    #expect(plan.kind == .blocks, "\(plan.why)")
    #expect((plan.residual ?? 1) < 0.01)
  }

  @Test("data that fit several layouts are ambiguous, and other layers decide")
  func tie() throws {
    let files = try TensorFiles()
    let alike = Grid(shape: [32, 64], values: (0..<32 * 64).map { Double($0 / 64) + 1 })
    let parts = try (0..<2).map { try files.tensor(alike.part(1, $0, of: 2)) }
    var planner = ShardPlanner(rule: .auto, place: "router")
    let open = try planner.plan(reference: [files.tensor(alike)], target: parts).plan
    #expect(open.kind == .ambiguous)
    #expect(open.residual == 0 && open.margin == 0)
    #expect(open.why.contains("as well"))
    planner.usual = ShardLayout.blocks([[32, 32], [32, 32]], axis: 1, weights: [1, 1])
    let settled = try planner.plan(reference: [files.tensor(alike)], target: parts).plan
    #expect(settled.kind == .blocks)
  }

  @Test("padding that is not empty is told, with the rows that it wins")
  func padding() throws {
    let files = try TensorFiles()
    var dice = SplitMix64(seed: 5)
    let whole = Grid.random([32, 125], &dice)
    let reference = try files.tensor(whole)
    for (fill, isEmpty, won) in [(0.0, true, 0), (-Double.infinity, true, 0), (40.0, false, 32), (.nan, false, 0)] {
      let padded = Grid.joined([whole, Grid(shape: [32, 3], values: Array(repeating: fill, count: 96))], axis: 1)
      let decision = try ShardPlanner(rule: .auto, place: "lm_head").plan(
        reference: [reference], target: (0..<4).map { try files.tensor(padded.part(1, $0, of: 4)) })
      let padding = try #require(decision.plan.padding)
      #expect(decision.target.shape == [32, 125])
      #expect(padding.count == 3 && padding.axis == 1)
      #expect(padding.isEmpty == isEmpty)
      #expect(padding.rowsWon == won && padding.rows == 32)
      #expect(padding.largest == fill || padding.largest.isNaN && fill.isNaN)
    }
  }

  @Test("the values of one rank that are not finite do not hide the layout")
  func nonfinite() throws {
    let files = try TensorFiles()
    var dice = SplitMix64(seed: 6)
    let whole = Grid.random([64, 96], &dice)
    var parts = (0..<4).map { whole.part(1, $0, of: 4) }
    for index in parts[2].values.indices { parts[2].values[index] = .nan }
    let plan = try ShardPlanner(rule: .auto, place: "q").plan(
      reference: [files.tensor(whole)], target: try parts.map { try files.tensor($0) }
    ).plan
    #expect(plan.kind == .concat && plan.axis == 1)
  }

  @Test("the search reads no more of a large tensor than of a small one, and no more than it says")
  func bound() throws {
    let files = try TensorFiles()
    var dice = SplitMix64(seed: 9)
    var read: [Int] = []
    for rows in [256, 1024] {
      let whole = Grid.random([rows, 256], &dice)
      let parts = try (0..<8).map { try files.tensor(whole.part(1, 7 - $0, of: 8)) }
      var planner = ShardPlanner(rule: .auto, place: "q")
      (planner.probeLimit, planner.sampleLimit) = (1 << 10, 1 << 12)
      let decision = try planner.plan(reference: [files.tensor(whole)], target: parts)
      #expect(decision.plan.rankOrder?.sources == (0..<8).reversed().map { $0 })
      #expect(decision.sampledElements <= planner.readLimit(ranks: 8))
      read.append(decision.sampledElements)
    }
    #expect(read[1] <= read[0] + read[0] / 8)
    #expect(read[1] < 256 * 1024)
  }

  @Test(
    "sharded on both sides, over other numbers of ranks",
    arguments: ["columns", "gate_up", "qkv 8:1:1", "partial sums"])
  func bothSharded(name: String) throws {
    let cut = try #require(Self.cuts.first { $0.name == name })
    let files = try TensorFiles()
    var dice = SplitMix64(seed: 21)
    let whole = Grid.random(cut.shape, &dice)
    let reference = try cut.cut(whole, 2, &dice).map { try files.tensor($0) }
    let target = try cut.cut(whole.noisy(0.004, &dice), 4, &dice).map { try files.tensor($0) }
    let plan = try ShardPlanner(rule: .auto, place: name).plan(reference: reference, target: target).plan
    #expect((plan.residual ?? 9) < 0.03, "\(plan.why)")
    #expect(plan.kind == cut.kind, "\(plan.why)")
    let swapped = try ShardPlanner(rule: .auto, place: name).plan(reference: target, target: reference).plan
    #expect((swapped.residual ?? 9) < 0.03, "\(swapped.why)")
    // And against one whole rank, the other way round.
    let single = try ShardPlanner(rule: .auto, place: name).plan(reference: target, target: [files.tensor(whole)])
    #expect((single.plan.residual ?? 9) < 0.03, "\(single.plan.why)")
    #expect(single.reference.layout.kind == cut.kind)
  }

  /// Fused heads of size 8, rank after rank: `query` query heads, and those of `keyValue` key/value heads that a rank
  /// needs, each on several ranks where there are fewer than ranks.
  private static func fusedHeads(_ blocks: [Grid], _ keyValue: Int, ranks: Int) -> [Grid] {
    (0..<ranks).map { rank in
      let parts = blocks.enumerated().map { index, block in
        index == 0 && blocks.count == 3
          ? block.part(1, rank, of: ranks)
          : block.part(1, rank * min(keyValue, ranks) / ranks, of: min(keyValue, ranks))
      }
      return Grid.joined(parts, axis: 1)
    }
  }

  @Test(
    "heads that ranks share, sharded on both sides over other numbers of ranks",
    arguments: [(8, 4), (4, 1), (8, 2)], [["q", "k", "v"], ["k", "v"], ["k"]])
  func sharedHeads(heads: (query: Int, keyValue: Int), names: [String]) throws {
    let files = try TensorFiles()
    var dice = SplitMix64(seed: 31)
    let blocks = names.map { Grid.random([40, 8 * ($0 == "q" ? heads.query : heads.keyValue)], &dice) }
    let worlds = [2, 4, 8].filter { heads.query % $0 == 0 }
    for left in worlds {
      for right in worlds where left != right {
        let reference = Self.fusedHeads(blocks, heads.keyValue, ranks: left)
        let noise = blocks.map { $0.noisy(0.004, &dice) }
        let target = Self.fusedHeads(noise, heads.keyValue, ranks: right)
        let plan = try ShardPlanner(rule: .auto, place: "qkv").plan(
          reference: try reference.map { try files.tensor($0) }, target: try target.map { try files.tensor($0) }
        ).plan
        #expect((plan.residual ?? 9) < 0.03, "\(left) against \(right): \(plan.why)")
        // Whole ranks can be put side by side or below each other alike.
        #expect(plan.kind != .ambiguous || !names.contains("q"), "\(left) against \(right): \(plan.why)")
      }
    }
  }
}
