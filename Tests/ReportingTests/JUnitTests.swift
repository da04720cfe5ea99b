import Comparison
import Diagnosis
import TestSupport
import Testing

@testable import Reporting

@Suite struct JUnitTests {
  private static let summary = """
    import sys, xml.etree.ElementTree as E
    root = E.fromstring(sys.stdin.buffer.read())
    suite = root.find("testsuite")
    cases = suite.findall("testcase")
    assert int(suite.get("tests")) == len(cases)
    assert int(suite.get("failures")) == len(suite.findall("testcase/failure"))
    assert int(suite.get("errors")) == len(suite.findall("testcase/error"))
    print(len(cases), suite.get("failures"), suite.get("errors"), suite.get("time"), suite.get("timestamp"))
    """

  @Test(arguments: [
    (Verdict.pass, "4 0 0 431.750 2026-03-29T01:00:00"), (.fail, "4 2 0 431.750 2026-03-29T01:00:00"),
    // Two pairs that could not be judged and one run that failed.
    (.inconclusive, "5 0 3 431.750 2026-03-29T01:00:00"),
  ])
  func `Each pair is a case, and nothing unjudged looks passed`(verdict: Verdict, expected: String) async throws {
    let printed = try await runPython(Self.summary, input: Samples.sweep(verdict).junit()).output
    #expect(printed == expected + "\n")
  }

  @Test func `A sweep without a single pair does not look passed`() async throws {
    var report = Samples.sweep(.inconclusive)
    report.pairs = []
    report.cells = []
    let printed = try await runPython(Self.summary, input: report.junit()).output
    #expect(printed.hasPrefix("1 0 1 "))
    var contradiction = Samples.sweep(.pass)
    contradiction.verdict = .fail
    let again = try await runPython(Self.summary, input: contradiction.junit()).output
    #expect(again.hasPrefix("5 1 0 "))
  }

  @Test func `Names stay inside their attributes`() async throws {
    var report = Samples.sweep(.fail)
    report.job = "a\"><script>\u{0}'&\u{1B}]]>"
    report.pairs[2].comparison.findings[0].summary = "]]><x>\u{B}"
    let printed = try await runPython(Self.summary, input: report.junit()).output
    #expect(printed.hasPrefix("4 2 0 "))
  }
}
