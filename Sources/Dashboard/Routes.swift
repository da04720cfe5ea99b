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
    let reply = await answer(question)
    return question.path.first == "api" ? reply.asDocument : reply
  }

  private func answer(_ question: Question) async -> Reply {
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

  func cookie(_ session: String) -> (HTTPField.Name, String) {
    (
      .setCookie,
      "\(access.cookieName)=\(session); Path=/; HttpOnly; SameSite=Strict; Max-Age=\(Int(Sessions.seconds))"
    )
  }
}
