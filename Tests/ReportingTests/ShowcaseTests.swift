import Comparison
import Foundation
import Testing

@testable import Reporting

/// Writes the sample reports where `ROLLCALL_REPORT_SAMPLES` names a folder, for people to look at.
@Suite struct ShowcaseTests {
  @Test(.enabled(if: ProcessInfo.processInfo.environment["ROLLCALL_REPORT_SAMPLES"] != nil))
  func write() throws {
    let path = try #require(ProcessInfo.processInfo.environment["ROLLCALL_REPORT_SAMPLES"])
    let folder = URL(fileURLWithPath: path)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    func write(_ text: String, _ name: String) throws {
      try text.write(to: folder.appendingPathComponent(name), atomically: true, encoding: .utf8)
    }
    for verdict in Verdict.allCases {
      let sweep = Samples.sweep(verdict)
      try write(sweep.html(), "\(verdict.rawValue).html")
      try write(sweep.text(verbose: false, style: Style(color: false, width: 110)), "\(verdict.rawValue).txt")
      try write(sweep.markdown(), "\(verdict.rawValue).md")
      try write(sweep.junit(), "\(verdict.rawValue).xml")
      try write(sweep.json(pretty: true), "\(verdict.rawValue).json")
    }
    let single = Samples.comparison(layers: 61, broken: 3)
    try write(single.html(), "comparison.html")
    try write(single.text(), "comparison.txt")
    try write(Samples.large(pairs: 100, layers: 25, broken: 2).html(), "large.html")
  }
}
