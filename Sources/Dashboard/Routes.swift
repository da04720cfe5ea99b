import Foundation
import HTTPTypes
import Hummingbird
import Ledger
import Reporting
import Scheduling

/// From a question to its reply.
struct Routes: Sendable {
  var ledger: SweepLedger
  /// The store's directory.
  var store: String
  var hooks: DashboardHooks
  var access: Access
  var watch: CoordinatorWatch
  var feed: Feed

  /// Bytes of a log on a page.
  static let tailLimit = 64 << 10

  func reply(_ question: Question) async -> Reply {
    let now = Date().timeIntervalSince1970
    do {
      try access.checkHost(question)
      // What no secret stands in.
      switch (question.method, question.path) {
      case (.get, ["healthz"]), (.head, ["healthz"]): return health()
      case (.get, ["assets", Assets.styleName]): return .asset(Assets.style, type: "text/css; charset=utf-8")
      case (.get, ["assets", Assets.scriptName]): return .asset(Assets.script, type: "text/javascript; charset=utf-8")
      case (.post, ["login"]): return try login(question, now)
      default: break
      }
      try access.checkReader(question, now: now)
      switch question.method {
      case .get, .head: return try await read(question, now)
      case .post: return try await act(question, now)
      default: return .trouble(.methodNotAllowed, "Not allowed", "Pages are read with GET and changed with POST.")
      }
    } catch let refusal as Access.Refusal {
      return refused(refusal, question)
    } catch {
      return trouble(error)
    }
  }

  // MARK: Refusals

  private func refused(_ refusal: Access.Refusal, _ question: Question) -> Reply {
    switch refusal {
    case .foreignHost:
      return .trouble(
        .forbidden, "Refused", "The request came for another host's name. Use 127.0.0.1, or start with --allow-host.")
    case .foreignForm:
      return .trouble(
        .forbidden, "Refused", "The form does not come from a page of this session. Go back, load the page, try again.")
    case .noToken:
      var reply: Reply =
        question.path.first == "api"
        ? .json(#"{"error": {"code": "unauthorized", "message": "Send the token: Authorization: Bearer TOKEN"}}"#)
        : .page(LoginPage(next: Self.path(of: question), isWrong: question.headers[.authorization] != nil).html)
      reply.status = .unauthorized
      reply.headers.append((.wwwAuthenticate, "Bearer"))
      return reply
    }
  }

  private func trouble(_ error: any Error) -> Reply {
    switch error {
    case let error as LedgerError where error.code == .notFound: .notFound
    case let error as LedgerError: .trouble(.serviceUnavailable, "The store cannot be read", error.message)
    case let error as DashboardError: .trouble(.conflict, "Not now", error.message)
    default: .trouble(.internalServerError, "Something went wrong", "\(error)")
    }
  }

  private static func path(of question: Question) -> String {
    question.path.isEmpty ? "/" : question.path.map { link($0) }.joined()
  }

  private func health() -> Reply {
    do {
      _ = try ledger.sweeps(limit: 1)
      return .plain("ok\n")
    } catch {
      return .plain("the store cannot be read\n", status: .serviceUnavailable)
    }
  }

  // MARK: Sessions

  private func login(_ question: Question, _ now: Double) throws -> Reply {
    try access.checkOrigin(question)
    guard let token = access.token else { return .redirect("/") }
    // Only a path of ours: its parts are decoded and written anew.
    let next = Question(method: .get, target: question.form["next"] ?? "/", authority: nil, headers: [:])
    let path = next.map(Self.path) ?? "/"
    guard token.matches(question.form["token"] ?? "") else {
      return .page(LoginPage(next: path, isWrong: true).html, status: .unauthorized)
    }
    var reply = Reply.redirect(path)
    reply.headers.append(cookie(access.sessions.make(now: now)))
    return reply
  }

  private func cookie(_ session: String) -> (HTTPField.Name, String) {
    (
      .setCookie,
      "\(access.cookieName)=\(session); Path=/; HttpOnly; SameSite=Strict; Max-Age=\(Int(Sessions.seconds))"
    )
  }

  // MARK: Reading

  private func read(_ question: Question, _ now: Double) async throws -> Reply {
    let path = question.path
    switch path.count {
    case 0: return .page(try await feed.page("sweeps") { try sweeps(now) })
    case 1 where path[0] == "hosts":
      return .page(try await feed.page("hosts") { HostsPage(hosts: try HostView.all(ledger, store: store)).html })
    case 1 where path[0] == "schedules":
      return .page(
        try await feed.page("schedules") {
          SchedulesPage(entries: try ledger.schedules().map { try .init($0, ledger, now: now) }).html
        })
    case 2 where path[0] == "history":
      return .page(
        try await feed.page("history \(path[1])") {
          HistoryPage(history: try JobHistory(ledger, job: path[1], nights: HistoryPage.nights)).html
        })
    case 2... where path[0] == "sweeps": return try await sweep(question, try record(path[1]), now)
    case 2... where path[0] == "api": return try await document(path, question, now)
    default: return .notFound
    }
  }

  private func sweeps(_ now: Double) throws -> String {
    let sweeps = try ledger.sweeps(limit: SweepsPage.limit + 1)
    let shown = Array(sweeps.prefix(SweepsPage.limit))
    return SweepsPage(
      sweeps: shown, counts: try ledger.runCounts(of: shown.map(\.id)), isCoordinated: watch.isHeld, now: now,
      hasMore: sweeps.count > shown.count
    ).html
  }

  /// The sweep of exactly this name.
  private func record(_ name: String) throws -> SweepRecord {
    let record = try ledger.sweep(named: name)
    guard record.id == name else { throw LedgerError(code: .notFound, message: "There is no sweep \(name).") }
    return record
  }

  private func view(_ record: SweepRecord, _ now: Double) throws -> SweepView {
    try SweepView(ledger, record, isCoordinated: watch.isHeld, now: now)
  }

  private func run(_ name: String, in view: SweepView) throws -> RunRecord {
    guard let run = view.runs.first(where: { $0.name == name }) else {
      throw LedgerError(code: .notFound, message: "There is no run \(name).")
    }
    return run
  }

  private func sweep(_ question: Question, _ record: SweepRecord, _ now: Double) async throws -> Reply {
    let path = question.path.dropFirst(2)
    switch (path.first, path.count) {
    case (nil, _):
      let isStill = question.query["refresh"] == "off"
      return .page(
        try await feed.page("sweep \(isStill) \(record.id)") {
          SweepPage(view: try view(record, now), isStill: isStill).html
        })
    case ("events", 1): return await events(record.id)
    case ("report", 1): return try report(record)
    case ("cancel", 1):
      guard record.state == .active else {
        return .trouble(.conflict, "Not now", "Sweep \(record.id) is \(record.state.rawValue).")
      }
      return confirmation(question, now) { token in
        ConfirmationPage(
          title: "Cancel \(record.id)?",
          what: "Its runs are stopped at their hosts. What has been gathered is kept and reported.",
          action: link("sweeps", record.id, "cancel"), back: link("sweeps", record.id), button: "Cancel the sweep",
          formToken: token)
      }
    case ("retry", 1): return try confirmRetry(question, record, run: nil, now)
    case ("runs", 2...):
      let view = try view(record, now)
      let run = try run(question.path[3], in: view)
      switch Array(question.path.dropFirst(4)) {
      case []: return try await self.run(run, view, question)
      case ["log"]: return try await log(run, view, question)
      case ["log", "events"]: return await logEvents(run, view, question)
      case ["retry"]: return try confirmRetry(question, record, run: run, now)
      default: return .notFound
      }
    default: return .notFound
    }
  }

  private func run(_ run: RunRecord, _ view: SweepView, _ question: Question) async throws -> Reply {
    var page = RunPage(view: view, run: run, events: [], waiting: nil)
    page.events = try ledger.events(of: run.sweep, limit: 100_000).filter { $0.run == run.name }.suffix(100)
    if run.state == .queued, question.query["explain"] == "1" {
      page.waiting = try await hooks.waiting(view.sweep, run)
    }
    return .page(page.html)
  }

  /// The report as it was written when the sweep ended, else as the store's record gives it.
  private func report(_ record: SweepRecord) throws -> Reply {
    guard let document = try ledger.report(of: record.id) else {
      return .trouble(.notFound, "No report yet", "Sweep \(record.id) is \(record.state.rawValue).")
    }
    let file = "\(store)/sweeps/\(record.id)/report.html"
    if let data = FileManager.default.contents(atPath: file) { return .report(String(decoding: data, as: UTF8.self)) }
    return .report(try SweepReport(json: document).html())
  }

  // MARK: Logs

  /// The attempt that is asked for: the last one, of a gang the share of one node.
  private func attempt(_ run: RunRecord, _ view: SweepView, _ question: Question) -> (AttemptRecord?, nodes: [Int]) {
    let all = view.attempts[run.name] ?? []
    let last = all.filter { $0.number == all.last?.number }
    let nodes = last.count > 1 ? last.compactMap(\.share?.node) : []
    let node = question.query["node"].flatMap(Int.init)
    let chosen = last.first { $0.share?.node == node } ?? last.first
    return (chosen, nodes)
  }

  private func stream(_ question: Question) -> DashboardHooks.LogStream {
    question.query["stream"].flatMap(DashboardHooks.LogStream.init) ?? .stdout
  }

  private func log(_ run: RunRecord, _ view: SweepView, _ question: Question) async throws -> Reply {
    let (attempt, nodes) = attempt(run, view, question)
    var page = LogPage(sweep: view.sweep.id, run: run, attempt: attempt, nodes: nodes, stream: stream(question))
    page.isStill = question.query["refresh"] == "off"
    if let attempt {
      do {
        if var piece = try await hooks.log(attempt, page.stream, nil) {
          if !piece.isEnd { piece.bytes = piece.bytes.withoutCutCharacter }
          page.piece = piece
        }
      } catch {
        page.trouble = "\(error)"
      }
    }
    return .page(page.html)
  }

  private func logEvents(_ run: RunRecord, _ view: SweepView, _ question: Question) async -> Reply {
    let (attempt, _) = attempt(run, view, question)
    guard let attempt, attempt.id == question.query["attempt"], await feed.enter() else {
      return .plain("no such stream, or too many readers\n", status: .serviceUnavailable)
    }
    let stream = stream(question)
    // A browser that comes back says how far it came.
    let start = question.headers[HTTPField.Name("Last-Event-ID")] ?? question.query["from"]
    let offset = start.flatMap(Int.init).map { max(0, $0) } ?? 0
    return Reply(
      type: "text/event-stream",
      body: .events { send in
        do {
          try await follow(attempt, stream, from: offset, send)
          await feed.leave()
        } catch {
          await feed.leave()
          throw error
        }
      })
  }

  private func follow(
    _ attempt: AttemptRecord, _ stream: DashboardHooks.LogStream, from start: Int, _ send: Reply.Send
  ) async throws {
    var offset = start
    var quiet = 0
    while true {
      guard let piece = try await hooks.log(attempt, stream, offset) else { break }
      let bytes = piece.isEnd ? piece.bytes : piece.bytes.withoutCutCharacter
      if bytes.isEmpty {
        if piece.isEnd { break }
        quiet += 1
        if quiet % 10 == 0 { try await send("", "") }
        try await Task.sleep(for: .seconds(1))
        continue
      }
      quiet = 0
      offset = piece.offset + bytes.count
      try await send("text", try Documents.text(String(decoding: bytes, as: UTF8.self)) + "\nid: \(offset)")
      if piece.isEnd { break }
    }
    try await send("end", "{}")
  }

  // MARK: Live parts

  private func events(_ sweep: String) async -> Reply {
    guard await feed.enter() else { return .plain("too many readers\n", status: .serviceUnavailable) }
    return Reply(
      type: "text/event-stream",
      body: .events { send in
        do {
          try await follow(sweep, send)
          await feed.leave()
        } catch {
          await feed.leave()
          throw error
        }
      })
  }

  private func follow(_ sweep: String, _ send: Reply.Send) async throws {
    var sent: [String: String] = [:]
    var quiet = 0
    while true {
      let frame = try await feed.frame(of: sweep)
      let changed = frame.parts.filter { sent[$0.key] != $0.value }
      if !changed.isEmpty {
        let parts = Dictionary(uniqueKeysWithValues: changed.map { ($0.key, $0.value) })
        try await send("parts", try Documents.text(parts))
        sent.merge(parts) { $1 }
        quiet = 0
      } else {
        quiet += 1
        if quiet % 10 == 0 { try await send("", "") }
      }
      if frame.hasEnded {
        try await send("end", "{}")
        return
      }
      try await Task.sleep(for: .seconds(1))
    }
  }

  // MARK: JSON

  private func document(_ path: [String], _ question: Question, _ now: Double) async throws -> Reply {
    switch (path[1], path.count) {
    case ("sweeps", 2):
      let sweeps = try ledger.sweeps(limit: 1000)
      let counts = try ledger.runCounts(of: sweeps.map(\.id))
      let isCoordinated = watch.isHeld
      return .json(
        try Documents.text(
          Documents.Sweeps(
            sweeps: sweeps.map { sweep in
              Documents.Sweep(
                sweep, counts: Documents.counts(counts[sweep.id] ?? [:]), isCoordinated: isCoordinated)
            })))
    case ("sweeps", 3):
      return .json(try Documents.text(Documents.SweepState(try view(try record(path[2]), now))))
    case ("sweeps", 4) where path[3] == "report":
      guard let report = try ledger.report(of: try record(path[2]).id) else { return .notFound }
      return .json(report)
    case ("sweeps", 6) where path[3] == "runs" && path[5] == "log":
      let view = try view(try record(path[2]), now)
      let (attempt, _) = attempt(try run(path[4], in: view), view, question)
      guard let attempt, let piece = try await hooks.log(attempt, stream(question), nil) else { return .notFound }
      return .plain(String(decoding: piece.bytes, as: UTF8.self))
    case ("history", 3):
      return .json(
        try Documents.text(try JobHistory(ledger, job: path[2], nights: HistoryPage.nights)))
    case ("hosts", 2): return .json(try Documents.text(Documents.Hosts(try HostView.all(ledger, store: store))))
    default: return .notFound
    }
  }

  // MARK: Acting

  /// A page with a form, and the session that the form belongs to.
  private func confirmation(
    _ question: Question, _ now: Double, _ page: (_ formToken: String) -> ConfirmationPage
  ) -> Reply {
    let known = access.session(question, now: now)
    let session = known ?? access.sessions.make(now: now)
    var reply = Reply.page(page(access.sessions.formToken(session)).html)
    if known == nil { reply.headers.append(cookie(session)) }
    return reply
  }

  private func confirmRetry(
    _ question: Question, _ record: SweepRecord, run: RunRecord?, _ now: Double
  ) throws -> Reply {
    let runs = try retryable(record, run: run)
    guard !runs.isEmpty else {
      return .trouble(.conflict, "Not now", "There is no run of \(record.id) that ended badly.")
    }
    let shown = runs.prefix(20).joined(separator: ", ") + (runs.count > 20 ? ", …" : "")
    let action =
      run.map { link("sweeps", record.id, "runs", $0.name, "retry") } ?? link("sweeps", record.id, "retry")
    return confirmation(question, now) { token in
      ConfirmationPage(
        title: "Retry \(Figures.count(runs.count, "run"))?",
        what: "\(shown): each gets a new attempt, and the sweep is compared anew; its verdict and report are void "
          + "until then.",
        action: action, back: link("sweeps", record.id), button: "Retry \(Figures.count(runs.count, "run"))",
        formToken: token)
    }
  }

  private func retryable(_ record: SweepRecord, run: RunRecord?) throws -> [String] {
    let runs = try run.map { [$0] } ?? ledger.runs(of: record.id)
    return runs.filter(SweepView.endedBadly).map(\.name)
  }

  private func act(_ question: Question, _ now: Double) async throws -> Reply {
    try access.checkForm(question, now: now)
    let path = question.path
    guard path.count > 2, path[0] == "sweeps" else { return .notFound }
    let record = try record(path[1])
    switch Array(path.dropFirst(2)) {
    case ["cancel"]: try await hooks.cancel(record.id)
    case ["retry"]: try await hooks.retry(record.id, try retryable(record, run: nil))
    case let rest where rest.count == 3 && rest[0] == "runs" && rest[2] == "retry":
      let run = try ledger.runs(of: record.id).first { $0.name == rest[1] }
      guard let run else { return .notFound }
      try await hooks.retry(record.id, try retryable(record, run: run))
    default: return .notFound
    }
    await feed.forget()
    return .redirect(link("sweeps", record.id))
  }
}

extension [UInt8] {
  /// Without the first bytes of a character whose others are still to come.
  fileprivate var withoutCutCharacter: [UInt8] {
    for back in 1...3 where back <= count {
      let byte = self[count - back]
      if byte < 0x80 { return self }
      guard byte >= 0xC0 else { continue }
      let length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2
      return length > back ? Array(dropLast(back)) : self
    }
    return self
  }
}
