import Comparison
import Diagnosis
import Foundation

extension SweepReport {
  /// The sweep as JUnit XML: a test case for each pair of cells, and one for each run that failed.
  ///
  /// FAIL is a failure; INCONCLUSIVE and a failed run are errors, so that nothing unjudged looks passed. A sweep that
  /// did not pass has at least one case that says so.
  public func junit() -> String {
    var cases = pairs.map(testCase)
    cases += failedRuns.map(testCase)
    if cases.isEmpty || (verdict != .pass && cases.allSatisfy { $0.outcome == .passed }) {
      cases.append(
        TestCase(
          name: "sweep", time: duration ?? 0, outcome: Self.outcome(verdict), type: verdict.rawValue,
          message: sentence, detail: ""))
    }
    let failures = cases.count { $0.outcome == .failure }
    let errors = cases.count { $0.outcome == .error }
    let time = Self.seconds(duration ?? 0)
    var document: Markup = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
    document +=
      "<testsuites tests=\"\(cases.count)\" failures=\"\(failures)\" errors=\"\(errors)\" time=\"\(time)\">\n"
    document += "<testsuite name=\"\(Self.attribute("rollcall.\(job)"))\" tests=\"\(cases.count)\" "
    document += "failures=\"\(failures)\" errors=\"\(errors)\" skipped=\"0\" time=\"\(time)\""
    if let stamp = Timestamp.text(started) { document += " timestamp=\"\(String(stamp.prefix(19)))\"" }
    document += ">\n"
    for testCase in cases { document += testCase.markup(suite: Self.attribute(job)) }
    document += "</testsuite>\n</testsuites>\n"
    return document.source
  }

  private enum Outcome {
    case passed
    case failure
    case error
  }

  private struct TestCase {
    var name: String
    var time: Double
    var outcome: Outcome
    var type: String
    var message: String
    var detail: String

    func markup(suite: String) -> Markup {
      let head: Markup =
        "<testcase classname=\"\(suite)\" name=\"\(attribute(name))\" time=\"\(seconds(time))\""
      switch outcome {
      case .passed: return "\(head)/>\n"
      case .failure: return "\(head)>\(element("failure"))</testcase>\n"
      case .error: return "\(head)>\(element("error"))</testcase>\n"
      }
    }

    private func element(_ name: Markup) -> Markup {
      "<\(name) type=\"\(attribute(type))\" message=\"\(attribute(message))\">\(detail)</\(name)>"
    }
  }

  private var duration: Double? { ended.map { $0 - started } }

  private func testCase(_ pair: Pair) -> TestCase {
    let comparison = pair.comparison
    let detail =
      comparison.findings.flatMap { $0.textLines(Style()) + ["  evidence: \($0.evidenceText)"] }
      + comparison.coverageLines
    return TestCase(
      name: title(pair), time: cell(pair.targetCell)?.duration ?? 0, outcome: Self.outcome(comparison.verdict),
      type: comparison.findings.first?.cause ?? comparison.verdict.rawValue, message: comparison.sentence,
      detail: detail.joined(separator: "\n"))
  }

  private func testCase(_ failed: FailedRun) -> TestCase {
    let last = failed.last
    let message = [failed.run.state, last?.exit ?? "", last?.why ?? failed.run.why ?? ""].filter { !$0.isEmpty }
    return TestCase(
      name: "\(failed.cell.label): run \(failed.run.repetition)", time: last?.duration ?? 0, outcome: .error,
      type: failed.run.state, message: message.joined(separator: ", "), detail: last?.logTail ?? "")
  }

  private static func outcome(_ verdict: Verdict) -> Outcome {
    switch verdict {
    case .pass: .passed
    case .fail: .failure
    case .inconclusive: .error
    }
  }

  private static func attribute(_ text: String) -> String { Plain.line(text) }

  private static func seconds(_ value: Double) -> String {
    value.isFinite && value >= 0 ? String(format: "%.3f", value) : "0.000"
  }
}
