import Dumps
import Foundation
import TestSupport
import Testing

/// Weights that differ in known ways, written by torch and safetensors: each way has its name, and clean controls pass.
@Suite struct WeightDifferenceTests {
  private static let corpus = Task {
    let scratch = try Scratch()
    let script = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Python/write_weights.py").path
    do {
      try await runTool(warmPython, ["-B", "-W", "ignore", script, scratch.path])
    } catch {
      scratch.remove()
      throw error
    }
    return scratch
  }

  /// Every test of the suite is in one function, so that the files go when it ends.
  @Test func namesWhatWasDone() async throws {
    let scratch = try await Self.corpus.value
    defer { scratch.remove() }
    for (pair, cause, confidence, words, verdict) in Self.pairs {
      let report = try SchemaReport.compare(
        reference: scratch.path("pairs/\(pair)-a.pt"), target: scratch.path("pairs/\(pair)-b.pt"))
      #expect(report.findings.map(\.cause) == (cause.isEmpty ? [] : [cause]), "\(pair)")
      #expect(report.findings.first?.confidence == confidence, "\(pair)")
      #expect(report.findings.first?.summary.contains(words) ?? words.isEmpty, "\(pair): \(report.findings)")
      #expect(report.verdict == verdict, "\(pair)")
      #expect(!report.byteEqual.contains("layers.3.w.weight"), "\(pair)")
    }
    try sameWeights(scratch)
    try slicesOfOneWorldInAnother(scratch)
    try wrongSlices(scratch)
    try lostRank(scratch)
    try slicesOfAnotherType(scratch)
  }

  /// Norms and scales that the engine keeps in float32, whole and in slices: equal once cast, or not.
  private func slicesOfAnotherType(_ scratch: Scratch) throws {
    let kinds = [
      "layers.0.norm.weight": "replicated", "layers.0.q.weight_scale": "column", "layers.0.o.weight_scale": "row",
      "layers.0.gate_up.weight_scale": "blocks",
    ]
    for (a, b) in [("cast-whole", "cast"), ("cast", "cast-whole")] {
      let report = try SchemaReport.compare(reference: scratch.path(a), target: scratch.path(b), values: .require)
      #expect(report.verdict == .pass, "\(report)")
      #expect(Set(report.equalAfterCast) == Set(kinds.keys), "\(report)")
      #expect(report.unequal.isEmpty)
      #expect(Dictionary(uniqueKeysWithValues: report.shards.map { ($0.name, $0.kind) }) == kinds)
      #expect(report.shards.allSatisfy { $0.isProven })
      #expect(Set(report.findings.map(\.cause)) == ["dtype-change"])
    }
    let wrong = try SchemaReport.compare(
      reference: scratch.path("cast-whole"), target: scratch.path("cast-wrong"), values: .require)
    #expect(wrong.verdict == .fail)
    #expect(wrong.unequal.map(\.name).sorted() == ["layers.0.norm.weight", "layers.0.q.weight_scale"])
    #expect(wrong.equalAfterCast.sorted() == ["layers.0.gate_up.weight_scale", "layers.0.o.weight_scale"])
    #expect(wrong.shards.filter { !$0.isProven }.count == 2)
    #expect(wrong.unexplained.sorted() == ["layers.0.norm.weight", "layers.0.q.weight_scale"])
  }

  private static let pairs: [(String, String, SchemaFinding.Confidence?, String, SchemaReport.Verdict)] = [
    (
      "preshuffle16", "weight-shuffle", .possible, "the target holds these weights shuffled for layout (16, 16)",
      .inconclusive
    ),
    ("preshuffle16-back", "weight-shuffle", .possible, "the reference holds these weights", .inconclusive),
    ("preshuffle32-experts", "weight-shuffle", .possible, "(32, 16)", .inconclusive),
    ("preshuffle16-bfloat16", "weight-shuffle", .possible, "(16, 16)", .inconclusive),
    ("preshuffled-twice", "weight-shuffle", .certain, "shuffled twice", .fail),
    ("scales", "weight-shuffle", .possible, "scales shuffled as e8m0", .inconclusive),
    ("scales-twice", "weight-shuffle", .certain, "scales shuffled twice", .fail),
    ("scales-cast", "dtype-change", .possible, "equal values as float8_e8m0fnu and float32", .fail),
    ("norm-cast", "dtype-change", .possible, "equal values as bfloat16 and float32", .fail),
    ("norm-rounded", "dtype-change", .possible, "but for rounding", .fail),
    ("rows", "weight-shuffle", .likely, "the rows stand in another order", .fail),
    ("columns", "weight-shuffle", .likely, "the columns stand in another order", .fail),
    ("transposed", "weight-shuffle", .likely, "transposed", .fail),
    ("transposed-shape", "weight-shuffle", .likely, "transposed", .fail),
    ("halves", "halves-swapped", .likely, "halves of the rows", .fail),
    ("interleaved", "fused-shard-layout", .likely, "in turn", .fail),
    ("rope", "rope-style", .likely, "in each 8 rows", .fail),
    ("blocks", "fused-shard-layout", .likely, "order 0, 2, 1, 3", .fail),
    ("elements", "weight-shuffle", .likely, "none of whole rows or columns", .fail),
    ("offset", "norm-weight-offset", .likely, "exactly one", .fail),
    ("zero", "missing-weight", .likely, "all zero", .fail),
    ("other", "", nil, "", .inconclusive),
    ("fnuz", "float8-variant", .certain, "their scales are equal", .fail),
    ("fnuz-doubled", "float8-variant", .possible, "their scales are not equal", .fail),
    ("as-bytes", "dtype-change", .possible, "equal bytes are called", .fail),
  ]

  /// `--values`: a type that differs without loss passes on request; unequal values are no pass unless they are not
  /// asked for.
  private func sameWeights(_ scratch: Scratch) throws {
    func verdict(_ pair: String, _ values: SchemaReport.Values) throws -> SchemaReport.Verdict {
      try SchemaReport.compare(
        reference: scratch.path("pairs/\(pair)-a.pt"), target: scratch.path("pairs/\(pair)-b.pt"), values: values
      ).verdict
    }
    #expect(try verdict("norm-cast", .require) == .pass)
    #expect(try verdict("norm-rounded", .require) == .fail)
    #expect(try verdict("other", .require) == .fail)
    #expect(try verdict("other", .ignore) == .pass)
    #expect(try verdict("norm-cast", .ignore) == .fail)
  }

  private func slicesOfOneWorldInAnother(_ scratch: Scratch) throws {
    let kinds = [
      "layers.0.q.weight": "column 0", "layers.0.q.bias": "column 0", "layers.0.o.weight": "row 1",
      "layers.0.norm.weight": "replicated", "layers.0.gate_up.weight": "blocks 0", "layers.0.qkv.weight": "blocks 0",
      "layers.0.k.weight": "heads 0", "embed.weight": "padded 0", "layers.0.fp8.weight": "column 0",
    ]
    for (a, b) in [("whole", "tp4"), ("tp4", "whole"), ("hf", "tp4"), ("tp4", "hf/model.safetensors.index.json")] {
      var last: SchemaReport.Step?
      let report = try SchemaReport.compare(reference: scratch.path(a), target: scratch.path(b)) { last = $0 }
      #expect(report.verdict == .pass, "\(a) \(b): \(report)")
      #expect(report.findings.isEmpty && report.mismatched.isEmpty && report.unreadable.isEmpty, "\(a) \(b)")
      #expect(Set(report.byteEqual) == Set(kinds.keys), "\(a) \(b)")
      let found = report.shards.map { ($0.name, $0.kind + ($0.axis.map { " \($0)" } ?? "")) }
      #expect(Dictionary(uniqueKeysWithValues: found) == kinds, "\(a) \(b)")
      #expect(report.shards.allSatisfy { $0.isProven && $0.ranks == 4 })
      #expect(last.map { $0.total > 0 && $0.done <= $0.total } == true)
    }
    let same = try SchemaReport.compare(reference: scratch.path("whole"), target: scratch.path("hf"))
    #expect(same.verdict == .pass)
    #expect(same.byteEqual.count == 9)
    #expect(same.unrecognised == ["config.json"])
    #expect(throws: DumpError.self, "one rank of four is not the whole") {
      try SchemaReport.compare(
        reference: scratch.path("tp4/weight_rank0_layer0.pt"), target: scratch.path("tp4"))
    }
  }

  private func wrongSlices(_ scratch: Scratch) throws {
    let report = try SchemaReport.compare(reference: scratch.path("whole"), target: scratch.path("wrong"))
    #expect(report.verdict == .fail)
    func found(_ report: SchemaReport) -> [String: String] {
      Dictionary(report.findings.flatMap { finding in finding.tensors.map { ($0, finding.cause) } }) { "\($0) \($1)" }
    }
    #expect(
      found(report) == [
        "layers.0.q.weight": "rank-order", "layers.0.o.weight": "duplicate-shard",
        "layers.0.gate_up.weight": "fused-shard-layout", "layers.0.k.weight": "head-map",
        "layers.0.norm.weight": "replica-divergence", "layers.0.fp8.weight": "weight-shuffle",
      ])
    #expect(report.findings.first { $0.cause == "duplicate-shard" }?.ranks == [1, 2, 3])
    #expect(report.findings.first { $0.cause == "replica-divergence" }?.ranks == [2])
    #expect(report.findings.first { $0.cause == "weight-shuffle" }?.ranks == [0, 1, 2, 3])
    #expect(!report.byteEqual.contains("layers.0.q.weight"))
    let twice = try SchemaReport.compare(
      reference: scratch.path("whole"), target: scratch.path("shuffled-duplicates"))
    #expect(found(twice) == ["layers.0.fp8.weight": "duplicate-shard"])
    #expect(twice.findings.first?.ranks == [1, 2, 3])
    // The same against the right ranks, rank by rank.
    let ranks = found(try SchemaReport.compare(reference: scratch.path("tp4"), target: scratch.path("wrong")))
    #expect(ranks["layers.0.q.weight"] == "rank-order")
    #expect(ranks["layers.0.o.weight"] == "duplicate-shard")
    #expect(ranks["layers.0.k.weight"] == "head-map")
    #expect(ranks["layers.0.norm.weight"] == "replica-divergence")
    #expect(ranks["rank1/layers.0.fp8.weight"] == "weight-shuffle")
  }

  private func lostRank(_ scratch: Scratch) throws {
    for reference in ["whole", "tp4"] {
      let report = try SchemaReport.compare(reference: scratch.path(reference), target: scratch.path("lost"))
      #expect(report.verdict == .inconclusive, "\(reference)")
      #expect(report.findings.map(\.cause) == ["incomplete-ranks"], "\(reference)")
      #expect(report.findings.first?.ranks == [3])
      #expect(report.unreadable.contains { $0.why.contains("rank 3 is not there") })
    }
  }
}
