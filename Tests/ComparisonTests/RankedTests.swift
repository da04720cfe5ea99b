import Testing

@testable import Comparison

@Suite("The value of a rank")
struct RankedTests {
  @Test("is that of the sorted values")
  func sorted() {
    var random = SystemRandomNumberGenerator()
    for count in 1...200 {
      // Few numbers and many, in order and not.
      let most = Double(Int.random(in: 1...count, using: &random))
      var values = (0..<count).map { _ in Double.random(in: 0...most, using: &random).rounded() }
      if count % 3 == 0 { values.sort() }
      if count % 3 == 1 { values.sort(by: >) }
      let sorted = values.sorted()
      for rank in Set([0, count / 3, count / 2, count - 1]) {
        #expect(values.ranked(rank) == sorted[rank], "\(values)")
      }
    }
  }

  @Test("NaN stands last")
  func nan() {
    let values = [3, .nan, 1, .infinity, .nan, 2]
    #expect((0..<6).map { values.ranked($0) }[..<4] == [1, 2, 3, .infinity])
    #expect(values.ranked(4).isNaN && values.ranked(5).isNaN && [Double]().ranked(0).isNaN)
  }
}
