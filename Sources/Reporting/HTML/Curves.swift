import Comparison
import Foundation

/// A small panel a stage: relative L2, 1 − cos and |alpha − 1| over the layers on one logarithmic scale, and the noise
/// floor as a band.
struct Curves {
  var grid: LayerGrid
  /// Panels at most; the stages with the worst rows are kept.
  var limit: Int

  /// Pixel row of a decade; the scale runs from 1e-8 to 10, and what lies outside stands at its edge.
  static func y(log value: Double) -> Int {
    Int((12 + (1 - min(max(value, -8), 1)) / 9 * 100).rounded())
  }

  private static func y(_ value: Double) -> Int { value <= 0 ? y(log: -8) : y(log: log10(value)) }

  func markup() -> Markup {
    // Stages with at least two layers: a curve over one point is the heat map's business.
    let columns = grid.columns.indices.filter { if case .layer = grid.columns[$0] { true } else { false } }
    let stages = grid.stagesByWorst.filter { stage in columns.count { grid.cells[stage][$0] != nil } > 1 }
    guard !stages.isEmpty else { return "" }
    let panels = stages.prefix(limit).map { panel(stage: $0, columns: columns) }
    var text: Markup = "<div class=\"panels\">\(panels)</div>"
    if stages.count > limit {
      text += "<p class=\"soft small\">The \(limit) worst of \(stages.count) stages.</p>"
    }
    return text
  }

  static var legend: Markup {
    """
    <div class="legend"><span><svg width="30" height="10" aria-hidden="true"><path class="l" d="M2 5H28"/></svg>\
    rel_l2</span><span><svg width="30" height="10" aria-hidden="true"><path class="k" d="M2 5H28"/></svg>1 − cos\
    </span><span><svg width="30" height="10" aria-hidden="true"><path class="a" d="M2 5H28"/></svg>|alpha − 1|\
    </span><span><svg width="30" height="12" aria-hidden="true"><rect class="band" width="30" height="12"/></svg>\
    up to the noise floor</span><span><svg width="12" height="12" aria-hidden="true"><path class="d" d="M6 6h0"/>\
    </svg>failing layer</span></div>
    """
  }

  private func panel(stage: Int, columns: [Int]) -> Markup {
    let cells = columns.map { grid.cells[stage][$0] }
    let step = columns.count > 1 ? 184.0 / Double(columns.count - 1) : 0
    func x(_ index: Int) -> Int { Int((38 + Double(index) * step).rounded()) }

    let error = cells.map { $0?.row.measures?.relL2 }
    let angle = cells.map { $0?.row.measures.map { 1 - $0.cos } }
    let scale = cells.map { $0?.row.measures.map { abs($0.alpha - 1) } }
    let floor = cells.map { $0?.row.floor }
    var marks: Markup = ""
    var dots = ""
    for (index, cell) in cells.enumerated() where cell?.row.verdict == .fail {
      let value = error[index] ?? .nan
      let top = value.isNaN ? 12 : Self.y(value)
      dots += "M\(x(index)) \(top)h0"
    }
    if !dots.isEmpty { marks += "<path class=\"d\" d=\"\(dots)\"/>" }
    let name = grid.stages[stage]
    let worst = cells.compactMap { $0 }.max { $0.row.severity < $1.row.severity }
    let first = grid.columns[columns[0]].label
    let last = grid.columns[columns[columns.count - 1]].label
    let summary = worst.map { worst in
      let value = worst.row.measures.map { "worst \(Figures.short($0.relL2))" } ?? "not measured"
      return "\(value) at \(Names.place(layer: worst.row.layer, stage: nil))"
    }
    return """
      <figure><figcaption><b>\(name)</b> <span class="soft">\(summary ?? "")</span></figcaption>\
      <svg width="236" height="132" viewBox="0 0 236 132" role="img" aria-label="\(name) over layers \(first) to \
      \(last): \(summary ?? "")">\(band(floor, x))<use href="#grid"/>\
      \(line(scale, "a", x))\(line(angle, "k", x))\(line(error, "l", x))\(marks)\
      <text class="t" x="38" y="128">\(first)</text><text class="t" x="224" y="128" text-anchor="end">\(last)</text></svg></figure>
      """
  }

  /// One path; what has no number interrupts it, and a point without neighbours becomes a dot (a line of no length
  /// with round ends).
  private func line(_ values: [Double?], _ name: Markup, _ x: (Int) -> Int) -> Markup {
    var path = ""
    for run in Self.runs(values) {
      for (position, index) in run.enumerated() {
        path += "\(position == 0 ? "M" : "L")\(x(index)) \(Self.y(values[index] ?? 0))"
      }
      if run.count == 1 { path += "h0" }
    }
    return path.isEmpty ? "" : "<path class=\"\(name)\" d=\"\(path)\"/>"
  }

  private func band(_ values: [Double?], _ x: (Int) -> Int) -> Markup {
    var path = ""
    let bottom = Self.y(log: -8)
    for run in Self.runs(values) {
      path += "M\(x(run.lowerBound)) \(bottom)"
      for index in run { path += "L\(x(index)) \(Self.y(values[index] ?? 0))" }
      path += "V\(bottom)z"
    }
    return path.isEmpty ? "" : "<path class=\"band\" d=\"\(path)\"/>"
  }

  /// Ranges of neighbouring indices that have a number.
  private static func runs(_ values: [Double?]) -> [Range<Int>] {
    var result: [Range<Int>] = []
    for (index, value) in values.enumerated() {
      guard let value, !value.isNaN else { continue }
      if let last = result.last, last.upperBound == index {
        result[result.count - 1] = last.lowerBound..<(index + 1)
      } else {
        result.append(index..<(index + 1))
      }
    }
    return result
  }
}
