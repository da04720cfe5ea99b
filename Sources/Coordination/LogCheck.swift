import Foundation
import Ledger
import Planning

/// Looks for lines that the job forbids or requires in the gathered logs.
struct LogCheck {
  let rules: LogRules

  /// One sentence for each violation, and for each log that holds none as far as it was kept and may have lost one; none
  /// when the job has no rules.
  func violations(attempts: [AttemptRecord], logs: RunLogs) throws -> [String] {
    guard !rules.forbid.isEmpty || !rules.require.isEmpty else { return [] }
    let forbidden = try rules.forbid.map { ($0, try NSRegularExpression(pattern: $0)) }
    let required = try rules.require.map { ($0, try NSRegularExpression(pattern: $0)) }
    var sentences: [String] = []
    for attempt in attempts {
      let texts = ["stdout.log", "stderr.log"].map { (name: $0, text: logs.text(of: attempt, $0)) }
      let lines = texts.flatMap { ($0.text ?? "").split(whereSeparator: \.isNewline).map(String.init) }
      let gaps = texts.compactMap { name, text in
        if text == nil { return "its \(name) was not gathered" }
        let isCut = logs.isCut(of: attempt, name)
        return isCut ? "of its \(name) only the last \(RunLogs.keptBytes >> 20) MiB were kept" : nil
      }
      func first(_ expression: NSRegularExpression) -> String? {
        lines.first { expression.firstMatch(in: $0, range: NSRange($0.startIndex..., in: $0)) != nil }
      }
      for (pattern, expression) in forbidden {
        if let line = first(expression) {
          sentences.append("\(attempt.run): its log has the forbidden line \"\(line.prefix(160))\" (\(pattern))")
        } else if let gap = gaps.first {
          sentences.append("\(attempt.run): whether its log has a forbidden line (\(pattern)) is not known: \(gap)")
        }
      }
      for (pattern, expression) in required where first(expression) == nil {
        let gap = gaps.first.map { "; \($0)" } ?? ""
        sentences.append("\(attempt.run): its log lacks the required line (\(pattern))\(gap)")
      }
    }
    return sentences
  }
}
