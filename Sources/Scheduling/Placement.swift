public import OrderedCollections

/// Decides which queued runs start on which hosts: a pure function of what is known.
///
/// The rules: a gang is taken whole or not at all. Higher priority first, then age. A run that does not fit now and
/// shares no host with an earlier one of these keeps one host to itself (the one that lacks the fewest GPUs): no later
/// run takes GPUs there, so it starts at the latest when what runs there now has ended. Everything else may overtake it.
/// Runs of one comparison go to hosts of one hardware class.
public enum Placement {
  /// A run that waits.
  public struct QueuedRun: Sendable, Hashable {
    public var id: String
    /// Gang size; 0 takes one CPU slot.
    public var gpus: Int
    public var nodes: Int
    /// Every pair must match the host's labels.
    public var labels: OrderedDictionary<String, String>
    /// Higher first.
    public var priority: Int
    /// Lower is older.
    public var order: Int
    /// Runs with the same key go to one hardware class; nil: any hardware.
    public var comparison: String?
    /// Hosts that failed this run; used again only where no other ready host would do.
    public var excludedHosts: Set<String>

    public init(
      id: String, gpus: Int, nodes: Int = 1, labels: OrderedDictionary<String, String> = [:], priority: Int = 0,
      order: Int, comparison: String? = nil, excludedHosts: Set<String> = []
    ) {
      self.id = id
      self.gpus = gpus
      self.nodes = nodes
      self.labels = labels
      self.priority = priority
      self.order = order
      self.comparison = comparison
      self.excludedHosts = excludedHosts
    }
  }

  /// A host as it stands.
  public struct Host: Sendable, Hashable {
    public enum State: String, Sendable, Hashable, Codable {
      case ready
      case unreachable
      /// Takes nothing new.
      case draining
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

    public init(
      name: String, labels: OrderedDictionary<String, String> = [:], state: State = .ready, totalGPUs: Int?,
      freeGPUs: Int, cpuSlots: Int = 1, freeCPUSlots: Int = 1, hardware: String = ""
    ) {
      self.name = name
      self.labels = labels
      self.state = state
      self.totalGPUs = totalGPUs
      self.freeGPUs = freeGPUs
      self.cpuSlots = cpuSlots
      self.freeCPUSlots = freeCPUSlots
      self.hardware = hardware
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
    /// Run → host of the `reserve` decisions of last time: kept while they can be.
    public var reservations: [String: String]

    public init(
      runs: [QueuedRun], hosts: [Host], pinnedHardware: [String: String] = [:], reservations: [String: String] = [:]
    ) {
      self.runs = runs
      self.hosts = hosts
      self.pinnedHardware = pinnedHardware
      self.reservations = reservations
    }
  }

  public enum Decision: Sendable, Hashable {
    /// Start it now; 0 GPUs: on a CPU slot.
    case place(run: String, host: String, gpus: Int)
    /// The host keeps its GPUs for this run, which waits: give it back in `Snapshot.reservations`.
    case reserve(run: String, host: String)
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
    /// The label that differs, and what the host has.
    case label(name: String, wanted: String, found: String?)
    case hardware(wanted: String, found: String)
    case failedHere
    case tooFewGPUs(wanted: Int, total: Int)
    case gpusUnknown
    case gpusBusy(wanted: Int, free: Int)
    case noCPUSlots
    case cpuSlotsBusy
    /// Kept free for an earlier run.
    case reserved(for: String)
    case multiNode
  }

  /// One decision a run, in the order of the queue; a `reserve` stands before the `wait` of its run.
  public static func decide(_ snapshot: Snapshot) -> [Decision] {
    var board = Board(snapshot)
    return board.decide()
  }
}
