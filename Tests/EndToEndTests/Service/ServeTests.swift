import Foundation
import Glibc
import TestSupport
import Testing

/// A real `serve`: schedules over real sshd, sweeps of other commands, alerts to a real listener.
@Suite(.serialized, .timeLimit(.minutes(6))) struct ServeTests {
  private static func job(_ sweep: BookedSweep, adding text: String) throws {
    let job = try #require(sweep.scratch.text("job.yaml"))
    try sweep.scratch.write("job.yaml", job + text)
  }

  /// Starts `serve`, waits until it has the store, calls `body` with its process id, ends it and hands its log over.
  @discardableResult
  private static func serving(
    _ sweep: BookedSweep, signal: Int32 = SIGTERM, _ body: (Int32) async throws -> Void
  ) async throws -> String {
    let outcome = try await sweep.during("serve", "--listen", "127.0.0.1:0") { pid in
      do {
        try await sweep.until {
          (sweep.scratch.text("store/coordinator.lock") ?? "").contains("serve, pid \(pid)")
        }
        try await body(pid)
      } catch {
        kill(pid, SIGKILL)
        throw error
      }
      #expect(kill(pid, signal) == 0)
    }
    if signal == SIGTERM { #expect(outcome.status == 0, "\(outcome.errorOutput)") }
    return outcome.errorOutput
  }

  private static func firings(_ sweep: BookedSweep) async throws -> [[String: Any]] {
    let shown = try await sweep.rollcall("schedule", "show", "booked", "--json").json()
    return try #require(shown["firings"] as? [[String: Any]])
  }

  private static func states(_ sweep: BookedSweep) async throws -> [String] {
    try await firings(sweep).compactMap { $0["state"] as? String }
  }

  /// Waits until the states of the times are as wanted.
  private static func states(
    _ sweep: BookedSweep, within seconds: Double, _ areWanted: ([String]) -> Bool
  ) async throws {
    let end = ContinuousClock.now + .seconds(seconds)
    while true {
      let states = try await states(sweep)
      if areWanted(states) { return }
      guard ContinuousClock.now < end else {
        throw ToolFailure(description: "the times never came to what was wanted: \(states)")
      }
      try await Task.sleep(for: .milliseconds(300))
    }
  }

  /// Answers the first post with 503, takes the second, and tells both with the signature that it expects.
  private static let listener = #"""
    import hashlib, hmac, http.server, json, os, sys
    told = []
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time, code = (part.split("=", 1)[1] for part in self.headers["X-Rollcall-Signature"].split(","))
            expected = hmac.new(b"a secret key", (time + ".").encode() + body, hashlib.sha256).hexdigest()
            told.append({"path": self.path, "key": self.headers["Idempotency-Key"], "signed": code == expected,
                         "body": json.loads(body)})
            self.send_response(503 if len(told) == 1 else 200)
            self.end_headers()
        def log_message(self, *rest):
            pass
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.timeout = 200
    with open(sys.argv[1] + ".part", "w") as file:
        file.write(f"http://127.0.0.1:{server.server_port}/hook/TOKEN\n")
    os.rename(sys.argv[1] + ".part", sys.argv[1])
    while len(told) < 2:
        before = len(told)
        server.handle_request()
        if len(told) == before:
            break
    with open(sys.argv[1] + ".told.part", "w") as file:
        json.dump({"told": told}, file)
    os.rename(sys.argv[1] + ".told.part", sys.argv[1] + ".told")
    """#

  @Test func aScheduleOfEachMinuteRunsOverSSHAndIsTold() async throws {
    try await BookedSweep.with { sweep in
      let url = sweep.scratch.path("url")
      async let heard = runPython(Self.listener, [url])
      try await sweep.until { FileManager.default.fileExists(atPath: url) }
      try sweep.scratch.write("secret", "a secret key\n", permissions: 0o600)
      try Self.job(
        sweep,
        adding: """
          schedule: {cron: "* * * * *", timezone: Europe/Berlin}
          notify: [{webhook_file: \(url), secret_file: \(sweep.scratch.path("secret")), on: always}]

          """)
      let added = try await sweep.rollcall("schedule", "add", "job.yaml", "--json")
      #expect(added.status == 0, "\(added.errorOutput)")
      let next = try #require((try added.json()["schedules"] as? [[String: Any]])?.first?["next"] as? [String])
      #expect(next.count == 5)
      let log = try await Self.serving(sweep) { _ in
        // One time is enough: the next one would tell of itself, too.
        try await Self.states(sweep, within: 200) { ["running", "done"].contains($0.first) }
        _ = try await sweep.rollcall("schedule", "disable", "booked")
        try await Self.states(sweep, within: 200) { $0.first == "done" }
        // The second try comes 15 seconds after the first.
        try await sweep.until { FileManager.default.fileExists(atPath: url + ".told") }
      }
      _ = try await heard
      let text = try #require(sweep.scratch.text("url.told"))
      let document = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
      let told = try #require(document?["told"] as? [[String: Any]])

      let firing = try #require(try await Self.firings(sweep).first)
      #expect(firing["state"] as? String == "done", "\(firing) \(log)")
      #expect(firing["verdict"] as? String == "pass")
      #expect((firing["nominal"] as? String)?.hasSuffix(":00Z") == true)
      let name = try #require(firing["sweep"] as? String)
      let report = try await sweep.rollcall("report", name, "--json").json()
      let attempts = try BookedSweep.runs(of: report).flatMap { $0["attempts"] as? [[String: Any]] ?? [] }
      #expect(Set(attempts.compactMap { $0["host"] as? String }).isSubset(of: ["alpha", "beta"]))
      #expect(attempts.count == 2)

      #expect(told.count == 2, "\(log)")
      #expect(Set(told.compactMap { $0["key"] as? String }).count == 1)
      #expect(told.allSatisfy { $0["signed"] as? Bool == true && $0["path"] as? String == "/hook/TOKEN" })
      let body = try #require(told.last?["body"] as? [String: Any])
      #expect(body["schema"] as? String == "rollcall.notice/1")
      #expect(body["verdict"] as? String == "pass")
      #expect(body["sweep"] as? String == name)
      // Neither the address nor the key is anywhere in the store or in what is printed.
      for secret in ["TOKEN", "a secret key"] {
        #expect(!log.contains(secret))
        let found = try await runTool(
          "grep", ["-rlaF", secret, sweep.rollcall.store], mustSucceed: false)
        #expect(found.output.isEmpty, "\(secret): \(found.output)")
      }
    }
  }

  @Test func otherCommandsLeaveTheirSweepsToServe() async throws {
    try await BookedSweep.with { sweep in
      try await Self.serving(sweep) { _ in
        let first = try await sweep.rollcall("run", "job.yaml", "--json")
        #expect(first.status == 0, "\(first.errorOutput)")
        try await sweep.check(try first.json())
        // Another one in the same coordinator.
        let second = try await sweep.rollcall("run", "job.yaml", "--json")
        #expect(second.status == 0, "\(second.errorOutput)")
      }
      #expect(sweep.starts.count == 4)
    }
  }

  @Test func aSweepOutlivesServe() async throws {
    var form = BookedSweep.Form()
    form.work = BookedSweep.gate
    try await BookedSweep.with(form) { sweep in
      try Self.job(sweep, adding: "schedule: {cron: \"0 0 1 1 *\", timezone: UTC}\n")
      _ = try await sweep.rollcall("schedule", "add", "job.yaml")
      let queued = try await sweep.rollcall("schedule", "run-now", "booked")
      #expect(queued.output.contains("when rollcall serve runs"))
      try await Self.serving(sweep, signal: SIGKILL) { _ in try await sweep.begun(2) }
      #expect(try await Self.states(sweep) == ["running"])
      try sweep.openGate()
      try await Self.serving(sweep) { _ in
        try await sweep.until { try await Self.states(sweep) == ["done"] }
      }
      let report = try await sweep.rollcall("report", "last", "--json")
      try await sweep.check(try report.json())
      #expect(sweep.starts.count == 2)
    }
  }

  @Test func aSweepThatCannotBeReadIsToldOnceAndTheOthersGoOn() async throws {
    var form = BookedSweep.Form()
    form.isLocal = true
    form.work = BookedSweep.gate
    try await BookedSweep.with(form) { sweep in
      let killed = try await sweep.during("run", "job.yaml", "--json") { pid in
        try await sweep.begun(2)
        kill(pid, SIGKILL)
      }
      #expect(killed.status != 0)
      _ = try await runPython(
        """
        import sqlite3, sys
        with sqlite3.connect(sys.argv[1]) as store:
            store.execute("UPDATE sweep SET fleet = '{'")
        """, [sweep.rollcall.store + "/rollcall.db"])
      try sweep.openGate()
      let log = try await Self.serving(sweep) { _ in
        let other = try await sweep.rollcall("run", "job.yaml", "--json")
        #expect(other.status == 0, "\(other.errorOutput)")
      }
      #expect(log.components(separatedBy: "not driven: A document in the store cannot be read").count == 2, "\(log)")
    }
  }

  @Test func aHostOfTwoFleetsIsTold() async throws {
    var form = BookedSweep.Form()
    form.isLocal = true
    form.work = BookedSweep.gate
    try await BookedSweep.with(form) { sweep in
      let fleet = try #require(sweep.scratch.text("fleet.yaml"))
      try sweep.scratch.write("other.yaml", "lost_after: 20m\n" + fleet)
      let log = try await Self.serving(sweep) { _ in
        async let first = sweep.rollcall("run", "job.yaml", "--json")
        try await sweep.begun(2)
        async let second = sweep.rollcall("run", "job.yaml", "--json", "--fleet", sweep.scratch.path("other.yaml"))
        try await sweep.until { sweep.starts.count == 4 }
        try sweep.openGate()
        #expect(try await first.status == 0)
        #expect(try await second.status == 0)
      }
      #expect(log.components(separatedBy: ": another fleet names alpha").count == 2, "\(log)")
    }
  }

  /// Whoever waits for `serve` goes on by itself when it dies.
  @Test func aRunGoesOnWhenServeDies() async throws {
    var form = BookedSweep.Form()
    form.work = BookedSweep.gate
    try await BookedSweep.with(form) { sweep in
      // Its end is waited for outside.
      async let run = Self.runOnceServed(sweep)
      try await Self.serving(sweep, signal: SIGKILL) { _ in try await sweep.begun(2) }
      try sweep.openGate()
      let outcome = try await run
      #expect(outcome.status == 0, "\(outcome.errorOutput)")
      try await sweep.check(try outcome.json())
      #expect(sweep.starts.count == 2)
    }
  }

  private static func runOnceServed(_ sweep: BookedSweep) async throws -> RollcallBinary.Outcome {
    try await sweep.until { (sweep.scratch.text("store/coordinator.lock") ?? "").contains("serve, pid") }
    return try await sweep.rollcall("run", "job.yaml", "--json")
  }

  @Test func aWindowEndsASweepAndItIsReportedAsPartial() async throws {
    var form = BookedSweep.Form()
    form.work = #"if [ "$ROLLCALL_WORLD_SIZE" = 2 ]; then sleep 300 & wait; fi"#
    try await BookedSweep.with(form) { sweep in
      try Self.job(sweep, adding: "schedule: {cron: \"0 0 1 1 *\", timezone: UTC, window: 3s}\n")
      _ = try await sweep.rollcall("schedule", "add", "job.yaml")
      _ = try await sweep.rollcall("schedule", "run-now", "booked")
      try await Self.serving(sweep) { _ in
        try await sweep.until { try await Self.states(sweep) == ["done"] }
      }
      let report = try await sweep.rollcall("report", "last", "--json").json()
      #expect(report["verdict"] as? String == "inconclusive")
      let notes = try #require(report["notes"] as? [String])
      #expect(notes.contains { $0.hasPrefix("partial: it was stopped at the end of its window of 3s") }, "\(notes)")
    }
  }

  @Test func aJobWithoutTimesOrWithABrokenFileIsRefused() async throws {
    try await BookedSweep.with { sweep in
      let without = try await sweep.rollcall("schedule", "add", "job.yaml")
      #expect(without.status == 65)
      #expect(without.errorOutput.contains("no section `schedule`"))
      try Self.job(sweep, adding: "schedule: {cron: \"0 0 30 2 *\", timezone: UTC}\n")
      let never = try await sweep.rollcall("schedule", "add", "job.yaml")
      #expect(never.status == 65)
      #expect(never.errorOutput.contains("means no time at all"))
    }
  }

  @Test func aSecondCoordinatorIsRefused() async throws {
    try await BookedSweep.with { sweep in
      try await Self.serving(sweep) { _ in
        let second = try await sweep.rollcall("serve", "--listen", "127.0.0.1:0")
        #expect(second.status == 69)
        #expect(second.errorOutput.contains("Another coordinator (serve, pid"))
        #expect(second.output.isEmpty, "an address where nobody serves")
      }
    }
  }

  /// An alarm for a report that did not come goes to whoever the job names: a command, and a mail program.
  @Test func aMissingReportIsToldByCommandAndMail() async throws {
    try await BookedSweep.with { sweep in
      let scratch = sweep.scratch
      try scratch.write("bin/sendmail", "#!/bin/sh\ncat > '\(scratch.path("mail"))'\n", permissions: 0o755)
      let now = Date()
      let hourAgo = now.addingTimeInterval(-3600).formatted(
        .verbatim(
          "\(hour: .twoDigits(clock: .twentyFourHour, hourCycle: .zeroBased)):\(minute: .twoDigits)",
          timeZone: .gmt, calendar: .init(identifier: .gregorian)))
      try Self.job(
        sweep,
        adding: """
          schedule: {cron: "0 * * * *", timezone: UTC, missed: skip, report_by: "\(hourAgo)"}
          notify: [{command: "cat > '\(scratch.path("told"))'", on: fail}, {email: ann@example.org}]

          """)
      _ = try await sweep.rollcall("schedule", "add", "job.yaml")
      // As if it had been there since yesterday.
      let update = """
        import sqlite3, sys
        with sqlite3.connect(sys.argv[1]) as store:
            store.execute("UPDATE schedule SET alarmed_through = ?", (float(sys.argv[2]),))
        """
      _ = try await runPython(
        update, [sweep.rollcall.store + "/rollcall.db", String(now.timeIntervalSince1970 - 2 * 3600)])
      var served = sweep
      served.rollcall.environment["PATH"] =
        scratch.path("bin") + ":" + (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin")
      try await Self.serving(served) { _ in
        try await sweep.until { scratch.text("told")?.isEmpty == false && scratch.text("mail")?.isEmpty == false }
      }
      let told = try #require(
        try JSONSerialization.jsonObject(with: Data((scratch.text("told") ?? "").utf8)) as? [String: Any])
      #expect(told["event"] as? String == "report-missing")
      #expect((told["text"] as? String)?.hasPrefix("booked: no report by ") == true)
      let mail = try #require(scratch.text("mail"))
      #expect(mail.hasPrefix("To: ann@example.org\nSubject: booked: no report by "))
      #expect(mail.contains("@rollcall>"))
    }
  }

  @Test func theNextTimeCancelsTheOldSweepWhereThatIsWanted() async throws {
    var form = BookedSweep.Form()
    form.work = #"if [ ! -e "$BOOK/second" ]; then sleep 300 & wait; fi"#
    try await BookedSweep.with(form) { sweep in
      try Self.job(sweep, adding: "schedule: {cron: \"* * * * *\", timezone: UTC, overlap: cancel-old}\n")
      _ = try await sweep.rollcall("schedule", "add", "job.yaml")
      // The minute must not come before the sweep that it is to cancel.
      _ = try await sweep.rollcall("schedule", "disable", "booked")
      try await Self.serving(sweep) { _ in
        _ = try await sweep.rollcall("schedule", "run-now", "booked")
        try await sweep.begun(2)
        try sweep.scratch.write("book/second", "")
        _ = try await sweep.rollcall("schedule", "enable", "booked")
        // One more time is enough: the one after it would cancel again.
        try await Self.states(sweep, within: 100) { $0.count >= 2 }
        _ = try await sweep.rollcall("schedule", "disable", "booked")
        try await Self.states(sweep, within: 150) { $0.prefix(2) == ["done", "done"] }
      }
      let verdicts = try await Self.firings(sweep).prefix(2).compactMap { $0["verdict"] as? String }
      #expect(verdicts == ["inconclusive", "pass"])
    }
  }
}
