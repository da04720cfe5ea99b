import Launching
import Ledger
import Planning
import Scheduling

/// How hosts, attempts and runs look to the scheduler: the same for the coordinator, which acts on its answer, and for
/// `explain`, which tells it.
enum SchedulerInput {
  /// - Parameters:
  ///   - isReachable: the host has told who it is, and answers.
  ///   - isFull: its disk takes no run.
  static func host(
    _ host: Fleet.Host, facts: HostFacts?, isReachable: Bool, isDrained: Bool, isFull: Bool
  ) -> Placement.Host {
    let state: Placement.Host.State = !isReachable ? .unreachable : isDrained ? .draining : isFull ? .full : .ready
    let total = gpuCount(of: host, facts)
    if host.slurm != nil {
      // A job takes one of so many places, whatever it asks for: the cluster places it.
      let places = jobPlaces(of: host, facts)
      return Placement.Host(
        name: host.name, labels: host.labels, state: state, totalGPUs: 0, freeGPUs: 0, cpuSlots: places,
        freeCPUSlots: places)
    }
    return Placement.Host(
      name: host.name, labels: host.labels, state: state, totalGPUs: total, freeGPUs: total ?? 0,
      cpuSlots: host.cpuSlots, freeCPUSlots: host.cpuSlots,
      hardware: Launch.hardware(facts), isExclusive: host.isExclusive)
  }

  /// How many jobs a cluster has of one coordinator at a time. One that lets its user have none says so itself of the
  /// first.
  static func jobPlaces(of host: Fleet.Host, _ facts: HostFacts?) -> Int {
    min(host.cpuSlots, max(1, facts?.jobLimit ?? .max))
  }

  /// nil while the host has not told yet.
  static func gpuCount(of host: Fleet.Host, _ facts: HostFacts?) -> Int? {
    switch host.gpus {
    case .count(let count): count
    case .auto: facts?.gpuIDs.count
    }
  }

  /// - Parameters:
  ///   - attempts: of the run.
  ///   - order: lower is older.
  ///   - isCluster: it takes one place of the one cluster, which gives it what it asks for.
  static func run(
    _ run: RunRecord, id: String, cell: Cell, plan: Plan, attempts: [AttemptRecord], order: Int, isCluster: Bool
  ) -> Placement.QueuedRun {
    if isCluster {
      return Placement.QueuedRun(
        id: id, gpus: 0, nodes: 1, labels: cell.run.hosts, priority: plan.priority ?? 0, order: order,
        sweep: run.sweep, timeLimit: cell.run.timeout)
    }
    let failedOn = attempts.filter { ($0.state == .lost || $0.state == .failed) && $0.isCharged }
    let foundBusy = attempts.filter { $0.state == .failed && !$0.isCharged }
    return Placement.QueuedRun(
      id: id, gpus: cell.run.gpus, nodes: cell.run.nodes, labels: cell.run.hosts,
      priority: plan.priority ?? 0, order: order,
      comparison: plan.compare.sameHardware ? run.sweep : nil, excludedHosts: Set(failedOn.map(\.host)),
      avoidedHosts: Set(foundBusy.map(\.host)),
      cell: plan.repetitions > 1 ? "\(run.sweep)/\(cell.id)" : nil, sweep: run.sweep,
      timeLimit: cell.run.timeout + launchGrace)
  }

  /// What an attempt holds of its host.
  ///
  /// - Parameters:
  ///   - cell: nil where it is not known; the attempt then has no time limit here.
  ///   - age: seconds since it was sent to its host.
  ///   - now: seconds by the clock that the scheduler is asked with.
  ///   - isCluster: its host is a cluster.
  static func holding(
    _ attempt: AttemptRecord, cell: Cell?, age: Double, now: Double, isCluster: Bool
  ) -> Placement.Holding {
    if isCluster {
      // How long it waits in the cluster's queue nobody knows.
      return Placement.Holding(run: attempt.id, sweep: attempt.sweep, hosts: [attempt.host], gpus: 0)
    }
    // A lost attempt ends when its host says so, and no earlier.
    let isLimited = attempt.state == .launching || attempt.state == .running
    return Placement.Holding(
      run: attempt.id, sweep: attempt.sweep, hosts: [attempt.host], gpus: attempt.gpus,
      endsBy: isLimited ? cell.map { now + max(0, $0.run.timeout + launchGrace - age) } : nil)
  }

  /// Seconds that launching and ending may take beside the time limit: for what waits as for what holds its place, or
  /// each run that is to end before a head starts would put off that start.
  private static let launchGrace = 60.0

  /// The hardware class that the runs of a comparison keep to: that of its first attempt; nil where there is none, or
  /// none known. Of an attempt whose fingerprint tells none, as of CPUs in older releases, its host tells.
  ///
  /// - Parameter facts: of that attempt's host.
  static func pinned(_ attempts: some Sequence<AttemptRecord>, facts: (AttemptRecord) -> HostFacts?) -> String? {
    guard let used = attempts.first(where: { $0.state != .failed && $0.state != .lost }) else { return nil }
    let isTold = used.facts["gpus"] != nil || used.facts["cpu"] != nil
    return isTold ? Launch.hardware(used.facts) : facts(used).map { Launch.hardware($0) }
  }
}
