import Synchronization
import Testing

@testable import Transports

/// What outlives every signal is left behind, and nothing of it reaches its receiver afterwards.
@Suite(.timeLimit(.minutes(2))) struct AbandoningTests {
  /// Ends when the test says so, and not when it is cancelled.
  private final class Stubborn: Sendable {
    private let ends = AsyncStream.makeStream(of: Void.self)
    private let ended = Mutex(false)

    func end() { ends.continuation.finish() }

    var hasEnded: Bool { ended.withLock { $0 } }

    func wait() async {
      // Iterating in a cancelled task would end at once.
      let stream = ends.stream
      await Task { for await _ in stream {} }.value
      ended.withLock { $0 = true }
    }
  }

  @Test func whatDoesNotEndAfterItsTimeIsLeftBehind() async throws {
    let stubborn = Stubborn()
    let error = await #expect(throws: TransportError.self) {
      try await withDeadline(.milliseconds(50), host: "here") {
        try await abandoning(after: .milliseconds(50)) { await stubborn.wait() }
      }
    }
    #expect(error?.code == .timedOut)
    #expect(!stubborn.hasEnded)
    stubborn.end()
    while !stubborn.hasEnded { await Task.yield() }
  }

  @Test func whatEndsWhenItIsCancelledIsAwaited() async throws {
    let hasEnded = Mutex(false)
    await #expect(throws: TransportError.self) {
      try await withDeadline(.milliseconds(50), host: "here") {
        try await abandoning(after: .seconds(100)) {
          try? await Task.sleep(for: .seconds(100))
          hasEnded.withLock { $0 = true }
        }
      }
    }
    #expect(hasEnded.withLock { $0 })
  }

  @Test func anOutcomeComesThrough() async throws {
    #expect(try await abandoning(after: .seconds(100)) { 7 } == 7)
    await #expect(throws: TransportError.self) {
      try await abandoning(after: .seconds(100)) { throw TransportError.closed(host: "here") }
    }
  }

  @Test func aShutGateWaitsForThePieceInsideAndLetsNoOtherIn() async throws {
    let gate = OutputGate()
    let stubborn = Stubborn()
    let isInside = Mutex(false)
    let first = Task {
      try await gate.pass([1]) { _ in
        isInside.withLock { $0 = true }
        await stubborn.wait()
      }
    }
    while !isInside.withLock({ $0 }) { await Task.yield() }
    let shut = Task {
      await gate.shut()
      return stubborn.hasEnded
    }
    stubborn.end()
    #expect(await shut.value)
    try await first.value
    await #expect(throws: CancellationError.self) {
      try await gate.pass([2]) { _ in Issue.record("a piece came after the end") }
    }
  }
}
