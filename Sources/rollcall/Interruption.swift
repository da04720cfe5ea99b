import Dispatch
import Glibc
import Synchronization

/// Ctrl-C or SIGTERM came.
struct Interruption: Error {
  /// Runs `body` until it ends or a signal asks to stop; then `body` is cancelled and `Interruption` thrown.
  /// A second signal ends the process at once, and so does the first one between two races.
  static func race<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) async throws -> Value {
    let signals = StopSignals.next()
    defer { StopSignals.leave() }
    return try await withThrowingTaskGroup(of: Value?.self) { group in
      group.addTask { try await body() }
      group.addTask {
        for await _ in signals { return nil }
        throw CancellationError()
      }
      defer { group.cancelAll() }
      guard let first = try await group.next(), let value = first else { throw Interruption() }
      return value
    }
  }
}

/// The signals that ask to stop.
private enum StopSignals {
  private static let listener = Mutex<AsyncStream<Void>.Continuation?>(nil)

  /// Tells of the next one.
  static func next() -> AsyncStream<Void> {
    _ = areCaught
    let (signals, continuation) = AsyncStream.makeStream(of: Void.self)
    listener.withLock { $0 = continuation }
    return signals
  }

  static func leave() { listener.withLock { $0 = nil } }

  /// Caught once and for all: where the first source of a signal has been cancelled, Dispatch on Linux tells no other one.
  private static let areCaught: Bool = {
    for number in [SIGINT, SIGTERM] {
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler {
        // The source lives as long as its handler.
        withExtendedLifetime(source) {
          let isHeard = listener.withLock { listener in
            defer { listener = nil }
            return listener?.yield() != nil
          }
          if !isHeard { _exit(128 + number) }
        }
      }
      source.resume()
    }
    return true
  }()
}
