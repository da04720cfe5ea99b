import Comparison
import Testing

@testable import Reporting

@Suite struct CoverageLedgerTests {
  private func ledger(files: Int) -> CoverageLedger {
    let calls = (0..<files).map {
      CoverageLedger.Entry(file: "call\(1000 + $0).pt", values: ["hidden", "input"], reason: .otherCall)
    }
    let broken = CoverageLedger.Entry(file: "broken.pt", reason: .unreadable, why: "cut short at byte 9")
    let side = CoverageLedger.Side(files: files + 2, captures: files * 2 + 2, compared: 2, entries: calls + [broken])
    return CoverageLedger(reference: side, target: side)
  }

  private func report(files: Int) -> ComparisonReport {
    var report = Samples.comparison(layers: 2, broken: nil)
    report.coverage.ledger = ledger(files: files)
    return report
  }

  @Test func `The record of a comparison has every entry and comes back`() throws {
    let report = report(files: 400)
    #expect(try ComparisonReport(json: report.json()).coverage.ledger == report.coverage.ledger)
  }

  @Test func `A record without a ledger is still read`() throws {
    let read = try ComparisonReport(json: Samples.comparison(layers: 2, broken: nil).json())
    #expect(read.coverage.ledger == nil)
  }

  @Test func `The record of a sweep is short, counts all, and says how many it leaves out`() throws {
    var sweep = Samples.sweep(.pass)
    sweep.pairs[0].comparison = report(files: 400)
    let side = try #require(try SweepReport(json: sweep.json()).pairs[0].comparison.coverage.ledger?.target)
    #expect(side.entries.count < 100)
    #expect(side.entries.count + side.omitted == 401)
    #expect(side.counts == [.otherCall: 800, .unreadable: 1])
    #expect(side.entries.contains { $0.file == "broken.pt" })
    // Written again it stays as it is.
    let again = try SweepReport(json: try SweepReport(json: sweep.json()).json())
    #expect(again.pairs[0].comparison.coverage.ledger?.target == side)
  }

  @Test func `Text and page count by reason and name the first files`() {
    let report = report(files: 4)
    let sentence =
      "10 captures in 6 files: 2 compared, 1 unreadable (broken.pt), 8 other-call (call1000.pt, call1001.pt, call1002.pt, …)"
    #expect(report.text().contains("target: \(sentence)"))
    var sweep = Samples.sweep(.pass)
    sweep.pairs[0].comparison = report
    #expect(sweep.html().contains("8 other-call (call1000.pt"))
  }

  @Test func `The text of a sweep gathers what was not compared by reason`() {
    var sweep = Samples.sweep(.pass)
    for index in sweep.pairs.indices { sweep.pairs[index].comparison = Samples.comparison(layers: 2, broken: nil) }
    #expect(!sweep.text().contains("not compared"))
    for index in [0, 1] { sweep.pairs[index].comparison = report(files: 4) }
    sweep.pairs[1].comparison.coverage.unmatched = ["layer 5 MoE hidden: rank 5 of 8 is missing"]
    let lines = sweep.text().split(separator: "\n").drop { $0 != "not compared" }.map(String.init)
    let count = sweep.pairs.count
    let titles = sweep.pairs.prefix(2).map(sweep.title)
    #expect(lines[1].hasPrefix("  8 of 40 captures compared"), "\(lines)")
    #expect(lines[2] == "  \(titles[1]): unmatched: layer 5 MoE hidden: rank 5 of 8 is missing")
    // What should have been compared is named with its comparisons; what nobody asked for is counted.
    #expect(
      lines[3] == "  unreadable, files and values that cannot be read: 4 in 2 of \(count) comparisons "
        + "(\(titles.joined(separator: "; "))), for instance broken.pt")
    #expect(
      lines[4] == "  other-call, calls that were not chosen: 32 in 2 of \(count) comparisons, "
        + "for instance call1000.pt, call1001.pt, call1002.pt")
  }
}
