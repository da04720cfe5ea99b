import Synchronization

/// Runs commands on a host over SSH, through libssh.
///
/// The alias is resolved by the user's own configuration: HostName, Port, User, IdentityFile, ProxyJump,
/// UserKnownHostsFile, GlobalKnownHostsFile, ConnectTimeout. Host keys are always checked strictly; agent and key
/// files authenticate, nothing is ever asked. `close` it before the process ends.
///
/// Commands share one connection; streams share a second one, made when needed, so that a long transfer delays no
/// command.
public final class SSHTransport: Transport {
  private let target: SSHTarget
  private let commands: SSHConnection
  private let streams: SSHConnection
  private let shell: StandingShell

  /// Bytes that the host may send ahead of us: half of it is what a stream carries in one round trip at least. sshd
  /// keeps in memory what it may send and the link does not take yet, and copies it ever again as it grows: 16 MiB
  /// cost it 3 CPU-seconds a GiB on a near link, 4 MiB nothing. So near hosts get the least, far ones the most.
  static let streamWindow = (least: 2 << 20, most: 16 << 20)
  static let commandWindow = 1 << 20

  /// Connects nowhere yet.
  /// - Parameters:
  ///   - alias: What `ssh` would be given.
  ///   - configurationFile: In place of `~/.ssh/config`.
  ///   - name: The host's name in messages; nil: the alias.
  public init(alias: String, configurationFile: String? = nil, name: String? = nil) {
    target = SSHTarget(name: name ?? alias, alias: alias, configurationFile: configurationFile)
    commands = SSHConnection(target)
    streams = SSHConnection(target)
    shell = StandingShell(on: commands, host: target.name)
  }

  deinit {
    commands.stop()
    streams.stop()
  }

  public func run(_ command: String, input: [UInt8], limit: Int, timeout: Duration) async throws -> CommandResult {
    let host = target.name
    let collected = Mutex<[UInt8]>([])
    var result = try await perform(
      command, input: input, timeout: timeout, isStream: false, on: commands
    ) { piece in
      try collected.withLock { output in
        guard piece.count <= limit - output.count else { throw TransportError.outputTooLarge(host: host, limit: limit) }
        output += piece
      }
    }
    result.output = collected.withLock { $0 }
    return result
  }

  public func ask(_ question: String, limit: Int, timeout: Duration) async throws -> CommandResult {
    try checkCommand(question, host: target.name)
    if let result = try await shell.ask(question, limit: limit, timeout: timeout) { return result }
    return try await run(question, input: [], limit: limit, timeout: timeout)
  }

  public func stream(
    _ command: String, input: [UInt8], timeout: Duration,
    onOutput: @escaping @Sendable (consuming [UInt8]) async throws -> Void
  ) async throws -> CommandResult {
    try await perform(
      command, input: input, timeout: timeout, isStream: true, on: streams, onOutput: onOutput)
  }

  public func prepareToStream() { streams.prepare() }

  public func close() async {
    await commands.close()
    await streams.close()
  }

  private func perform(
    _ command: String, input: [UInt8], timeout: Duration, isStream: Bool, on connection: SSHConnection,
    onOutput: @escaping @Sendable (consuming [UInt8]) async throws -> Void
  ) async throws -> CommandResult {
    try checkCommand(command, host: target.name)
    return try await withDeadline(timeout, host: target.name) {
      let call = SSHCall(command: command, input: input, isStream: isStream)
      return try await withTaskCancellationHandler {
        do {
          connection.submit(call)
          while let piece = try await call.next(onRoom: { connection.wake() }) { try await onOutput(piece) }
          return try call.outcome()
        } catch {
          // Whoever gave up, receiver or clock: the thread closes the channel.
          call.settle(.failure(error), immediate: true)
          connection.wake()
          throw error
        }
      } onCancel: {
        call.settle(.failure(CancellationError()), immediate: true)
        connection.wake()
      }
    }
  }
}
