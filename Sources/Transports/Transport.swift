/// Runs commands on one host and moves bytes to and from it.
///
/// Two implementations: `LocalTransport` and `SSHTransport`. A value may be used from several tasks at once;
/// implementations queue what their connection cannot do in parallel. Cancelling the calling task ends the wait
/// and closes the channel; the remote command is then not guaranteed to have stopped. A command that leaves
/// processes behind must redirect all three of their descriptors, or a call may wait for them until its timeout.
public protocol Transport: Sendable {
  /// Runs `/bin/sh -c command` on the host with `input` as its standard input.
  ///
  /// A command may have 96 KiB and no NUL; more goes through `input`. A non-zero exit is a result, not an error. Standard output above `limit` bytes is an error
  /// (`outputTooLarge`); standard error is cut to its last 64 KiB.
  /// - Throws: `TransportError` for what kept the command from running or its result from arriving.
  func run(_ command: String, input: [UInt8], limit: Int, timeout: Duration) async throws -> CommandResult

  /// Runs a command that only looks: it reads no input and leaves no process behind, and twice does no harm.
  ///
  /// As `run`, but cheaper where it is asked again and again. Its standard error may stand in `output`.
  func ask(_ question: String, limit: Int, timeout: Duration) async throws -> CommandResult

  /// Runs a command and hands its standard output over in pieces, in order, as it arrives.
  ///
  /// The next piece is handed over when `onOutput` has returned; a slow receiver slows the sender. An error that
  /// `onOutput` throws ends the command and is thrown on.
  /// - Returns: The result with an empty `output`.
  func stream(
    _ command: String, input: [UInt8], timeout: Duration,
    onOutput: @escaping @Sendable (consuming [UInt8]) async throws -> Void
  ) async throws -> CommandResult

  /// Says that streams will follow soon: what they need may be made ready meanwhile. Waits for nothing.
  func prepareToStream()

  /// Closes connections; later calls throw.
  func close() async
}

extension Transport {
  public func ask(_ question: String, limit: Int, timeout: Duration) async throws -> CommandResult {
    try await run(question, input: [], limit: limit, timeout: timeout)
  }

  public func prepareToStream() {}
}

/// How a command ended.
public struct CommandResult: Sendable, Hashable {
  /// Exit status; 128 + signal where a signal ended it, as shells say it.
  public var status: Int
  public var output: [UInt8]
  /// Last 64 KiB of standard error.
  public var errorOutput: [UInt8]

  public init(status: Int, output: [UInt8], errorOutput: [UInt8]) {
    self.status = status
    self.output = output
    self.errorOutput = errorOutput
  }
}
