import Comparison
import Diagnosis

extension SweepReport {
  /// The sweep for a pull request: short, with pairs and logs folded, below GitHub's limit of 65,536 characters
  /// for a comment. What had to be left out is counted.
  public func markdown() -> String {
    var lines = ["### Rollcall: \(verdict.word), \(Markdown.escape(job))", "", Markdown.escape(sentence), ""]
    if let firstAxisValue {
      let value = "\(firstAxisValue.axis)=\(firstAxisValue.value)"
      lines += ["First axis value that breaks: **\(Markdown.escape(value))**", ""]
    }
    lines += markdownMatrix + [""]
    if pairs.isEmpty { lines += ["No pair was compared.", ""] }
    let digests = FindingDigest.collect(self)
    lines += digests.prefix(10).flatMap { $0.finding.markdownLines(seenIn: $0.seenIn) }
    if digests.count > 10 { lines += ["- and \(digests.count - 10) more findings, in the full report", ""] }

    var size = lines.map(\.utf16.count).saturatingSum
    var hidden = 0
    for block in foldedBlocks {
      let length = block.map { $0.utf16.count + 1 }.saturatingSum
      if size + length > 58_000 {
        hidden += 1
        continue
      }
      size += length
      lines += block
    }
    if hidden > 0 { lines += ["\(Figures.count(hidden, "section")) left out for length: see the HTML report.", ""] }
    lines += notes.map { "- \(Markdown.escape($0))" }
    lines.append("<sub>sweep \(Markdown.escape(id)), \(Figures.time(started))</sub>")
    return lines.joined(separator: "\n") + "\n"
  }

  private var markdownMatrix: [String] {
    let names = axes.isEmpty ? ["cell"] : axes
    let shown = cells.prefix(100)
    let rows = shown.map { cell in
      let values = axes.isEmpty ? [cell.label] : axes.map { cell.value(of: $0) ?? "–" }
      let tail = [cell.state, cell.verdictWord, firstDivergence(of: cell) ?? ""]
      return (values + tail).map(Markdown.escape)
    }
    let table = Markdown.table(
      names.map(Markdown.escape) + ["state", "verdict", "first divergence"], Array(rows))
    return cells.count > 100 ? table + ["", "and \(cells.count - 100) more cells"] : table
  }

  /// Failed runs, then pairs: FAIL first, PASS last.
  private var foldedBlocks: [[String]] {
    var blocks = failedRuns.map { failed in
      let heading = "\(failed.cell.label), run \(failed.run.repetition): \(failed.run.state)"
      let tail = failed.logTail(lines: 30).joined(separator: "\n")
      return Markdown.details(
        Markdown.escape(heading), [Markdown.escape(failed.reason)] + (tail.isEmpty ? [] : ["", Markdown.fence(tail)]))
    }
    for verdict in [Verdict.fail, .inconclusive, .pass] {
      for pair in pairs where pair.comparison.verdict == verdict {
        let title = "<b>\(verdict.word)</b> \(Markdown.escape("\(title(pair)): \(pair.comparison.sentence)"))"
        blocks.append(pair.comparison.markdownDetails(title: title))
      }
    }
    return blocks
  }
}
