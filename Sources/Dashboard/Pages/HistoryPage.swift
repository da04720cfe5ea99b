import Foundation
import Reporting

/// The nights of one job: verdicts, the worst figure of each pair as a curve, steps.
struct HistoryPage {
  var history: JobHistory

  static let nights = 90

  var html: String {
    var body: Markup = "<h1>History of \(history.job)</h1>"
    if history.steps.isEmpty {
      body += "<p>No figure has left its level.</p>"
    } else {
      let steps = history.steps.prefix(20).map { "<li>\($0.sentence)</li>" as Markup }
      body += "<h2>Steps</h2><ul>\(steps)</ul>"
    }
    body += "<h2>Largest relative L2 of each night</h2>"
    for pair in pairs { body += curve(pair) }
    body += "<h2>Layers</h2>"
    for pair in pairs { body += LayerNights(pair: pair, layers: history.layers.filter { $0.pair == pair }).html }
    body += "<h2>Nights</h2>"
    body += Part.table(
      "Nights", ["sweep", "began", "verdict", "pair", "largest relative L2", "layer", "stage", "noise"],
      history.nights.reversed().flatMap(rows))
    return Frame(title: "History of \(history.job)", place: .none, body: body).html
  }

  private var pairs: [String] {
    var seen: Set<String> = []
    return history.nights.flatMap(\.pairs).map(\.pair).filter { seen.insert($0).inserted }
  }

  private func rows(_ night: JobHistory.Night) -> [Markup] {
    let golden: Markup = night.golden ? " (golden)" : ""
    let head: Markup = """
      <th scope="row"><a href="\(link("sweeps", night.sweep))">\(night.sweep)</a>\(golden)</th><td>\(night.started)</td>\
      <td>\(Part.verdict(night.verdict))</td>
      """
    guard !night.pairs.isEmpty else { return ["<tr>\(head)<td>–</td><td></td><td></td><td></td><td></td></tr>"] }
    return night.pairs.map { pair in
      """
      <tr>\(head)<td>\(pair.pair)</td><td>\(JobHistory.figure(pair.worst))</td>\
      <td>\(pair.layer.map(String.init) ?? "–")</td><td>\(pair.stage)</td>\
      <td>\(pair.noise.map { JobHistory.figure($0) } ?? "–")</td></tr>
      """
    }
  }

  /// On a logarithmic scale; the table below has the numbers.
  private func curve(_ pair: String) -> Markup {
    // Not finite: above all others.
    let values = history.nights.map { night in night.pairs.first { $0.pair == pair }.map { $0.worst ?? .infinity } }
    let finite = values.compactMap { $0 }.filter { $0.isFinite && $0 > 0 }
    guard let least = finite.min(), let most = finite.max() else {
      let isFinite = !values.contains { $0?.isFinite == false }
      return "<p>\(pair): \(isFinite ? "equal to the last bit on all nights" : "not finite").</p>"
    }
    let (low, high) = (log10(least) - 0.3, log10(most) + 0.3)
    let width = 640.0
    let height = 120.0
    let step = width / Double(max(values.count - 1, 1))
    var dots: [Markup] = []
    var path = ""
    for (index, value) in values.enumerated() {
      guard let value else { continue }
      let level = value.isFinite ? (value > 0 ? log10(value) : low) : high
      let x = String(format: "%.1f", Double(index) * step + 10)
      let y = String(format: "%.1f", height - (min(max(level, low), high) - low) / (high - low) * height + 10)
      path += "\(path.isEmpty ? "M" : "L")\(x) \(y)"
      let isBad = history.nights[index].verdict == "fail"
      dots.append("<circle cx=\"\(x)\" cy=\"\(y)\" r=\"\(isBad ? "5" : "3")\" fill=\"currentColor\"/>")
    }
    let label =
      "\(pair): from \(JobHistory.figure(least)) to \(JobHistory.figure(most)) over "
      + Figures.count(values.count, "night")
    return """
      <figure><svg viewBox="0 0 660 140" width="100%" role="img" aria-label="\(label)">\
      <path d="\(path)" fill="none" stroke="currentColor" stroke-width="1.5"/>\(dots)</svg>\
      <figcaption class="small">\(label); larger dots failed</figcaption></figure>
      """
  }
}
