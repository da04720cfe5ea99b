public import OrderedCollections

/// Decides which queued runs start on which hosts: a pure function of what is known.
///
/// The rules: a gang is taken whole or not at all, over several hosts only of one hardware class. Higher priority
/// first, then the sweep that holds the fewest GPUs, then age. A run that does not fit now and shares no host with an
/// earlier one of these is a head: hosts are kept for it (those that are free soonest by the time limits of what runs
/// there). Later runs take GPUs there only if their own time limit ends before the head can start, or if the head
/// leaves them over; everything else may overtake it. Gangs of runs without GPUs have their CPU slots kept in the same
/// way. An exclusive host is one thing, taken or not. Runs of one comparison go to hosts of one hardware class, and the
/// repeats of a cell each to another host where one has room: a fault of one host is then not taken for no noise.
public enum Placement {
  /// A run that waits.
  public struct QueuedRun: Sendable, Hashable {
    public var id: String
    /// GPUs on each host; 0 takes one CPU slot.
    public var gpus: Int
    /// Hosts of the gang.
    public var nodes: Int
    /// Every pair must match the host's labels.
    public var labels: OrderedDictionary<String, String>
    /// Higher first.
    public var priority: Int
    /// Lower is older.
    public var order: Int
    /// Runs with the same key go to one hardware class; nil: any hardware.
    public var comparison: String?
    /// Runs of equal priority take turns by the GPUs that their sweeps hold.
    public var sweep: String
    /// Seconds after which the run is ended for sure; nil: not known.
    public var timeLimit: Double?
    /// Hosts that failed this run; used again only where no other ready host would do.
    public var excludedHosts: Set<String>
    /// Hosts that it had to leave, their GPUs being somebody else's: used where no other has room now.
    public var avoidedHosts: Set<String>
    /// What it repeats with other runs; nil: nothing.
    public var cell: String?

    public init(
      id: String, gpus: Int, nodes: Int = 1, labels: OrderedDictionary<String, String> = [:], priority: Int = 0,
      order: Int, comparison: String? = nil, excludedHosts: Set<String> = [],
      avoidedHosts: Set<String> = [], cell: String? = nil, sweep: String = "", timeLimit: Double? = nil
    ) {
      self.id = id
      self.gpus = gpus
      self.nodes = nodes
      self.labels = labels
      self.priority = priority
      self.order = order
      self.comparison = comparison
      self.excludedHosts = excludedHosts
      self.avoidedHosts = avoidedHosts
      self.cell = cell
      self.sweep = sweep
      self.timeLimit = timeLimit
    }
  }

  /// A host as it stands.
  public struct Host: Sendable, Hashable {
    public enum State: String, Sendable, Hashable, Codable {
      case ready
      case unreachable
      /// Takes nothing new.
      case draining
      /// Its disk takes no run directory.
      case full
    }

    public var name: String
    public var labels: OrderedDictionary<String, String>
    public var state: State
    /// nil while the host has not told yet.
    public var totalGPUs: Int?
    public var freeGPUs: Int
    public var cpuSlots: Int
    public var freeCPUSlots: Int
    /// GPU model, or CPU model where there is no GPU.
    public var hardware: String
    /// It has one run at a time, whatever that takes.
    public var isExclusive: Bool

    public init(
      name: String, labels: OrderedDictionary<String, String> = [:], state: State = .ready, totalGPUs: Int?,
      freeGPUs: Int, cpuSlots: Int = 1, freeCPUSlots: Int = 1, hardware: String = "", isExclusive: Bool = false
    ) {
      self.name = name
      self.labels = labels
      self.state = state
      self.totalGPUs = totalGPUs
      self.freeGPUs = freeGPUs
      self.cpuSlots = cpuSlots
      self.freeCPUSlots = freeCPUSlots
      self.hardware = hardware
      self.isExclusive = isExclusive
    }
  }

  /// Everything that a decision depends on.
  public struct Snapshot: Sendable, Hashable {
    /// Run ids are unique.
    public var runs: [QueuedRun]
    /// Host names are unique.
    public var hosts: [Host]
    /// Comparison → the hardware class that its earlier runs took.
    public var pinnedHardware: [String: String]
    /// Run → hosts of the `reserve` decisions of last time: kept while they can be.
    public var reservations: [String: [String]]
    /// What runs now; the hosts' free GPUs and slots are those without it.
    public var holdings: [Holding]
    /// Seconds by the clock of the holdings' `endsBy`.
    public var now: Double

    public init(
      runs: [QueuedRun], hosts: [Host], pinnedHardware: [String: String] = [:], reservations: [String: [String]] = [:],
      holdings: [Holding] = [], now: Double = 0
    ) {
      self.runs = runs
      self.hosts = hosts
      self.pinnedHardware = pinnedHardware
      self.reservations = reservations
      self.holdings = holdings
      self.now = now
    }
  }

  /// What one run, or a run that may still live, holds.
  public struct Holding: Sendable, Hashable {
    public var run: String
    public var sweep: String
    public var hosts: [String]
    /// On each host; 0: a CPU slot.
    public var gpus: Int
    /// When its time limit ends it; nil: not known.
    public var endsBy: Double?

    public init(run: String, sweep: String, hosts: [String], gpus: Int, endsBy: Double? = nil) {
      self.run = run
      self.sweep = sweep
      self.hosts = hosts
      self.gpus = gpus
      self.endsBy = endsBy
    }
  }

  public enum Decision: Sendable, Hashable {
    /// Start it now with so many GPUs on each host; 0 GPUs: on a CPU slot.
    case place(run: String, hosts: [String], gpus: Int)
    /// The hosts keep their GPUs for this run, which waits: give them back in `Snapshot.reservations`.
    case reserve(run: String, hosts: [String])
    /// Not now; one reason a host.
    case wait(run: String, reasons: [HostReason])
    /// Never on these hosts.
    case impossible(run: String, reason: String)
  }

  /// Why one host does not take one run now.
  public struct HostReason: Sendable, Hashable, Codable {
    public var host: String
    public var why: Why

    public init(host: String, why: Why) {
      self.host = host
      self.why = why
    }
  }

  public enum Why: Sendable, Hashable, Codable {
    case unreachable
    case draining
    case noDiskRoom
    /// The label that differs, and what the host has.
    case label(name: String, wanted: String, found: String?)
    case hardware(wanted: String, found: String)
    case failedHere
    case tooFewGPUs(wanted: Int, total: Int)
    case gpusUnknown
    case gpusBusy(wanted: Int, free: Int)
    case noCPUSlots
    case cpuSlotsBusy
    /// An exclusive host that has a run.
    case taken
    /// Kept free for an earlier run.
    case reserved(for: String)
    /// It has room for its share, but a gang over so many hosts needs others, too.
    case waitsForOthers(nodes: Int)
  }

  /// One decision a run, in the order of the queue; a `reserve` stands before the `wait` of its run.
  ///
  /// The answer of a ``Scheduler`` that knows just this; who asks again and again keeps one.
  public static func decide(_ snapshot: Snapshot) -> [Decision] {
    var scheduler = Scheduler(hosts: snapshot.hosts, pinnedHardware: snapshot.pinnedHardware)
    for run in snapshot.runs.sorted(by: RunQueue.isBefore) { scheduler.add(run) }
    for holding in snapshot.holdings { scheduler.hold(holding) }
    scheduler.keep(snapshot.reservations)
    var answers: [String: [Decision]] = [:]
    for decision in scheduler.decide(now: snapshot.now) { answers[decision.run, default: []].append(decision) }
    var reasons: [Shape: [HostReason]] = [:]
    return snapshot.runs.sorted { ($1.priority, $0.order, $0.id) < ($0.priority, $1.order, $1.id) }.flatMap { run in
      var decisions = answers[run.id] ?? []
      if case .place = decisions.first { return decisions }
      if case .impossible = decisions.first { return decisions }
      guard let line = scheduler.queue.line(of: run.id) else { return decisions }
      let shape = scheduler.shape(of: line.key)
      let isHead = !decisions.isEmpty
      let why = isHead ? scheduler.reasons(for: run.id) : reasons[shape] ?? scheduler.reasons(shape, itself: nil)
      if !isHead { reasons[shape] = why }
      decisions.append(.wait(run: run.id, reasons: why))
      return decisions
    }
  }
}

extension Placement.Decision {
  /// The run that it is about.
  public var run: String {
    switch self {
    case .place(let run, _, _), .reserve(let run, _), .wait(let run, _), .impossible(let run, _): run
    }
  }
}
