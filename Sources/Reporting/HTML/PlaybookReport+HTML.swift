import Comparison
import Foundation
public import Playbooks

extension PlaybookReport {
  /// The path that a playbook took and where it ended, as one HTML file that needs neither network nor script.
  ///
  /// - Parameter sweeps: where the sweeps' directories stand as seen from the file; nil: steps name their sweeps without
  ///   a link.
  public func html(sweeps: String? = nil) -> String {
    var body: Markup = """
      <header><p class="kicker"><b>Rollcall</b> \(name) of \(job)</p>
      <h1>\(conclusion.map { Page.badge($0.verdict) } ?? "") \(conclusion?.summary ?? "It goes on.")</h1>
      """
    if let conclusion { body += "<p class=\"answer\">Next: \(conclusion.next)</p>" }
    var facts = [("Steps", String(steps.count)), ("Runs", String(runCount))]
    for (title, value) in [
      ("Layer", conclusion?.layer.map(String.init)), ("Stage", conclusion?.stage), ("Cause", conclusion?.cause),
      ("Subject", conclusion?.subject),
    ] {
      if let value { facts.append((title, value)) }
    }
    body += "\(Page.facts(facts + [("Playbook", id)]))</header>"
    if let conclusion, !conclusion.evidence.isEmpty {
      body += "<section><h2>Evidence</h2><ul>\(conclusion.evidence.map { "<li>\($0)</li>" as Markup })</ul></section>"
    }
    body += "<section><h2>Path</h2>"
    for (index, step) in steps.enumerated() { body += self.step(step, number: index + 1, sweeps) }
    body += "</section>"
    return Page.document(title: "\(conclusion.map { "\($0.verdict.word): " } ?? "")\(name) of \(job)", body: body)
  }

  private static let rowLimit = 40

  private func step(_ step: Step, number: Int, _ sweeps: String?) -> Markup {
    let outcome = step.outcome
    let sweep: Markup =
      if outcome.isLook { "" } else if let sweeps {
        "\(Figures.count(outcome.runCount, "run")), sweep <a href=\"\(sweeps)/\(outcome.sweep)/report.html\">\(outcome.sweep)</a>."
      } else {
        "\(Figures.count(outcome.runCount, "run")), sweep \(outcome.sweep)."
      }
    var text: Markup = """
      <div class="finding"><h3>\(number). \(step.experiment.step) \(Page.badge(outcome.verdict))</h3>
      <p><b>Hypothesis</b> \(step.experiment.hypothesis)</p>
      <p><b>Experiment</b> \(step.experiment.design) \(sweep)</p>
      <p><b>Result</b> \(outcome.sentence)</p>
      """
    let wrong = outcome.pairs.filter { $0.kind != "repeat" }.flatMap(\.rows).filter { $0.verdict != .pass }
    if !wrong.isEmpty {
      text += """
        <details class="more"><summary>\(Figures.count(wrong.count, "row")) did not pass</summary><div class="scroll"><table class="n"><thead><tr>\
        <th scope="col">Place</th><th scope="col">Tensor</th><th scope="col">cos</th><th scope="col">rel. L2</th>\
        <th scope="col">alpha</th><th scope="col">Verdict</th></tr></thead><tbody>
        """
      for row in wrong.prefix(Self.rowLimit) {
        let slot = row.slot.map { " slot \($0)" } ?? ""
        text += """
          <tr><td>\(row.place)\(slot)</td><td>\(row.tensor)</td><td>\(figure(row.cos))</td><td>\(figure(row.relL2))</td>\
          <td>\(figure(row.alpha))</td><td>\(Page.badge(row.verdict))</td></tr>
          """
      }
      text += "</tbody></table></div></details>"
      if wrong.count > Self.rowLimit { text += "<p>The first \(Self.rowLimit) are shown.</p>" }
    }
    if !outcome.failedRuns.isEmpty {
      text += "<ul>\(outcome.failedRuns.map { "<li>\($0)</li>" as Markup })</ul>"
    }
    text += "</div>"
    return text
  }

  private func figure(_ value: Double?) -> String { value.map { String(format: "%.6g", $0) } ?? "" }
}
