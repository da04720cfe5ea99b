import Synchronization

/// Lets a command's output through to its receiver until it is shut: nothing comes after the call has ended.
final class OutputGate: Sendable {
  private struct State {
    var isShut = false
    var isInside = false
    var waiting: CheckedContinuation<Void, Never>?
  }
  private let state = Mutex(State())

  /// One piece at a time.
  /// - Throws: `CancellationError` once it is shut; else what `receiver` throws.
  func pass(_ piece: consuming [UInt8], to receiver: (consuming [UInt8]) async throws -> Void) async throws {
    let isShut = state.withLock { state in
      state.isInside = !state.isShut
      return state.isShut
    }
    guard !isShut else { throw CancellationError() }
    defer {
      let waiting = state.withLock { state in
        state.isInside = false
        defer { state.waiting = nil }
        return state.waiting
      }
      waiting?.resume()
    }
    try await receiver(piece)
  }

  /// Returns when no piece is with the receiver, and none will be any more.
  func shut() async {
    await withCheckedContinuation { continuation in
      let isInside = state.withLock { state in
        state.isShut = true
        if state.isInside { state.waiting = continuation }
        return state.isInside
      }
      if !isInside { continuation.resume() }
    }
  }
}
