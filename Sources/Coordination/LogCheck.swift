import Ledger
import Planning

/// Looks for lines that the job forbids or requires in the gathered logs.
struct LogCheck {
  let rules: LogRules

  /// One sentence for each violation, and for each log that holds none as far as it was kept and may have lost one; none
  /// when the job has no rules.
  func violations(attempts: [AttemptRecord], logs: RunLogs) throws -> [String] {
    guard !rules.forbid.isEmpty || !rules.require.isEmpty else { return [] }
    let forbidden = try rules.forbid.map(LinePattern.init)
    let required = try rules.require.map(LinePattern.init)
    var sentences: [String] = []
    for attempt in attempts {
      let texts = ["stdout.log", "stderr.log"].map { (name: $0, text: logs.text(of: attempt, $0)) }
      let lines = texts.flatMap { ($0.text ?? "").split(whereSeparator: \.isNewline).map(String.init) }
      let gaps = texts.compactMap { name, text in
        if text == nil { return "its \(name) was not gathered" }
        let isCut = logs.isCut(of: attempt, name)
        return isCut ? "of its \(name) only the last \(RunLogs.keptBytes >> 20) MiB were kept" : nil
      }
      for pattern in forbidden {
        let answer = pattern.first(of: lines)
        if case .line(let line) = answer {
          sentences.append("\(attempt.run): its log has the forbidden line \"\(line.prefix(160))\" (\(pattern.text))")
        } else if let gap = answer.gap ?? gaps.first {
          sentences.append(
            "\(attempt.run): whether its log has a forbidden line (\(pattern.text)) is not known: \(gap)")
        }
      }
      for pattern in required {
        switch pattern.first(of: lines) {
        case .line: break
        case .none:
          let gap = gaps.first.map { "; \($0)" } ?? ""
          sentences.append("\(attempt.run): its log lacks the required line (\(pattern.text))\(gap)")
        case .unknown(let gap):
          sentences.append(
            "\(attempt.run): whether its log has the required line (\(pattern.text)) is not known: \(gap)")
        }
      }
    }
    return sentences
  }
}
