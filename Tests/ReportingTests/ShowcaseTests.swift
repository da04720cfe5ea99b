import Comparison
import Foundation
import TestSupport
import Testing

@testable import Reporting

/// Writes every sample report in every form; `ROLLCALL_REPORT_SAMPLES` names a folder that keeps them for people to
/// look at.
@Suite struct ShowcaseTests {
  @Test func everySampleIsWrittenWholeAndSaysItsVerdict() throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    let kept = ProcessInfo.processInfo.environment["ROLLCALL_REPORT_SAMPLES"]
    let folder = URL(fileURLWithPath: kept ?? scratch.path)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    func write(_ text: String, _ name: String) throws {
      let file = folder.appendingPathComponent(name)
      try text.write(to: file, atomically: true, encoding: .utf8)
      #expect(try String(contentsOf: file, encoding: .utf8) == text)
    }
    for verdict in Verdict.allCases {
      let sweep = Samples.sweep(verdict)
      try write(sweep.html(), "\(verdict.rawValue).html")
      try write(sweep.text(verbose: false, style: Style(color: false, width: 110)), "\(verdict.rawValue).txt")
      try write(sweep.markdown(), "\(verdict.rawValue).md")
      try write(sweep.junit(), "\(verdict.rawValue).xml")
      try write(sweep.json(pretty: true), "\(verdict.rawValue).json")
      for form in [sweep.html(), sweep.text(), sweep.markdown()] { #expect(form.contains(verdict.word)) }
      #expect(sweep.json().contains("\"\(verdict.rawValue)\""))
    }
    let single = Samples.comparison(layers: 61, broken: 3)
    try write(single.html(), "comparison.html")
    try write(single.text(), "comparison.txt")
    try write(Samples.large(pairs: 100, layers: 25, broken: 2).html(), "large.html")
  }
}
