import Comparison
import Reporting
import Testing

@testable import Coordination

@Suite struct SweepSentenceTests {
  @Test(arguments: [
    ("the job names no reference", "Nothing was compared: the job names no reference."),
    ("Sweep s is gone.", "Nothing was compared: Sweep s is gone."),
    ("is it there?", "Nothing was compared: is it there?"),
  ])
  func whatASentenceCitesBringsNoSecondFullStop(note: String, sentence: String) {
    let report = SweepReport(
      id: "s", job: "j", verdict: .inconclusive, hasFailedRuns: false, sentence: "", started: 0, ended: 1, axes: [],
      cells: [], pairs: [], firstAxisValue: nil, notes: [note])
    #expect(SweepSentence.write(report) == sentence)
  }
}
