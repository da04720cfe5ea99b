import Comparison
import Diagnosis
import Foundation
import Ledger
import Planning
import Reporting

/// What somebody is told: `rollcall.notice/1`.
struct Notice: Encodable {
  enum Event: String, Encodable {
    case sweepEnded = "sweep-ended"
    /// No report came by the hour that the schedule names.
    case reportMissing = "report-missing"
    /// The schedule could not start its sweep.
    case notStarted = "sweep-not-started"
  }

  var schema = "rollcall.notice/1"
  /// Two notices with one id are one.
  var id = ""
  var event: Event
  var job: String
  var sweep: String?
  var verdict: String?
  /// Of the sweep of this job before it; nil: it is the first.
  var former: String?
  /// For people, in one line; Slack shows it.
  var text: String
  var firstAxisValue: String?
  var findings: [String] = []

  enum CodingKeys: String, CodingKey {
    case schema, id, event, job, sweep, verdict, former, text, findings
    case firstAxisValue = "first_axis_value"
  }

  /// nil: this target is not told of it.
  init?(_ report: SweepReport, former: String?, target: NotifySpec) {
    let verdict = report.verdict.rawValue
    switch target.on {
    case "always": break
    case "fail": guard report.verdict != .pass else { return nil }
    // Without a former one, a PASS is nothing new.
    default: guard verdict != former ?? Verdict.pass.rawValue else { return nil }
    }
    event = .sweepEnded
    job = report.job
    sweep = report.id
    self.verdict = verdict
    self.former = former
    let change = former.map { $0 == verdict ? "" : " (was \($0.uppercased()))" } ?? ""
    text = "\(report.job): \(verdict.uppercased())\(change). \(report.sentence) [\(report.id)]"
    firstAxisValue = report.firstAxisValue.map { "\($0.axis)=\($0.value)" }
    var seen: Set<String> = []
    findings = report.pairs.flatMap(\.comparison.findings).map(\.summary).filter { seen.insert($0).inserted }
    findings = Array(findings.prefix(5))
  }

  init(_ event: Event, job: String, text: String) {
    self.event = event
    self.job = job
    self.text = text
  }

  func record(id: String, target: NotifySpec, now: Double) -> NoticeRecord {
    var notice = self
    notice.id = id
    // A value of this kind can always be encoded; the text alone would do.
    let payload = (try? JSONDocument.encode(notice)) ?? #"{"schema":"rollcall.notice/1"}"#
    return NoticeRecord(id: id, sweep: sweep, job: job, target: target, payload: payload, created: now)
  }
}
