import Comparison
import Diagnosis
import Foundation
import Testing

@testable import Reporting

@Suite struct MarkdownTests {
  @Test func `A sweep is short, with its pairs folded`() {
    let text = Samples.sweep(.fail).markdown()
    #expect(text.hasPrefix("### Rollcall: FAIL, tp-sweep\n"))
    #expect(text.contains("First axis value that breaks: **world\\_size=8**"))
    #expect(text.contains("| 8 | eager | succeeded | FAIL | layer 3 MoE |"))
    #expect(text.ranges(of: "<details>").count == 4)
    #expect(text.ranges(of: "<details>").count == text.ranges(of: "</details>").count)
    #expect(text.ranges(of: "- **double-reduce at layer 3 MoE").count == 1)
    let broken = text.firstRange(of: "<b>FAIL</b>")?.lowerBound
    let passing = text.firstRange(of: "<b>PASS</b>")?.lowerBound
    #expect(broken.map { one in passing.map { one < $0 } ?? false } == true)
  }

  @Test func `A long sweep keeps to the limit of a comment and counts what it leaves out`() throws {
    let text = Samples.large(pairs: 200, layers: 20, broken: 2).markdown()
    #expect(text.utf16.count < 65_536)
    #expect(text.contains("sections left out for length"))
  }

  @Test func `Names cannot break a table or become HTML`() {
    var report = Samples.comparison(layers: 2, broken: 0)
    for index in report.rows.indices { report.rows[index].tensor = "a|b`c<script>\n|*_[x](y)@team" }
    report.findings[0].summary = "</details><img src=x>"
    let text = report.markdown()
    #expect(!text.contains("<script"))
    #expect(!text.contains("<img"))
    #expect(!text.contains("@team"))
    let rows = text.split(separator: "\n").filter { $0.hasPrefix("| ") && $0.contains("script") }
    #expect(!rows.isEmpty)
    for row in rows {
      let bars = row.replacing("\\\\", with: "").replacing("\\|", with: "").count { $0 == "|" }
      #expect(bars == 10, "\(row)")
    }
  }

  @Test func `A fence is longer than any inside`() {
    #expect(Markdown.fence("a\n````\nb") == "`````text\na\n````\nb\n`````")
    #expect(Markdown.fence("x").hasPrefix("```text\n"))
  }
}
