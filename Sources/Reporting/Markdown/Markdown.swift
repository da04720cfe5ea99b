/// Text of others inside GitHub's Markdown, which also takes HTML.
enum Markdown {
  /// Inline text: marks of Markdown, pipes and HTML stand as themselves; one line.
  static func escape(_ text: String) -> String {
    var result = ""
    for character in Plain.line(text) {
      switch character {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "|", "`", "*", "_", "[", "]", "\\", "~", "#", "!", "$": result += "\\\(character)"
      // A zero-width space keeps a name from calling a person.
      case "@": result += "@\u{200B}"
      default: result.append(character)
      }
    }
    return result
  }

  /// A fenced block whose fence is longer than any run of backticks inside.
  static func fence(_ text: String) -> String {
    let clean = Plain.block(text)
    var longest = 0
    var current = 0
    for character in clean {
      current = character == "`" ? current + 1 : 0
      longest = max(longest, current)
    }
    let mark = String(repeating: "`", count: max(3, longest + 1))
    return "\(mark)text\n\(clean)\n\(mark)"
  }

  static func row(_ cells: [String]) -> String { "| \(cells.joined(separator: " | ")) |" }

  static func table(_ titles: [String], rightFrom: Int = .max, _ rows: [[String]]) -> [String] {
    let rule = titles.indices.map { $0 >= rightFrom ? "---:" : "---" }
    return [row(titles), row(rule)] + rows.map(row)
  }

  /// `lines` behind a summary that a reader opens.
  static func details(_ summary: String, _ lines: [String]) -> [String] {
    ["<details>", "<summary>\(summary)</summary>", ""] + lines + ["", "</details>", ""]
  }
}
