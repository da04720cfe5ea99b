import Comparison
import Diagnosis
import Testing

@testable import Reporting

@Suite struct TextTests {
  private func lines(_ text: String) -> [String] { text.split(separator: "\n").map(String.init) }

  @Test func `A comparison lists what fails and the worst of what passes`() throws {
    let report = Samples.comparison(layers: 4, broken: 2)
    let text = lines(report.text())
    #expect(text[0] == "FAIL  Layer 2 MoE is the first to differ (7 of 18 tensors fail; double-reduce, certain).")
    #expect(text.contains("first divergence: layer 2 MoE"))
    #expect(text.contains { $0.contains("next: Read the code after") })
    let table = text.filter { $0.contains("hidden") && !$0.contains(":") }
    #expect(table.count { $0.contains("FAIL") } == 7)
    // Five stages have passing rows; of each the worst stays.
    #expect(table.count { $0.contains("PASS") } == 5)
    #expect(text.contains("6 more passing rows: Attention 2, o_proj 2, MoE 1, Block 1"))
    #expect(text.contains("  18 of 18 expected tensors compared, 12 captures of other calls"))
    let header = try #require(text.first { $0.contains("rel_l2") && $0.contains("tensor") })
    let names = header.split(separator: " ").map(String.init)
    #expect(
      names == ["layer", "stage", "tensor", "cos", "rel", "rel_l2", "alpha", "floor", "jump", "verdict", "flags"])
    // Columns stand below their titles.
    let verdicts = table.compactMap { line in
      line.ranges(of: line.contains("FAIL") ? "FAIL" : "PASS").first.map {
        line.distance(from: line.startIndex, to: $0.lowerBound)
      }
    }
    #expect(Set(verdicts).count == 1)
    #expect(lines(report.text(verbose: true)).count { $0.contains("PASS") } == 11)
  }

  @Test func `A reason that rows share stands once`() throws {
    var report = Samples.comparison(layers: 4, broken: 2)
    for index in report.rows.indices where report.rows[index].verdict == .fail {
      report.rows[index].why = "the inputs differ"
    }
    let first = try #require(report.rows.first { $0.verdict == .fail })
    let said = lines(report.text()).filter { $0.contains("the inputs differ") }
    #expect(said == ["  layer 2 \(first.stage) \(first.tensor) and 6 more rows: the inputs differ"])
  }

  @Test func `Nothing that was not compared is left out`() {
    let text = Samples.inconclusive().text()
    #expect(text.hasPrefix("INCONCLUSIVE  Rank 5 is missing, so the target could not be joined."))
    #expect(text.contains("26 of 28 expected tensors compared"))
    #expect(text.contains("unmatched: layer 5 MoE hidden: rank 5 of 8 is missing"))
    #expect(text.contains("unreadable: rank5/layer05_MoE_rank5.pt: cut short at byte 4096"))
    #expect(text.contains("values that are not finite: 0 of the reference, 3 of the target"))
    #expect(text.contains("layer 2 o_proj hidden: shapes differ: [64, 512] and [64, 448]"))
  }

  @Test func `A run that never began is shown with its reason, and no log`() throws {
    var report = Samples.sweep(.inconclusive)
    report.cells[4].runs[0].attempts = []
    report.cells[4].runs[0].why = "needs 8 GPUs; the largest host has 4"
    #expect(lines(report.text()).contains("  needs 8 GPUs; the largest host has 4"))
    for text in [report.markdown(), report.html(), report.junit()] {
      #expect(text.contains("needs 8 GPUs; the largest host has 4"), "\(text)")
    }
    #expect(try SweepReport(json: report.json()).cells[4].runs[0].why == report.cells[4].runs[0].why)

    report.cells[4].runs[0].attempts = [Samples.attempt("a", state: "failed")]
    report.cells[4].runs[0].attempts[0].logTail = "\n"
    #expect(!report.text().contains("│"))
  }

  @Test func `A sweep shows its matrix, causes once, and failed runs`() {
    let fail = Samples.sweep(.fail).text()
    #expect(fail.contains("first axis value that breaks: world_size=8"))
    #expect(fail.split(separator: "\n").count { $0.hasPrefix("double-reduce at layer 3 MoE") } == 1)
    #expect(fail.contains("  in: world_size=8 backend=eager; world_size=8 backend=compile"))
    let cell = lines(fail).first { $0.hasPrefix("8 ") && $0.contains("eager") }
    #expect(
      cell?.split(separator: " ").joined(separator: " ")
        == "8 eager succeeded h200-b 1 1 min 35 s FAIL layer 3 MoE")
    let failed = Samples.sweep(.inconclusive).text()
    #expect(failed.contains("attempt 1 on h200-b, exit 1, the command ended with code 1"))
    #expect(failed.contains("  │ RuntimeError: NCCL <timeout> & more"))
    #expect(failed.contains("world_size=8 backend=eager, run 1: rank 5: no file"))
  }

  @Test func `A sweep's evidence is its place in every compared cell`() throws {
    let sweep = Samples.sweep(.fail)
    let plain = lines(sweep.text())
    let text = lines(sweep.text(explains: true))
    #expect(plain.allSatisfy(text.contains))
    let start = try #require(text.firstIndex { $0.contains("the same place in every compared cell") })
    let table = text[(start + 1)...].prefix { $0.hasPrefix("    ") }
    let cells = sweep.pairs.map(sweep.shortTitle)
    for cell in cells { #expect(table.contains { $0.contains(cell) }, "\(cell)") }
    // Only the cells of the world size at fault fail at that place.
    #expect(table.filter { $0.contains("FAIL") }.count == cells.filter { $0.contains("world_size=8") }.count)
    #expect(table.contains { $0.contains("PASS") && $0.contains("world_size=2") })
    #expect(text.contains { $0.contains("in order of execution") })
    #expect(!plain.contains { $0.contains("in order of execution") })
  }

  @Test func `Colour stands only where asked, and tables keep to the width`() {
    let report = Samples.sweep(.fail)
    #expect(!report.text().contains("\u{1B}"))
    #expect(report.text(style: Style(color: true)).contains("\u{1B}[31mFAIL\u{1B}[0m"))
    var wide = Samples.comparison(layers: 2, broken: 0)
    for index in wide.rows.indices { wide.rows[index].stage = String(repeating: "Expert", count: 20) }
    let table = lines(wide.text(style: Style(width: 90))).filter { $0.contains("…") }
    #expect(!table.isEmpty)
    #expect(table.allSatisfy { $0.count <= 90 })
  }

  @Test func `Repeats are runs, shares of a gang are one run, and only a second try is told as one`() {
    var cell = Samples.cell("2", "eager", verdict: .pass)
    let run = cell.runs[0]
    cell.runs = [run, run]
    #expect(cell.runCount == "2")
    // Two hosts of one gang.
    cell.runs = [run]
    cell.runs[0].attempts += run.attempts
    #expect(cell.runCount == "1")
    cell.runs = [run, run]
    cell.runs[1].attempts += run.attempts
    cell.runs[1].attempts[1].number = 2
    #expect(cell.runCount == "2, retried 1 ×")
  }

  @Test func `Names cannot steer the terminal`() {
    var report = Samples.sweep(.inconclusive)
    report.job = "a\u{1B}]0;title\u{7}\u{202E}b"
    report.cells[4].runs[0].attempts[0].logTail = "one\u{1B}[2Jtwo\rthree\nfour"
    let text = report.text(style: Style(color: false))
    #expect(!text.unicodeScalars.contains { $0 != "\n" && Plain.isUnsafe($0) })
    #expect(text.contains("four"))
  }

  @Test(arguments: [
    (Double.nan, "nan"), (-Double.infinity, "-inf"), (0, "0"), (1.234e-7, "1.2e-7"), (0.0123456, "0.01235"), (8, "8"),
    (123456, "1.2e5"),
  ])
  func `Figures are short`(value: Double, text: String) { #expect(Figures.short(value) == text) }

  @Test func `A cosine close to one is not shown as one`() {
    #expect(Figures.cosine(1) == "1")
    #expect(Figures.cosine(0.99999999) == "1−1.0e-8")
    #expect(Figures.cosine(0.9998) == "0.999800")
    #expect(Figures.cosine(.nan) == "nan")
  }

  @Test func `Nothing compared is said in every format`() {
    var report = Samples.sweep(.inconclusive)
    report.pairs = []
    for text in [report.text(), report.markdown(), report.html()] { #expect(text.contains("No pair was compared.")) }
    var comparison = Samples.comparison(layers: 1, broken: nil)
    comparison.coverage.compared = 0
    #expect(comparison.sentence.hasPrefix("Nothing was compared"))
  }

  @Test func `Damaged counts and times do not stop a report`() {
    var report = Samples.sweep(.fail)
    report.started = .nan
    report.ended = .infinity
    report.cells[0].runs[0].byteCount = .max
    report.cells[0].runs[0].fileCount = .min
    report.cells[0].runs[0].attempts[0].started = -1e300
    report.pairs[0].comparison.rows[3].layer = .max
    report.pairs[0].comparison.rows[4].layer = .min
    report.pairs[0].comparison.rows[5].measures?.relL2 = -.infinity
    report.pairs[2].comparison.rows[15].measures?.relL2 = .infinity
    report.pairs[2].comparison.rows[15].measures?.worstToken?.index = .max
    report.pairs[2].comparison.rows[15].measures?.tokenRelL2[3] = .nan
    for text in [report.text(verbose: true), report.markdown(), report.html(), report.junit(), report.json()] {
      #expect(!text.isEmpty)
    }
  }

  @Test func `A finding takes three lines, and its evidence as many as it needs on request`() throws {
    var report = Samples.comparison(layers: 4, broken: 2)
    report.considered = [.init(cause: "row-shift", why: "rows moved by 1, the nearest, leave 1.4")]
    func block(_ text: [String]) throws -> ArraySlice<String> {
      let start = try #require(text.firstIndex { $0.hasPrefix("double-reduce at") })
      return text[start...].prefix { !$0.isEmpty }
    }
    let short = report.text().split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    #expect(try block(short).count == 3)
    #expect(!short.contains { $0.contains("evidence:") || $0.contains("row-shift") })
    let long = report.text(explains: true).split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    let evidence = try block(long)
    #expect(evidence.contains { $0.contains("evidence: alpha 8, residual 0, world_size 8 · ranks 0, 1") })
    let marked = try #require(evidence.first { $0.trimmingPrefix(while: { $0 == " " }).hasPrefix(">") })
    #expect(marked.contains("MoE") && marked.contains("FAIL"))
    #expect(evidence.contains { $0.contains("rel_l2 by layer: 0: ") && $0.contains("3: ") })
    #expect(evidence.contains { $0.contains("  call: ") } && evidence.contains { $0.contains("  ranks: ") })
    #expect(long.contains("  row-shift: rows moved by 1, the nearest, leave 1.4"))
  }
}
