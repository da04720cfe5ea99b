import Foundation
import HTTPTypes
import Ledger
import Scheduling
import TestSupport
import Testing

@testable import Dashboard

/// What the server refuses, asked of a real one.
@Suite struct AccessTests {
  private static let token = "correct-horse-battery-staple"

  @Test(arguments: [
    ("127.0.0.1:7450", true), ("127.8.9.1:1", true), ("[::1]:7450", true), ("localhost:0", true),
    ("0.0.0.0:7450", false), ("[::]:7450", false), ("10.0.0.1:80", false), ("localhost.example:80", false),
    ("127.0.0.1.example:80", false), ("gpu-a:7450", false),
  ])
  func `An address is of loopback or not`(text: String, isLoopback: Bool) throws {
    let address = try ListenAddress(parsing: text)
    #expect(address.isLoopback == isLoopback)
    #expect(address.description == text)
  }

  @Test(arguments: ["", "7450", "127.0.0.1", ":80", "host:-1", "host:65536", "[::1:80", "[x]:80", "a b:80", "host:1e3"])
  func `What is no address is refused`(text: String) {
    let error = #expect(throws: DashboardError.self) { try ListenAddress(parsing: text) }
    #expect(error?.code == .address)
  }

  @Test func `An address that others reach needs a token`() async throws {
    let error = await #expect(throws: DashboardError.self) {
      try await Fixture.with(host: "0.0.0.0") { _ in }
    }
    #expect(error?.code == .unguarded)
    try await Fixture.with(token: Self.token, host: "0.0.0.0") { fixture in
      let answer = try await fixture.ask("/")
      #expect(answer.status == 401)
    }
  }

  @Test func `A token comes from a file that not everybody may read`() async throws {
    try await Scratch.with { scratch in
      _ = try AccessToken(file: try scratch.write("good", Self.token + "\n", permissions: 0o600))
      for (name, text, mode) in [
        ("open", Self.token, 0o644), ("short", "secret", 0o600), ("spaces", "a token with some spaces", 0o600),
      ] {
        let path = try scratch.write(name, text, permissions: mode)
        let error = #expect(throws: DashboardError.self) { try AccessToken(file: path) }
        #expect(error?.code == .token)
      }
      #expect(throws: DashboardError.self) { try AccessToken(file: scratch.path("nothing")) }
      #expect(throws: DashboardError.self) { try AccessToken(file: scratch.path) }
    }
  }

  @Test func `A wrong token reads nothing`() async throws {
    try await Fixture.with(token: Self.token) { fixture in
      _ = try fixture.sweep("secret-sweep")
      for path in ["/", "/sweeps/secret-sweep", "/hosts", "/api/sweeps", "/api/hosts", "/sweeps/secret-sweep/events"] {
        for header in [
          "X: y", "Authorization: Bearer wrong", "Authorization: \(Self.token)", "Authorization: Basic \(Self.token)",
          "Authorization: Bearer \(Self.token)x", "Cookie: rollcall-0=1.99999999999.00",
        ] {
          let answer = try await fixture.ask(path, "-H", header)
          #expect(answer.status == 401, "\(path) \(header)")
          #expect(answer.header("WWW-Authenticate") == "Bearer")
          #expect(!answer.body.contains("secret-sweep</a>") && !answer.body.contains("tp-sweep"))
        }
        let answer = try await fixture.ask(path, "-H", "Authorization: Bearer \(Self.token)", "-I")
        #expect(answer.status == 200, "\(path)")
      }
      let health = try await fixture.ask("/healthz")
      #expect(health.status == 200)
    }
  }

  @Test func `The login form makes a session, and only with the token`() async throws {
    try await Fixture.with(token: Self.token) { fixture in
      _ = try fixture.sweep("one")
      let page = try await fixture.ask("/sweeps/one")
      #expect(page.status == 401)
      #expect(page.body.contains(#"name="next" value="/sweeps/one""#))
      let wrong = try await fixture.ask("/login", "-d", "token=wrong&next=/")
      #expect(wrong.status == 401)
      #expect(wrong.cookie == nil)
      let right = try await fixture.ask("/login", "-d", "token=\(Self.token)&next=/sweeps/one")
      #expect(right.status == 303)
      #expect(right.header("Location") == "/sweeps/one")
      let setting = try #require(right.header("Set-Cookie"))
      #expect(setting.contains("HttpOnly") && setting.contains("SameSite=Strict"))
      let cookie = try #require(right.cookie)
      let seen = try await fixture.ask("/sweeps/one", "-b", cookie)
      #expect(seen.status == 200)
      // One digit of the signature changed.
      let last = try #require(cookie.last)
      let forged = try await fixture.ask("/sweeps/one", "-b", cookie.dropLast() + (last == "0" ? "1" : "0"))
      #expect(forged.status == 401)
      for next in ["//evil.example/", "https://evil.example/", "/\\evil.example"] {
        let answer = try await fixture.ask(
          "/login", "-d", "token=\(Self.token)", "--data-urlencode", "next=\(next)")
        #expect(answer.header("Location") == "/", "\(next)")
      }
    }
  }

  @Test func `A session ends`() {
    let sessions = Sessions()
    let session = sessions.make(now: 1000)
    #expect(sessions.isValid(session, now: 1000))
    #expect(!sessions.isValid(session, now: 1001 + Sessions.seconds))
    #expect(!Sessions().isValid(session, now: 1000))
    #expect(!sessions.isFormToken(sessions.formToken(sessions.make(now: 1000)), of: session))
  }

  @Test func `Another host's name is refused on loopback`() async throws {
    try await Fixture.with(hosts: ["dash.example"]) { fixture in
      for (name, status) in [
        ("evil.example", 403), ("evil.example:\(fixture.address.port)", 403), ("127.0.0.1.evil.example", 403),
        ("localhost", 200), ("127.0.0.1:8080", 200), ("[::1]:9", 200), ("LOCALHOST:1", 200), ("dash.example", 200),
      ] {
        let answer = try await fixture.ask("/", "-H", "Host: \(name)")
        #expect(answer.status == status, "\(name)")
      }
    }
  }

  @Test func `Paths that play tricks lead nowhere`() async throws {
    try await Fixture.with { fixture in
      _ = try fixture.sweep("one")
      try fixture.scratch.write("sweeps/secret/report.html", "secret")
      try fixture.scratch.write("secret.txt", "secret")
      for path in [
        "/../secret.txt", "/sweeps/../rollcall.db", "/sweeps/%2e%2e/report", "/sweeps/..%2f..%2fsecret.txt",
        "/sweeps/%2e%2e%2fsecret/report", "/sweeps/one/../one", "/sweeps/./one", "//sweeps", "/sweeps//one", "/sweeps/",
        "/sweeps/one%00", "/sweeps/one%5c..", "/sweeps/%zz", "/sweeps/%", "/sweeps/%c3%28", "/sweeps/secret/report",
        "/sweeps/last", "/sweeps/on", "/assets/../secret.txt", "/assets/nothing.css", "/nothing", "/api", "/api/x",
      ] {
        let answer = try await fixture.ask(path)
        #expect(answer.status == 404, "\(path)")
        #expect(!answer.body.contains("secret<") && answer.body != "secret", "\(path)")
      }
      let good = try await fixture.ask("/sweeps/%6fne")
      #expect(good.status == 200)
      let long = try await fixture.ask("/" + String(repeating: "a", count: 4000))
      #expect(long.status == 414)
    }
  }

  @Test(arguments: [
    "", "x", "http://x/", "//x", "/x/", "/.", "/..", "/x/../y", "/x/%2e%2e", "/x/.%2E/y", "/x/a%2fb", "/x/a%5cb",
    "/x\\y",
    "/x/%00", "/x/%0a", "/x/%7f", "/%", "/%4", "/%zz", "/%ff", "/%c0%ae%c0%ae",
  ])
  func `A path that plays tricks is no question`(target: String) {
    #expect(Question(method: .get, target: target, authority: nil, headers: [:]) == nil)
  }

  @Test func `A path is decoded once`() throws {
    let question = try #require(
      Question(method: .get, target: "/a%252e/b%20c/...?x=1%262&y=+&%zz=3", authority: nil, headers: [:]))
    #expect(question.path == ["a%2e", "b c", "..."])
    #expect(question.query == ["x": "1&2", "y": " "])
    #expect(link("a%2e", "b c", "ü/..", query: ["q": "&"]) == "/a%252e/b%20c/%C3%BC%2F..?q=%26")
  }

  @Test func `A form of another site changes nothing`() async throws {
    try await Fixture.with { fixture in
      let runs = try fixture.sweep("one")
      try fixture.set(runs[0], .failed, why: "exit 1")
      try fixture.ledger.save(ScheduleRecord(name: "nightly", path: "/none", fleet: nil, added: 1_700_000_000))
      let page = try await fixture.ask("/sweeps/one/cancel")
      #expect(page.status == 200)
      let (cookie, form) = (try #require(page.cookie), try #require(page.formToken))
      let other = try await fixture.ask("/sweeps/one/retry")
      let refused: [[String]] = [
        // No session, no token, a token of another session, an old site's token.
        [], ["-b", cookie], ["-d", "form=\(form)"], ["-b", try #require(other.cookie), "-d", "form=\(form)"],
        ["-b", cookie, "-d", "form=00"],
        // All of the session's own, and sent by another page.
        ["-b", cookie, "-d", "form=\(form)", "-H", "Origin: https://evil.example"],
        ["-b", cookie, "-d", "form=\(form)", "-H", "Origin: null"],
        ["-b", cookie, "-d", "form=\(form)", "-H", "Origin: http://127.0.0.1:1"],
        ["-b", cookie, "-d", "form=\(form)", "-H", "Sec-Fetch-Site: cross-site"],
        ["-b", cookie, "-d", "form=\(form)", "-H", "Sec-Fetch-Site: same-site"],
      ]
      for options in refused {
        for path in [
          "/sweeps/one/cancel", "/sweeps/one/retry", "/sweeps/one/runs/run-0/retry", "/schedules/nightly/run-now",
        ] {
          let answer = try await ask(fixture, path, options)
          #expect(answer.status == 403, "\(path) \(options)")
        }
      }
      #expect(fixture.asked.all.isEmpty)
      // A GET never acts.
      for path in ["/sweeps/one/cancel", "/sweeps/one/retry", "/schedules/nightly/run-now"] {
        _ = try await fixture.ask(path + "?form=\(form)", "-b", cookie)
      }
      #expect(fixture.asked.all.isEmpty)
      #expect(try fixture.ledger.firings(of: "nightly", limit: 5).isEmpty)
      let done = try await ask(
        fixture, "/sweeps/one/retry", ["-b", cookie, "-d", "form=\(form)", "-H", "Origin: \(fixture.url)"])
      #expect(done.status == 303)
      #expect(fixture.asked.all == ["retry one run-0"])
      let cancelled = try await ask(
        fixture, "/sweeps/one/cancel", ["-b", cookie, "-d", "form=\(form)", "-H", "Sec-Fetch-Site: same-origin"])
      #expect(cancelled.header("Location") == "/sweeps/one")
      #expect(fixture.asked.all == ["retry one run-0", "cancel one"])
      let again = try await fixture.ask("/sweeps/one/cancel")
      #expect(again.status == 409)
    }
  }

  private func ask(_ fixture: Fixture, _ path: String, _ options: [String]) async throws -> Fixture.Answer {
    let result = try await runTool("curl", ["-s", "-i", "-X", "POST"] + options + [fixture.url + path])
    let words = result.output.split(separator: " ")
    return Fixture.Answer(status: Int(words[1]) ?? 0, head: result.output, body: "")
  }

  @Test func `A bearer of the token acts without a form`() async throws {
    try await Fixture.with(token: Self.token) { fixture in
      _ = try fixture.sweep("one")
      let bearer = ["-H", "Authorization: Bearer \(Self.token)"]
      let foreign = try await ask(fixture, "/sweeps/one/cancel", bearer + ["-H", "Origin: https://evil.example"])
      #expect(foreign.status == 403)
      let own = try await ask(fixture, "/sweeps/one/cancel", bearer)
      #expect(own.status == 303)
      #expect(fixture.asked.all == ["cancel one"])
    }
  }

  @Test func `Requests that are too large are refused`() async throws {
    try await Fixture.with { fixture in
      let large = String(repeating: "x", count: DashboardServer.bodyLimit + 1)
      let declared = try await fixture.ask("/login", "--data-binary", "@-", body: large)
      #expect(declared.status == 413)
      let chunked = try await fixture.ask(
        "/login", "-H", "Transfer-Encoding: chunked", "-H", "Expect:", "--data-binary", "@-", body: large)
      #expect(chunked.status == 413)
      let onRead = try await fixture.ask("/", "-X", "GET", "--data-binary", "@-", body: large)
      #expect(onRead.status == 413)
      let head = try await fixture.ask("/", "-H", "X: " + String(repeating: "y", count: DashboardServer.headLimit + 1))
      #expect((400..<500).contains(head.status))
      let fits = try await fixture.ask(
        "/login", "--data-binary", "@-", body: String(repeating: "x", count: DashboardServer.bodyLimit))
      #expect(fits.status == 303)
    }
  }

  /// Opens more connections than the server takes, sends half a head on each, and asks how they end; meanwhile a
  /// body drops in byte by byte.
  @Test func `Slow and many connections are bounded`() async throws {
    try await Fixture.with { fixture in
      let program = """
        import socket, sys, time
        port, limit = int(sys.argv[1]), int(sys.argv[2])
        def opened():
          s = socket.create_connection(("127.0.0.1", port)); s.settimeout(60); return s
        slow = opened()
        slow.sendall(b"POST /login HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: 100\\r\\n\\r\\n")
        half = [opened() for _ in range(limit + 40)]
        for s in half: s.sendall(b"GET / HTTP/1.1\\r\\nHost: localhost\\r\\nX-Slow: ")
        answer = b""
        slow.settimeout(1)
        for _ in range(40):
          try:
            slow.sendall(b"x")
            piece = slow.recv(4096)
          except TimeoutError: continue
          except OSError: break
          answer += piece
          if not piece: break
        assert b" 408 " in answer.split(b"\\r\\n")[0], answer[:80]
        closed = 0
        for s in half[:limit - 1]:
          try: closed += s.recv(1) == b""
          except ConnectionError: closed += 1
        assert closed == limit - 1, closed
        s = opened()
        s.sendall(b"GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
        assert b"200 OK" in s.recv(4096)
        """
      try await runPython(program, ["\(fixture.address.port)", "\(DashboardServer.connectionLimit)"])
    }
  }

  @Test func `Every answer forbids frames, foreign content and sniffing`() async throws {
    try await Fixture.with { fixture in
      _ = try fixture.sweep("one")
      for path in ["/", "/sweeps/one", "/sweeps/one/cancel", "/hosts", "/nothing", "/api/sweeps", Assets.stylePath] {
        let answer = try await fixture.ask(path)
        let policy = try #require(answer.header("Content-Security-Policy"))
        #expect(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"))
        #expect(!policy.contains("unsafe-inline"))
        #expect(answer.header("X-Frame-Options") == "DENY")
        #expect(answer.header("X-Content-Type-Options") == "nosniff")
        #expect((answer.header("Cache-Control") == "no-store") == (path != Assets.stylePath))
      }
      let put = try await fixture.ask("/sweeps/one", "-X", "DELETE")
      #expect(put.status == 405)
    }
  }
}
