/// A cron expression of five fields: minute, hour, day of month, month, day of week.
///
/// Each field is `*`, a number, a range `a-b`, a list of these, each but a lone number with a step `/n`. Months and days
/// of the week may be named by three letters; Sunday is 0 and 7. Where both days are restricted, either will do, as in
/// POSIX `crontab`. `@hourly`, `@daily` (`@midnight`), `@weekly`, `@monthly` and `@yearly` (`@annually`) stand for their
/// usual five fields.
public struct CronExpression: Sendable, Hashable {
  /// Bit n: the value n is meant.
  public let minutes: UInt64
  public let hours: UInt64
  public let days: UInt64
  public let months: UInt64
  /// Bit 0 is Sunday.
  public let weekdays: UInt64
  /// Both days are restricted: either will do.
  public let eitherDay: Bool

  public struct Problem: Error, Hashable, Sendable {
    public let message: String

    public init(message: String) { self.message = message }
  }

  private struct Field {
    let name: String
    let range: ClosedRange<Int>
    var words: [String] = []
  }

  private static let fields = [
    Field(name: "minute", range: 0...59),
    Field(name: "hour", range: 0...23),
    Field(name: "day of month", range: 1...31),
    Field(
      name: "month", range: 1...12,
      words: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    Field(name: "day of week", range: 0...7, words: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
  ]

  private static let macros: KeyValuePairs = [
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
  ]

  /// - Throws: `Problem` with what is wrong.
  public init(_ text: String) throws(Problem) {
    let macro = Self.macros.first { $0.key == text }?.value
    if text.hasPrefix("@"), macro == nil {
      let known = Self.macros.map(\.key).joined(separator: ", ")
      throw Problem(message: "unknown cron word \(text.shortened); known are \(known)")
    }
    let parts = (macro ?? text).split(whereSeparator: { $0 == " " || $0 == "\t" })
    guard parts.count == Self.fields.count else {
      throw Problem(
        message:
          "a cron expression has five fields (minute hour day-of-month month day-of-week), this has \(parts.count)")
    }
    var sets: [UInt64] = []
    for (part, field) in zip(parts, Self.fields) {
      var bits: UInt64 = 0
      for item in part.split(separator: ",", omittingEmptySubsequences: false) {
        bits |= try Self.bits(of: item, field)
      }
      sets.append(bits)
    }
    minutes = sets[0]
    hours = sets[1]
    days = sets[2]
    months = sets[3]
    weekdays = (sets[4] | sets[4] >> 7) & 0x7F
    eitherDay = !parts[2].hasPrefix("*") && !parts[4].hasPrefix("*")
  }

  /// Whether the expression means this day. Weekday 0 is Sunday.
  public func includes(month: Int, day: Int, weekday: Int) -> Bool {
    guard months >> month & 1 == 1 else { return false }
    let isDay = days >> day & 1 == 1
    let isWeekday = weekdays >> weekday & 1 == 1
    return eitherDay ? isDay || isWeekday : isDay && isWeekday
  }

  private static func bits(of item: Substring, _ field: Field) throws(Problem) -> UInt64 {
    func problem(_ text: String) -> Problem { Problem(message: "cron field \(field.name): \(text)") }
    let halves = item.split(separator: "/", omittingEmptySubsequences: false)
    guard (1...2).contains(halves.count) else { throw problem("\"\(item)\" has more than one /") }
    var step = 1
    if halves.count == 2 {
      guard let number = number(halves[1]), number >= 1, number <= field.range.upperBound else {
        throw problem("\"\(item)\" has no step from 1 to \(field.range.upperBound) after the /")
      }
      step = number
    }
    var range = field.range
    if halves[0] != "*" {
      let ends = halves[0].split(separator: "-", omittingEmptySubsequences: false)
      guard (1...2).contains(ends.count) else { throw problem("\"\(item)\" is no range") }
      var values: [Int] = []
      for end in ends {
        let value = number(end) ?? field.words.firstIndex(of: end.lowercased()).map { $0 + field.range.lowerBound }
        guard let value, field.range.contains(value) else {
          throw problem("\"\(end)\" is not from \(field.range.lowerBound) to \(field.range.upperBound)")
        }
        values.append(value)
      }
      guard values[0] <= values[values.count - 1] else { throw problem("\"\(item)\" runs backwards") }
      guard halves.count == 1 || ends.count == 2 else { throw problem("\"\(item)\" needs a range or * before the /") }
      range = values[0]...values[values.count - 1]
    }
    return stride(from: range.lowerBound, through: range.upperBound, by: step).reduce(0) { $0 | 1 << UInt64($1) }
  }

  private static func number(_ text: Substring) -> Int? {
    guard (1...2).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return Int(text)
  }
}
