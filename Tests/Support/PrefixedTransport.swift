public import Transports

/// This machine, where something is said before each command: of the environment, as a rule.
public struct PrefixedTransport: Transport {
  private let local = LocalTransport()
  public let prefix: String

  public init(prefix: String) { self.prefix = prefix }

  public func run(_ command: String, input: [UInt8], limit: Int, timeout: Duration) async throws -> CommandResult {
    try await local.run(prefix + command, input: input, limit: limit, timeout: timeout)
  }

  public func stream(
    _ command: String, input: [UInt8], timeout: Duration,
    onOutput: @escaping @Sendable (consuming [UInt8]) async throws -> Void
  ) async throws -> CommandResult {
    try await local.stream(prefix + command, input: input, timeout: timeout, onOutput: onOutput)
  }

  public func close() async { await local.close() }
}
