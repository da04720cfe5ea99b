import Comparison
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
      rows = (d.reshape(37, 53).norm(dim=1) / b.reshape(37, 53).norm(dim=1))
      out = [a @ b / a.norm() / b.norm(), d.abs().max(), d.abs().max() / b.abs().max(), d.norm() / b.norm(), al,
             (a - al * b).norm() / a.norm(), a.norm() / b.norm(), 1 - 2 * (a @ b) / (a @ a + b @ b), rows.max()]
      print(json.dumps([float(x) for x in out + [d.abs().mean()]]
                       + [int(rows.argmax()), int(d.abs().argmax()), int((a != b).sum())]))
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
