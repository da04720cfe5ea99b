import Synchronization

/// Bounds how many connections of this process are being made at once.
///
/// sshd turns connections away that are not logged in yet, at random from the tenth on by default, and many hosts of a
/// fleet may stand behind one jump host or address. The bound therefore starts below ten, rises by one with each round
/// of successes, so that far hosts are reached in parallel, and halves when one was turned away.
final class ConnectGate: Sendable {
  static let shared = ConnectGate()

  enum Outcome {
    case connected
    /// The host closed the connection before it said a word.
    case turnedAway
    /// Anything else tells nothing of the bound.
    case failed
  }

  private struct State {
    var inside = 0
    var bound = ConnectGate.start
    /// Whoever waits for a place, first come first served.
    var queue: [SSHConnection] = []
    /// Successes since the bound was halved: those turned away together count once.
    var successes = ConnectGate.settling
  }
  private let state = Mutex(State())

  private static let start = 8.0
  private static let least = 4.0
  private static let most = 64.0
  private static let settling = 8

  /// Takes a place, or a number in the queue: the connection is then woken when a place may be free.
  func enter(_ connection: SSHConnection) -> Bool {
    state.withLock { state in
      let place = state.queue.firstIndex { $0 === connection }
      // Who was woken comes from the front; nobody overtakes the others.
      guard state.inside + (place ?? state.queue.count) < Int(state.bound) else {
        if place == nil { state.queue.append(connection) }
        return false
      }
      if let place { state.queue.remove(at: place) }
      state.inside += 1
      return true
    }
  }

  /// Gives the place back.
  func leave(_ outcome: Outcome) {
    let next = state.withLock { state in
      state.inside -= 1
      switch outcome {
      case .connected:
        state.bound = min(Self.most, state.bound + 1 / state.bound)
        state.successes += 1
      case .turnedAway:
        if state.successes >= Self.settling {
          state.bound = max(Self.least, state.bound / 2)
          state.successes = 0
        }
      case .failed: break
      }
      return state.queue.prefix(max(0, Int(state.bound) - state.inside))
    }
    for connection in next { connection.wake() }
  }

  /// Leaves the queue.
  func forget(_ connection: SSHConnection) {
    let next = state.withLock { state in
      state.queue.removeAll { $0 === connection }
      return state.queue.prefix(max(0, Int(state.bound) - state.inside))
    }
    for connection in next { connection.wake() }
  }
}
