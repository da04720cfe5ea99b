import Comparison
import Diagnosis

extension ComparisonReport {
  /// The comparison for a pull request: the answer first, rows and coverage folded.
  public func markdown() -> String {
    var lines = ["**\(verdict.word)** \(Markdown.escape(sentence))", ""]
    lines.append(
      "Target \(Markdown.escape(target.title)) (world size \(target.worldSize)) against reference "
        + "\(Markdown.escape(reference.title)) (world size \(reference.worldSize)).")
    lines.append("")
    lines += findings.flatMap { $0.markdownLines(seenIn: nil) }
    lines += markdownDetails(title: "Rows and coverage")
    return lines.joined(separator: "\n") + "\n"
  }

  /// Rows and coverage behind one summary; `title` is taken as it stands.
  func markdownDetails(title: String) -> [String] {
    let digest = RowDigest(self, limit: 30)
    let rows = digest.rows.map { row in
      [
        row.layer.map(String.init) ?? "–", Markdown.escape(row.stage), Markdown.escape(row.tensor),
        row.verdict.word, Figures.cosine(row.measures?.cos),
        Figures.short(row.measures?.rel), Figures.short(row.measures?.relL2), Figures.short(row.measures?.alpha),
        Figures.short(row.floor),
      ]
    }
    var lines: [String] = []
    if !rows.isEmpty {
      lines += Markdown.table(
        ["layer", "stage", "tensor", "verdict", "cos", "rel", "rel_l2", "alpha", "floor"], rightFrom: 4, rows)
      lines.append("")
    }
    for text in [digest.hiddenText, digest.restText].compactMap({ $0 }) {
      lines += [Markdown.escape(text) + ".", ""]
    }
    lines += coverageLines.prefix(20).map { "- \(Markdown.escape($0))" }
    if coverageLines.count > 20 { lines.append("- and \(coverageLines.count - 20) more, in the JSON record") }
    lines += notes.map { "- \(Markdown.escape($0))" }
    return Markdown.details(title, lines)
  }
}

extension Finding {
  func markdownLines(seenIn: String?) -> [String] {
    var lines = ["- **\(Markdown.escape(heading))**: \(Markdown.escape(summary))"]
    if !evidenceText.isEmpty { lines.append("  - evidence: \(Markdown.escape(evidenceText))") }
    lines.append("  - next: \(Markdown.escape(next))")
    if let seenIn { lines.append("  - in: \(Markdown.escape(seenIn))") }
    return lines + [""]
  }
}
