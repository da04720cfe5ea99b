import Comparison
import Diagnosis
import OrderedCollections

extension ComparisonReport {
  /// The comparison for a terminal: the answer, where it begins, causes, the rows, and what was not compared.
  ///
  /// All rows that are not PASS are listed; of the passing ones the worst of each stage, unless `verbose`. A finding
  /// takes three lines; with `explains` its evidence follows, and what speaks against other causes.
  public func text(verbose: Bool = false, explains: Bool = false, style: Style = Style()) -> String {
    (textHead(style) + textBody(verbose: verbose, explains: explains, style)).joined(separator: "\n") + "\n"
  }

  private func textHead(_ style: Style) -> [String] {
    [
      "\(style.verdict(verdict))  \(Plain.line(sentence))",
      "reference  \(Plain.line(reference.title)) (world size \(reference.worldSize))",
      "target     \(Plain.line(target.title)) (world size \(target.worldSize))",
    ]
  }

  func textBody(verbose: Bool, explains: Bool = false, _ style: Style) -> [String] {
    var lines: [String] = []
    if let firstDivergence {
      lines += ["", "first divergence: \(style.paint(Plain.line(firstDivergence.text), .bold))"]
    }
    var explained: Set<String?> = []
    for finding in findings {
      lines += [""] + finding.textLines(style)
      guard explains else { continue }
      let isNew = explained.insert("\(finding.layer ?? -1) \(finding.stage ?? "")").inserted
      lines += evidenceLines(finding, surroundings: isNew, style)
    }
    if explains { lines += consideredLines(style) }
    lines += rowLines(verbose: verbose, style)
    lines += ["", style.paint("coverage", .bold)]
    lines += coverageLines.map { "  \(Plain.line($0))" }
    if !notes.isEmpty {
      lines += ["", style.paint("notes", .bold)]
      lines += notes.map { "  \(Plain.line($0))" }
    }
    return lines
  }

  private func rowLines(verbose: Bool, _ style: Style) -> [String] {
    let digest = RowDigest(self, verbose: verbose)
    guard !digest.rows.isEmpty else { return [] }
    var table = Table(columns: [
      .init("layer", .right), .init("stage"), .init("tensor"), .init("cos", .right), .init("rel", .right),
      .init("rel_l2", .right), .init("alpha", .right), .init("floor", .right), .init("jump", .right),
      .init("verdict"), .init("flags"),
    ])
    for row in digest.rows {
      let measures = row.measures
      table.rows.append([
        .init(row.layer.map(String.init) ?? "–"), .init(row.stage), .init(row.tensor),
        .init(Figures.cosine(measures?.cos)), .init(Figures.short(measures?.rel)),
        .init(Figures.short(measures?.relL2)), .init(Figures.short(measures?.alpha)),
        .init(Figures.short(row.floor)), .init(Figures.short(row.jump)),
        .init(row.verdict.word, Style.ink(row.verdict)), .init(row.flags),
      ])
    }
    var lines = [""] + table.lines(style)
    if let rest = digest.restText { lines.append(style.paint(Plain.line(rest), .dim)) }
    let reasons = OrderedDictionary(
      grouping: digest.rows.filter { $0.verdict != .pass && $0.reason != nil }, by: { $0.reason ?? "" })
    if !reasons.isEmpty { lines.append("") }
    for (reason, rows) in reasons {
      guard let row = rows.first else { continue }
      let place = "\(Names.place(layer: row.layer, stage: row.stage)) \(row.tensor)"
      let more = rows.count > 1 ? " and \(Figures.count(rows.count - 1, "more row"))" : ""
      lines.append("  \(Plain.line("\(place)\(more): \(reason)"))")
    }
    return lines
  }
}

extension Finding {
  /// What it is, what was seen, what to do next.
  func textLines(_ style: Style) -> [String] {
    [style.paint(Plain.line(heading), .bold), "  \(Plain.line(summary))", "  next: \(Plain.line(next))"]
  }
}
