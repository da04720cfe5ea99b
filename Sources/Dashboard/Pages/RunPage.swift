import Ledger
import Reporting
import Scheduling

/// One run: its attempts, its diary, why it waits.
struct RunPage {
  var view: SweepView
  var run: RunRecord
  var events: [EventRecord]
  /// Why it waits; nil: not asked.
  var waiting: [String]?

  var html: String {
    let sweep = view.sweep.id
    var body: Markup = """
      <p class="kicker"><a href="\(link())">Sweeps</a> › <a href="\(link("sweeps", sweep))">\(sweep)</a></p>\
      <h1>\(run.name)</h1><p role="status">\(Part.state(run.state.rawValue)) \(view.reason(run))</p>
      """
    var links = DashboardHooks.LogStream.allCases.map { stream in
      let path = link("sweeps", sweep, "runs", run.name, "log", query: ["stream": stream.rawValue])
      return "<a class=\"do\" href=\"\(path)\">\(stream.rawValue)</a>" as Markup
    }
    if SweepView.endedBadly(run) {
      links.append("<a class=\"do\" href=\"\(link("sweeps", sweep, "runs", run.name, "retry"))\">Retry…</a>")
    }
    if run.state == .queued, waiting == nil {
      let path = link("sweeps", sweep, "runs", run.name, query: ["explain": "1"])
      links.append("<a class=\"do\" href=\"\(path)\">Why does it wait?</a>")
    }
    body += "<p class=\"actions\">\(links)</p>"
    if let waiting {
      body +=
        "<section><h2>Why it waits</h2><ul class=\"ledger\">\(waiting.map { "<li>\($0)</li>" as Markup })</ul></section>"
    }
    if !run.missing.isEmpty {
      body += "<section><h2>Expected and not there</h2><ul class=\"ledger\">"
      for gap in run.missing.prefix(200) { body += "<li>\(gap)</li>" }
      if run.missing.count > 200 { body += "<li>and \(run.missing.count - 200) more</li>" }
      body += "</ul></section>"
    }
    body += "<section><h2>Attempts</h2>"
    let attempts = view.attempts[run.name] ?? []
    if attempts.isEmpty {
      body += "<p>None yet.</p>"
    } else {
      body += Part.table(
        "Attempts", ["try", "host", "GPUs", "state", "exit", "started", "took", "remarks", "environment"],
        attempts.map(row))
    }
    body += "</section>"
    if !events.isEmpty {
      body += "<section><h2>What happened</h2>"
      body += Part.table(
        "What happened", ["when", "what", "detail"],
        events.map { "<tr><td>\(Part.time($0.at))</td><td>\($0.kind)</td><td>\($0.detail)</td></tr>" })
      body += "</section>"
    }
    return Frame(title: run.name, place: .none, body: body).html
  }

  private func row(_ attempt: AttemptRecord) -> Markup {
    let exit = attempt.signal.map { "signal \($0)" } ?? attempt.exitCode.map { "exit \($0)" } ?? "–"
    let remarks = [attempt.reason, attempt.why].compactMap { $0 }.joined(separator: "; ")
    let facts = attempt.facts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: " · ")
    return """
      <tr><th scope="row">\(attempt.number)</th><td>\(attempt.host)</td><td>\(attempt.gpus)</td>\
      <td>\(attempt.state.rawValue)</td><td>\(exit)</td><td>\(Part.time(attempt.started))</td>\
      <td>\(Figures.duration(view.duration(attempt)))</td><td>\(remarks)</td><td class="small">\(facts)</td></tr>
      """
  }
}
