import Comparison
import Foundation

extension Triage {
  /// For a terminal.
  public func text() -> String {
    (["\(verdict.rawValue.uppercased())  \(conclusion.summary)"] + conclusion.evidence.map { "  - \($0)" }
      + ["next: \(conclusion.next)"]).joined(separator: "\n")
  }

  /// `01_completions.md` and its text, for each step.
  public var notes: [(name: String, text: String)] {
    steps.enumerated().map { index, step in
      let data = step.data.isEmpty ? "Nothing.\n" : step.data.map { "- \($0)\n" }.joined()
      return (
        "0\(index + 1)_\(step.name).md",
        """
        # \(index + 1). \(step.name)

        ## Hypothesis
        \(step.hypothesis)

        ## Experiment
        \(step.experiment)

        ## Data
        \(data)
        ## Conclusion
        \(step.conclusion)

        ## Next
        \(step.next)

        """
      )
    }
  }

  private struct Document: Encodable {
    var schema = "rollcall.triage/1"
    var id: String
    var job: String
    var verdict: Verdict
    var conclusion: Conclusion
    var steps: [Step]
    var evidence: TriageEvidence
  }

  /// `rollcall.triage/1`
  public func json(id: String, job: String) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    let document = Document(
      id: id, job: job, verdict: verdict, conclusion: conclusion, steps: steps, evidence: evidence)
    return String(decoding: try encoder.encode(document), as: UTF8.self) + "\n"
  }
}
