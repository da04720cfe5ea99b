/// Seconds since 1970 as RFC 3339 text in UTC, to the millisecond (`2026-03-29T01:30:00.250Z`).
enum Timestamp {
  /// nil where the instant is not a number or lies outside the years 1 to 9999.
  static func text(_ seconds: Double) -> String? {
    let milliseconds = (seconds * 1000).rounded()
    // 0001-01-01 and 10000-01-01 in milliseconds since 1970.
    guard milliseconds >= -62_135_596_800_000, milliseconds < 253_402_300_800_000 else { return nil }
    let total = Int(milliseconds)
    let day = floorDivide(total, 86_400_000)
    let rest = total - day * 86_400_000
    let date = civil(day)
    let clock = "\(pad(rest / 3_600_000, 2)):\(pad(rest / 60_000 % 60, 2)):\(pad(rest / 1000 % 60, 2))"
    return "\(pad(date.year, 4))-\(pad(date.month, 2))-\(pad(date.day, 2))T\(clock).\(pad(rest % 1000, 3))Z"
  }

  /// Reads what ``text(_:)`` writes, with 0 to 9 digits of fraction; nil for anything else.
  static func seconds(_ text: String) -> Double? {
    let bytes = Array(text.utf8)
    guard bytes.count >= 20, bytes.count <= 30, bytes.last == UInt8(ascii: "Z") else { return nil }
    for (index, mark) in [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":")] where bytes[index] != mark.utf8.first {
      return nil
    }
    guard let year = digits(bytes[0..<4]), let month = digits(bytes[5..<7]), let day = digits(bytes[8..<10]),
      let hour = digits(bytes[11..<13]), let minute = digits(bytes[14..<16]), let second = digits(bytes[17..<19]),
      year >= 1, (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60, second < 60
    else { return nil }
    let count = days(year: year, month: month, day: day)
    guard civil(count).day == day else { return nil }
    var milliseconds = (count * 86_400 + hour * 3600 + minute * 60 + second) * 1000
    let fraction = bytes[19..<(bytes.count - 1)]
    if let point = fraction.first {
      guard point == UInt8(ascii: "."), fraction.count > 1, digits(fraction.dropFirst()) != nil else { return nil }
      let three = (Array(fraction.dropFirst()) + [0x30, 0x30, 0x30]).prefix(3)
      milliseconds += digits(three) ?? 0
    }
    return Double(milliseconds) / 1000
  }

  private static func digits(_ bytes: ArraySlice<UInt8>) -> Int? {
    var value = 0
    for byte in bytes {
      guard (0x30...0x39).contains(byte) else { return nil }
      value = value * 10 + Int(byte - 0x30)
    }
    return value
  }

  private static func pad(_ value: Int, _ width: Int) -> String {
    let text = String(value)
    return String(repeating: "0", count: max(0, width - text.count)) + text
  }

  private static func floorDivide(_ value: Int, _ divisor: Int) -> Int {
    (value - (value % divisor + divisor) % divisor) / divisor
  }

  /// Days before the given year of the proleptic Gregorian calendar, counted from 0001-01-01.
  private static func daysBefore(year: Int) -> Int {
    let past = year - 1
    return past * 365 + past / 4 - past / 100 + past / 400
  }

  private static let epoch = 719_162  // 1970-01-01 counted from 0001-01-01

  private static func monthLengths(_ year: Int) -> [Int] {
    let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    return [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
  }

  private static func days(year: Int, month: Int, day: Int) -> Int {
    daysBefore(year: year) + monthLengths(year).prefix(month - 1).reduce(0, +) + day - 1 - epoch
  }

  private static func civil(_ daysSince1970: Int) -> (year: Int, month: Int, day: Int) {
    let count = daysSince1970 + epoch
    var year = count / 366 + 1
    while daysBefore(year: year + 1) <= count { year += 1 }
    var rest = count - daysBefore(year: year)
    var month = 1
    for length in monthLengths(year) {
      if rest < length { break }
      rest -= length
      month += 1
    }
    return (year, month, rest + 1)
  }
}
