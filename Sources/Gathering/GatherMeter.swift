import Synchronization

/// Counts the dump bytes of one gather while they come.
public final class GatherMeter: Sendable {
  private struct State {
    var total = 0
    /// Bytes of the contents that need not come.
    var held = 0
    /// By the name of the part: what earlier transfers left of it counts, and no byte counts twice.
    var written: [String: Int] = [:]
  }

  private let state = Mutex(State())

  public init() {}

  /// Dump bytes of the attempt that are in the store, and all that it has. Both 0 before the host has listed them.
  public var figures: (bytes: Int, total: Int) {
    state.withLock { state in
      let bytes = state.written.values.reduce(state.held) { $0.addingReportingOverflow($1).partialValue }
      return (max(0, min(bytes, state.total)), state.total)
    }
  }

  func expect(_ total: Int) { state.withLock { $0.total = total } }

  func hold(_ bytes: Int) { state.withLock { $0.held = bytes } }

  func note(_ part: String, written: Int) { state.withLock { $0.written[part] = written } }

  /// The part goes on under another name, or, with nil, has gone.
  func rename(_ part: String, to new: String?) {
    state.withLock { state in
      guard let written = state.written.removeValue(forKey: part), let new else { return }
      state.written[new] = max(written, state.written[new] ?? 0)
    }
  }
}
