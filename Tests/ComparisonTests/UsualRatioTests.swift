import Comparison
import TestSupport
import Testing

@Suite("The usual ratio")
struct UsualRatioTests {
  /// Values of both sides: a common signal, noise of each side, and what is done to the target's.
  private func middle(
    noise: (target: Double, reference: Double), of count: Int = 8192, _ change: (Int, Double) -> Double = { $1 }
  ) -> Double? {
    var random = SplitMix64(seed: 7)
    func normal() -> Double { (0..<12).reduce(-6) { sum, _ in sum + Double.random(in: 0..<1, using: &random) } }
    let signal = (0..<count).map { _ in normal() }
    return UsualRatio.of(
      target: signal.enumerated().map { change($0.offset, $0.element) + noise.target * normal() },
      reference: signal.map { $0 + noise.reference * normal() })
  }

  @Test("noise moves it by no more than the square of the noise", arguments: [0.005, 0.03, 0.1])
  func noise(_ size: Double) throws {
    for noise in [(size, size), (size, 0), (0, size)] {
      let ratio = try #require(middle(noise: noise))
      #expect(abs(ratio - 1) < 0x1p-9 + size * size)
      #expect(abs(try #require(middle(noise: noise) { 1.02 * $1 }) - 1.02) < 0x1p-9 + size * size)
    }
  }

  @Test("a few channels that are off are not most, and a handful of values says nothing")
  func few() throws {
    let channels = try #require(middle(noise: (0.01, 0.01)) { $0 % 128 < 8 ? 1000 + 8 : $1 })
    #expect(abs(channels - 1) < 0x1p-9)
    #expect(middle(noise: (0, 0), of: 200) == nil)
  }
}
