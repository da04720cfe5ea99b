/// Where a run stands.
public enum RunState: String, Sendable, Hashable, Codable, CaseIterable {
  case queued
  case launching
  case running
  case gathering
  /// All files are in the store.
  case succeeded
  case failed
  case timedOut = "timed-out"
  case stalled
  case cancelled
  /// Infrastructure failures used up the retries.
  case lost

  public var isFinal: Bool {
    switch self {
    case .succeeded, .failed, .timedOut, .stalled, .cancelled, .lost: true
    case .queued, .launching, .running, .gathering: false
    }
  }
}
