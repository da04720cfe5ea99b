public import Comparison
import Diagnosis
import Foundation
import OrderedCollections

/// The record of one playbook, `rollcall.playbook/1` in JSON: the path taken and where it ended.
public struct PlaybookReport: Sendable, Hashable {
  public var id: String
  /// Of `PlaybookName`, or the path of a team's own.
  public var name: String
  public var job: String
  public var steps: [Step]
  /// nil: it goes on.
  public var conclusion: Conclusion?

  public init(id: String, name: String, job: String, steps: [Step], conclusion: Conclusion?) {
    self.id = id
    self.name = name
    self.job = job
    self.steps = steps
    self.conclusion = conclusion
  }

  public var verdict: Verdict { conclusion?.verdict ?? .inconclusive }

  /// Runs of all steps.
  public var runCount: Int { steps.reduce(0) { $0 + $1.outcome.runCount } }

  /// True where the conclusion is that a run failed: exit code 3.
  public var hasFailedRuns: Bool { conclusion?.kind == "run-failed" }
}

// MARK: - Text

extension PlaybookReport {
  /// For a terminal.
  public func text() -> String {
    var lines = ["\(name) of \(job) (\(id)): \(steps.count) steps, \(runCount) runs"]
    for (index, step) in steps.enumerated() {
      lines.append("")
      lines.append("\(index + 1). \(step.experiment.step)  \(step.outcome.word)")
      lines.append("   \(step.experiment.design)")
      lines.append("   \(step.outcome.sentence)")
    }
    lines.append("")
    if let conclusion {
      lines.append("\(conclusion.verdict.rawValue.uppercased())  \(conclusion.summary)")
      lines += conclusion.evidence.map { "  - \($0)" }
      lines.append("next: \(conclusion.next)")
    } else {
      lines.append("It goes on: rollcall playbook resume \(id)")
    }
    return lines.joined(separator: "\n")
  }

  /// All notes, joined.
  public func markdown() -> String {
    var text = "# \(name) of \(job)\n\n"
    if let conclusion {
      text += "**\(conclusion.verdict.rawValue.uppercased())**: \(conclusion.summary)\n\nNext: \(conclusion.next)\n\n"
    }
    text += "\(steps.count) steps, \(runCount) runs."
    if let name = PlaybookName(rawValue: name) { text += " \(name.question)" }
    text += "\n"
    for number in steps.indices.map({ $0 + 1 }) { text += "\n#" + note(number) }
    return text
  }
}

// MARK: - Notes

extension PlaybookReport {
  /// `01_world_size-2.md`
  public func noteName(_ number: Int) -> String {
    (number < 10 ? "0" : "") + "\(number)_\(steps[number - 1].experiment.step).md"
  }

  /// Of step `number`, from 1: hypothesis, experiment, data, conclusion, next (seed 002, "Documentation discipline").
  public func note(_ number: Int) -> String {
    let step = steps[number - 1]
    let outcome = step.outcome
    var text = """
      # \(number). \(step.experiment.step)

      ## Hypothesis
      \(step.experiment.hypothesis)

      ## Experiment
      \(step.experiment.design)\(!outcome.isLook ? " \(outcome.runCount) runs, sweep `\(outcome.sweep)`." : "")

      ## Data

      """
    if let lines = outcome.lines {
      text += lines.isEmpty ? "Nothing.\n" : lines.map { "- \($0)\n" }.joined()
    } else {
      text += outcome.samples.map(RunSamples.table) ?? Self.table(outcome)
    }
    text += "\n## Conclusion\n\(outcome.word): \(outcome.sentence)\n"
    for finding in outcome.findings.prefix(3) { text += "- \(finding.summary)\n" }
    for failed in outcome.failedRuns { text += "- \(failed)\n" }
    text += "\n## Next\n"
    if number < steps.count {
      text += "\(steps[number].experiment.hypothesis) \(steps[number].experiment.design)\n"
    } else if let conclusion {
      text += "\(conclusion.summary) \(conclusion.next)\n"
    } else {
      text += "Not known yet.\n"
    }
    return text
  }

  private static let tableRows = 40

  private static func table(_ outcome: Outcome) -> String {
    guard !outcome.pairs.isEmpty else { return "Nothing was compared.\n" }
    guard outcome.pairs.count > 1 else { return table(outcome.pairs[0]) }
    return outcome.pairs.map { pair in
      func cell(_ values: Subject.Values) -> String {
        values.isEmpty ? "" : " " + values.map { "\($0.key)=\($0.value)" }.joined(separator: " ")
      }
      let title =
        switch pair.kind {
        case "repeat": "Two runs of\(cell(pair.target))"
        case "slots" where pair.reference == pair.target: "Slots of\(cell(pair.target))"
        default:
          "\(cell(pair.target).dropFirst()) against\(pair.reference.isEmpty ? " the reference" : cell(pair.reference))"
        }
      return "### \(title): \(pair.verdict.rawValue.uppercased())\n\n" + table(pair)
    }.joined(separator: "\n")
  }

  private static func table(_ pair: Outcome.Pair) -> String {
    // Passing rows behind the first failure tell little.
    let rows =
      pair.rows.count <= tableRows ? pair.rows : Array(pair.rows.filter { $0.verdict != .pass }.prefix(tableRows))
    if rows.isEmpty, !pair.rows.isEmpty { return "All \(pair.rows.count) rows pass.\n" }
    var text = "| place | tensor | cos | rel. L2 | alpha | verdict |\n|---|---|---|---|---|---|\n"
    func figure(_ value: Double?) -> String { value.map { String(format: "%.6g", $0) } ?? "" }
    for row in rows {
      let slot = row.slot.map { " slot \($0)" } ?? ""
      text +=
        "| \(row.place)\(slot) | \(row.tensor) | \(figure(row.cos)) | \(figure(row.relL2)) | \(figure(row.alpha)) | "
      text += "\(row.verdict.rawValue) |\n"
    }
    if rows.count < pair.rows.count { text += "\n\(rows.count) of \(pair.rows.count) rows.\n" }
    return text
  }
}

// MARK: - JSON

extension PlaybookReport {
  private struct Document: Encodable {
    struct Step: Encodable {
      var number: Int
      var step: String
      var hypothesis: String
      var design: String
      /// Absent where it was a look at what is served.
      var sweep: String?
      var verdict: Verdict
      var sentence: String
      var runs: Int
    }

    var schema = "rollcall.playbook/1"
    var id: String
    var playbook: String
    var job: String
    var verdict: Verdict?
    var runs: Int
    var steps: [Step]
    var conclusion: Conclusion?
    /// What a triage saw.
    var evidence: TriageEvidence?
  }

  /// `rollcall.playbook/1`; `verdict` and `conclusion` are absent while it goes on.
  public func json() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    let document = Document(
      id: id, playbook: name, job: job, verdict: conclusion?.verdict, runs: runCount,
      steps: steps.enumerated().map { index, step in
        Document.Step(
          number: index + 1, step: step.experiment.step, hypothesis: step.experiment.hypothesis,
          design: step.experiment.design, sweep: step.outcome.isLook ? nil : step.outcome.sweep,
          verdict: step.outcome.verdict,
          sentence: step.outcome.sentence, runs: step.outcome.runCount)
      }, conclusion: conclusion,
      evidence: steps.contains { $0.outcome.seen != nil } ? TriageEvidence(steps) : nil)
    return String(decoding: try encoder.encode(document), as: UTF8.self) + "\n"
  }
}
