import Comparison

/// The frame of a page: one file, nothing fetched, no script.
enum Page {
  static func document(title: String, body: Markup) -> String {
    let head: Markup = """
      <!DOCTYPE html>
      <html lang="en"><head><meta charset="utf-8"/>\
      <meta name="viewport" content="width=device-width,initial-scale=1"/>\
      <meta name="color-scheme" content="light dark"/>\
      <meta http-equiv="Content-Security-Policy" content="default-src 'none';style-src 'unsafe-inline'"/>\
      <title>\(title)</title><style>
      """
    return head.source + Stylesheet.text + "</style></head>\n<body>" + HeatMap.definitions.source + "<main>\n"
      + body.source + "\n</main></body></html>\n"
  }

  static func badge(_ verdict: Verdict) -> Markup {
    switch verdict {
    case .pass: "<span class=\"v pass\">PASS</span>"
    case .fail: "<span class=\"v fail\">FAIL</span>"
    case .inconclusive: "<span class=\"v inconclusive\">INCONCLUSIVE</span>"
    }
  }

  static func facts(_ pairs: [(String, String)]) -> Markup {
    var text: Markup = "<dl class=\"facts\">"
    for (name, value) in pairs { text += "<div><dt>\(name)</dt><dd>\(value)</dd></div>" }
    text += "</dl>"
    return text
  }
}

extension ComparisonReport {
  /// The comparison as one HTML file that needs neither network nor script.
  public func html() -> String {
    let section = ComparisonSection(
      report: self, id: "p0", rowLimit: 1000, panelLimit: 24, drawsTokens: true,
      detail: .init(rows: rows.count))
    let body: Markup = """
      <header><p class="kicker"><b>Rollcall</b> comparison</p>
      <h1>\(Page.badge(verdict)) \(sentence)</h1>
      \(Page.facts([
        ("Target", "\(target.title) (world size \(target.worldSize))"),
        ("Reference", "\(reference.title) (world size \(reference.worldSize))"),
      ]))</header>
      <section>\(rows.isEmpty ? "" : HeatMap.legend)\(rows.isEmpty ? "" : Curves.legend)\(section.markup())</section>
      """
    return Page.document(title: "\(verdict.word): \(target.title)", body: body)
  }
}
