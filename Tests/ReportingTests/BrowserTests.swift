import Comparison
import Foundation
import TestSupport
import Testing

@testable import Reporting

/// The report in a real headless Chromium.
@Suite(.serialized) struct BrowserTests {
  private static let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  private static let output =
    ProcessInfo.processInfo.environment["ROLLCALL_TEST_OUTPUT"]
    ?? tests.deletingLastPathComponent().path + "/.build/test-output"

  private static let program = """
    import base64, sys
    sys.path.insert(0, sys.argv[1])
    from browser import Browser
    views = {"light": {}, "dark": {"dark": True}, "narrow": {"width": 390, "height": 800}, "no-js": {"scripts": False}}
    with Browser() as browser:
      for name in sys.argv[2:]:
        for view, settings in views.items():
          page = browser.page(**settings)
          page.open(f"file://{name}")
          roles = page.audit()
          assert roles.count("image") > 2, roles.count("image")
          assert len(page.requests()) == 1, page.requests()
          assert not page.complaints(), page.complaints()
          ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
          assert (ground == "rgb(20, 23, 27)") == (view == "dark"), ground
          if view == "light":
            times = page.evaluate("(t => [t.responseEnd, t.domComplete])(performance.getEntriesByType('navigation')[0])")
            print(name.split("/")[-1], "complete after", round(times[1]), "ms")
            # On paper: dark ink on white, whatever the screen has.
            page.call("Emulation.setEmulatedMedia", media="print", features=[])
            assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
            assert page.evaluate("document.documentElement.scrollWidth") <= 1280
            paper = base64.b64decode(page.call("Page.printToPDF")["data"])
            assert paper[:5] == b"%PDF-" and b"/Page" in paper
          elif name.endswith("fail.html"): page.screenshot(f"report-{view}")
          page.close()
    """

  @Test func `The report reads well: light, dark, narrow, on paper, without JavaScript`() async throws {
    try await Scratch.with { scratch in
      let pages = [
        try scratch.write("fail.html", Samples.sweep(.fail).html()),
        try scratch.write("inconclusive.html", Samples.sweep(.inconclusive).html()),
        try scratch.write("large.html", Samples.large(pairs: 10, layers: 250, broken: 3).html()),
      ]
      let printed = try await runTool(
        testPython,
        ["-B", try scratch.write("browse.py", Self.program), Self.tests.path + "/DashboardTests"] + pages,
        environment: ["ROLLCALL_TEST_OUTPUT": Self.output]
      ).output
      #expect(printed.split(separator: "\n").count == pages.count)
      print(printed)
    }
  }
}
