import Foundation

/// A job's regular expression over the lines of a log. The engine may give up on a line, and may need longer than
/// anyone waits: neither says that the line does not match.
struct LinePattern {
  enum Answer: Equatable {
    case line(String)
    case none
    /// Why, where no line matches as far as lines were looked at.
    case unknown(String)

    var gap: String? { if case .unknown(let why) = self { why } else { nil } }
  }

  let text: String
  private let expression: NSRegularExpression

  /// For one line, and for all of them: a pattern that begins with `.*` needs half a minute for the longest logs kept.
  private static let lineLimit = Duration.seconds(2)
  private static let limit = Duration.seconds(60)

  init(_ text: String) throws {
    self.text = text
    expression = try NSRegularExpression(pattern: text)
  }

  /// The first line that matches.
  func first(of lines: [String]) -> Answer {
    let clock = ContinuousClock()
    let end = clock.now + Self.limit
    var unknown: String?
    for line in lines {
      let lineEnd = min(clock.now + Self.lineLimit, end)
      var isFound = false
      var isLate = false
      expression.enumerateMatches(
        in: line, options: [.reportProgress, .reportCompletion], range: NSRange(line.startIndex..., in: line)
      ) { match, flags, stop in
        if match != nil {
          isFound = true
        } else if flags.contains(.internalError) {
          unknown = "the pattern is too much work on the line \"\(line.prefix(80))\""
        } else if clock.now >= lineEnd {
          isLate = true
        }
        if isFound || isLate { stop.pointee = true }
      }
      if isFound { return .line(line) }
      if isLate { return .unknown("the pattern takes too long, by the line \"\(line.prefix(80))\"") }
    }
    return unknown.map(Answer.unknown) ?? Answer.none
  }
}
