import Synchronization

/// What has happened since the driver last looked: many put in, one takes out.
final class Mailbox<Letter: Sendable>: Sendable {
  private struct State {
    var letters: [Letter] = []
    var reader: CheckedContinuation<Void, Never>?
  }

  private let state = Mutex(State())

  func put(_ letter: Letter) {
    let reader = state.withLock { state in
      state.letters.append(letter)
      defer { state.reader = nil }
      return state.reader
    }
    reader?.resume()
  }

  /// Everything that is there; waits until there is something. Empty when the task was cancelled.
  func takeAll() async -> [Letter] {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isReady = state.withLock { state in
          if !state.letters.isEmpty || Task.isCancelled { return true }
          state.reader = continuation
          return false
        }
        if isReady { continuation.resume() }
      }
    } onCancel: {
      let reader = state.withLock { state in
        defer { state.reader = nil }
        return state.reader
      }
      reader?.resume()
    }
    return state.withLock { state in
      defer { state.letters = [] }
      return state.letters
    }
  }
}
