import Comparison
import Foundation

extension Evaluation {
  /// For a terminal.
  public func text() -> String {
    let conclusion = conclusion
    var lines = ["\(conclusion.verdict.rawValue.uppercased())  \(conclusion.summary)"]
    lines += conclusion.evidence.map { "  - \($0)" }
    lines.append("next: \(conclusion.next)")
    lines.append("")
    for (role, side) in [("reference", reference), ("target", target)] {
      let interval = side.score.interval
      lines.append(
        "\(role): \(percent(side.score)), 95 % \(String(format: "%.1f to %.1f", interval.lowerBound * 100, interval.upperBound * 100)), \(side.name)"
      )
    }
    if let chance { lines.append(String(format: "chance: %.1f %%", chance * 100) + " (\(choices ?? 0) choices)") }
    if !categories.isEmpty { lines += ["", table] }
    if !patterns.isEmpty { lines += ["", "wrong answers by kind (reference, target, of the lost ones):"] + kinds }
    return lines.joined(separator: "\n")
  }

  private var table: String {
    let width = min(40, max(8, categories.map(\.name.count).max() ?? 8))
    func cell(_ text: String, _ width: Int) -> String { text.padding(toLength: width, withPad: " ", startingAt: 0) }
    var lines = [cell("category", width) + "  samples  reference  target  points  lost  gained  p (Holm)"]
    for category in categories {
      var line = cell(category.name, width)
      line += String(
        format: "  %7d  %7.1f %%  %4.1f %%  %+6.1f  %4d  %6d  %8.2g", category.reference.total,
        category.reference.value * 100, category.target.value * 100, category.difference * 100, category.lost,
        category.gained, category.adjustedP)
      if category.isNearChance {
        line += category.isReferenceNearChance ? "  near chance on both sides" : "  NEAR CHANCE"
      }
      lines.append(line)
    }
    return lines.joined(separator: "\n")
  }

  private var kinds: [String] {
    patterns.flatMap { pattern in
      let cause = pattern.lost > 0 ? " Likely: \(pattern.pattern.likelyCause)." : ""
      return ["  \(pattern.pattern.words): \(pattern.reference), \(pattern.target), \(pattern.lost).\(cause)"]
        + pattern.examples.map { example in
          "    \(shown(example.id)): \(shown(example.output))"
            + (example.reference.map { ", right is \(shown($0))" } ?? "")
        }
    }
  }

  private struct Document: Encodable {
    var schema = "rollcall.evaluation/1"
    var verdict: Verdict
    var conclusion: Conclusion
    var evaluation: Evaluation
  }

  /// `rollcall.evaluation/1`
  public func json() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    let conclusion = conclusion
    let document = Document(verdict: conclusion.verdict, conclusion: conclusion, evaluation: self)
    return String(decoding: try encoder.encode(document), as: UTF8.self) + "\n"
  }
}
