import HTTPTypes
import Hummingbird
import NIOCore

/// An answer before it is sent.
struct Reply: Sendable {
  enum Body: Sendable {
    case text(String)
    /// Server-sent events, until the closure returns or the reader goes away.
    case events(@Sendable (_ send: Send) async throws -> Void)
  }

  /// Sends one event: name and data without line ends; an empty name is a sign of life.
  typealias Send = (_ event: String, _ data: String) async throws -> Void

  var status: HTTPResponse.Status = .ok
  var type = "text/html; charset=utf-8"
  var headers: [(HTTPField.Name, String)] = []
  var policy = pagePolicy
  var caching = "no-store"
  var body: Body = .text("")
  /// What is wrong, where it is no page that was asked for.
  var trouble: String?

  private static let pagePolicy = """
    default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; form-action 'self'; \
    base-uri 'none'; frame-ancestors 'none'
    """
  /// The report holds its style and shows no form.
  private static let reportPolicy = """
    default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'; \
    frame-ancestors 'none'
    """

  static func page(_ html: String, status: HTTPResponse.Status = .ok) -> Reply {
    Reply(status: status, body: .text(html))
  }

  static func report(_ html: String) -> Reply { Reply(policy: reportPolicy, body: .text(html)) }

  static func json(_ text: String) -> Reply { Reply(type: "application/json", body: .text(text)) }

  static func plain(_ text: String, status: HTTPResponse.Status = .ok) -> Reply {
    Reply(status: status, type: "text/plain; charset=utf-8", body: .text(text))
  }

  static func asset(_ text: String, type: String) -> Reply {
    Reply(type: type, caching: "public, max-age=31536000, immutable", body: .text(text))
  }

  static func redirect(_ path: String) -> Reply { Reply(status: .seeOther, headers: [(.location, path)]) }

  static func trouble(_ status: HTTPResponse.Status, _ title: String, _ message: String) -> Reply {
    var reply = page(TroublePage(title: title, message: message).html, status: status)
    reply.trouble = message
    return reply
  }

  /// The same for a program: an error as the commands' JSON has it, `{"error": {"code", "message"}}`.
  var asDocument: Reply {
    guard let trouble else { return self }
    let code =
      switch status {
      case .notFound: "not-found"
      case .forbidden: "forbidden"
      case .methodNotAllowed: "method-not-allowed"
      case .conflict: "conflict"
      case .serviceUnavailable: "unavailable"
      case .internalServerError: "internal"
      default: "bad-request"
      }
    var reply = Reply.json((try? Documents.text(["error": ["code": code, "message": trouble]])) ?? "{}")
    (reply.status, reply.headers) = (status, headers)
    return reply
  }

  static var notFound: Reply { .trouble(.notFound, "Not there", "There is no such page.") }

  /// - Parameters:
  ///   - isHead: the head alone is asked for.
  ///   - closing: called when all is sent, where the rest of the request is not wanted.
  func response(isHead: Bool, closing: (@Sendable () async -> Void)?) -> Response {
    var fields = HTTPFields()
    fields[.contentType] = type
    fields[.cacheControl] = caching
    fields[.contentSecurityPolicy] = policy
    fields[.xContentTypeOptions] = "nosniff"
    for (name, value) in [
      ("X-Frame-Options", "DENY"), ("Referrer-Policy", "same-origin"), ("Cross-Origin-Opener-Policy", "same-origin"),
      ("Cross-Origin-Resource-Policy", "same-origin"),
    ] {
      if let name = HTTPField.Name(name) { fields[name] = value }
    }
    for (name, value) in headers { fields.append(HTTPField(name: name, value: value)) }
    if closing != nil { fields[.connection] = "close" }
    switch body {
    case .text(let text):
      let buffer = ByteBuffer(string: text)
      fields[.contentLength] = String(buffer.readableBytes)
      return Response(
        status: status, headers: fields,
        body: ResponseBody(contentLength: buffer.readableBytes) { writer in
          if !isHead { try await writer.write(buffer) }
          try await writer.finish(nil)
          await closing?()
        })
    case .events(let produce):
      return Response(
        status: status, headers: fields,
        body: ResponseBody { writer in
          if !isHead {
            try await produce { event, data in
              try await writer.write(
                ByteBuffer(string: event.isEmpty ? ": \n\n" : "event: \(event)\ndata: \(data)\n\n"))
            }
          }
          try await writer.finish(nil)
        })
    }
  }
}
