/// A table for a terminal: columns as wide as their widest cell, two spaces between, no rules.
struct Table {
  enum Alignment {
    case left
    case right
  }

  struct Column {
    var title: String
    var alignment: Alignment

    init(_ title: String, _ alignment: Alignment = .left) {
      self.title = title
      self.alignment = alignment
    }
  }

  struct Cell: ExpressibleByStringLiteral {
    var text: String
    var ink: Style.Ink?

    init(_ text: String, _ ink: Style.Ink? = nil) {
      self.text = Plain.line(text)
      self.ink = ink
    }

    init(stringLiteral value: String) { self.init(value) }
  }

  var columns: [Column]
  var rows: [[Cell]] = []

  /// Lines without trailing blanks; columns without any content are left out, and wide left-aligned ones are cut
  /// with an ellipsis until the table fits (never below 8).
  func lines(_ style: Style) -> [String] {
    let used = columns.indices.filter { index in rows.contains { !$0[index].text.isEmpty } }
    var widths = used.map { index in
      rows.reduce(columns[index].title.count) { max($0, $1[index].text.count) }
    }
    fit(&widths, used, style.width)
    var result = [
      line(used.map { Cell(columns[$0].title, .dim) }, used, widths, style)
    ]
    for row in rows { result.append(line(used.map { row[$0] }, used, widths, style)) }
    return result
  }

  private func fit(_ widths: inout [Int], _ used: [Int], _ limit: Int) {
    var total = widths.reduce(0, +) + 2 * max(0, widths.count - 1)
    while total > limit {
      let candidates = widths.indices.filter { columns[used[$0]].alignment == .left && widths[$0] > 8 }
      guard let widest = candidates.max(by: { widths[$0] < widths[$1] }) else { return }
      // Down to the second widest in one go.
      let second = candidates.filter { $0 != widest }.map { widths[$0] }.max() ?? 8
      let cut = min(total - limit, max(1, widths[widest] - max(8, second)))
      widths[widest] -= cut
      total -= cut
    }
  }

  private func line(_ cells: [Cell], _ used: [Int], _ widths: [Int], _ style: Style) -> String {
    var line = ""
    for (position, cell) in cells.enumerated() {
      var text = cell.text
      if text.count > widths[position] { text = text.prefix(widths[position] - 1) + "…" }
      let padding = String(repeating: " ", count: widths[position] - text.count)
      let painted = style.paint(text, cell.ink)
      if position > 0 { line += "  " }
      if columns[used[position]].alignment == .right {
        line += padding + painted
      } else {
        line += position == cells.count - 1 ? painted : painted + padding
      }
    }
    while line.last == " " { line.removeLast() }
    return line
  }
}
