import Comparison
import Diagnosis

extension SweepReport {
  /// The sweep as one HTML file that needs neither network nor script.
  ///
  /// Pairs that did not pass are open, the others folded. A sweep of 10,000 rows stays under 2 MB: heat maps show
  /// every layer and stage, tables only what did not pass (with the rest counted).
  public func html() -> String {
    let sections = [header, matrix, findingsSection, pairsSection, runsSection, environment, logs, notesSection]
    var body: Markup = ""
    for section in sections where !section.isEmpty {
      body += section
      body += "\n"
    }
    return Page.document(title: "\(verdict.word): \(job)", body: body)
  }

  private var header: Markup {
    var text: Markup = """
      <header><p class="kicker"><b>Rollcall</b> sweep of \(job)</p>
      <h1>\(Page.badge(verdict)) \(sentence)</h1>
      """
    if let firstAxisValue {
      text += """
        <p class="answer">First axis value that breaks: \
        <strong>\(firstAxisValue.axis) = \(firstAxisValue.value)</strong></p>
        """
    }
    if hasFailedRuns || !failedRuns.isEmpty {
      let count = failedRuns.isEmpty ? "Some runs" : Figures.count(failedRuns.count, "run")
      text += "<p class=\"answer doubt\">\(count) failed; <a href=\"#logs\">logs below</a>.</p>"
    }
    let runs = cells.map(\.runs.count).saturatingSum
    text += Page.facts([
      ("Started", Figures.time(started)),
      ("Took", ended.map { Figures.duration($0 - started) } ?? "not ended"),
      ("Cells", String(cells.count)),
      ("Runs", String(runs)),
      ("Attempts", String(cells.map(\.attemptCount).saturatingSum)),
      ("Pairs compared", String(pairs.count)),
      ("Sweep", id),
    ])
    text += "</header>"
    return text
  }

  // MARK: Matrix

  /// The axis that stands in the columns: the one that breaks, else the one whose value the reference cells share.
  private var pivotAxis: String? {
    if let firstAxisValue, axes.contains(firstAxisValue.axis) { return firstAxisValue.axis }
    let references = cells.filter(\.isReference)
    let fixed = axes.first { axis in
      Set(references.compactMap { $0.value(of: axis) }).count == 1
        && Set(cells.compactMap { $0.value(of: axis) }).count > 1
    }
    return fixed ?? axes.first
  }

  private var matrix: Markup {
    guard let pivotAxis, !cells.isEmpty else { return "" }
    let columns = cells.map { $0.value(of: pivotAxis) ?? "–" }.unique()
    let others = axes.filter { $0 != pivotAxis }
    let lines = cells.map { cell in others.map { cell.value(of: $0) ?? "–" } }.unique()
    var text: Markup = "<section><h2>Matrix</h2><div class=\"scroll\"><table class=\"pivot\"><thead><tr>"
    for axis in others { text += "<th scope=\"col\">\(axis)</th>" }
    for value in columns { text += "<th scope=\"col\">\(pivotAxis) = \(value)</th>" }
    text += "</tr></thead><tbody>"
    var places: [[String]: [Cell]] = [:]
    for cell in cells {
      let key = others.map { cell.value(of: $0) ?? "–" } + [cell.value(of: pivotAxis) ?? "–"]
      places[key, default: []].append(cell)
    }
    for line in lines {
      text += "<tr>"
      for value in line { text += "<th scope=\"row\">\(value)</th>" }
      for column in columns { text += "<td>\((places[line + [column]] ?? []).map(entry))</td>" }
      text += "</tr>"
    }
    text += "</tbody></table></div></section>"
    return text
  }

  private func entry(_ cell: Cell) -> Markup {
    var text: Markup = ""
    let pair = pairs.firstIndex { $0.targetCell == cell.id && $0.kind == "reference" }
    let badge: Markup =
      cell.verdict.map(Page.badge) ?? "<span class=\"v none\">\(cell.isReference ? "reference" : "not compared")</span>"
    text += pair.map { "<a href=\"#pair\($0)\">\(badge)</a>" } ?? badge
    if let divergence = firstDivergence(of: cell) { text += "<small>\(divergence)</small>" }
    if cell.runs.isEmpty || cell.runs.contains(where: { $0.state != "succeeded" }) {
      text += "<small>\(cell.state)</small>"
    }
    return text
  }

  // MARK: Findings and pairs

  private var findingsSection: Markup {
    let digests = FindingDigest.collect(self)
    guard !digests.isEmpty else { return "" }
    var text: Markup = "<section><h2>Findings</h2>"
    for digest in digests.prefix(50) { text += digest.finding.markup(seenIn: digest.seenIn) }
    if digests.count > 50 { text += "<p class=\"soft\">and \(digests.count - 50) more, in the pairs below</p>" }
    text += "</section>"
    return text
  }

  private var pairsSection: Markup {
    guard !pairs.isEmpty else { return "<section><h2>Pairs</h2><p>No pair was compared.</p></section>" }
    let total = pairs.map(\.comparison.rows.count).saturatingSum
    // One page holds about 1,200 table rows, 240 panels and 24 token strips, shared by the pairs.
    let rowLimit = min(max(1200 / pairs.count, 4), 1000)
    let panelLimit = min(240 / pairs.count, 24)
    var strips = 24
    let drawn = drawnPairs
    var text: Markup = "<section><h2>Pairs</h2>\(HeatMap.legend)\(Curves.legend)"
    for (index, pair) in pairs.enumerated() {
      let comparison = pair.comparison
      let open: Markup = comparison.verdict == .pass ? "" : " open=\"open\""
      let section = ComparisonSection(
        report: comparison, id: "p\(index)", rowLimit: drawn.contains(index) ? rowLimit : 0, panelLimit: panelLimit,
        drawsTokens: strips > 0, detail: .init(rows: total))
      if comparison.verdict != .pass { strips -= 1 }
      text += """
        <details class="pair" id="pair\(index)"\(open)><summary>\(Page.badge(comparison.verdict)) \
        <b>\(title(pair))</b> <span class="soft">\(comparison.sentence)</span></summary>\
        \(section.markup())</details>

        """
    }
    text += "</section>"
    return text
  }

  /// The pairs whose rows and pictures the page holds: 150, those that did not pass first.
  private var drawnPairs: Set<Int> {
    let order = [Verdict.fail, .inconclusive, .pass].flatMap { verdict in
      pairs.indices.filter { pairs[$0].comparison.verdict == verdict }
    }
    return Set(order.prefix(150))
  }

  // MARK: Runs, environment, logs

  private var runsSection: Markup {
    guard cells.contains(where: { !$0.runs.isEmpty }) else { return "" }
    var text: Markup = """
      <section><h2>Runs and attempts</h2><div class="scroll"><table class="r"><thead><tr><th scope="col">cell</th>\
      <th scope="col">run</th><th scope="col">attempt</th><th scope="col">host</th><th scope="col">state</th>\
      <th scope="col">started (UTC)</th><th scope="col">took</th><th scope="col">gathered</th></tr></thead><tbody>
      """
    for cell in cells {
      for run in cell.runs {
        let gathered = "\(Figures.count(run.fileCount, "file")), \(Figures.bytes(run.byteCount))"
        if run.attempts.isEmpty {
          text += """
            <tr><th scope="row">\(cell.label)</th><td>\(run.repetition)</td><td>–</td><td>–</td>\
            <td>\(run.state)</td><td>–</td><td>–</td><td>\(gathered)</td></tr>
            """
        }
        for (index, attempt) in run.attempts.enumerated() {
          let last = index == run.attempts.count - 1
          let state = [attempt.state, attempt.exit, attempt.why ?? ""].filter { !$0.isEmpty }
          text += """
            <tr><th scope="row">\(cell.label)</th><td>\(run.repetition)</td><td>\(attempt.number)</td>\
            <td>\(attempt.host)</td><td>\(state.joined(separator: ", "))</td>\
            <td>\(Figures.time(attempt.started).replacing(" UTC", with: ""))</td><td>\(Figures.duration(attempt.duration))</td>\
            <td>\(last ? gathered : "")</td></tr>
            """
        }
      }
    }
    text += "</tbody></table></div>"
    let gaps = cells.flatMap { cell in
      cell.runs.flatMap { run in run.missing.map { "\(cell.label), run \(run.repetition): \($0)" } }
    }
    if !gaps.isEmpty {
      text += "<h3>Expected and not there</h3><ul class=\"ledger small\">"
      for gap in gaps.prefix(500) { text += "<li>\(gap)</li>" }
      if gaps.count > 500 { text += "<li>and \(gaps.count - 500) more, in the JSON record</li>" }
      text += "</ul>"
    }
    text += "</section>"
    return text
  }

  /// What differs between the attempts' environments, by value; what is the same everywhere stands below.
  private var environment: Markup {
    var entries: [(label: String, fingerprint: [String: String])] = []
    for cell in cells {
      for attempt in cell.runs.flatMap(\.attempts) {
        entries.append((cell.label, attempt.fingerprint.merging(["host": attempt.host]) { own, _ in own }))
      }
    }
    guard !entries.isEmpty else { return "" }
    let keys = Set(entries.flatMap { $0.fingerprint.keys }).sorted()
    var differing: Markup = ""
    var shared: [(String, String)] = []
    for key in keys {
      let values = entries.map { $0.fingerprint[key] ?? "not recorded" }
      let distinct = values.unique()
      if distinct.count == 1 {
        shared.append((key, distinct[0]))
        continue
      }
      for (index, value) in distinct.enumerated() {
        let labels = zip(values, entries).filter { $0.0 == value }.map(\.1.label).unique()
        let names = labels.prefix(6).joined(separator: "; ")
        let more = labels.count > 6 ? "; and \(labels.count - 6) more" : ""
        differing += """
          <tr><th scope="row">\(index == 0 ? key : "")</th><td><code>\(value)</code></td><td>\(names + more)</td></tr>
          """
      }
    }
    var text: Markup = "<section><h2>Environment</h2>"
    if differing.isEmpty {
      text += "<p>The same for every attempt.</p>"
    } else {
      text += """
        <div class="scroll"><table><caption>What is not the same for every attempt</caption><thead><tr>\
        <th scope="col">what</th><th scope="col">value</th><th scope="col">cells</th></tr></thead><tbody>\
        \(differing)</tbody></table></div>
        """
    }
    if !shared.isEmpty { text += Page.facts(shared) }
    text += "</section>"
    return text
  }

  private var logs: Markup {
    let failed = failedRuns
    guard !failed.isEmpty || hasFailedRuns else { return "" }
    var text: Markup = "<section id=\"logs\"><h2>Failed runs</h2>"
    if failed.isEmpty { text += "<p>The record names no run that failed.</p>" }
    for item in failed {
      let tail = String((item.last?.logTail ?? "").suffix(8000))
      text += "<h3>\(item.cell.label), run \(item.run.repetition): \(item.run.state)</h3><p>\(item.reason)</p>"
      text += tail.isEmpty ? "<p class=\"soft small\">No log.</p>" : "<pre>\(tail)</pre>"
    }
    text += "</section>"
    return text
  }

  private var notesSection: Markup {
    guard !notes.isEmpty else { return "" }
    var text: Markup = "<section><h2>Notes</h2><ul class=\"ledger\">"
    for note in notes { text += "<li>\(note)</li>" }
    text += "</ul></section>"
    return text
  }
}
