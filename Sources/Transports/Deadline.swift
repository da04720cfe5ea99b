/// Runs `body`; after `timeout` it is cancelled, awaited, and `timedOut` is thrown in place of its result.
func withDeadline<Value: Sendable>(
  _ timeout: Duration, host: String, _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value {
  try await withThrowingTaskGroup(of: Value.self) { group in
    group.addTask { try await body() }
    group.addTask {
      try await Task.sleep(for: timeout)
      throw TransportError(
        code: .timedOut, host: host,
        message: "no result after \(timeout); the command was given up (it may still run on the host)")
    }
    defer { group.cancelAll() }
    guard let value = try await group.next() else { throw CancellationError() }
    return value
  }
}
