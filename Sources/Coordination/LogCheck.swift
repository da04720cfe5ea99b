import Foundation
import Ledger
import Planning

/// Looks for lines that the job forbids or requires in the gathered logs.
struct LogCheck {
  let rules: LogRules

  /// One sentence for each violation; none when the job has no rules.
  func violations(attempts: [AttemptRecord], logs: RunLogs) throws -> [String] {
    guard !rules.forbid.isEmpty || !rules.require.isEmpty else { return [] }
    let forbidden = try rules.forbid.map { ($0, try NSRegularExpression(pattern: $0)) }
    let required = try rules.require.map { ($0, try NSRegularExpression(pattern: $0)) }
    var sentences: [String] = []
    for attempt in attempts {
      let lines = ["stdout.log", "stderr.log"].flatMap { name in
        (logs.text(of: attempt, name) ?? "").split(whereSeparator: \.isNewline).map(String.init)
      }
      func first(_ expression: NSRegularExpression) -> String? {
        lines.first { expression.firstMatch(in: $0, range: NSRange($0.startIndex..., in: $0)) != nil }
      }
      for (pattern, expression) in forbidden {
        if let line = first(expression) {
          sentences.append("\(attempt.run): its log has the forbidden line \"\(line.prefix(160))\" (\(pattern))")
        }
      }
      for (pattern, expression) in required where first(expression) == nil {
        sentences.append("\(attempt.run): its log lacks the required line (\(pattern))")
      }
    }
    return sentences
  }
}
