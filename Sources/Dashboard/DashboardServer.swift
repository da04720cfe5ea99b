import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdCore
public import Ledger
import Logging
import NIOCore

/// The pages and their JSON twins, served over HTTP until the task that runs it is cancelled.
///
/// Loopback needs no token; any other address does. Nothing is read from the network but requests, and nothing of a
/// page comes from anywhere else.
public struct DashboardServer: Sendable {
  private let address: ListenAddress
  private let access: Access
  private let routes: Routes

  /// Bytes of a request's body at most.
  static let bodyLimit = 16 << 10
  /// Bytes of a request's head at most.
  static let headLimit = 16 << 10
  static let connectionLimit = 256

  /// - Parameters:
  ///   - store: the store's directory.
  ///   - hosts: names that a proxy before a loopback address sends as `Host`.
  /// - Throws: `DashboardError.unguarded` for an address that others reach where there is no token.
  public init(
    ledger: SweepLedger, store: String, address: ListenAddress = .standard, token: AccessToken? = nil,
    hosts: Set<String> = [], hooks: DashboardHooks
  ) throws(DashboardError) {
    guard token != nil || address.isLoopback else {
      throw DashboardError(
        code: .unguarded,
        message: "\(address) can be reached from other machines; give --token-file, or listen on 127.0.0.1 and come "
          + "through ssh -L.")
    }
    self.address = address
    access = Access(
      token: token, isLoopback: address.isLoopback, hosts: Set(hosts.map { $0.lowercased() }),
      cookieName: "rollcall-\(address.port)")
    let watch = CoordinatorWatch(store: store)
    routes = Routes(
      ledger: ledger, store: store, hooks: hooks, access: access, watch: watch,
      feed: Feed(ledger: ledger, watch: watch))
  }

  /// Serves until its task is cancelled.
  ///
  /// - Parameter listening: called once with the address, its port known.
  /// - Throws: what the system says where the address cannot be had.
  public func run(listening: @escaping @Sendable (ListenAddress) async -> Void = { _ in }) async throws {
    var logger = Logger(label: "rollcall.dashboard")
    logger.logLevel = .critical
    let decoder = HTTP1Channel.Configuration.DecoderConfiguration(
      maxHeaderFieldSize: Self.headLimit, maxHeaderListSize: Self.headLimit, maxHeaderFieldCount: 100)
    let host = address.host
    let application = Application(
      responder: CallbackResponder { (request: Request, context: Connection) in
        await answer(request, context)
      },
      // A head that does not come within this time ends the connection.
      server: .http1(configuration: .init(idleTimeout: .seconds(20), httpDecoderConfiguration: decoder)),
      configuration: .init(
        address: .hostname(host, port: address.port),
        availableConnectionsDelegate: MaximumAvailableConnections(Self.connectionLimit)),
      onServerRunning: { channel in
        await listening(ListenAddress(host: host, port: channel.localAddress?.port ?? 0))
      },
      logger: logger)
    try await application.run()
  }

  /// A request's connection.
  private struct Connection: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel

    init(source: ApplicationRequestContextSource) {
      coreContext = .init(source: source)
      channel = source.channel
    }
  }

  private func answer(_ request: Request, _ connection: Connection) async -> Response {
    let isHead = request.method == .head
    let isAPI = request.head.path?.hasPrefix("/api/") == true
    func form(_ reply: Reply) -> Reply { isAPI ? reply.asDocument : reply }
    // What is left of a body that nobody wants is not read to its end.
    let hangUp: @Sendable () async -> Void = { try? await connection.channel.close(mode: .input) }
    guard Self.length(request.headers) <= Self.bodyLimit else {
      return form(Self.tooLarge).response(isHead: isHead, closing: hangUp)
    }
    guard request.head.path?.utf8.count ?? 0 <= Question.longestPath else {
      let reply = Reply.trouble(.uriTooLong, "Too long", "The address is longer than \(Question.longestPath) bytes.")
      return form(reply).response(isHead: isHead, closing: hangUp)
    }
    guard
      var question = Question(
        method: request.method, target: request.head.path ?? "", authority: request.head.authority,
        headers: request.headers)
    else { return form(.notFound).response(isHead: isHead, closing: nil) }
    do {
      let body = try await Self.body(of: request)
      question.form = Question.fields(body[...])
    } catch let reply as RefusedBody {
      return form(reply.isTooLarge ? Self.tooLarge : Self.tooSlow).response(isHead: isHead, closing: hangUp)
    } catch {
      return form(Self.tooSlow).response(isHead: isHead, closing: hangUp)
    }
    return await routes.reply(question).response(isHead: isHead, closing: nil)
  }

  private static let tooLarge = Reply.trouble(
    .contentTooLarge, "Too large", "A request's body has at most \(bodyLimit) bytes.")
  private static let tooSlow = Reply.trouble(.requestTimeout, "Too slow", "The request's body did not come in time.")

  private static func length(_ headers: HTTPFields) -> Int {
    guard let text = headers[.contentLength] else { return 0 }
    return Int(text) ?? Int.max
  }

  private struct RefusedBody: Error {
    var isTooLarge: Bool
  }

  /// The whole body, within ten seconds, however slowly its pieces drop in.
  private static func body(of request: Request) async throws -> String {
    guard request.method != .get, request.method != .head else { return "" }
    return try await withThrowingTaskGroup(of: String.self) { group in
      group.addTask {
        var bytes: [UInt8] = []
        for try await piece in request.body {
          guard bytes.count + piece.readableBytes <= bodyLimit else { throw RefusedBody(isTooLarge: true) }
          bytes += Array(piece.readableBytesView)
        }
        return String(decoding: bytes, as: UTF8.self)
      }
      group.addTask {
        try await Task.sleep(for: .seconds(10))
        throw RefusedBody(isTooLarge: false)
      }
      defer { group.cancelAll() }
      guard let body = try await group.next() else { throw CancellationError() }
      return body
    }
  }
}
