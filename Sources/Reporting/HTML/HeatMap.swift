import Comparison

/// Layers from left to right, stages from top to bottom, colour by log10 of relative L2.
struct HeatMap {
  var grid: LayerGrid
  /// Where the comparison first diverges: a pointer above the column, and the stage in bold.
  var first: ComparisonReport.Divergence?
  var detail: Detail

  /// How much a tooltip says.
  enum Detail {
    case full
    /// Place and relative L2.
    case short
    /// As `short`, and nothing for cells that pass.
    case problems

    /// The most that keeps a page with so many rows below 2 MB.
    init(rows: Int) { self = rows <= 3000 ? .full : rows <= 12_000 ? .short : .problems }
  }

  private let rowHeight = 21

  func markup(id: String) -> Markup {
    let pitch = min(max(820 / max(grid.columns.count, 1), 11), 28)
    let label = min(grid.stages.map(\.count).max() ?? 0, 26) * 7 + 12
    let width = label + grid.columns.count * pitch + 8
    let height = 24 + grid.stages.count * rowHeight + 4
    let failing = grid.cells.joined().count { $0?.row.verdict == .fail }
    var svg: Markup =
      "<svg class=\"h\" style=\"--w:\(pitch - 2)px\" width=\"\(width)\" height=\"\(height)\" viewBox=\"0 0 \(width) "
    svg += "\(height)\" role=\"img\" aria-labelledby=\"\(id)\">"
    svg += "<title id=\"\(id)\">Heat map of relative L2, \(Figures.count(grid.stages.count, "stage")) by "
    svg += "\(Figures.count(grid.columns.count, "layer")); \(Figures.count(failing, "cell")) failing. The table of "
    svg += "rows below holds the figures.</title>"
    svg += columnLabels(label: label, pitch: pitch)
    if let layer = first?.layer, let column = grid.columns.firstIndex(of: .layer(layer)) {
      let x = label + column * pitch + pitch / 2 - 1
      svg += "<path class=\"p\" d=\"M\(x) 23l-4 -6h8z\"/>"
    }
    for (index, stage) in grid.stages.enumerated() {
      let y = 24 + index * rowHeight
      let shown = stage.count > 26 ? stage.prefix(25) + "…" : stage
      let bold: Markup = stage == first?.stage ? " b" : ""
      svg += "<text class=\"t s\(bold)\" x=\"0\" y=\"\(y + 14)\">\(shown)</text>"
      svg += "<g transform=\"translate(\(label),\(y))\">"
      for (column, cell) in grid.cells[index].enumerated() {
        if let cell { svg += rect(cell, x: column * pitch, pitch: pitch) }
      }
      svg += "</g>"
    }
    svg += "</svg>"
    return "<div class=\"scroll\">\(svg)</div>"
  }

  /// As many labels as fit, the last one always.
  private func columnLabels(label: Int, pitch: Int) -> Markup {
    func center(_ index: Int) -> Int { label + index * pitch + pitch / 2 - 1 }
    func half(_ index: Int) -> Int { grid.columns[index].label.count * 16 / 5 }

    var text: Markup = "<g class=\"c\">"
    var free = 0
    let last = grid.columns.count - 1
    for index in grid.columns.indices {
      let fits = center(index) - half(index) >= free
      let leavesLast = center(index) + half(index) + 5 <= center(last) - half(last)
      guard index == last || (fits && leavesLast) else { continue }
      let name = grid.columns[index].label
      text += "<text x=\"\(center(index))\" y=\"14\">\(name)</text>"
      free = center(index) + half(index) + 5
    }
    text += "</g>"
    return text
  }

  private func rect(_ cell: LayerGrid.Cell, x: Int, pitch: Int) -> Markup {
    let row = cell.row
    let base = Ramp.cssClass(row.measures?.relL2)
    let center = x + (pitch - 2) / 2
    switch row.verdict {
    case .pass:
      let title: Markup =
        detail != .problems
        ? "<title>\(Names.place(layer: row.layer, stage: row.stage)) \(Figures.short(row.measures?.relL2))</title>"
        : ""
      return "<rect class=\"\(base)\" x=\"\(x)\">\(title)</rect>"
    case .fail:
      return "<rect class=\"\(base) f\" x=\"\(x)\">\(title(cell))</rect><use href=\"#x\" x=\"\(center)\"/>"
    case .inconclusive:
      return
        "<rect class=\"\(base) q\" x=\"\(x)\">\(title(cell))</rect><text class=\"mark\" x=\"\(center)\" y=\"14\">?</text>"
    }
  }

  private func title(_ cell: LayerGrid.Cell) -> Markup {
    let row = cell.row
    if detail != .full {
      let place = Names.place(layer: row.layer, stage: row.stage)
      return "<title>\(place) \(Figures.short(row.measures?.relL2))</title>"
    }
    var text = "\(Names.place(layer: row.layer, stage: row.stage)) \(row.tensor): \(row.verdict.word)"
    if let measures = row.measures {
      text += ", rel_l2 \(Figures.short(measures.relL2)), cos \(Figures.cosine(measures.cos))"
    }
    if let floor = row.floor { text += ", floor \(Figures.short(floor))" }
    if cell.count > 1 { text += "; worst of \(cell.count)" }
    return "<title>\(text)</title>"
  }

  /// Shared shapes, once a page: the hatch of what has no number, the cross of a failing cell, the curves' grid.
  static var definitions: Markup {
    var grid: Markup = ""
    for decade in stride(from: -8, through: 0, by: 2) {
      let y = Curves.y(log: Double(decade))
      grid += "<path class=\"grid\" d=\"M34 \(y)H226\"/>"
      grid +=
        "<text class=\"t\" x=\"28\" y=\"\(y + 4)\" text-anchor=\"end\">\(decade == 0 ? "1" : "1e\(decade)")</text>"
    }
    return """
      <svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs>\
      <pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">\
      <rect width="6" height="6" style="width:6px;height:6px;fill:var(--equal)"/>\
      <path d="M0 0V6" style="stroke:var(--soft);stroke-width:2px"/></pattern>\
      <g id="x"><path class="m0" d="M-3 6L3 12M3 6L-3 12"/><path class="m1" d="M-3 6L3 12M3 6L-3 12"/></g>\
      <g id="grid">\(grid)</g></defs></svg>

      """
  }

  static var legend: Markup {
    var bar: Markup = ""
    for step in 0..<Ramp.steps {
      bar += "<rect class=\"c\(step)\" x=\"\(step * 12)\" y=\"0\" width=\"12\" height=\"12\"/>"
    }
    for (index, label) in ["1e-7", "1e-5", "1e-3", "0.1"].enumerated() {
      let x = Double(index * 2) / -Ramp.lowest * Double((Ramp.steps - 1) * 12) + 6
      bar +=
        "<text class=\"t\" x=\"\(Int(x))\" y=\"25\" text-anchor=\"\(index == 0 ? "start" : "middle")\">\(label)</text>"
    }
    bar += "<text class=\"t\" x=\"240\" y=\"25\" text-anchor=\"end\">1</text>"
    return """
      <div class="legend"><span>relative L2<svg width="242" height="28" role="img" \
      aria-label="Colour scale from 1e-7 to 1">\(bar)</svg></span>\
      \(swatch("z", "equal"))\(swatch("n", "no finite number"))\
      <span><svg class="h" style="--w:17px" width="21" height="23" aria-hidden="true"><g transform="translate(2,2)">\
      <rect class="c15 f" x="0"/><use href="#x" x="8"/></g></svg>FAIL</span>\
      <span><svg class="h" style="--w:17px" width="21" height="23" aria-hidden="true"><g transform="translate(2,2)">\
      <rect class="c8 q" x="0"/><text class="mark" x="8" y="14">?</text></g></svg>INCONCLUSIVE</span></div>
      """
  }

  private static func swatch(_ name: Markup, _ text: String) -> Markup {
    """
    <span><svg class="h" style="--w:17px" width="18" height="20" aria-hidden="true">\
    <rect class="\(name)" x="0"/></svg>\(text)</span>
    """
  }
}
