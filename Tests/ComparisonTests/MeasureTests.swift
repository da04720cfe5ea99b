import Comparison
import Dumps
import Foundation
import TestSupport
import Testing

@Suite("Measures")
struct MeasureTests {
  private func measures(_ a: [Double], _ b: [Double], shape: [Int], block: Int = 1000) -> Measures {
    var accumulator = MeasureAccumulator(shape: shape, valuesPerElement: 1)
    for start in stride(from: 0, to: a.count, by: block) {
      let end = min(start + block, a.count)
      accumulator.add(target: Array(a[start..<end]), reference: Array(b[start..<end]))
    }
    accumulator.addBytes(unequal: 1, of: 2)
    return accumulator.measures
  }

  private func values(_ count: Int, _ seed: UInt64) -> [Double] {
    var state = seed
    return (0..<count).map { _ in
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Double(Int64(bitPattern: state) >> 20) / 1e12
    }
  }

  @Test(
    "integers that doubles cannot tell apart are not equal",
    arguments: [(1 << 53, 1 << 53 + 1), (1 << 60, 1 << 60 + 77), (-(1 << 62), -(1 << 62) + 1)])
  func largeIntegers(_ target: Int, _ reference: Int) {
    for type in [DType.int64, .uint64] {
      var whole = MeasureAccumulator(shape: [4], valuesPerElement: 1)
      func bytes(_ value: Int) -> [UInt8] { [7, 7, value, 7].flatMap { withUnsafeBytes(of: $0, Array.init) } }
      let areSame = whole.add(type, target: bytes(target), reference: bytes(reference))
      #expect(!areSame)
      #expect(!whole.measures.isEqual)
      #expect(whole.measures.maxAbs >= 1)
      var same = MeasureAccumulator(shape: [4], valuesPerElement: 1)
      same.add(type, target: bytes(target), reference: bytes(target))
      #expect(same.measures.isEqual)
      // Merged as of several threads, too.
      var merged = MeasureAccumulator(shape: [4], valuesPerElement: 1)
      merged.merge(whole)
      #expect(!merged.measures.isEqual)
    }
  }

  @Test("a batch of one has the rows of its tokens", arguments: [[1, 37, 53], [1, 1, 37, 53], [37, 53]])
  func batchOfOne(shape: [Int]) {
    let b = values(37 * 53, 1)
    var a = b
    a[5 * 53 + 3] = -a[5 * 53 + 3]
    let found = measures(a, b, shape: shape)
    #expect(found.tokenRelL2.count == 37 && found.tokenRelL2.filter { $0 > 0 }.count == 1)
    #expect(found.worstToken?.index == 5)
  }

  @Test("of more rows than are kept the worst is, however they are cut")
  func manyRows() throws {
    let (length, wrong) = (32, 700_001)
    let shape = [MeasureAccumulator.rowLimit + 3, length]
    var whole = MeasureAccumulator(shape: shape, valuesPerElement: 1)
    var merged = whole
    for chunk in MeasureAccumulator.chunks(shape: shape, valuesPerElement: 1) {
      // Of ones, in bfloat16.
      var words = Array(repeating: UInt16(0x3F80), count: chunk.count)
      // A row of almost nothing is further off against itself, and no part of anything.
      func set(_ row: Int, _ word: UInt16) {
        guard chunk.contains(row * length) else { return }
        for place in 0..<length { words[row * length - chunk.lowerBound + place] = word }
      }
      set(9, 0x3080)
      let reference = words.withUnsafeBytes { Array($0) }
      set(9, 0x3180)
      set(wrong, 0xBF80)
      let target = words.withUnsafeBytes { Array($0) }
      var part = MeasureAccumulator(shape: shape, valuesPerElement: 1, startingAt: chunk.lowerBound)
      part.add(.bfloat16, target: target, reference: reference)
      whole.add(.bfloat16, target: target, reference: reference)
      merged.merge(part)
    }
    for found in [whole.measures, merged.measures] {
      #expect(found.tokenRelL2.isEmpty && found.elementCount == shape[0] * length)
      let worst = try #require(found.worstToken)
      #expect(worst.index == wrong && abs(worst.relL2 - 2) < 1e-9 && abs(worst.cos + 1) < 1e-9, "\(worst)")
    }
  }

  @Test("agree with PyTorch in double precision to 1e-12")
  func torch() async throws {
    let shape = [37, 53]
    let b = values(37 * 53, 1)
    var a = zip(b, values(37 * 53, 2)).map { $0 + 0.01 * $1 }
    for index in stride(from: 0, to: a.count, by: 7) { a[index] = b[index] }
    let ours = measures(a, b, shape: shape, block: 100)
    let code = """
      import sys, json, torch
      a, b = (torch.tensor(x, dtype=torch.float64) for x in json.load(sys.stdin))
      d = a - b
      al = (a @ b / (b @ b))
      by_row = [x.reshape(37, 53) for x in (a, b)]
      rows = (by_row[0] - by_row[1]).norm(dim=1) / by_row[1].norm(dim=1)
      worst = [x[rows.argmax()] for x in by_row]
      cos = worst[0] @ worst[1] / worst[0].norm() / worst[1].norm()
      out = [a @ b / a.norm() / b.norm(), d.abs().max(), d.abs().max() / b.abs().max(), d.norm() / b.norm(), al,
             (a - al * b).norm() / a.norm(), a.norm() / b.norm(), 1 - 2 * (a @ b) / (a @ a + b @ b), rows.max()]
      print(json.dumps([float(x) for x in out + [d.abs().mean()]]
                       + [int(rows.argmax()), int(d.abs().argmax()), int((a != b).sum()), float(cos)]
                       + (by_row[0] != by_row[1]).nonzero()[0].tolist() + rows.tolist()))
      """
    let input = String(decoding: try JSONEncoder().encode([a, b]), as: UTF8.self)
    let output = try await runPython(code, input: input).output
    let theirs = try JSONDecoder().decode([Double].self, from: Data(output.utf8))
    let token = try #require(ours.worstToken)
    let figures = [
      ours.cos, ours.maxAbs, ours.rel, ours.relL2, ours.alpha, ours.residual, ours.normRatio, ours.sglangRel,
      token.relL2, ours.meanAbs,
    ]
    // sglangRel and the residual are differences of nearly equal numbers: fewer digits are there to agree.
    for (index, (mine, other)) in zip(figures, theirs).enumerated() {
      #expect(abs(mine - other) <= ([5, 7].contains(index) ? 1e-10 : 1e-12) * abs(other), "figure \(index)")
    }
    #expect(token.index == Int(theirs[10]))
    #expect(ours.unequalElements == Int(theirs[12]))
    #expect(ours.worstCoordinate == [Int(theirs[11]) / 53, Int(theirs[11]) % 53])
    #expect(abs(token.cos - theirs[13]) <= 1e-12)
    #expect(ours.firstCoordinate == [Int(theirs[14]), Int(theirs[15])])
    #expect(ours.tokenRelL2.count == 37 && theirs.count == 16 + 37)
    for (row, (mine, other)) in zip(ours.tokenRelL2, theirs[16...]).enumerated() {
      #expect(abs(mine - other) <= 1e-12 * other, "row \(row)")
    }
  }

  @Test(
    "the first element that differs, wherever chunks and blocks end", arguments: [0, 1, 999_999, 2_097_151, 2_999_999])
  func first(place: Int) throws {
    let shape = [3, 1_000_000]
    let count = shape[0] * shape[1]
    let reference = [UInt8](repeating: 1, count: 2 * count)
    var target = reference
    // Of a bfloat16 either byte may differ.
    target[2 * place + place % 2] ^= 64
    for later in [place + 1, 2_999_999] where later > place && later < count { target[2 * later] ^= 1 }
    let chunks = MeasureAccumulator.chunks(shape: shape, valuesPerElement: 1)
    try #require(chunks.count > 2)
    var whole = MeasureAccumulator(shape: shape, valuesPerElement: 1)
    for chunk in chunks {
      var part = MeasureAccumulator(shape: shape, valuesPerElement: 1, startingAt: chunk.lowerBound)
      for start in stride(from: chunk.lowerBound, to: chunk.upperBound, by: 65_537) {
        let bytes = (2 * start)..<(2 * min(start + 65_537, chunk.upperBound))
        part.add(.bfloat16, target: Array(target[bytes]), reference: Array(reference[bytes]))
      }
      whole.merge(part)
    }
    let coordinate = [place / shape[1], place % shape[1]]
    #expect(whole.measures.firstCoordinate == coordinate)
    var atOnce = MeasureAccumulator(shape: shape, valuesPerElement: 1)
    atOnce.add(.bfloat16, target: target, reference: reference)
    #expect(atOnce.measures.firstCoordinate == coordinate)
    // As packed nibbles and as complex numbers an element is another number of values.
    for (dtype, values) in [(DType.float4E2M1FNx2, 2), (.complex64, 2)] {
      let elements = 2 * count / dtype.byteCount
      var accumulator = MeasureAccumulator(shape: [elements], valuesPerElement: values)
      accumulator.add(dtype, target: target, reference: reference)
      #expect(accumulator.measures.firstCoordinate == [(2 * place + place % 2) / dtype.byteCount])
    }
    var same = MeasureAccumulator(shape: shape, valuesPerElement: 1)
    same.add(.bfloat16, target: reference, reference: reference)
    #expect(same.measures.firstCoordinate == nil)
  }

  @Test("blocks of any size give the same bits", arguments: [1, 5, 8, 64, 333])
  func blocks(size: Int) {
    let a = values(40 * 21, 3)
    let b = values(40 * 21, 4)
    #expect(measures(a, b, shape: [40, 21], block: size) == measures(a, b, shape: [40, 21]))
  }

  @Test("what is not finite is counted and leaves no figure")
  func nonfinite() {
    var a = values(64, 5)
    let b = a
    a[9] = .nan
    a[30] = .infinity
    let result = measures(a, b, shape: [8, 8])
    #expect(result.nonfiniteTarget == 2 && result.nonfiniteReference == 0)
    #expect(result.cos.isNaN && result.maxAbs.isNaN && result.relL2.isNaN && result.alpha.isNaN)
    #expect(result.worstToken?.index == 1)
  }

  @Test("zeros on both sides are equal and have no cosine")
  func zeros() {
    let result = measures(Array(repeating: 0, count: 12), Array(repeating: 0, count: 12), shape: [3, 4])
    #expect(result.cos.isNaN && result.relL2 == 0 && result.maxAbs == 0 && result.isEqual)
  }
}
