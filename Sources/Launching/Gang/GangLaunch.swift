/// The launch and the end of a gang over several hosts: all shares begin, or none does.
///
/// A state machine that only thinks; who drives it launches each share with `AttemptSpec.holdSeconds`, carries the
/// actions out and tells what came of them. Two phases: every host claims its share and waits; when all have, all are
/// released. A share that is lost or fails ends the others, and what failed first is the cause.
public struct GangLaunch: Sendable, Hashable {
  public enum Action: Sendable, Hashable {
    /// With `holdSeconds`; after an answer that was lost, again: a launch is idempotent.
    case launch(share: Int)
    case release(share: Int)
    case stop(share: Int)
  }

  public enum Event: Sendable, Hashable {
    case launched(share: Int, LaunchOutcome)
    /// The answer to `release`.
    case released(share: Int)
    case observed(share: Int, AttemptStatus)
    /// Nothing of it lives.
    case stopped(share: Int)
    /// A person asked for it, or a host counts as lost for good.
    case abandon(why: String)
  }

  public enum Outcome: Sendable, Hashable {
    /// Every share ended with 0.
    case succeeded
    /// One host would not take its share; nothing has begun anywhere.
    case notTaken(share: Int, LaunchOutcome)
    /// The share that failed first.
    case failed(share: Int, ExitRecord)
    /// A share whose supervisor or host went away.
    case lost(share: Int, why: String)
    case abandoned(why: String)
  }

  private enum Share: Sendable, Hashable {
    case launching
    case claimed
    case releasing
    case running
    case exited(ExitRecord)
    case stopping
    case gone

    var isOver: Bool {
      switch self {
      case .exited, .gone: true
      case .launching, .claimed, .releasing, .running, .stopping: false
      }
    }
  }

  private var shares: [Share]
  /// Why the gang ends, once it does.
  private var ending: Outcome?
  private let clockOffsets: [Double]

  /// - Parameter clockOffsets: Each host's clock minus ours, seconds: ends on several hosts are put in order by them.
  public init(clockOffsets: [Double]) {
    self.clockOffsets = clockOffsets
    shares = Array(repeating: .launching, count: clockOffsets.count)
  }

  /// What is to be done first.
  public var start: [Action] { shares.indices.map { .launch(share: $0) } }

  /// How the gang ended, once nothing of it lives; nil before.
  public var outcome: Outcome? {
    guard shares.allSatisfy(\.isOver) else { return nil }
    if let ending, case .failed = ending { return firstFailure.map { .failed(share: $0.share, $0.record) } ?? ending }
    return ending ?? .succeeded
  }

  /// Takes what has happened; the same event again changes nothing.
  public mutating func take(_ event: Event) -> [Action] {
    switch event {
    case .launched(let share, let outcome): return launched(share, outcome)
    case .released(let share):
      if isState(share, .releasing) { shares[share] = .running }
      return []
    case .observed(let share, let status): return observed(share, status)
    case .stopped(let share):
      if shares.indices.contains(share), !shares[share].isOver { shares[share] = .gone }
      return []
    case .abandon(let why): return end(.abandoned(why: why))
    }
  }

  // MARK: -

  private func isState(_ share: Int, _ state: Share) -> Bool {
    shares.indices.contains(share) && shares[share] == state
  }

  private mutating func launched(_ share: Int, _ outcome: LaunchOutcome) -> [Action] {
    guard shares.indices.contains(share) else { return [] }
    switch outcome {
    case .started, .adopted:
      guard isState(share, .launching) else {
        // It was given up while the launch was under way: what stands there now is ended.
        return isState(share, .stopping) ? [.stop(share: share)] : []
      }
      shares[share] = .claimed
      return begin()
    case .noSpace, .gpuBusy, .refused:
      guard isState(share, .launching) || isState(share, .stopping) else { return [] }
      shares[share] = .gone
      return end(.notTaken(share: share, outcome))
    }
  }

  /// The second phase, once all have claimed.
  private mutating func begin() -> [Action] {
    guard ending == nil, shares.allSatisfy({ $0 == .claimed }) else { return [] }
    shares = shares.map { _ in .releasing }
    return shares.indices.map { .release(share: $0) }
  }

  private mutating func observed(_ share: Int, _ status: AttemptStatus) -> [Action] {
    guard shares.indices.contains(share), !shares[share].isOver else { return [] }
    switch status {
    case .exited(let record):
      shares[share] = .exited(record)
      return record.code == 0 && record.reason == nil ? [] : end(.failed(share: share, record))
    case .lost(let why):
      // Its processes may live: it is stopped like the others.
      return end(.lost(share: share, why: why))
    case .absent:
      switch shares[share] {
      case .launching: return ending == nil ? [.launch(share: share)] : []
      case .stopping:
        shares[share] = .gone
        return []
      default: return end(.lost(share: share, why: "its run directory is gone"))
      }
    case .claimed: return []
    case .running:
      // The launch arrived although its answer did not; a share that waits for its release is asked again.
      if isState(share, .launching) { return launched(share, .adopted) }
      return isState(share, .releasing) ? [.release(share: share)] : []
    }
  }

  private mutating func end(_ cause: Outcome) -> [Action] {
    guard ending == nil else { return [] }
    ending = cause
    var actions: [Action] = []
    for share in shares.indices where !shares[share].isOver {
      shares[share] = .stopping
      actions.append(.stop(share: share))
    }
    return actions
  }

  /// Of the shares that ended badly, the one that did so first by one clock. Those that we stopped, or that a signal
  /// ended while another did so by itself, are its victims.
  private var firstFailure: (share: Int, record: ExitRecord)? {
    var failures: [(share: Int, record: ExitRecord)] = []
    for (index, share) in shares.enumerated() {
      if case .exited(let record) = share, record.code != 0 || record.reason != nil { failures.append((index, record)) }
    }
    let stopped: Set<String> = ["cancelled", "gang", "not-released"]
    let own = failures.filter { $0.record.reason.map { !stopped.contains($0) } ?? true }
    let bySelf = own.filter { $0.record.signal == nil }
    let candidates = bySelf.isEmpty ? (own.isEmpty ? failures : own) : bySelf
    return candidates.min { a, b in
      (a.record.ended - clockOffsets[a.share], a.share) < (b.record.ended - clockOffsets[b.share], b.share)
    }
  }
}
