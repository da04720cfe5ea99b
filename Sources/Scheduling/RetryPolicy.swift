/// How an attempt ended.
public enum AttemptEnding: Sendable, Hashable, Codable {
  /// The command's own exit code.
  case exited(Int)
  /// The command died of a signal that Rollcall did not send.
  case signalled(Int)
  /// `timeout` was enforced.
  case timedOut
  /// `stall_timeout` was enforced.
  case stalled
  case cancelled
  /// The host says that the attempt is gone and left no exit file: a reboot, a killed launch script.
  case lost
  /// The host was silent for longer than `lost_after`.
  case unreachable
  /// The command failed and left no room on its host's disk.
  case noSpace
  /// There was no room on the host's disk for the run directory; nothing was started.
  case noRoom
  /// A stranger sat on a GPU of the gang right before the start, its host was too slow for one, or its gang did not come
  /// together in time; nothing was started.
  case gpuBusy
  /// The launch script could not be put in place or started.
  case launchFailed
  /// Its files still change after its end: it left something behind that writes them.
  case stillWritten
}

/// What follows the end of an attempt: only failures of the infrastructure are tried again, since a second try of a
/// command that failed by itself would hide what is looked for.
public struct RetryPolicy: Sendable, Hashable {
  public enum Next: Sendable, Hashable {
    /// The command ended well: gather.
    case gather
    /// Queue it again, not before so many seconds; `isCharged`: it counts against `retries`.
    case retry(after: Double, isCharged: Bool)
    case end(RunState)
  }

  /// Further attempts after failures of the infrastructure.
  public var retries: Int
  /// Seconds; doubles with each failure up to `longestDelay`.
  public var firstDelay: Double
  public var longestDelay: Double

  public init(retries: Int, firstDelay: Double = 5, longestDelay: Double = 300) {
    self.retries = retries
    self.firstDelay = firstDelay
    self.longestDelay = longestDelay
  }

  /// - Parameters:
  ///   - charged: attempts of this run that were charged before this one.
  ///   - uncharged: attempts that were not (busy GPUs, full disks).
  public func next(after ending: AttemptEnding, charged: Int, uncharged: Int = 0) -> Next {
    switch ending {
    case .exited(0): .gather
    case .exited, .signalled: .end(.failed)
    case .timedOut: .end(.timedOut)
    case .stalled: .end(.stalled)
    case .cancelled: .end(.cancelled)
    // Run again, it would leave the same behind.
    case .stillWritten: .end(.lost)
    case .gpuBusy, .noRoom: .retry(after: delay(uncharged), isCharged: false)
    case .lost, .unreachable, .noSpace, .launchFailed:
      charged < retries ? .retry(after: delay(charged), isCharged: true) : .end(.lost)
    }
  }

  private func delay(_ failures: Int) -> Double {
    var delay = firstDelay
    for _ in 0..<min(max(failures, 0), 64) where delay < longestDelay { delay *= 2 }
    return min(delay, longestDelay)
  }
}

extension AttemptEnding {
  /// True where the host and not the command is to blame.
  public var isInfrastructure: Bool {
    switch self {
    case .lost, .unreachable, .noSpace, .noRoom, .gpuBusy, .launchFailed: true
    case .exited, .signalled, .timedOut, .stalled, .cancelled, .stillWritten: false
    }
  }
}
