import Scheduling

/// What the scheduler was told of a core's runs, hosts and attempts, so that it is told only what has changed.
///
/// Runs are known to it by their index, and what an attempt holds by its index.
struct PlacementBook: Sendable {
  private var scheduler = Scheduler(hosts: [])
  private var hosts: [Placement.Host] = []
  /// Attempts whose holdings it was told of, and whether with a time limit.
  private var held: [Int: Bool] = [:]
  /// Runs that it was told of.
  private var told: Set<Int> = []
  /// Runs that came into the queue or left it since it was last asked.
  private var changedRuns: Set<Int> = []

  mutating func note(_ run: Int) { changedRuns.insert(run) }

  /// Runs that it is to be told of.
  mutating func takeChangedRuns() -> Set<Int> {
    defer { changedRuns = [] }
    return changedRuns
  }

  /// Says how the hosts stand, without what attempts hold there.
  /// - Returns: False where all is forgotten, since a host came or went: then every run and every holding is new to it.
  mutating func setHosts(_ hosts: [Placement.Host]) -> Bool {
    guard hosts != self.hosts else { return true }
    let isSame = hosts.map(\.name) == self.hosts.map(\.name)
    self.hosts = hosts
    if isSame {
      scheduler.setHosts(hosts)
    } else {
      let kept = scheduler.reservations
      scheduler = Scheduler(hosts: hosts)
      scheduler.keep(kept)
      held = [:]
      told = []
    }
    return isSame
  }

  /// - Parameter run: nil: it does not wait any more.
  mutating func set(_ index: Int, _ run: Placement.QueuedRun?) {
    // Whatever it was before: a run may come back with other hosts to avoid.
    if told.remove(index) != nil { scheduler.removeQueued(String(index)) }
    guard let run else { return }
    told.insert(index)
    scheduler.add(run)
  }

  /// - Parameters:
  ///   - attempts: those that may hold anything now.
  ///   - isLimited: whether an attempt holds something, and if so, whether its time limit ends it; nil: it holds nothing.
  ///   - holding: what it holds.
  mutating func setHoldings(
    of attempts: some Sequence<Int>, isLimited: (Int) -> Bool?, holding: (Int) -> Placement.Holding?
  ) {
    for (attempt, wasLimited) in held where isLimited(attempt) != wasLimited {
      scheduler.release(Self.name(attempt))
      held[attempt] = nil
    }
    for attempt in attempts where held[attempt] == nil {
      guard let limited = isLimited(attempt), var holding = holding(attempt) else { continue }
      holding.run = Self.name(attempt)
      scheduler.hold(holding)
      held[attempt] = limited
    }
  }

  /// What starts where, by the index of the run; what is placed holds nothing before its attempt does.
  mutating func decide(pinnedHardware: [String: String], now: Double) -> [Placement.Decision] {
    scheduler.setPinnedHardware(pinnedHardware)
    let decisions = scheduler.decide(now: now)
    for case .place(let run, _, _) in decisions { scheduler.release(run) }
    return decisions
  }

  private static func name(_ attempt: Int) -> String { "attempt \(attempt)" }
}
