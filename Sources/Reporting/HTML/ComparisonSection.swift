import Comparison
import Diagnosis

/// One comparison as a part of a page: causes, heat map, tokens, curves, rows, coverage.
struct ComparisonSection {
  var report: ComparisonReport
  /// Prefix of the ids inside.
  var id: String
  /// Rows shown at most; 0 leaves the pictures out as well.
  var rowLimit: Int
  var panelLimit: Int
  var drawsTokens: Bool
  var detail: HeatMap.Detail

  func markup() -> Markup {
    var body: Markup = ""
    for finding in report.findings { body += finding.markup(seenIn: nil) }
    if rowLimit == 0, !report.rows.isEmpty {
      body += "<p class=\"soft\">Not drawn, since the sweep has many pairs; the JSON record lists every row.</p>"
    } else if !report.rows.isEmpty {
      let grid = LayerGrid(report)
      body += "<h3>Layers and stages</h3>"
      body += HeatMap(grid: grid, first: report.firstDivergence, detail: detail).markup(id: "\(id)-h")
      if let strip = TokenStrip(report) { body += strip.markup(id: "\(id)-t", drawn: drawsTokens) }
      let curves = Curves(grid: grid, limit: panelLimit).markup()
      if !curves.isEmpty { body += "<h3>Over the layers</h3>\(curves)" }
      body += rows
    }
    body += coverage
    return body
  }

  /// The first 40 rows in sight, the others one click away.
  private var rows: Markup {
    let digest = RowDigest(report, limit: rowLimit)
    let shown = digest.rows.count > 50 ? 40 : digest.rows.count
    var text: Markup = "<h3>Rows</h3>\(table(digest.rows.prefix(shown)))"
    if shown < digest.rows.count {
      text += "<details class=\"more\"><summary>\(digest.rows.count - shown) more rows</summary>"
      text += table(digest.rows.dropFirst(shown))
      text += "</details>"
    }
    for line in [digest.hiddenText, digest.restText].compactMap({ $0 }) {
      text += "<p class=\"small soft\">\(line).</p>"
    }
    return text
  }

  private func table(_ rows: ArraySlice<ComparisonReport.Row>) -> Markup {
    var text: Markup = """
      <div class="scroll"><table class="n"><thead><tr><th scope="col">layer</th>\
      <th scope="col">stage</th><th scope="col">tensor</th><th scope="col">cos</th><th scope="col">rel</th>\
      <th scope="col">rel_l2</th><th scope="col">alpha</th><th scope="col">floor</th><th scope="col">jump</th>\
      <th scope="col">verdict</th><th scope="col">remarks</th></tr></thead><tbody>
      """
    for row in rows { text += tableRow(row) }
    text += "</tbody></table></div>"
    return text
  }

  private func tableRow(_ row: ComparisonReport.Row) -> Markup {
    let measures = row.measures
    let tone: Markup =
      switch row.verdict {
      case .fail: " class=\"f\""
      case .inconclusive: " class=\"q\""
      case .pass: ""
      }
    let remarks = [row.why ?? "", row.flags].filter { !$0.isEmpty }.joined(separator: "; ")
    return """
      <tr\(tone)><td>\(row.layer.map(String.init) ?? "–")</td><td>\(row.stage)</td><td>\(row.tensor)</td>\
      <td>\(Figures.cosine(measures?.cos))</td><td>\(Figures.short(measures?.rel))</td>\
      <td>\(Figures.short(measures?.relL2))</td><td>\(Figures.short(measures?.alpha))</td>\
      <td>\(Figures.short(row.floor))</td><td>\(Figures.short(row.jump))</td><td>\(row.verdict.word)</td>\
      <td>\(remarks)</td></tr>
      """
  }

  private var coverage: Markup {
    let lines = report.coverageLines
    var text: Markup = "<h3>Coverage</h3><ul class=\"ledger small\">"
    for line in lines.prefix(200) { text += "<li>\(line)</li>" }
    if lines.count > 200 { text += "<li>and \(lines.count - 200) more, in the JSON record</li>" }
    text += shards
    for note in report.notes { text += "<li>\(note)</li>" }
    text += "</ul>"
    return text
  }

  /// How ranks were joined and which call was taken: each distinct way once, with its stages.
  private var shards: Markup {
    var ways: [String: [String]] = [:]
    var order: [String] = []
    for row in report.rows {
      let call = row.call.target.map { ", call \($0)" } ?? ""
      let way = "\(Names.shard(row.shard))\(call)"
      if ways[way] == nil { order.append(way) }
      if ways[way]?.contains(row.stage) != true { ways[way, default: []].append(row.stage) }
    }
    var text: Markup = ""
    for way in order.prefix(12) {
      let stages = ways[way] ?? []
      let names = stages.prefix(8).joined(separator: ", ") + (stages.count > 8 ? ", …" : "")
      text += "<li>joined as \(way): \(names)</li>"
    }
    return text
  }
}

extension Finding {
  func markup(seenIn: String?) -> Markup {
    let place = Names.place(layer: layer, stage: stage)
    var text: Markup = "<div class=\"finding\"><h3><code>\(cause)</code>"
    if !place.isEmpty { text += " at \(place)" }
    text += " <span class=\"tag\">\(confidence.rawValue)</span></h3><p>\(summary)</p>"
    if !evidenceText.isEmpty { text += "<p class=\"small soft\">Evidence: \(evidenceText)</p>" }
    text += "<p class=\"next\">→ <b>Next:</b> \(next)</p>"
    if let seenIn { text += "<p class=\"small soft\">In \(seenIn)</p>" }
    text += "</div>"
    return text
  }
}
