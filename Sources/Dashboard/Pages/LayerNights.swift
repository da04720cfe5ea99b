import Foundation
import Reporting

/// One pair's layers from top to bottom, nights from left to right, colour by log10 of relative L2 as in the report; a
/// frame marks what failed.
struct LayerNights {
  var pair: String
  var layers: [JobHistory.Layer]

  private var count: Int { layers.first?.nights.count ?? 0 }
  private static let label = 64
  private static let height = 14

  var html: Markup {
    let pitch = min(max(560 / max(count, 1), 5), 28)
    let width = Self.label + count * pitch + 4
    let failed = layers.reduce(0) { $0 + $1.failures }
    let title =
      "\(pair): relative L2 of \(Figures.count(layers.count, "layer")) over \(Figures.count(count, "night")); "
      + "\(failed) failed"
    return """
      <figure><div class="scroll" tabindex="0" role="region" aria-label="\(pair), layers by nights">\
      <svg class="nights" width="\(width)" height="\(layers.count * Self.height + 4)" role="img" \
      aria-label="\(title). The table has the figures.">\(labels)\(squares(pitch))</svg></div>\
      <figcaption class="small">\(title)</figcaption></figure>\
      <details><summary>\(pair): figures of each layer</summary>\(table)</details>
      """
  }

  private var labels: [Markup] {
    layers.enumerated().map { index, layer in
      "<text x=\"0\" y=\"\(index * Self.height + 11)\">\(layer.name)</text>"
    }
  }

  /// One path a colour.
  private func squares(_ pitch: Int) -> [Markup] {
    var paths: [String: String] = [:]
    var frames = ""
    for (row, layer) in layers.enumerated() {
      for (night, figure) in layer.nights.enumerated() {
        guard let figure else { continue }
        let start = "M\(Self.label + night * pitch) \(row * Self.height + 1)"
        let square = "\(start)h\(pitch - 1)v\(Self.height - 2)h-\(pitch - 1)z"
        paths[Ramp.cssClass(figure.relL2), default: ""] += square
        if figure.verdict == "fail" { frames += square }
      }
    }
    let filled = paths.sorted { $0.key < $1.key }.map { "<path class=\"\($0.key)\" d=\"\($0.value)\"/>" as Markup }
    return filled + (frames.isEmpty ? [] : ["<path class=\"failed\" d=\"\(frames)\"/>"])
  }

  private var table: Markup {
    Part.table(
      "\(pair), layers", JobHistory.Layer.columns,
      layers.map { layer in
        let cells = layer.cells
        let figures = cells.dropFirst().map { "<td>\($0)</td>" as Markup }
        return "<tr><th scope=\"row\">\(cells[0])</th>\(figures)</tr>"
      })
  }
}
