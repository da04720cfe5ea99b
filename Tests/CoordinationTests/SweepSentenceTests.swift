import Comparison
import Ledger
import Reporting
import Scheduling
import Testing

@testable import Coordination

@Suite struct SweepSentenceTests {
  @Test(arguments: [
    ("the job names no reference", "Nothing was compared: the job names no reference."),
    ("Sweep s is gone.", "Nothing was compared: Sweep s is gone."),
    ("every cell is its own reference: nothing is compared", "Nothing was compared: every cell is its own reference."),
    ("is it there?", "Nothing was compared: is it there?"),
  ])
  func whatASentenceCitesBringsNoSecondFullStop(note: String, sentence: String) {
    let report = SweepReport(
      id: "s", job: "j", verdict: .inconclusive, hasFailedRuns: false, sentence: "", started: 0, ended: 1, axes: [],
      cells: [], pairs: [], firstAxisValue: nil, notes: [note])
    #expect(SweepSentence.write(report) == sentence)
  }

  @Test(arguments: [
    ("cancelled", "run r cancelled"), ("cancelled before it started", "run r cancelled before it started"),
    ("its host fell asleep", "run r cancelled: its host fell asleep"),
  ])
  func howARunEndedIsSaidOnce(why: String, end: String) {
    var run = RunRecord(sweep: "s", name: "r", position: 0, cell: "c", repetition: 1)
    run.state = .cancelled
    run.why = why
    #expect(SweepDumps.end(of: run) == end)
  }
}
