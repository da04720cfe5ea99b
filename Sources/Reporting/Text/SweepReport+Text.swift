import Comparison
import Diagnosis

extension SweepReport {
  /// The sweep for a terminal: the answer, the matrix, the causes over all pairs, and the runs that failed.
  ///
  /// `verbose` adds the rows of every pair; `explains` the evidence of each finding, over all compared cells.
  public func text(verbose: Bool = false, explains: Bool = false, style: Style = Style()) -> String {
    var lines = ["\(style.verdict(verdict))  \(Plain.line(sentence))"]
    if let firstAxisValue {
      let value = "\(firstAxisValue.axis)=\(firstAxisValue.value)"
      lines.append("first axis value that breaks: \(style.paint(Plain.line(value), .bold))")
    }
    let span = ended.map { ", \(Figures.duration($0 - started))" } ?? ", not ended"
    lines.append(style.paint(Plain.line("job \(job), sweep \(id), \(Figures.time(started))\(span)"), .dim))
    lines += [""] + matrixTable.lines(style)
    if pairs.isEmpty { lines += ["", "No pair was compared."] }
    var explained: Set<String> = []
    for digest in FindingDigest.collect(self) {
      lines += [""] + digest.finding.textLines(style) + ["  in: \(Plain.line(digest.seenIn))"]
      guard explains else { continue }
      let isNew = explained.insert("\(digest.finding.layer ?? -1) \(digest.finding.stage ?? "")").inserted
      lines += evidenceLines(digest.finding, surroundings: isNew, style)
    }
    lines += failureLines(style) + gapLines(style)
    if !notes.isEmpty { lines += ["", style.paint("notes", .bold)] + notes.map { "  \(Plain.line($0))" } }
    if verbose {
      for pair in pairs {
        let heading = "\(pair.comparison.verdict.word)  \(title(pair)): \(pair.comparison.sentence)"
        lines += ["", style.paint(Plain.line(heading), .bold)]
        lines += pair.comparison.textBody(verbose: true, style)
      }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private var matrixTable: Table {
    var table = Table(
      columns: axes.map { .init($0) } + [
        .init("state"), .init("host"), .init("runs", .right), .init("time", .right), .init("verdict"),
        .init("first divergence"),
      ])
    if axes.isEmpty { table.columns.insert(.init("cell"), at: 0) }
    for cell in cells {
      let names: [Table.Cell] =
        axes.isEmpty ? [.init(cell.label)] : axes.map { .init(cell.value(of: $0) ?? "–") }
      table.rows.append(
        names + [
          .init(cell.state), .init(cell.hosts.joined(separator: ", ")), .init(cell.runCount),
          .init(Figures.duration(cell.duration)),
          .init(cell.verdictWord, cell.isReference ? .dim : Style.ink(cell.verdict)),
          .init(firstDivergence(of: cell) ?? ""),
        ])
    }
    return table
  }

  private func failureLines(_ style: Style) -> [String] {
    var lines: [String] = []
    for failed in failedRuns {
      let run = failed.run
      let heading = "\(failed.cell.label), run \(run.repetition): \(run.state)"
      lines += ["", style.paint(Plain.line(heading), .bold)]
      if !failed.reason.isEmpty { lines.append("  \(Plain.line(failed.reason))") }
      for line in failed.logTail(lines: 12) { lines.append("  │ \(Plain.block(String(line)))") }
    }
    return lines
  }

  /// What a cell should have dumped and did not, and what was not compared.
  private func gapLines(_ style: Style) -> [String] {
    var lines: [String] = []
    for cell in cells {
      for run in cell.runs {
        for gap in run.missing { lines.append("  \(Plain.line("\(cell.label), run \(run.repetition): \(gap)"))") }
      }
    }
    lines += CoverageDigest(self).lines.map { "  \(Plain.line($0))" }
    return lines.isEmpty ? [] : ["", style.paint("not compared", .bold)] + lines
  }
}
