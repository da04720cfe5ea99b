import Synchronization

/// Runs `body` in a task of its own. Once it is cancelled, its end is awaited no longer than `patience`; then
/// `CancellationError` is thrown, and the task goes on until `body` ends by itself.
func abandoning<Value: Sendable>(
  after patience: Duration, _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value {
  let outcome = FirstOutcome<Value>()
  let work = Task {
    do { outcome.settle(.success(try await body())) } catch { outcome.settle(.failure(error)) }
  }
  return try await withTaskCancellationHandler {
    try await outcome.value()
  } onCancel: {
    work.cancel()
    // Ours is cancelled and cannot sleep.
    Task {
      try? await Task.sleep(for: patience)
      outcome.settle(.failure(CancellationError()))
    }
  }
}

/// An outcome that one task waits for; the first word counts.
private final class FirstOutcome<Value: Sendable>: Sendable {
  private struct State {
    var outcome: Result<Value, any Error>?
    var waiting: CheckedContinuation<Value, any Error>?
  }
  private let state = Mutex(State())

  func settle(_ outcome: Result<Value, any Error>) {
    let waiting = state.withLock { state -> CheckedContinuation<Value, any Error>? in
      guard state.outcome == nil else { return nil }
      state.outcome = outcome
      defer { state.waiting = nil }
      return state.waiting
    }
    waiting?.resume(with: outcome)
  }

  func value() async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
      let outcome = state.withLock { state in
        if state.outcome == nil { state.waiting = continuation }
        return state.outcome
      }
      if let outcome { continuation.resume(with: outcome) }
    }
  }
}
