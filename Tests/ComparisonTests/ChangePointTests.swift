import Foundation
import Testing

@testable import Comparison

@Suite struct ChangePointTests {
  private struct Generator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var value = (state ^ state >> 30) &* 0xBF58_476D_1CE4_E5B9
      value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
      return value ^ value >> 31
    }
  }

  /// A figure with lognormal noise; one night in twenty has three times the noise where `tails` is set.
  private func night(_ level: Double, _ sigma: Double, tails: Bool, _ generator: inout Generator) -> Double {
    let radius = sqrt(-2 * log(Double.random(in: 1e-12..<1, using: &generator)))
    let normal = radius * cos(2 * .pi * Double.random(in: 0..<1, using: &generator))
    let wild = tails && Double.random(in: 0..<1, using: &generator) < 0.05
    return level * exp(sigma * normal * (wild ? 3 : 1))
  }

  @Test(arguments: [0.02, 0.1, 0.3], [6, 10, 30, 60])
  func noiseIsNoStep(sigma: Double, nights: Int) {
    var generator = Generator(state: UInt64(nights))
    var alarms = 0
    for _ in 0..<1000 {
      let values = (0..<nights).map { _ in night(1e-3, sigma, tails: true, &generator) }
      if ChangePoint.find(values) != nil { alarms += 1 }
    }
    #expect(alarms <= 5)
  }

  @Test(arguments: [(0.02, 2.0, 14, 3), (0.02, 2.0, 20, 1), (0.1, 4.0, 30, 1), (0.1, 3.0, 14, 3), (0.02, 0.4, 20, 2)])
  func aStepIsFoundOnItsNight(sigma: Double, factor: Double, before: Int, after: Int) {
    var generator = Generator(state: 7)
    var found = 0
    for _ in 0..<200 {
      let values =
        (0..<before).map { _ in night(1e-3, sigma, tails: false, &generator) }
        + (0..<after).map { _ in night(1e-3 * factor, sigma, tails: false, &generator) }
      if ChangePoint.find(values)?.index == before { found += 1 }
    }
    #expect(found >= 160)
  }

  @Test func aSteadyFigureThatChangesIsFoundAndItsLevelsTold() throws {
    let step = try #require(ChangePoint.find(Array(repeating: 0.001, count: 6) + [0.016, 0.016]))
    #expect(step.index == 6)
    #expect(step.before == 0.001)
    #expect(step.after == 0.016)
    #expect(ChangePoint.find(Array(repeating: 0.001, count: 40)) == nil)
    #expect(ChangePoint.find(Array(repeating: 0, count: 40)) == nil)
  }

  @Test func whatIsNotFiniteIsAStepAndFewNightsAreNot() throws {
    #expect(ChangePoint.find(Array(repeating: 0.001, count: 12) + [.nan])?.index == 12)
    #expect(ChangePoint.find([0.001, 0.001, 0.001, 0.5]) == nil)
    #expect(ChangePoint.find([]) == nil)
  }

  @Test func fromEqualToDifferentIsAStep() throws {
    #expect(ChangePoint.find(Array(repeating: 0, count: 10) + [0.0005, 0.0005])?.index == 10)
  }
}
