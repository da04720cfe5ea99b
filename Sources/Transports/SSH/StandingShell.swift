import Synchronization

/// A shell that stands on a host and answers questions one after another: each costs the host one fork, where a session
/// of its own costs a process of sshd's and three shells.
///
/// It takes one of the sessions that a connection may have; where the host has too few for it, there is none.
final class StandingShell: Sendable {
  /// The host has no session to spare for it.
  struct NoRoom: Error {}

  private enum State {
    /// Nothing was asked yet: one question alone is not worth it.
    case unasked
    case absent
    case free(SSHCall)
    case busy
    case refused
  }
  private let state = Mutex(State.unasked)
  private let connection: SSHConnection
  private let host: String

  /// A shell that does not begin with a question for so long is taken for dead.
  private static let patience = Duration.seconds(10)

  init(on connection: SSHConnection, host: String) {
    self.connection = connection
    self.host = host
  }

  /// - Returns: nil where it cannot be asked of this shell: it is busy, gone, or not worth it.
  /// - Throws: `TransportError` where the host would tell nobody more.
  func ask(_ question: String, limit: Int, timeout: Duration) async throws -> CommandResult? {
    guard let call = take() else { return nil }
    do {
      let result = try await answer(to: question, from: call, limit: limit, timeout: timeout)
      state.withLock { $0 = .free(call) }
      return result
    } catch {
      call.settle(.failure(error), immediate: true)
      connection.wake()
      state.withLock { $0 = error is NoRoom ? .refused : .absent }
      if error is NoRoom { return nil }
      switch (error as? TransportError)?.code {
      case .connectionLost, .noReply: return nil
      default: throw error
      }
    }
  }

  private func take() -> SSHCall? {
    let (call, isNew) = state.withLock { state -> (SSHCall?, Bool) in
      switch state {
      case .unasked:
        state = .absent
        return (nil, false)
      case .absent:
        state = .busy
        return (SSHCall(command: "exec /bin/sh", input: [], isStream: false, isStanding: true), true)
      case .free(let call):
        state = .busy
        return (call, false)
      case .busy, .refused: return (nil, false)
      }
    }
    if isNew, let call { connection.submit(call) }
    return call
  }

  private func answer(
    to question: String, from call: SSHCall, limit: Int, timeout: Duration
  ) async throws -> CommandResult {
    let fence = CommandFence()
    // A shell of its own, so that nothing of it is left for the next one.
    call.append(
      Array(
        #"""
        printf '\n%s\n' \#(fence.marker); (eval \#(shellQuote(question))) </dev/null 2>&1
        printf '\n%s %s\n' \#(fence.marker) $?

        """#.utf8))
    connection.wake()
    let output = Mutex((filter: fence.filter(), bytes: [UInt8]()))
    let host = host
    let connection = connection
    @Sendable func read() async throws {
      let piece = try await withTaskCancellationHandler {
        try await call.next { connection.wake() }
      } onCancel: {
        call.settle(.failure(CancellationError()), immediate: true)
        connection.wake()
      }
      guard let piece else {
        throw TransportError(code: .connectionLost, host: host, message: "the shell on the host ended")
      }
      try output.withLock { output in
        let new = output.filter.pass(piece)
        guard new.count <= limit + 256 - output.bytes.count else {
          throw TransportError.outputTooLarge(host: host, limit: limit)
        }
        output.bytes += new
      }
    }
    do {
      try await withDeadline(min(Self.patience, timeout), host: host) {
        while output.withLock({ !$0.filter.isOpen }) { try await read() }
      }
    } catch let error as TransportError where error.code == .timedOut {
      throw TransportError(code: .noReply, host: host, message: "the shell on the host does not answer")
    }
    let end = Array("\n\(fence.marker) ".utf8)
    return try await withDeadline(timeout, host: host) {
      while true {
        if let result = output.withLock({ Self.result(in: $0.bytes, before: end) }) {
          guard result.output.count <= limit else { throw TransportError.outputTooLarge(host: host, limit: limit) }
          return result
        }
        try await read()
      }
    }
  }

  /// What stands before the last line, and the status in it; nil where that has not come yet.
  private static func result(in bytes: [UInt8], before end: [UInt8]) -> CommandResult? {
    // Behind the marker stand at most three digits and a line's end.
    guard bytes.last == UInt8(ascii: "\n") else { return nil }
    for digits in 1...3 {
      let start = bytes.count - 1 - digits - end.count
      guard start >= 0 else { return nil }
      if bytes[start..<(start + end.count)].elementsEqual(end),
        let status = Int(String(decoding: bytes[(start + end.count)..<(bytes.count - 1)], as: UTF8.self))
      {
        return CommandResult(status: status, output: Array(bytes[..<start]), errorOutput: [])
      }
    }
    return nil
  }
}
