import Alignment
import Comparison
import Diagnosis

/// The evidence behind findings, for `--explain`.
extension ComparisonReport {
  /// Rows shown before the place of a finding, and after it.
  private static let before = 4
  private static let after = 2

  /// Figures, the stages around its place, the same stage in other layers, call and layout.
  ///
  /// - Parameter surroundings: false where an earlier finding of the same place has shown them.
  func evidenceLines(_ finding: Finding, surroundings: Bool, _ style: Style) -> [String] {
    var lines: [String] = []
    if !finding.evidenceText.isEmpty { lines.append("  evidence: \(Plain.line(finding.evidenceText))") }
    let places = rows.indices.filter {
      rows[$0].layer == finding.layer && (finding.stage == nil || rows[$0].stage == finding.stage)
    }
    guard surroundings, let layer = finding.layer,
      let place = places.first(where: { rows[$0].verdict == .fail && rows[$0].measures != nil }) ?? places.first
    else { return lines }
    let row = rows[place]
    let range = max(0, place - Self.before)..<min(rows.count, place + Self.after + 1)
    lines += ["  in order of execution:"]
    lines += stageTable(range, marked: place, worldSize: target.worldSize).lines(style).map { "    \($0)" }
    let same = rows.filter {
      $0.stage == row.stage && $0.tensor == row.tensor && $0.layer != nil && $0.slot == row.slot
    }
    if same.count > 1 {
      let shown = same.filter { abs(($0.layer ?? 0) - layer) <= 6 }
      let figures = shown.map { "\($0.layer ?? 0): \(Figures.short($0.measures?.relL2))" }.joined(separator: ", ")
      let share = shown.count < same.count ? " (of \(same.count) layers)" : ""
      lines.append("  \(Plain.line("\(row.stage) \(row.tensor), rel_l2 by layer\(share): \(figures)"))")
    }
    lines.append("  \(Plain.line("call: \(row.call.why)"))")
    lines.append("  \(Plain.line("ranks: \(row.shard.explanation)"))")
    return lines
  }

  private func stageTable(_ range: Range<Int>, marked: Int, worldSize: Int) -> Table {
    var table = Table(columns: [
      .init(""), .init("layer", .right), .init("stage"), .init("tensor"), .init("rel_l2", .right),
      .init("floor", .right),
      .init("jump", .right), .init("alpha", .right), .init("residual", .right), .init("norm", .right),
      .init("verdict"), .init("world size", .right),
    ])
    for index in range {
      let row = rows[index]
      table.rows.append([
        .init(index == marked ? ">" : ""), .init(row.layer.map(String.init) ?? "–"), .init(row.stage),
        .init(row.tensor), .init(Figures.short(row.measures?.relL2)), .init(Figures.short(row.floor)),
        .init(Figures.short(row.jump)), .init(Figures.short(row.measures?.alpha)),
        .init(Figures.short(row.measures?.residual)), .init(Figures.short(row.measures?.normRatio)),
        .init(row.verdict.word, Style.ink(row.verdict)), .init(String(worldSize)),
      ])
    }
    return table
  }

  /// Other causes that were found possible, and those that were looked for and do not fit.
  func consideredLines(_ style: Style) -> [String] {
    let others = findings.dropFirst().filter { $0.layer == findings.first?.layer && $0.confidence == .possible }
    guard !considered.isEmpty || !others.isEmpty else { return [] }
    var lines = ["", style.paint("other causes", .bold)]
    lines += others.map { "  \(Plain.line("\($0.cause): not ruled out: \($0.summary)"))" }
    lines += considered.map { "  \(Plain.line("\($0.cause): \($0.why)"))" }
    return lines
  }
}

extension ShardPlan {
  /// `concat on axis 1 over 8 ranks (…), residual 1e-3, margin 0.9; declared: …`.
  var explanation: String {
    var text = kind.rawValue
    if let axis { text += " on axis \(axis)" }
    text += " over \(Figures.count(ranks, "rank")) (\(why))"
    if let residual { text += ", residual \(Figures.short(residual))" }
    if let margin { text += ", margin over the next layout \(Figures.short(margin))" }
    if let order, order != .consecutive { text += ", \(order.rawValue)" }
    if let rankOrder {
      text += "; the slices fit in the order \(rankOrder.sources.map(String.init).joined(separator: ", ")) "
      text += "(residual \(Figures.short(rankOrder.residual)))"
    }
    if let alternative {
      text += "; the data fit \(alternative.kind.rawValue)\(alternative.axis.map { " on axis \($0)" } ?? "") "
      text += "(residual \(Figures.short(alternative.residual)))"
    }
    if let padding { text += "; \(padding.count) of axis \(padding.axis) are padding" }
    if let referencePadding {
      text += "; of the reference \(referencePadding.count) of axis \(referencePadding.axis) are padding"
    }
    return text
  }
}
