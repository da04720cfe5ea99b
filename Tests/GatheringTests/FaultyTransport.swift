import Synchronization
import Transports

/// A transport that goes wrong where a test wants it to; otherwise the one it wraps.
final class FaultyTransport: Transport {
  enum Fault: Sendable {
    /// Throws `connectionLost` after so many bytes of a stream.
    case cut(after: Int)
    /// Ends a stream after so many bytes as if the command had ended well.
    case quietEnd(after: Int)
    /// Changes one byte of a stream.
    case flip(at: Int)
    /// Throws before the command runs.
    case refuse(TransportError.Code)
  }

  private struct State {
    /// One per stream, in order; afterwards `always`.
    var faults: [Fault?]
    var always: Fault?
    var streams = 0
    var bytes = 0
  }

  private let base: any Transport
  private let state: Mutex<State>
  private let beforeStream: @Sendable (Int) async throws -> Void

  /// - Parameters:
  ///   - faults: One per stream, in order.
  ///   - always: For the streams after these.
  ///   - beforeStream: Called with the stream's number.
  init(
    _ base: any Transport, faults: [Fault?] = [], always: Fault? = nil,
    beforeStream: @escaping @Sendable (Int) async throws -> Void = { _ in }
  ) {
    self.base = base
    self.beforeStream = beforeStream
    state = Mutex(State(faults: faults, always: always))
  }

  var streams: Int { state.withLock { $0.streams } }
  /// Bytes of all streams that were handed on.
  var bytes: Int { state.withLock { $0.bytes } }

  func run(_ command: String, input: [UInt8], limit: Int, timeout: Duration) async throws -> CommandResult {
    try await base.run(command, input: input, limit: limit, timeout: timeout)
  }

  func stream(
    _ command: String, input: [UInt8], timeout: Duration,
    onOutput: @escaping @Sendable (consuming [UInt8]) async throws -> Void
  ) async throws -> CommandResult {
    let (number, fault) = state.withLock { state in
      defer { state.streams += 1 }
      return (state.streams, state.streams < state.faults.count ? state.faults[state.streams] : state.always)
    }
    try await beforeStream(number)
    if case .refuse(let code) = fault { throw TransportError(code: code, host: "test", message: "refused by the test") }
    let seen = Mutex(0)
    return try await base.stream(command, input: input, timeout: timeout) { piece in
      var piece = piece
      let start = seen.withLock { seen in
        defer { seen += piece.count }
        return seen
      }
      switch fault {
      case .cut(let end) where start + piece.count > end:
        if end > start { try await self.handOn(Array(piece.prefix(end - start)), to: onOutput) }
        throw TransportError(code: .connectionLost, host: "test", message: "cut by the test")
      case .quietEnd(let end) where start + piece.count > end:
        if end > start { try await self.handOn(Array(piece.prefix(end - start)), to: onOutput) }
        return
      case .flip(let position) where (start..<(start + piece.count)).contains(position):
        piece[position - start] ^= 1
      default: break
      }
      try await self.handOn(piece, to: onOutput)
    }
  }

  func close() async { await base.close() }

  private func handOn(
    _ piece: [UInt8], to onOutput: @Sendable (consuming [UInt8]) async throws -> Void
  ) async throws {
    state.withLock { $0.bytes += piece.count }
    try await onOutput(piece)
  }
}
