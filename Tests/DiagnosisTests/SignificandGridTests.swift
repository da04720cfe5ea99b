import Diagnosis
import TestSupport
import Testing

/// Values that were rounded to eight bits show it by themselves.
@Suite struct SignificandGridTests {
  private static let rowLength = 128

  private func normal(_ count: Int, seed: UInt64) -> [Double] {
    var random = SplitMix64(seed: seed)
    return (0..<count).map { _ in
      (0..<12).reduce(-6.0) { sum, _ in sum + Double.random(in: 0..<1, using: &random) }
    }
  }

  /// Rounded to so many significant bits.
  private func rounded(_ value: Double, bits: Int) -> Double {
    guard value != 0 else { return 0 }
    let unit = Double(sign: .plus, exponent: value.exponent - (bits - 1), significand: 1)
    return (value / unit).rounded(.toNearestOrEven) * unit
  }

  @Test("float8 under any scale for each block, stored as bfloat16 again", arguments: [32, 64, 128])
  func quantised(block: Int) throws {
    let values = normal(8 * Self.rowLength, seed: 3)
    var random = SplitMix64(seed: 4)
    var scales: [Int: Double] = [:]
    let stored = values.enumerated().map { index, value in
      let scale = scales[index / block] ?? Double.random(in: 0.001...0.1, using: &random)
      scales[index / block] = scale
      return rounded(rounded(value / scale, bits: 4) * scale, bits: 8)
    }
    let grid = try #require(SignificandGrid(stored, rowLength: Self.rowLength))
    #expect(grid.isCoarse, "\(grid)")
    let plain = try #require(SignificandGrid(values.map { rounded($0, bits: 8) }, rowLength: Self.rowLength))
    #expect(plain.isFine, "\(plain)")
    let grids = SideGrids(reference: plain, target: grid)
    #expect(grids.differ && grids.why.contains("target's values"))
    #expect(!SideGrids(reference: grid, target: grid).differ)
  }

  @Test("mostly zeros, and rows shorter than a run, say nothing")
  func open() {
    let values = normal(8 * Self.rowLength, seed: 5)
    #expect(SignificandGrid(values, rowLength: 16) == nil)
    let sparse = values.enumerated().map { $0.offset % 4 == 0 ? $0.element : 0 }
    #expect(SignificandGrid(sparse, rowLength: Self.rowLength) == nil)
  }
}
