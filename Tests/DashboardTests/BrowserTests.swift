import Foundation
import Ledger
import Scheduling
import TestSupport
import Testing

@testable import Dashboard

/// The pages in a real headless Chromium. Screenshots go to the folder that `ROLLCALL_TEST_OUTPUT` names, else to
/// `.build/test-output` below the repository.
@Suite(.serialized) struct BrowserTests {
  private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().path
  private static let output =
    ProcessInfo.processInfo.environment["ROLLCALL_TEST_OUTPUT"]
    ?? URL(fileURLWithPath: folder).deletingLastPathComponent().deletingLastPathComponent().path + "/.build/test-output"

  /// Runs a Python program that drives the browser; `url` is the dashboard's.
  private func browse(_ fixture: Fixture, _ program: String) async throws -> String {
    let file = try fixture.scratch.write(
      "browse-\(UUID().uuidString).py",
      "import sys\nsys.path.insert(0, sys.argv[2])\nfrom browser import Browser\nurl = sys.argv[1]\n" + program)
    return try await runTool(
      testPython, ["-B", file, fixture.url, Self.folder], environment: ["ROLLCALL_TEST_OUTPUT": Self.output]
    ).output
  }

  private func showcase(_ fixture: Fixture) throws {
    let done = try fixture.sweep("nightly-20260101")
    for run in done { try fixture.set(run, .succeeded) }
    let series = SeriesRecord(
      sweep: "nightly-20260101", job: "tp-sweep", created: 1_700_000_000, pair: "world_size=2 against world_size=1",
      stage: "MoE",
      points: [.init(layer: 0, verdict: .pass, cos: 1, rel: 0.001, relL2: 0.001, alpha: 1, floor: 0.004)])
    try fixture.ledger.finish(
      sweep: "nightly-20260101", state: .done, verdict: "pass", report: "{}", series: [series], notices: [],
      now: 1_700_000_300)
    for night in 1...20 {
      let id = "llama-\(night + 100)"
      _ = try fixture.sweep(id, job: "llama")
      let points = (0..<16).map { layer -> SeriesRecord.Point in
        let isBad = night > 14 && layer > 9
        let value: Float = isBad ? 0.3 : 0.001 * Float(layer + night % 3 + 1)
        return .init(
          layer: Int32(layer), verdict: isBad ? .fail : .pass, cos: 1, rel: value, relL2: value, alpha: 1, floor: 0.02)
      }
      let verdict = night > 14 ? "fail" : "pass"
      let pair = "world_size=2 against world_size=1"
      try fixture.ledger.finish(
        sweep: id, state: .done, verdict: verdict, report: "{}",
        series: [.init(sweep: id, job: "llama", created: 1_700_000_000, pair: pair, stage: "MoE", points: points)],
        now: 1_700_000_000 + Double(night))
    }
    try fixture.ledger.save(
      ScheduleRecord(name: "tp-sweep", path: "/nowhere/job.yaml", fleet: nil, added: 1_700_000_000))
    try fixture.ledger.decide(
      schedule: "tp-sweep", through: 1_700_000_000,
      firings: [
        FiringRecord(schedule: "tp-sweep", nominal: 1_700_000_000, state: .skipped, why: "missed: serve did not run")
      ])
    let runs = try fixture.sweep("tp-sweep-20260102")
    try fixture.set(runs[0], .succeeded)
    try fixture.set(
      runs[1], .failed, why: "exit 1: CUDA error: an illegal memory access was encountered", host: "gpu-b")
    try fixture.set(runs[2], .running, host: "gpu-a")
    fixture.asked.log = (1...200).map { "step \($0): loss 0.5\n" }.joined()
  }

  @Test func `Every page reads well: light, dark, narrow, and without JavaScript`() async throws {
    try await Fixture.with { fixture in
      try showcase(fixture)
      let printed = try await browse(
        fixture,
        """
        pages = {"sweeps": "/", "sweep": "/sweeps/tp-sweep-20260102", "done": "/sweeps/nightly-20260101",
          "run": "/sweeps/tp-sweep-20260102/runs/run-1", "log": "/sweeps/tp-sweep-20260102/runs/run-2/log",
          "schedules": "/schedules", "history": "/history/llama",
          "hosts": "/hosts", "cancel": "/sweeps/tp-sweep-20260102/cancel", "retry": "/sweeps/tp-sweep-20260102/retry"}
        views = {"light": {}, "dark": {"dark": True}, "narrow": {"width": 390, "height": 800},
          "no-js": {"scripts": False}}
        with Browser() as browser:
          for view, settings in views.items():
            for name, path in pages.items():
              page = browser.page(**settings)
              page.open(url + path)
              roles = page.audit()
              assert "navigation" in roles, roles
              if "<" in page.evaluate("document.body.innerText"): raise SystemExit(f"markup as text on {name}")
              assert not page.complaints(), page.complaints()
              own = [r for r in page.requests() if not r.startswith("data:")]
              assert all(r.startswith(url + "/") for r in own), own
              assert len(own) <= 4, own
              ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
              assert (ground == "rgb(20, 23, 27)") == (view == "dark"), ground
              if name == "sweep": assert page.evaluate("document.body.innerText").count("world_size = ") == 3
              page.screenshot(f"dashboard-{name}-{view}")
              page.close()
        print("pages", len(pages) * len(views))
        """)
      #expect(printed == "pages 40\n")
    }
  }

  @Test func `The matrix and a log change before the reader's eyes`() async throws {
    try await Fixture.with { fixture in
      try showcase(fixture)
      let runs = try fixture.ledger.runs(of: "tp-sweep-20260102")
      let started = fixture.scratch.path("started")
      async let printed = browse(
        fixture,
        """
        with Browser() as browser:
          page = browser.page()
          page.open(url + "/sweeps/tp-sweep-20260102")
          page.evaluate("window.mark = 'the same page'; document.querySelector('#runs a').focus(); 1")
          log = browser.page()
          log.open(url + "/sweeps/tp-sweep-20260102/runs/run-2/log")
          assert "step 200" in log.evaluate("document.getElementById('log').textContent")
          page.screenshot("dashboard-live-before")
          open(\(String(reflecting: started)), "w").close()
          page.wait("document.getElementById('matrix').innerText.includes('gpu-live')")
          page.screenshot("dashboard-live-after")
          assert "2 running" in page.evaluate("document.getElementById('summary').innerText")
          assert page.evaluate("document.getElementById('summary').getAttribute('aria-live')") == "polite"
          # The keyboard stays where it was, though its row was drawn anew.
          assert page.evaluate("document.activeElement.textContent") == "run-0", page.evaluate("document.activeElement.outerHTML")
          log.wait("document.getElementById('log').textContent.includes('the end is near')")
          assert log.evaluate("document.getElementById('log').textContent.split('step 200:').length") == 2
          open(\(String(reflecting: started)) + "-2", "w").close()
          page.wait("document.documentElement.dataset.ended === 'yes'")
          assert "PASS" in page.evaluate("document.getElementById('summary').innerText")
          assert page.evaluate("!!document.querySelector('a[href$=\\"/report\\"]')")
          log.wait("document.documentElement.dataset.ended === 'yes'")
          assert page.evaluate("window.mark") == "the same page"
          page.audit()
          assert not page.complaints(), page.complaints()
        print("seen")
        """)
      try await Self.wait { FileManager.default.fileExists(atPath: started) }
      try fixture.set(runs[4], .running, host: "gpu-live")
      fixture.asked.log += "the end is near\n"
      try await Self.wait { FileManager.default.fileExists(atPath: started + "-2") }
      for run in runs { try fixture.set(run, .succeeded) }
      try fixture.ledger.finish(
        sweep: "tp-sweep-20260102", state: .done, verdict: "pass", report: "{}", now: 1_700_000_400)
      let seen = try await printed
      #expect(seen == "seen\n")
    }
  }

  private static func wait(_ isSo: () -> Bool) async throws {
    for _ in 0..<1800 where !isSo() { try await Task.sleep(for: .milliseconds(100)) }
    try #require(isSo(), "the browser did not come so far within three minutes")
  }

  @Test func `A person signs in, cancels after a second thought, and retries`() async throws {
    let token = "correct-horse-battery-staple"
    try await Fixture.with(token: token) { fixture in
      try showcase(fixture)
      let printed = try await browse(
        fixture,
        """
        with Browser() as browser:
          page = browser.page()
          page.open(url + "/sweeps/tp-sweep-20260102")
          page.audit()
          page.screenshot("dashboard-login")
          assert page.evaluate("document.querySelector('h1').innerText") == "Token"
          def sign_in(token):
            page.evaluate(f"document.getElementById('token').value = '{token}'")
            page.click("button")
          sign_in("a-wrong-token-altogether")
          page.wait("document.body.innerText.includes('not the token')")
          sign_in("\(token)")
          page.wait("document.querySelector('h1').innerText === 'tp-sweep-20260102'")
          # No cookie that a script could read.
          assert page.evaluate("document.cookie") == ""
          page.click("a[href$='/cancel']")
          page.wait("document.querySelector('h1').innerText.startsWith('Cancel')")
          page.screenshot("dashboard-confirm")
          page.audit()
          page.click("form a")
          page.wait("document.querySelector('h1').innerText === 'tp-sweep-20260102'")
          page.click("a[href$='/retry']")
          page.wait("document.querySelector('h1').innerText.startsWith('Retry')")
          page.click("button")
          page.wait("document.querySelector('h1').innerText === 'tp-sweep-20260102'")
          page.click("a[href$='/cancel']")
          page.wait("document.querySelector('h1').innerText.startsWith('Cancel')")
          page.click("button")
          page.wait("document.querySelector('#summary') && document.querySelector('#summary').innerText.includes('cancelling')")
        print("done")
        """)
      #expect(printed == "done\n")
      #expect(fixture.asked.all == ["retry tp-sweep-20260102 run-1", "cancel tp-sweep-20260102"])
    }
  }
}
