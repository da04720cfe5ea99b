import Alignment
import Coordination
import Dumps
import Foundation
import TestSupport

/// Numbers in one file that tensors of drawn dump sets are views of.
struct NumberPool {
  let path: String
  private(set) var bytes: [UInt8] = []

  mutating func add<Number: BitwiseCopyable>(_ numbers: [Number]) -> StorageRegion {
    let region = StorageRegion(path: path, offset: bytes.count, byteCount: numbers.count * MemoryLayout<Number>.stride)
    numbers.withUnsafeBytes { bytes.append(contentsOf: $0) }
    return region
  }

  func write() throws { try Data(bytes).write(to: URL(fileURLWithPath: path)) }
}

/// A reference and a target as a run may leave them: warm-up, prefill (whole or in chunks) and decode calls, one rank
/// or two, and files that are lost, there twice, old, or no dumps at all.
struct DrawnDumps {
  private(set) var reference: ComparisonSide
  private(set) var target: ComparisonSide
  private(set) var names = NameRules()
  /// For each capture by ``id(_:)``: the same tensor with other numbers.
  private(set) var others: [String: StorageRegion] = [:]
  private var random: SplitMix64
  private var pool: NumberPool
  private let start: Int64 = 1_000_000_000

  /// What tells the captures of a side apart.
  static func id(_ capture: Capture) -> String {
    "\(capture.file) \(capture.layer ?? -1) \(capture.stage) \(capture.tensor.name)"
  }

  init(seed: UInt64, path: String) throws {
    random = SplitMix64(seed: seed)
    pool = NumberPool(path: path)
    let empty = DumpSet(root: "/dumps", layout: .atom, captures: [], unreadable: [], unrecognised: [])
    reference = ComparisonSide(set: empty, worldSize: 1, startTime: start)
    target = reference
    target.worldSize = Int.random(in: 1...2, using: &random)
    if one(in: 4) { try drawWeights() } else { drawForward() }
    for isReference in [true, false] {
      var set = damaged(isReference ? reference.set : target.set)
      set.files = Set(set.captures.map(\.file) + set.unreadable.map(\.file) + set.unrecognised + set.plain.map(\.file))
        .sorted()
      if isReference { reference.set = set } else { target.set = set }
    }
    try pool.write()
  }

  private mutating func one(in count: Int) -> Bool { Int.random(in: 0..<count, using: &random) == 0 }

  private mutating func numbers(_ count: Int) -> [Float] {
    (0..<count).map { _ in Float.random(in: -1...1, using: &random) }
  }

  private mutating func capture(
    _ side: WritableKeyPath<DrawnDumps, ComparisonSide>, rank: Int, layer: Int?, stage: String, call: Int?,
    name: String, shape: [Int], values: StorageRegion, isIds: Bool = false
  ) {
    let tensor = Tensor(
      name: name, dtype: isIds ? .int64 : .float32, shape: shape, strides: Array([4, 1].suffix(shape.count)),
      storageOffset: 0, storage: values)
    let layerText = layer.map { "layer0\($0)_" } ?? ""
    let capture = Capture(
      rank: rank, layer: layer, stage: stage, call: call, tensor: tensor,
      file: "\(layerText)\(stage)_rank\(rank)" + (call.map { "_call\($0)" } ?? "") + ".pt", modified: start + 1)
    let count = shape.reduce(1, *)
    others[Self.id(capture)] =
      isIds ? pool.add((0..<count).map { _ in Int64.random(in: 1...9, using: &random) }) : pool.add(numbers(count))
    self[keyPath: side].set.captures.append(capture)
  }

  /// A model of two layers on both sides; the target's prefill may come in two chunks.
  private mutating func drawForward() {
    let ids: [Int64] = (0..<12).map { Int64($0 * 7 + 1) }
    let isChunked = one(in: 2)
    let chunks = [0..<5, 5..<12]
    struct Stage {
      var layer: Int?
      var name: String
      var tensors: [String]
    }
    var stages = [Stage(layer: nil, name: "Embedding", tensors: ["hidden"])]
    for layer in 0..<2 {
      stages.append(Stage(layer: layer, name: "Attention", tensors: ["hidden"]))
      stages.append(Stage(layer: layer, name: "Block", tensors: ["hidden", "input"]))
    }
    stages.append(Stage(layer: nil, name: "Head", tensors: ["hidden"]))
    for rank in 0..<(target.worldSize ?? 1) {
      for (side, parts) in [(\DrawnDumps.reference, [0..<12]), (\DrawnDumps.target, isChunked ? chunks : [0..<12])] {
        if side == \DrawnDumps.reference, rank > 0 { continue }
        // Warm-up, prefill, two decode steps.
        let rows = [0..<16] + parts + [0..<2, 0..<2]
        for (call, range) in rows.enumerated() {
          let isPrefill = call > 0 && call <= parts.count
          let own = isPrefill ? Array(ids[range]) : range.map { call == 0 ? 0 : Int64($0 + 3) }
          let region = pool.add(own)
          capture(
            side, rank: rank, layer: nil, stage: "Embedding", call: call, name: "input", shape: [range.count],
            values: region, isIds: true)
        }
      }
    }
    for stage in stages {
      for name in stage.tensors {
        let isHead = stage.name == "Head"
        let prefill = numbers(isHead ? 2 * 4 : 12 * 4)
        let rest = pool.add(numbers(16 * 4))
        for (side, parts) in [(\DrawnDumps.reference, [0..<12]), (\DrawnDumps.target, isChunked ? chunks : [0..<12])] {
          let ranks = side == \DrawnDumps.reference ? 1 : target.worldSize ?? 1
          let regions = parts.map { part in
            // The head has one row a sequence, in every chunk; only those of the last are the sequences' ends.
            isHead
              ? pool.add(part.upperBound == 12 ? prefill : numbers(8))
              : pool.add(Array(prefill[(4 * part.lowerBound)..<(4 * part.upperBound)]))
          }
          for rank in 0..<ranks {
            for (call, rows) in ([16] + parts.map(\.count) + [2, 2]).enumerated() {
              let isPrefill = call > 0 && call <= parts.count
              capture(
                side, rank: rank, layer: stage.layer, stage: stage.name, call: call, name: name,
                shape: [isHead ? 2 : rows, 4], values: isPrefill ? regions[call - 1] : rest)
            }
          }
        }
      }
    }
  }

  /// Weights without calls: the target's `qk` is the reference's `q` and `k` in one.
  private mutating func drawWeights() throws {
    (reference.set.layout, target.set.layout) = (.weights, .weights)
    names = NameRules([
      .rule(
        try NameRule(
          reference: [NamePattern("layer {n} Attention.q"), NamePattern("layer {n} Attention.k")],
          target: [NamePattern("layer {n} Attention.qk")], title: "rule"))
    ])
    for layer in 0..<3 {
      let (q, k, o) = (numbers(5 * 4), numbers(3 * 4), pool.add(numbers(6 * 4)))
      let parts = [("q", 5, pool.add(q)), ("k", 3, pool.add(k)), ("o", 6, o)]
      for (name, rows, region) in parts {
        capture(
          \.reference, rank: 0, layer: layer, stage: "Attention", call: nil, name: name, shape: [rows, 4],
          values: region)
      }
      let fused = pool.add(q + k)
      for rank in 0..<(target.worldSize ?? 1) {
        for (name, rows, region) in [("qk", 8, fused), ("o", 6, o)] {
          capture(
            \.target, rank: rank, layer: layer, stage: "Attention", call: nil, name: name, shape: [rows, 4],
            values: region)
        }
      }
    }
  }

  private mutating func damaged(_ set: DumpSet) -> DumpSet {
    var set = set
    var kept: [Capture] = []
    for var capture in set.captures {
      switch Int.random(in: 0..<60, using: &random) {
      case 0: continue
      case 1:
        set.unreadable.append(Unreadable(file: capture.file + ".cut", why: "cut", values: [capture.tensor.name]))
        continue
      case 2, 3:
        var again = capture
        again.file += ".again"
        others[Self.id(again)] = others[Self.id(capture)]
        kept.append(again)
      case 4: capture.modified = start - 1
      default: break
      }
      kept.append(capture)
    }
    set.captures = kept.shuffled(using: &random)
    if one(in: 3) { set.unrecognised.append("notes.txt") }
    if one(in: 3) {
      set.plain.append(
        PlainCapture(rank: 0, layer: nil, stage: "ids", call: 1, name: "rids", value: .none, file: "rids.pt"))
    }
    return set
  }
}
