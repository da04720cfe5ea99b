/// Checks the form of a cron expression; what it means is the scheduler's business.
enum CronText {
  static let macros = ["@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"]

  private static let fields: [(name: String, range: ClosedRange<Int>, words: [String])] = [
    ("minute", 0...59, []),
    ("hour", 0...23, []),
    ("day of month", 1...31, []),
    ("month", 1...12, ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    ("day of week", 0...7, ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]),
  ]

  /// What is wrong, or nil.
  static func problem(in text: String) -> String? {
    if text.hasPrefix("@") {
      return macros.contains(text)
        ? nil : "unknown cron word \(text.shortened); known are \(macros.joined(separator: ", "))"
    }
    let parts = text.split(whereSeparator: { $0 == " " || $0 == "\t" })
    guard parts.count == fields.count else {
      return "a cron expression has five fields (minute hour day-of-month month day-of-week), this has \(parts.count)"
    }
    for (part, field) in zip(parts, fields) {
      for item in part.split(separator: ",", omittingEmptySubsequences: false) {
        if let problem = problem(in: item, field) {
          return "cron field \(field.name): \(problem)"
        }
      }
    }
    return nil
  }

  private static func problem(
    in item: Substring, _ field: (name: String, range: ClosedRange<Int>, words: [String])
  ) -> String? {
    let halves = item.split(separator: "/", omittingEmptySubsequences: false)
    guard (1...2).contains(halves.count) else { return "\"\(item)\" has more than one /" }
    if halves.count == 2 {
      guard let step = number(halves[1]), step >= 1, step <= field.range.upperBound else {
        return "\"\(item)\" has no step from 1 to \(field.range.upperBound) after the /"
      }
    }
    if halves[0] == "*" { return nil }
    let ends = halves[0].split(separator: "-", omittingEmptySubsequences: false)
    guard (1...2).contains(ends.count) else { return "\"\(item)\" is no range" }
    var values: [Int] = []
    for end in ends {
      let value = number(end) ?? field.words.firstIndex(of: end.lowercased()).map { $0 + (field.range.lowerBound) }
      guard let value, field.range.contains(value) else {
        return "\"\(end)\" is not from \(field.range.lowerBound) to \(field.range.upperBound)"
      }
      values.append(value)
    }
    if values.count == 2, values[0] > values[1] { return "\"\(item)\" runs backwards" }
    if halves.count == 2, ends.count == 1 { return "\"\(item)\" needs a range or * before the /" }
    return nil
  }

  private static func number(_ text: Substring) -> Int? {
    guard (1...2).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return Int(text)
  }
}
