import Comparison
import Testing

@testable import Reporting

@Suite struct ExitPolicyTests {
  @Test(arguments: [
    (Verdict.pass, false, Int32(0)), (.fail, false, 1), (.inconclusive, false, 2), (.pass, true, 3),
    (.inconclusive, true, 3), (.fail, true, 1),
  ])
  func `Of several answers the first of 1, 3, 2, 0 holds`(verdict: Verdict, failed: Bool, code: Int32) {
    var report = Samples.sweep(.pass)
    report.verdict = verdict
    report.hasFailedRuns = failed
    #expect(ExitPolicy.code(for: report) == code)
  }

  @Test(arguments: ["failed", "timed-out", "stalled", "lost"])
  func `A run that failed counts even where the flag was forgotten`(state: String) {
    var report = Samples.sweep(.pass)
    report.cells[2].runs[0].state = state
    #expect(ExitPolicy.code(for: report) == 3)
  }

  @Test func `A comparison alone has no runs`() {
    #expect(ExitPolicy.code(for: Samples.comparison(layers: 2, broken: nil)) == 0)
    #expect(ExitPolicy.code(for: Samples.comparison(layers: 2, broken: 0)) == 1)
    #expect(ExitPolicy.code(for: Samples.inconclusive()) == 2)
  }
}
