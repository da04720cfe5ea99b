import Comparison
import Foundation
import Ledger
import Reporting
import Scheduling
import TestSupport
import Testing

@testable import Dashboard

@Suite struct PagesTests {
  @Test func `Sweeps come newest first, with verdict, state and counts`() async throws {
    try await Fixture.with { fixture in
      let empty = try await fixture.ask("/")
      #expect(empty.body.contains("No sweeps yet"))
      try await Task.sleep(for: .milliseconds(600))
      let runs = try fixture.sweep("one")
      try fixture.set(runs[0], .succeeded)
      try fixture.set(runs[1], .failed, why: "exit 3")
      _ = try fixture.sweep("two")
      try fixture.ledger.finish(sweep: "two", state: .done, verdict: "fail", report: "{}", now: 1_700_000_100)
      let page = try await fixture.ask("/")
      let one = try #require(page.body.range(of: "/sweeps/one"))
      let two = try #require(page.body.range(of: "/sweeps/two"))
      #expect(two.lowerBound < one.lowerBound)
      #expect(page.body.contains("4 queued, 1 succeeded, 1 failed"))
      #expect(page.body.contains("<span class=\"v fail\">FAIL</span>"))
      #expect(page.body.contains("</span> detached</span>"))
      let document = try await fixture.ask("/api/sweeps")
      let object = try JSONSerialization.jsonObject(with: Data(document.body.utf8)) as? [String: Any]
      let sweeps = try #require(object?["sweeps"] as? [[String: Any]])
      #expect(sweeps.map { $0["id"] as? String } == ["two", "one"])
      #expect(sweeps[1]["runs"] as? [String: Int] == ["queued": 4, "succeeded": 1, "failed": 1])
    }
  }

  @Test func `A sweep shows its matrix, its runs and what can be done`() async throws {
    try await Fixture.with { fixture in
      let runs = try fixture.sweep("one")
      try fixture.set(runs[0], .running)
      try fixture.set(runs[1], .failed, why: "exit 3", host: "gpu-b")
      let page = try await fixture.ask("/sweeps/one")
      #expect(page.body.contains(">world_size = 8</th>"))
      #expect(page.body.contains("<small>gpu-b</small>"))
      #expect(page.body.contains("<td>exit 3</td>"))
      #expect(page.body.contains("/sweeps/one/cancel") && page.body.contains("/sweeps/one/retry"))
      #expect(!page.body.contains("/sweeps/one/report"))
      #expect(page.body.contains("<noscript><meta http-equiv=\"refresh\""))
      let still = try await fixture.ask("/sweeps/one?refresh=off")
      #expect(!still.body.contains("http-equiv"))
      let run = try await fixture.ask("/sweeps/one/runs/run-2?explain=1")
      #expect(run.body.contains("<li>waits: no host has 8 GPUs</li><li>local: has 0</li>"))
      let failed = try await fixture.ask("/sweeps/one/runs/run-1")
      #expect(failed.body.contains("/sweeps/one/runs/run-1/retry"))
      #expect(failed.body.contains("gpus NVIDIA H200, NVIDIA H200"))
      let hosts = try await fixture.ask("/hosts")
      #expect(hosts.body.contains("1 of 2"))
      let state = try await fixture.ask("/api/sweeps/one")
      let object = try JSONSerialization.jsonObject(with: Data(state.body.utf8)) as? [String: Any]
      let told = try #require(object?["runs"] as? [[String: Any]])
      #expect(told.count == 6 && told[1]["why"] as? String == "exit 3")
      #expect(told[0]["cell"] as? [String: String] == ["world_size": "1", "backend": "eager"])
    }
  }

  @Test func `The matrix of a sweep that has ended shows each cell's verdict`() async throws {
    try await Fixture.with { fixture in
      let runs = try fixture.sweep("one", backends: ["eager"])
      for run in runs { try fixture.set(run, .succeeded) }
      let verdicts: [Verdict?] = [nil, .pass, .fail]
      let report = SweepReport(
        id: "one", job: "tp-sweep", verdict: .fail, hasFailedRuns: false, sentence: "It breaks.",
        started: 1_700_000_000, ended: 1_700_000_100, axes: ["world_size", "backend"],
        cells: zip(runs, verdicts).map { run, verdict in
          .init(id: run.cell, values: [], runs: [], verdict: verdict, isReference: verdict == nil)
        }, pairs: [], firstAxisValue: nil, notes: [])
      try fixture.ledger.finish(
        sweep: "one", state: .done, verdict: "fail", report: report.json(), now: 1_700_000_100)
      let page = try await fixture.ask("/sweeps/one")
      let row = try #require(page.body.firstMatch(of: #/<th scope="row">eager<\/th>(.*?)<\/tr>/#)?.1)
      let cells = row.components(separatedBy: "</td>")
      #expect(!cells[0].contains("class=\"v "))
      #expect(cells[1].hasPrefix("<td><span class=\"v pass\">PASS</span>"))
      #expect(cells[2].hasPrefix("<td><span class=\"v fail\">FAIL</span>"))
      // What is sent to an open page is what stands on a new one.
      let events = try await fixture.ask("/sweeps/one/events", "-N")
      #expect(events.body.contains("PASS") && events.body.contains("FAIL"))
    }
  }

  @Test func `The report is the one that was written, while it stands`() async throws {
    try await Fixture.with { fixture in
      let runs = try fixture.sweep("one")
      try fixture.scratch.write("sweeps/one/report.html", "<!DOCTYPE html><p>the report</p>")
      let early = try await fixture.ask("/sweeps/one/report")
      #expect(early.status == 404)
      try fixture.set(runs[0], .failed, why: "exit 3")
      try fixture.ledger.finish(sweep: "one", state: .done, verdict: "inconclusive", report: "{}", now: 1_700_000_100)
      let report = try await fixture.ask("/sweeps/one/report")
      #expect(report.body == "<!DOCTYPE html><p>the report</p>")
      let policy = try #require(report.header("Content-Security-Policy"))
      #expect(policy.contains("default-src 'none'") && !policy.contains("script-src"))
      // A retry makes it void.
      try fixture.ledger.reopen(sweep: "one", runs: ["run-0"], now: 1_700_000_200)
      let late = try await fixture.ask("/sweeps/one/report")
      #expect(late.status == 404)
    }
  }

  @Test func `Events bring what has changed and end with the sweep`() async throws {
    try await Fixture.with { fixture in
      let runs = try fixture.sweep("one")
      async let stream = fixture.ask("/sweeps/one/events", "-N", "-o", fixture.scratch.path("events"))
      func come(_ count: Int) async throws {
        while (fixture.scratch.text("events") ?? "").components(separatedBy: "event: parts\n").count <= count {
          try await Task.sleep(for: .milliseconds(20))
        }
      }
      try await come(1)
      try fixture.set(runs[3], .running, host: "gpu-c")
      try await come(2)
      for run in runs { try fixture.set(run, .succeeded) }
      try fixture.ledger.finish(sweep: "one", state: .done, verdict: "pass", report: "{}", now: 1_700_000_100)
      _ = try await stream
      let events = try #require(fixture.scratch.text("events"))
      #expect(events.contains("Content-Type: text/event-stream\r\n"))
      let parts = events.components(separatedBy: "event: parts\ndata: ").dropFirst().compactMap {
        text -> [String: String]? in
        let line = text.prefix { $0 != "\n" }
        return try? JSONDecoder().decode([String: String].self, from: Data(line.utf8))
      }
      #expect(parts.count >= 3)
      #expect(Set(parts[0].keys) == ["summary", "facts", "actions", "matrix", "runs"])
      // A run that begins changes neither the facts nor what can be done.
      #expect(Set(parts[1].keys) == ["summary", "matrix", "runs"])
      #expect(parts[1]["matrix"]?.contains("gpu-c") == true)
      #expect(parts.last?["summary"]?.contains("PASS") == true)
      #expect(events.hasSuffix("event: end\ndata: {}\n\n"))
    }
  }

  @Test func `A log is shown and followed to its end`() async throws {
    try await Fixture.with { fixture in
      let runs = try fixture.sweep("one")
      let early = try await fixture.ask("/sweeps/one/runs/run-0/log")
      #expect(early.body.contains("has not started yet"))
      try fixture.set(runs[0], .running)
      fixture.asked.log = "first <b>line</b>\n"
      let page = try await fixture.ask("/sweeps/one/runs/run-0/log?stream=stderr")
      #expect(page.body.contains("stderr of one-run-0\nfirst &lt;b&gt;line&lt;/b&gt;\n</pre>"))
      let path = try #require(page.body.firstMatch(of: #/data-events="([^"]+)"/#)?.1).replacing("&amp;", with: "&")
      async let stream = fixture.ask(String(path), "-N")
      try await Task.sleep(for: .milliseconds(1500))
      fixture.asked.log += "second line\n"
      try await Task.sleep(for: .milliseconds(1500))
      try fixture.set(runs[0], .succeeded)
      let events = try await stream
      // Only what the page has not shown yet.
      #expect(events.body.contains("event: text\ndata: \"second line\\n\"\n") && !events.body.contains("first"))
      #expect(events.body.hasSuffix("event: end\ndata: {}\n\n"))
      let plain = try await fixture.ask("/api/sweeps/one/runs/run-0/log?stream=stdout")
      #expect(plain.body.hasPrefix("stdout of one-run-0\nfirst <b>"))
      #expect(plain.header("Content-Type") == "text/plain; charset=utf-8")
    }
  }

  @Test func `Many readers of a log ask its host once`() async throws {
    try await Fixture.with { fixture in
      let runs = try fixture.sweep("one")
      try fixture.set(runs[0], .running)
      fixture.asked.log = "line\n"
      fixture.asked.hold(true)
      // Of one program, so that all have asked before any is answered.
      let mark = fixture.scratch.path("asked")
      async let read = runPython(
        """
        import socket, sys
        readers = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(20)]
        for reader in readers:
            reader.sendall(b"GET /sweeps/one/runs/run-0/log HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
        open(sys.argv[2], "w").close()
        for reader in readers:
            with reader.makefile("rb") as answer: print(b"line\\n</pre>" in answer.read())
        """, ["\(fixture.address.port)", mark])
      while !FileManager.default.fileExists(atPath: mark) { try await Task.sleep(for: .milliseconds(20)) }
      try await Task.sleep(for: .seconds(1))
      fixture.asked.hold(false)
      #expect(try await read.output == String(repeating: "True\n", count: 20))
      // A reader that comes late may ask anew.
      #expect(fixture.asked.logCount <= 3, "\(fixture.asked.logCount)")
    }
  }

  @Test func `Names from others stay text`() async throws {
    try await Fixture.with { fixture in
      let attack = "\"'><script>alert(1)</script><img src=x onerror=y>&amp;\u{202E}"
      let runs = try fixture.sweep("one", backends: [attack, "eager"])
      try fixture.set(runs[0], .failed, why: attack, host: attack)
      try fixture.set(runs[1], .running, host: attack)
      try fixture.ledger.append(
        EventRecord(at: 1, sweep: "one", run: "run-0", kind: attack, detail: attack))
      try fixture.ledger.apply([.files(sweep: "one", run: "run-2", count: 1, bytes: 1, missing: [attack])])
      fixture.asked.log = attack
      for path in [
        "/", "/sweeps/one", "/sweeps/one/runs/run-0", "/sweeps/one/runs/run-1", "/sweeps/one/runs/run-2", "/hosts",
        "/sweeps/one/runs/run-1/log", "/sweeps/one/cancel", "/sweeps/one/retry",
      ] {
        let page = try await fixture.ask(path)
        #expect(page.status == 200, "\(path)")
        for line in [attack, "<script>", "<img", "\u{202E}"] { #expect(!page.body.contains(line), "\(path)") }
        try await runPython(Self.balance, input: page.body)
      }
      let stream = try await fixture.ask("/api/sweeps/one")
      let object = try JSONSerialization.jsonObject(with: Data(stream.body.utf8)) as? [String: Any]
      #expect((object?["runs"] as? [[String: Any]])?[0]["why"] as? String == attack)
      #expect(stream.header("Content-Type") == "application/json")
    }
  }

  /// Well-formed, nothing in line that runs, and only links of this server.
  private static let balance = """
    import sys, xml.etree.ElementTree as E
    root = E.fromstring(sys.stdin.buffer.read().decode())
    for e in root.iter():
      for name, value in e.attrib.items():
        assert not name.startswith("on") and name != "style", (name, value)
        if name in ("href", "src", "action"):
          assert value.startswith(("/", "#")) and not value.startswith("//") or value == "data:,", value
      assert e.tag != "script" or e.get("src") and not e.text
      if e.tag == "th": assert e.get("scope")
    """

  @Test func `What is wrong is told to programs as a document`() async throws {
    try await Fixture.with { fixture in
      _ = try fixture.sweep("one")
      for (path, options, status, code) in [
        ("/api/nothing", [], 404, "not-found"), ("/api", [], 404, "not-found"),
        ("/api/sweeps/two", [], 404, "not-found"), ("/api/sweeps/one/report", [], 404, "not-found"),
        ("/api/sweeps/%zz", [], 404, "not-found"), ("/api/sweeps", ["-X", "DELETE"], 405, "method-not-allowed"),
        ("/api/hosts", ["-H", "Host: evil.example"], 403, "forbidden"),
        ("/api/" + String(repeating: "a", count: 4000), [], 414, "bad-request"),
      ] as [(String, [String], Int, String)] {
        let place = "\(path.prefix(40)) \(options)"
        let answer = try await fixture.ask(path, options: options)
        #expect(answer.status == status, "\(place)")
        #expect(answer.header("Content-Type") == "application/json", "\(place)")
        let document = try JSONSerialization.jsonObject(with: Data(answer.body.utf8)) as? [String: [String: String]]
        #expect(document?["error"]?["code"] == code, "\(place): \(answer.body)")
        #expect(document?["error"]?["message"]?.isEmpty == false, "\(place)")
      }
      let page = try await fixture.ask("/nothing")
      #expect(page.status == 404 && page.body.contains("<html"))
    }
  }

  @Test func `Schedules show their next times and what became of the last`() async throws {
    try await Fixture.with { fixture in
      let empty = try await fixture.ask("/schedules")
      #expect(empty.body.contains("No schedules yet"))
      try await Task.sleep(for: .milliseconds(600))
      let job = try fixture.scratch.write(
        "nightly.yaml",
        "name: nightly\nrun: {command: \"true\"}\nschedule: {cron: \"30 2 * * *\", timezone: Europe/Berlin}\n")
      try fixture.ledger.save(ScheduleRecord(name: "nightly", path: job, fleet: nil, added: 1_700_000_000))
      try fixture.ledger.decide(
        schedule: "nightly", through: 1_700_100_000,
        firings: [
          FiringRecord(
            schedule: "nightly", nominal: 1_700_010_000, last: 1_700_090_000, count: 3, state: .skipped,
            why: "missed: <serve> did not run")
        ])
      let page = try await fixture.ask("/schedules")
      #expect(page.body.matches(of: #/<li>20\d\d-\d\d-\d\dT02:30:00\+0[12]:00</li>/#).count == 5)
      #expect(page.body.contains(", 3 times</th>"))
      #expect(page.body.contains("missed: &lt;serve&gt; did not run"))
      #expect(page.body.contains("/history/nightly"))
      let document = try await fixture.ask("/api/schedules")
      #expect(document.status == 200 && document.header("Content-Type") == "application/json")
      let listing = try #require(
        try JSONSerialization.jsonObject(with: Data(document.body.utf8)) as? [String: Any])
      #expect(listing["schema"] as? String == "rollcall.schedules/1")
      let entry = try #require((listing["schedules"] as? [[String: Any]])?.first)
      #expect(entry["name"] as? String == "nightly" && entry["enabled"] as? Bool == true)
      #expect(entry["cron"] as? String == "30 2 * * *" && entry["timezone"] as? String == "Europe/Berlin")
      #expect((entry["next"] as? [String])?.count == 5)
      #expect((entry["last"] as? String)?.hasSuffix("Z, skipped, missed: <serve> did not run") == true, "\(entry)")
    }
  }

  @Test func `A schedule is run, disabled and enabled by a form`() async throws {
    try await Fixture.with { fixture in
      let job = try fixture.scratch.write(
        "nightly.yaml", "name: nightly\nrun: {command: \"true\"}\nschedule: {cron: \"30 2 * * *\", timezone: UTC}\n")
      try fixture.ledger.save(ScheduleRecord(name: "nightly", path: job, fleet: nil, added: 1_700_000_000))
      func send(_ action: String) async throws -> Fixture.Answer {
        let asked = try await fixture.ask("/schedules/nightly/\(action)")
        #expect(asked.status == 200)
        let (cookie, form) = (try #require(asked.cookie), try #require(asked.formToken))
        return try await fixture.ask("/schedules/nightly/\(action)", "-b", cookie, "-d", "form=\(form)")
      }
      let page = try await fixture.ask("/schedules")
      #expect(page.body.contains("/schedules/nightly/disable") && !page.body.contains("/schedules/nightly/enable"))
      let disabled = try await send("disable")
      #expect(disabled.status == 303 && disabled.header("Location") == "/schedules")
      #expect(try fixture.ledger.schedule(named: "nightly").isEnabled == false)
      let later = try await fixture.ask("/schedules")
      #expect(later.body.contains("/schedules/nightly/enable") && !later.body.contains("/schedules/nightly/disable"))
      _ = try await send("enable")
      let enabled = try fixture.ledger.schedule(named: "nightly")
      #expect(enabled.isEnabled && enabled.decidedThrough > 1_700_000_000)
      #expect(try fixture.ledger.firings(of: "nightly", limit: 5).isEmpty)
      _ = try await send("run-now")
      #expect(try fixture.ledger.firings(of: "nightly", limit: 5).map(\.isManual) == [true])
      for path in ["/schedules/nightly/forget", "/schedules/night/run-now", "/schedules/other/run-now"] {
        let answer = try await fixture.ask(path)
        #expect(answer.status == 404, "\(path)")
      }
    }
  }

  @Test func `A job's history shows each night, a curve, and the steps`() async throws {
    try await Fixture.with { fixture in
      let none = try await fixture.ask("/history/nothing")
      #expect(none.status == 404)
      for night in 0..<8 {
        let id = "night-\(night)"
        _ = try fixture.sweep(id, job: "nightly")
        let figures: [(Int32, Float)] = [(0, 0.001), (3, night == 7 ? .nan : night == 6 ? 0.5 : 0.002)]
        let series = SeriesRecord(
          sweep: id, job: "nightly", created: 1_700_000_000, pair: "world_size=2 against world_size=1", stage: "MoE",
          points: figures.map { layer, value in
            .init(
              layer: layer, verdict: value < 0.1 ? .pass : .fail, cos: 1, rel: 0.001, relL2: value, alpha: 1,
              floor: 0.004)
          })
        try fixture.ledger.finish(
          sweep: id, state: .done, verdict: night < 6 ? "pass" : "fail", report: "{}", series: [series], notices: [],
          now: 1_700_000_100)
      }
      for night in 0..<2 {
        _ = try fixture.sweep("nan-\(night)", job: "broken")
        let point = SeriesRecord.Point(
          layer: 0, verdict: .fail, cos: .nan, rel: .nan, relL2: .nan, alpha: .nan, floor: 0.004)
        let series = SeriesRecord(
          sweep: "nan-\(night)", job: "broken", created: 1_700_000_000, pair: "a", stage: "MoE", points: [point])
        try fixture.ledger.finish(
          sweep: "nan-\(night)", state: .done, verdict: "fail", report: "{}", series: [series], notices: [],
          now: 1_700_000_100)
      }
      let broken = try await fixture.ask("/history/broken")
      #expect(broken.body.contains("a: not finite") && !broken.body.contains("equal to the last bit"))
      let page = try await fixture.ask("/history/nightly")
      #expect(page.status == 200)
      #expect(page.body.contains("layer 3 MoE: relative L2 0.002 → "))
      #expect(page.body.contains("since night-6"))
      #expect(page.body.contains("<svg") && page.body.contains("over 8 nights"))
      #expect(page.body.matches(of: #/<circle /#).count == 8)
      #expect(page.body.contains("<td>not finite</td>"))
      // Layers by nights: two squares failed, both of layer 3.
      let failed = try #require(page.body.firstMatch(of: #/<path class="failed" d="([^"]*)"/#)?.1)
      #expect(failed.matches(of: #/M\d+ 15h/#).count == 2 && failed.matches(of: #/M/#).count == 2)
      #expect(
        page.body.contains(
          "<th scope=\"row\">layer 0</th><td>0.001</td><td>0.001</td><td>0.001</td><td>0.004</td><td>0</td>"))
      for (stage, layer, said) in [
        ("Foo", nil, "the stage \"Foo\"; there are: MoE."),
        ("MoE", 9, "layer 9 of the stage \"MoE\"; there are: 0, 3."),
        (nil, 9, "layer 9; there are: 0, 3."),
      ] as [(String?, Int?, String)] {
        let error = #expect(throws: LedgerError.self) {
          try JobHistory(fixture.ledger, job: "nightly", nights: 8, stage: stage, layer: layer)
        }
        #expect(error?.code == .notFound && error?.message == "No night measured \(said)")
      }
      let one = try JobHistory(fixture.ledger, job: "nightly", nights: 8, stage: "MoE", layer: 3)
      #expect(one.layers.map(\.layer) == [3])
      let document = try await fixture.ask("/api/history/nightly")
      let object = try JSONSerialization.jsonObject(with: Data(document.body.utf8)) as? [String: Any]
      #expect((object?["nights"] as? [Any])?.count == 8)
      #expect(((object?["steps"] as? [[String: Any]])?.first)?["layer"] as? Int == 3)
      let layers = try #require(object?["layers"] as? [[String: Any]])
      #expect(layers.map { $0["layer"] as? Int } == [0, 3])
      let nights = try #require(layers[1]["nights"] as? [[String: Any]])
      #expect(nights.map { $0["verdict"] as? String } == Array(repeating: "pass", count: 6) + ["fail", "fail"])
    }
  }
}
