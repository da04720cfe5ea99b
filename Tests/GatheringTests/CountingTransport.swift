import Synchronization
import Transports

/// A transport that remembers the commands of `run`, and puts a text before each.
final class CountingTransport: Transport {
  private let base: any Transport
  private let preamble: String
  private let before: @Sendable (String) -> Void
  private let seen = Mutex<[String]>([])

  init(_ base: any Transport, preamble: String = "", before: @escaping @Sendable (String) -> Void = { _ in }) {
    self.base = base
    self.preamble = preamble
    self.before = before
  }

  var commands: [String] { seen.withLock { $0 } }

  func run(_ command: String, input: [UInt8], limit: Int, timeout: Duration) async throws -> CommandResult {
    seen.withLock { $0.append(command) }
    before(command)
    return try await base.run(preamble + command, input: input, limit: limit, timeout: timeout)
  }

  func stream(
    _ command: String, input: [UInt8], timeout: Duration,
    onOutput: @escaping @Sendable (consuming [UInt8]) async throws -> Void
  ) async throws -> CommandResult {
    try await base.stream(command, input: input, timeout: timeout, onOutput: onOutput)
  }

  func close() async { await base.close() }
}
