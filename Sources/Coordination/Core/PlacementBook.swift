import Scheduling

/// What the scheduler was told of a core's runs, hosts and attempts, so that it is told only what has changed.
///
/// All of them are known by their index in the core.
struct PlacementBook: Sendable {
  private var scheduler = Scheduler(hosts: [])
  /// Hosts in play, as it was told of them: without what attempts hold there.
  private(set) var hosts: [Int: Placement.Host] = [:]
  /// Attempts whose holdings it was told of, and whether with a time limit.
  private(set) var held: [Int: Bool] = [:]
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

  /// Says how hosts stand that have changed; nil: out of play. What is held of a host that comes or goes is told anew.
  mutating func setHosts(_ changed: [(index: Int, host: Placement.Host?)]) {
    let gone = changed.compactMap { index, host in host == nil ? hosts[index]?.name : nil }
    for (index, host) in changed { hosts[index] = host }
    scheduler.set(changed.compactMap(\.host), removing: Set(gone))
  }

  /// - Parameter run: nil: it does not wait any more.
  mutating func set(_ index: Int, _ run: Placement.QueuedRun?) {
    // Whatever it was before: a run may come back with other hosts to avoid.
    if told.remove(index) != nil { scheduler.removeQueued(String(index)) }
    guard let run else { return }
    told.insert(index)
    scheduler.add(run)
  }

  /// Takes out what is left of a sweep whose runs neither wait nor hold anything.
  mutating func forget(_ sweep: String, runs: Range<Int>) {
    changedRuns = changedRuns.filter { !runs.contains($0) }
    for run in runs { set(run, nil) }
    scheduler.forget(sweep: sweep)
  }

  /// - Parameters:
  ///   - holding: What an attempt holds; nil: nothing.
  ///   - isLimited: Whether a time limit ends it.
  mutating func setHolding(of attempt: Int, _ holding: Placement.Holding?, isLimited: Bool) {
    if held.removeValue(forKey: attempt) != nil { scheduler.release(Self.name(attempt)) }
    guard var holding else { return }
    holding.run = Self.name(attempt)
    scheduler.hold(holding)
    held[attempt] = isLimited
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
