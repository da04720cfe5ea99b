import Alignment
import Dumps
import Testing

@Suite("Joining ranks")
struct LogicalTensorTests {
  private func all(_ tensor: LogicalTensor, block: Int) throws -> [Double] {
    var reader = try tensor.makeReader()
    var result: [Double] = []
    var bytes: [UInt8] = []
    var values: [Double] = []
    for start in stride(from: 0, to: tensor.elementCount, by: block) {
      try reader.read(start..<min(start + block, tensor.elementCount), bytes: &bytes, values: &values)
      result += values
    }
    return result
  }

  private func slice(_ whole: [Float], rows: Int, width: Int, columns: [Int]) -> [Float] {
    (0..<rows).flatMap { row in columns.map { whole[row * width + $0] } }
  }

  @Test("concatenated, fused and summed tensors read the same in blocks of any size", arguments: [1, 3, 7, 24, 1000])
  func blocks(size: Int) throws {
    let files = try TensorFiles()
    let whole = (0..<24).map(Float.init)
    let left = try files.tensor([4, 2], slice(whole, rows: 4, width: 6, columns: [0, 1]))
    let right = try files.tensor([4, 4], slice(whole, rows: 4, width: 6, columns: [2, 3, 4, 5]))
    let concat = try #require(ShardLayout.concat([[4, 2], [4, 4]], axis: 1))
    #expect(
      try all(LogicalTensor(parts: [left, right], layout: concat, place: "t"), block: size) == whole.map(Double.init))
    // Rank 0 holds columns 0 1 | 4, rank 1 2 3 | 5: blocks of 4 and 2.
    let first = try files.tensor([4, 3], slice(whole, rows: 4, width: 6, columns: [0, 1, 4]))
    let second = try files.tensor([4, 3], slice(whole, rows: 4, width: 6, columns: [2, 3, 5]))
    let fused = try #require(ShardLayout.blocks([[4, 3], [4, 3]], axis: 1, weights: [2, 1]))
    #expect(
      try all(LogicalTensor(parts: [first, second], layout: fused, place: "t"), block: size) == whole.map(Double.init))
    let half = try files.tensor([4, 6], whole.map { $0 / 4 })
    let rest = try files.tensor([4, 6], whole.map { $0 * 3 / 4 })
    let sum = try LogicalTensor(parts: [half, rest], layout: .sum([4, 6], ranks: 2), place: "t")
    #expect(try all(sum, block: size) == whole.map(Double.init))
  }

  @Test("rows are sampled evenly, however many there are", arguments: [(10, 4), (1 << 61, 1 << 10)])
  func sample(rows: Int, limit: Int) {
    let sample = TensorSample(shape: [rows, 1], limit: limit)
    #expect(sample.rows.count == limit && sample.rows.first == 0)
    let steps = Set(zip(sample.rows.dropFirst(), sample.rows).map { $0 - $1 })
    #expect(steps.isSubset(of: [rows / limit, rows / limit + 1]), "\(steps)")
    if rows == 10 { #expect(sample.rows == [0, 2, 5, 7]) }
  }

  @Test("the planner tells slices, sums, replicas and fused blocks apart")
  func planner() throws {
    let files = try TensorFiles()
    var generator = SystemRandomNumberGenerator()
    let whole = (0..<64 * 12).map { _ in Float.random(in: -1...1, using: &generator) }
    let reference = try files.tensor([64, 12], whole)
    func plan(_ parts: [Tensor], rule: ShardRule = .auto) throws -> ShardPlan {
      try ShardPlanner(rule: rule, place: "layer 0 X.hidden").plan(reference: [reference], target: parts).plan
    }
    let columns = try [0, 1].map { rank in
      try files.tensor([64, 6], slice(whole, rows: 64, width: 12, columns: Array(rank * 6..<rank * 6 + 6)))
    }
    let concat = try plan(columns)
    #expect(concat.kind == .concat && concat.axis == 1 && concat.residual == 0)
    let fused = try plan(
      [[0, 1, 2, 6, 7, 8], [3, 4, 5, 9, 10, 11]].map {
        try files.tensor([64, 6], slice(whole, rows: 64, width: 12, columns: $0))
      })
    #expect(fused.kind == .blocks)
    let noise = whole.map { _ in Float.random(in: -1...1, using: &generator) }
    let partials = try [noise, zip(whole, noise).map(-)].map { try files.tensor([64, 12], $0) }
    let partial = try plan(partials)
    #expect(partial.kind == .partial)
    #expect((partial.margin ?? 0) > 0.9)
    // Reduced twice: equal ranks are replicas, however large.
    let doubled = try plan([reference, reference].map { _ in try files.tensor([64, 12], whole.map { 2 * $0 }) })
    #expect(doubled.kind == .replicated)
    #expect(abs((doubled.residual ?? 0) - 1) < 1e-6)
    // Averaged: a sum would fit, but equal ranks are no partials.
    let averaged = try plan([1, 2].map { _ in try files.tensor([64, 12], whole.map { $0 / 2 }) })
    #expect(averaged.kind == .replicated)
    #expect(throws: AlignmentError.self) { _ = try plan([try files.tensor([64, 5], Array(noise.prefix(320)))]) }
    #expect(throws: AlignmentError.self) { _ = try plan(columns, rule: .replicated) }
    #expect(throws: AlignmentError.self) { _ = try plan(columns, rule: .unsupported("heads")) }
    #expect(try plan(columns, rule: .concat(axis: -1)).axis == 1)
  }
}
