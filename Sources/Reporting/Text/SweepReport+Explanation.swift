import Alignment
import Comparison
import Diagnosis

/// The evidence behind the findings of a sweep, for `--explain`.
extension SweepReport {
  /// How the place of a finding looks in every compared cell (what follows an axis, and what does not), then the
  /// evidence of the first pair that has the finding.
  ///
  /// - Parameter surroundings: false where an earlier finding of the same place has shown them.
  func evidenceLines(_ finding: Finding, surroundings: Bool, _ style: Style) -> [String] {
    let own = pairs.filter { $0.kind == "reference" }
    guard let pair = own.first(where: { $0.comparison.findings.contains { $0.isLike(finding) } }) else {
      return finding.evidenceText.isEmpty ? [] : ["  evidence: \(Plain.line(finding.evidenceText))"]
    }
    var lines: [String] = []
    if surroundings, finding.stage != nil {
      let rows = own.compactMap { other in row(of: finding, in: other, like: pair).map { (other, $0) } }
      if rows.count > 1 {
        lines.append("  the same place in every compared cell:")
        lines += trendTable(rows).lines(style).map { "    \($0)" }
      }
    }
    // The figures are those of the pair, whose finding may be surer or less sure than the digest's.
    let shown = pair.comparison.findings.first { $0.isLike(finding) } ?? finding
    if surroundings, own.count > 1 { lines.append("  \(Plain.line("in \(shortTitle(pair)):"))") }
    return lines + pair.comparison.evidenceLines(shown, surroundings: surroundings, style)
  }

  /// The row of a finding's place: the tensor that fails first in the pair that has the finding.
  private func row(of finding: Finding, in pair: Pair, like first: Pair) -> ComparisonReport.Row? {
    func rows(_ pair: Pair) -> [ComparisonReport.Row] {
      pair.comparison.rows.filter { $0.layer == finding.layer && $0.stage == finding.stage }
    }
    let known = rows(first)
    let tensor = (known.first { $0.verdict == .fail && $0.measures != nil } ?? known.first)?.tensor
    return rows(pair).first { $0.tensor == tensor }
  }

  private func trendTable(_ rows: [(pair: Pair, row: ComparisonReport.Row)]) -> Table {
    var table = Table(columns: [
      .init("cell"), .init("rel_l2", .right), .init("floor", .right), .init("jump", .right), .init("cos", .right),
      .init("alpha", .right), .init("residual", .right), .init("norm", .right), .init("verdict"), .init("ranks"),
    ])
    for (pair, row) in rows {
      let measures = row.measures
      table.rows.append([
        .init(Plain.line(shortTitle(pair))), .init(Figures.short(measures?.relL2)), .init(Figures.short(row.floor)),
        .init(Figures.short(row.jump)), .init(Figures.short(measures?.cos)), .init(Figures.short(measures?.alpha)),
        .init(Figures.short(measures?.residual)), .init(Figures.short(measures?.normRatio)),
        .init(row.verdict.word, Style.ink(row.verdict)), .init(row.shard.kind.rawValue),
      ])
    }
    return table
  }
}

extension Finding {
  fileprivate func isLike(_ other: Finding) -> Bool {
    cause == other.cause && layer == other.layer && stage == other.stage
  }
}
