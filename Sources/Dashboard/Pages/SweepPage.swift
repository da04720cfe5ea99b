import Comparison
import Foundation
import Ledger
import OrderedCollections
import Planning
import Reporting
import Scheduling

/// One sweep: its matrix, its runs, and what a person can do. The parts that change are also sent one by one.
struct SweepPage {
  var view: SweepView
  /// Cell → what came of its comparison; empty until the sweep has ended.
  private var verdicts: [String: Verdict] = [:]
  /// It does not come anew by itself.
  private var isStill: Bool

  /// Rows of runs at most; those that need a look come first.
  static let runLimit = 400
  /// Cells of the matrix at most.
  static let cellLimit = 2000

  init(view: SweepView, _ ledger: SweepLedger, isStill: Bool = false) throws {
    (self.view, self.isStill) = (view, isStill)
    // Where the report cannot be read, its own page says so.
    guard view.hasReport, let document = try ledger.report(of: view.sweep.id) else { return }
    verdicts = (try? SweepReport.verdicts(json: document)) ?? [:]
  }

  var html: String {
    let sweep = view.sweep
    let parts = parts
    func part(_ id: String) -> Markup { Markup(safe: parts[id] ?? "") }
    let isOpen = sweep.ended == nil
    let events: Markup = isOpen ? " data-events=\"\(link("sweeps", sweep.id, "events"))\"" : ""
    let body: Markup = """
      <div\(events)><p class="kicker"><a href="\(link())">Sweeps</a></p><h1>\(sweep.id)</h1>\
      <p role="status" aria-live="polite" id="summary">\(part("summary"))</p>\
      <p class="small soft" id="connection" hidden="hidden"></p>\
      <div id="facts">\(part("facts"))</div><div id="actions">\(part("actions"))</div>\
      <section aria-labelledby="matrix-h"><h2 id="matrix-h">Matrix</h2><div id="matrix">\(part("matrix"))</div></section>\
      <section aria-labelledby="runs-h"><h2 id="runs-h">Runs</h2><div id="runs">\(part("runs"))</div></section></div>
      """
    return Frame(
      title: sweep.id, place: .none, body: body,
      refresh: isOpen && !isStill ? (10, link("sweeps", sweep.id, query: ["refresh": "off"])) : nil, isLive: isOpen
    ).html
  }

  /// Id of an element → what stands in it.
  var parts: OrderedDictionary<String, String> {
    [
      "summary": summary.source, "facts": facts.source, "actions": actions.source, "matrix": matrix.source,
      "runs": runs.source,
    ]
  }

  private var summary: Markup {
    let sweep = view.sweep
    let verdict = sweep.verdict.map { Part.verdict($0) } ?? ""
    return "\(verdict) \(Part.state(view.state)) \(SweepView.text(view.counts))"
  }

  private var facts: Markup {
    let sweep = view.sweep
    return Part.facts([
      ("Job", "\(sweep.job)"), ("Started", Part.time(sweep.created)),
      ("Took", "\(sweep.ended.map { Figures.duration($0 - sweep.created) } ?? "not ended")"),
      ("Cells", "\(view.plan.cells.count)"), ("Runs", "\(view.runs.count)"),
      ("Gathered", "\(Figures.bytes(max(0, view.byteCount)))"),
    ])
  }

  private var actions: Markup {
    let id = view.sweep.id
    var links: [Markup] = []
    if view.hasReport { links.append("<a class=\"do\" href=\"\(link("sweeps", id, "report"))\">Report</a>") }
    if view.sweep.state == .active {
      links.append("<a class=\"do\" href=\"\(link("sweeps", id, "cancel"))\">Cancel…</a>")
    }
    if view.runs.contains(where: SweepView.endedBadly) {
      links.append("<a class=\"do\" href=\"\(link("sweeps", id, "retry"))\">Retry what failed…</a>")
    }
    return links.isEmpty ? "" : "<p class=\"actions\">\(links)</p>"
  }

  // MARK: Matrix

  private var matrix: Markup {
    let axes = view.plan.axes
    let byCell = OrderedDictionary(grouping: view.runs, by: \.cell)
    let cells = view.plan.cells.filter { byCell[$0.id] != nil }
    guard let pivot = axes.first, cells.count <= Self.cellLimit else {
      let more: Markup = cells.count > Self.cellLimit ? "<p>\(cells.count) cells: too many to draw.</p>" : ""
      return more + state(view.runs)
    }
    func value(_ cell: Cell, _ axis: String) -> String { cell.values[axis].map { "\($0)" } ?? "–" }
    let others = axes.dropFirst()
    let columns = OrderedSet(cells.map { value($0, pivot) })
    let lines = OrderedSet(cells.map { cell in others.map { value(cell, $0) } })
    let places = Dictionary(grouping: cells) { cell in others.map { value(cell, $0) } + [value(cell, pivot)] }
    let rows = lines.map { line -> Markup in
      let heads = line.map { "<th scope=\"row\">\($0)</th>" as Markup }
      let entries = columns.map { column -> Markup in
        let cells = places[line + [column]] ?? []
        let runs = cells.flatMap { byCell[$0.id] ?? [] }
        let judged = cells.compactMap { verdicts[$0.id] }.map { "\(Part.verdict($0.rawValue)) " as Markup }
        return "<td>\(judged)\(runs.isEmpty ? "<span class=\"soft\">–</span>" : state(runs))</td>"
      }
      return "<tr>\(heads)\(entries)</tr>"
    }
    return Part.table("Matrix", others.map { $0 } + columns.map { "\(pivot) = \($0)" }, rows)
  }

  private func state(_ runs: [RunRecord]) -> Markup {
    let states = OrderedDictionary(grouping: runs, by: \.state)
    let marks = states.map { Part.state($0.key.rawValue, count: runs.count > 1 ? $0.value.count : nil) }
    let hosts = OrderedSet(runs.flatMap { view.hosts(of: $0.name) })
    let shown = hosts.prefix(4).joined(separator: ", ") + (hosts.count > 4 ? ", …" : "")
    let places: Markup = shown.isEmpty ? "" : "<small>\(shown)</small>"
    return marks.joined(by: " ") + places
  }

  // MARK: Runs

  private var runs: Markup {
    var shown = view.runs[...]
    if shown.count > Self.runLimit {
      // Those that wait or have succeeded need no look.
      shown = view.runs.filter { $0.state != .queued && $0.state != .succeeded }.prefix(Self.runLimit)
    }
    var text = Part.table(
      "Runs", ["run", "state", "host", "try", "started", "took", "files", "gathered", "remarks"], shown.map(row))
    if shown.count < view.runs.count {
      text += """
        <p class="soft">and \(view.runs.count - shown.count) more: \
        <a href="\(link("api", "sweeps", view.sweep.id))">all as JSON</a></p>
        """
    }
    return text
  }

  private func row(_ run: RunRecord) -> Markup {
    let last = view.attempts[run.name]?.last
    let hosts = view.hosts(of: run.name).joined(separator: ", ")
    return """
      <tr><th scope="row"><a href="\(link("sweeps", run.sweep, "runs", run.name))">\(run.name)</a></th>\
      <td>\(Part.state(run.state.rawValue))</td><td>\(hosts.isEmpty ? "–" : hosts)</td><td>\(last?.number ?? 0)</td>\
      <td>\(Part.time(last?.started))</td><td>\(Figures.duration(last.flatMap(view.duration)))</td>\
      <td>\(run.fileCount)</td><td>\(Figures.bytes(max(0, run.byteCount)))</td><td>\(view.reason(run))</td></tr>
      """
  }
}

extension Markup {
  /// Text that was markup before.
  init(safe source: String) {
    self.init()
    self.source = source
  }

  static func + (left: Markup, right: Markup) -> Markup { "\(left)\(right)" }
}

extension [Markup] {
  func joined(by separator: Markup) -> Markup {
    var text: Markup = ""
    for (index, part) in enumerated() {
      if index > 0 { text += separator }
      text += part
    }
    return text
  }
}
