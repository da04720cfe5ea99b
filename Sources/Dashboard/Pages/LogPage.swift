import Ledger
import Reporting
import Scheduling

/// The last part of one stream of one attempt's output, which follows while the attempt goes on.
struct LogPage {
  var sweep: String
  var run: RunRecord
  var attempt: AttemptRecord?
  /// Of a gang over several hosts.
  var nodes: [Int] = []
  var stream: DashboardHooks.LogStream
  var piece: DashboardHooks.LogPiece?
  /// Why it cannot be read.
  var trouble: String?
  /// It does not come anew by itself.
  var isStill = false

  var html: String {
    var body: Markup = """
      <p class="kicker"><a href="\(link())">Sweeps</a> › <a href="\(link("sweeps", sweep))">\(sweep)</a> › \
      <a href="\(link("sweeps", sweep, "runs", run.name))">\(run.name)</a></p><h1>\(stream.rawValue) of \(run.name)</h1>
      """
    let others = DashboardHooks.LogStream.allCases.map { other -> Markup in
      let mark: Markup = other == stream ? " aria-current=\"page\"" : ""
      return "<a class=\"do\" href=\"\(path(other, node: attempt?.share?.node))\"\(mark)>\(other.rawValue)</a>"
    }
    let shares = nodes.map { node -> Markup in
      let mark: Markup = node == attempt?.share?.node ? " aria-current=\"page\"" : ""
      return "<a class=\"do\" href=\"\(path(stream, node: node))\"\(mark)>node \(node)</a>"
    }
    body += "<p class=\"actions\">\(others)\(shares)</p>"
    let isOpen = piece.map { !$0.isEnd } ?? !run.state.isFinal
    var events: Markup = ""
    if let attempt {
      body += "<p class=\"soft\">Attempt \(attempt.number) on \(attempt.host), \(attempt.state.rawValue)</p>"
      if isOpen, let piece {
        let from = String(piece.offset + piece.bytes.count)
        var query = ["stream": stream.rawValue, "from": from, "attempt": attempt.id]
        query["node"] = attempt.share.map { String($0.node) }
        events = " data-events=\"\(link("sweeps", sweep, "runs", run.name, "log", "events", query: query))\""
      }
    }
    if let trouble { body += "<p class=\"answer doubt\">\(trouble)</p>" }
    if let piece, piece.offset > 0 {
      body += "<p class=\"small soft\">The first \(Figures.bytes(piece.offset)) are left out.</p>"
    }
    let text = piece.map { String(decoding: $0.bytes, as: UTF8.self) } ?? ""
    let empty: Markup = attempt == nil ? "The run has not started yet." : "Nothing was printed yet."
    body += """
      <p class="small soft" id="connection" hidden="hidden"></p><div\(events)>\
      <pre id="log" tabindex="0" role="log" aria-live="off" aria-label="\(stream.rawValue)">\(text)</pre></div>
      """
    if text.isEmpty, trouble == nil { body += "<p class=\"soft\" id=\"empty\">\(empty)</p>" }
    return Frame(
      title: "\(stream.rawValue) of \(run.name)", place: .none, body: body,
      refresh: isOpen && !isStill ? (10, path(stream, node: attempt?.share?.node, still: true)) : nil, isLive: isOpen
    ).html
  }

  private func path(_ stream: DashboardHooks.LogStream, node: Int?, still: Bool = false) -> String {
    var query = ["stream": stream.rawValue]
    query["node"] = node.map(String.init)
    if still { query["refresh"] = "off" }
    return link("sweeps", sweep, "runs", run.name, "log", query: query)
  }
}
