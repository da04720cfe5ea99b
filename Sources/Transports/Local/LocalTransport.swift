import Subprocess
import Synchronization

/// Runs commands on this machine, each in its own process group, which a timeout or a cancellation kills.
public final class LocalTransport: Transport {
  private let host: String
  private let isClosed = Mutex(false)

  /// - Parameter name: The host's name in messages.
  public init(name: String = "local") {
    host = name
    _ = BrokenPipe.isSurvived
  }

  public func run(_ command: String, input: [UInt8], limit: Int, timeout: Duration) async throws -> CommandResult {
    let collected = Mutex<[UInt8]>([])
    let host = self.host
    var result = try await stream(command, input: input, timeout: timeout) { piece in
      try collected.withLock { output in
        guard piece.count <= limit - output.count else { throw TransportError.outputTooLarge(host: host, limit: limit) }
        output += piece
      }
    }
    result.output = collected.withLock { $0 }
    return result
  }

  public func stream(
    _ command: String, input: [UInt8], timeout: Duration,
    onOutput: @escaping @Sendable (consuming [UInt8]) async throws -> Void
  ) async throws -> CommandResult {
    if isClosed.withLock({ $0 }) { throw TransportError.closed(host: host) }
    try checkCommand(command, host: host)
    let host = self.host
    let gate = OutputGate()
    do {
      return try await withDeadline(timeout, host: host) {
        // A command that sleeps in the kernel outlives KILL, and Subprocess waits for its end.
        try await abandoning(after: Self.patience) {
          do {
            return try await Self.execute(command, input: input) { try await gate.pass($0, to: onOutput) }
          } catch let error as SubprocessError {
            if Task.isCancelled { throw CancellationError() }
            throw TransportError(
              code: .unreachable, host: host, message: "sh could not be run on this machine: \(error)")
          }
        }
      }
    } catch {
      await gate.shut()
      throw error
    }
  }

  /// After a command was killed.
  private static let patience: Duration = .seconds(5)

  public func close() async {
    isClosed.withLock { $0 = true }
  }

  private static func execute(
    _ command: String, input: [UInt8], onOutput: @escaping @Sendable (consuming [UInt8]) async throws -> Void
  ) async throws -> CommandResult {
    var options = PlatformOptions()
    options.processGroupID = 0
    // The final step is KILL and takes its target from the step before it.
    options.teardownSequence = [
      .send(signal: .terminate, toProcessGroup: true, allowedDurationToNextStep: .milliseconds(200))
    ]
    let outcome = try await Subprocess.run(
      .name("sh"), arguments: ["-c", command], platformOptions: options,
      input: .inputWriter, output: .sequence, error: .sequence
    ) { execution in
      try await withThrowingTaskGroup(of: [UInt8]?.self) { group in
        let writer = execution.standardInputWriter
        group.addTask {
          // A command need not read its input: a broken pipe is no fault of the call.
          if !input.isEmpty { _ = try? await writer.write(input) }
          try? await writer.finish()
          return nil
        }
        let output = execution.standardOutput
        group.addTask {
          for try await buffer in output {
            let piece = buffer.withUnsafeBytes { [UInt8]($0) }
            if !piece.isEmpty { try await onOutput(piece) }
          }
          return nil
        }
        let errors = execution.standardError
        group.addTask {
          var tail = Tail()
          for try await buffer in errors { tail.append(buffer.withUnsafeBytes { [UInt8]($0) }) }
          return tail.value
        }
        var errorOutput: [UInt8] = []
        for try await value in group { if let value { errorOutput = value } }
        return errorOutput
      }
    }
    try Task.checkCancellation()
    let status =
      switch outcome.terminationStatus {
      case .exited(let code): Int(code)
      case .signaled(let signal): 128 + Int(signal)
      }
    return CommandResult(status: status, output: [], errorOutput: outcome.closureResult)
  }
}
