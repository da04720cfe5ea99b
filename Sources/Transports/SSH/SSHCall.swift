import Synchronization

/// One command on its way: filled by the connection's thread, emptied by the task that waits for it.
///
/// A standing one goes on until it is settled: its input comes bit by bit.
final class SSHCall: Sendable {
  let command: String
  let input: [UInt8]
  /// Much output may come; a moment's wait for more of it is worth while.
  let isStream: Bool
  let isStanding: Bool

  private struct State {
    /// More input, not yet taken.
    var input: [UInt8] = []
    var pieces: [[UInt8]] = []
    var queuedBytes = 0
    var outcome: Result<CommandResult, any Error>?
    var waiting: CheckedContinuation<[UInt8]?, any Error>?
  }
  private let state = Mutex(State())
  private static let joinLimit = 64 << 10
  /// Bytes that wait for the receiver; few enough to stay in the processor's caches.
  private static let queueLimit = 2 << 20

  init(command: String, input: [UInt8], isStream: Bool, isStanding: Bool = false) {
    self.command = command
    self.input = input
    self.isStream = isStream
    self.isStanding = isStanding
  }

  /// More input for a standing call.
  func append(_ bytes: [UInt8]) { state.withLock { $0.input += bytes } }

  /// What was appended since the last look.
  func takeInput() -> [UInt8] {
    state.withLock { state in
      defer { state.input = [] }
      return state.input
    }
  }

  /// True while the receiver has more than enough to do.
  var isFull: Bool { state.withLock { $0.queuedBytes >= Self.queueLimit } }

  /// True once there is an outcome: the thread need not go on.
  var isSettled: Bool { state.withLock { $0.outcome != nil } }

  /// Hands a piece to the receiver.
  func deliver(_ piece: [UInt8]) {
    guard !piece.isEmpty else { return }
    let receiver = state.withLock { state -> CheckedContinuation<[UInt8]?, any Error>? in
      guard state.outcome == nil else { return nil }
      if let waiting = state.waiting {
        state.waiting = nil
        return waiting
      }
      state.pieces.append(piece)
      state.queuedBytes += piece.count
      return nil
    }
    receiver?.resume(returning: piece)
  }

  /// States how the command ended; the first word counts. A failure overtakes pieces only if it is `immediate`.
  func settle(_ outcome: Result<CommandResult, any Error>, immediate: Bool = false) {
    let receiver = state.withLock { state -> CheckedContinuation<[UInt8]?, any Error>? in
      guard state.outcome == nil else { return nil }
      state.outcome = outcome
      if immediate { state.pieces = [] }
      defer { state.waiting = nil }
      return state.waiting
    }
    switch outcome {
    case .success: receiver?.resume(returning: nil)
    case .failure(let error): receiver?.resume(throwing: error)
    }
  }

  /// The next piece; nil after the last one.
  /// - Parameter onRoom: Called when the sender, stopped by a full queue, may go on.
  func next(onRoom: () -> Void) async throws -> [UInt8]? {
    var madeRoom = false
    defer { if madeRoom { onRoom() } }
    return try await withCheckedThrowingContinuation { continuation in
      let answer = state.withLock { state -> Result<[UInt8]?, any Error>? in
        if !state.pieces.isEmpty {
          let wasFull = state.queuedBytes >= Self.queueLimit
          // Small ones together; copying big ones again would cost more than it saves.
          var joined = state.pieces[0]
          var count = 1
          while count < state.pieces.count, joined.count + state.pieces[count].count <= Self.joinLimit {
            joined += state.pieces[count]
            count += 1
          }
          state.pieces.removeFirst(count)
          state.queuedBytes -= joined.count
          madeRoom = wasFull && state.queuedBytes < Self.queueLimit
          return .success(joined)
        }
        switch state.outcome {
        case .success: return .success(nil)
        case .failure(let error): return .failure(error)
        case nil:
          state.waiting = continuation
          return nil
        }
      }
      if let answer { continuation.resume(with: answer) }
    }
  }

  /// How the command ended. Asked after `next` gave nil.
  func outcome() throws -> CommandResult {
    guard let outcome = state.withLock({ $0.outcome }) else { throw CancellationError() }
    return try outcome.get()
  }
}
