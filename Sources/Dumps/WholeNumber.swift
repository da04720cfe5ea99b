/// The digits of a whole number in text, as JSON and Python's literals have them: no sign, no leading zero.
struct WholeNumber {
  let value: Int
  /// The place after the last digit.
  let end: Int

  struct Fault: Error {
    let message: String
  }

  init(_ bytes: [UInt8], at start: Int) throws(Fault) {
    var value = 0
    var position = start
    while position < bytes.count, bytes[position].isDigit {
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(Int(bytes[position] - UInt8(ascii: "0")))
      guard !overflow, !carry else { throw Fault(message: "the number is too large") }
      value = sum
      position += 1
    }
    guard position > start else { throw Fault(message: "a whole number should stand here") }
    guard position - start == 1 || bytes[start] != UInt8(ascii: "0") else {
      throw Fault(message: "a number begins with 0")
    }
    self.value = value
    end = position
  }
}
