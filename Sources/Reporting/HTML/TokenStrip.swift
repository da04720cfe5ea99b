import Comparison

/// Relative L2 a token along one row of cells, for the row where the comparison first or most disagrees.
struct TokenStrip {
  var row: ComparisonReport.Row
  private let values: [Double]

  /// nil where no row that did not pass kept its tokens.
  init?(_ report: ComparisonReport) {
    let candidates = report.rows.filter { $0.verdict != .pass && ($0.measures?.tokenRelL2.count ?? 0) > 1 }
    let first = candidates.first { row in
      row.layer == report.firstDivergence?.layer && row.stage == report.firstDivergence?.stage
    }
    guard let row = first ?? candidates.max(by: { $0.severity < $1.severity }), let measures = row.measures else {
      return nil
    }
    self.row = row
    values = measures.tokenRelL2
  }

  /// `drawn: false` leaves the sentence and drops the picture.
  func markup(id: String, drawn: Bool) -> Markup {
    let worst = row.measures?.worstToken
    let place = "\(Names.place(layer: row.layer, stage: row.stage)) \(row.tensor)"
    let note = worst.map {
      "worst is token \($0.index): rel_l2 \(Figures.short($0.relL2)), cos \(Figures.cosine($0.cos))"
    }
    let head: Markup = """
      <h3>Tokens of \(place)</h3>\
      <p class="small soft">Relative L2 of \(Figures.count(values.count, "token"))\(note.map { "; \($0)" } ?? "").</p>
      """
    guard drawn else { return head }
    // At most 200 cells: of several tokens that share one, the worst counts.
    let share = (values.count + 199) / 200
    let count = (values.count + share - 1) / share
    let pitch = min(max(820 / count, 4), 24)
    let width = max(count * pitch + 2, 220)
    var cells: Markup = ""
    for cell in 0..<count {
      let tokens = (cell * share)..<min((cell + 1) * share, values.count)
      let value = values[tokens].contains(where: \.isNaN) ? .nan : values[tokens].max() ?? .nan
      let name =
        tokens.count == 1 ? "token \(tokens.lowerBound)" : "tokens \(tokens.lowerBound)–\(tokens.upperBound - 1)"
      cells += "<rect class=\"\(Ramp.cssClass(value))\" x=\"\(cell * pitch)\">"
      cells += "<title>\(name): \(Figures.short(value))</title></rect>"
    }
    var mark: Markup = ""
    if let worst, values.indices.contains(worst.index) {
      let x = worst.index / share * pitch + (pitch - 1) / 2
      let anchor: Markup = x < 40 ? "start" : x > width - 40 ? "end" : "middle"
      mark = """
        <path d="M\(x) 21l4 6h-8z" style="fill:var(--ink)"/>\
        <text class="t s" x="\(x)" y="39" text-anchor="\(anchor)">\(worst.index)</text>
        """
    }
    let gap = pitch > 6 ? 1 : 0
    return """
      \(head)<div class="scroll"><svg class="h" style="--w:\(pitch - gap)px" width="\(width)" height="44" \
      viewBox="0 0 \(width) 44" role="img" aria-labelledby="\(id)"><title id="\(id)">Relative L2 by token\
      \(share > 1 ? ", the worst of \(share) to a cell" : ""); \(note ?? "")</title>\(cells)\(mark)</svg></div>
      """
  }
}
