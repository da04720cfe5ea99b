import BitCollections
import OrderedCollections

/// The hosts as sets of bits: by free GPUs, by state, by what matches a shape. A host's bit is its place in the order
/// (GPUs, name), so that the first bit of a set is the host to take.
struct HostTable: Sendable {
  /// What runs on a host, or is about to.
  struct Holding: Sendable, Hashable {
    var run: String
    var gpus: Int
    /// Seconds by the caller's clock at which its time limit ends it; nil: no limit known.
    var endsBy: Double?
  }

  /// As they stand.
  private(set) var hosts: [Placement.Host] = []
  /// As they were given, before anything was held.
  private(set) var empty: [Placement.Host] = []
  private(set) var indices: [String: Int] = [:]
  private(set) var ready = BitSet()
  private(set) var withFreeSlots = BitSet()
  /// By free GPUs; hosts that have not told how many they have are in none.
  private var byFree: [BitSet] = []
  /// In the order of their ends.
  private(set) var holdings: [[Holding]] = []
  /// By host: hosts of one hardware class have one number, below ``kindCount``.
  private(set) var kinds: [Int] = []
  private var kindNumbers: [String: Int] = [:]

  init(_ unsorted: [Placement.Host]) {
    hosts = unsorted.sorted { ($0.totalGPUs ?? 0, $0.name) < ($1.totalGPUs ?? 0, $1.name) }
    empty = hosts
    holdings = Array(repeating: [], count: hosts.count)
    for index in hosts.indices {
      indices[hosts[index].name] = index
      if hosts[index].state == .ready { ready.insert(index) }
      kinds.append(kind(of: hosts[index]))
      enter(index)
    }
  }

  var kindCount: Int { kindNumbers.count }

  /// Says how a host stands now; what is held there stays held.
  /// - Returns: False where it is unknown, or would change its place in the order: then nothing has changed.
  mutating func replace(with host: Placement.Host) -> Bool {
    guard let index = indices[host.name], empty[index].totalGPUs == host.totalGPUs else { return false }
    leave(index)
    empty[index] = host
    hosts[index] = host
    for holding in holdings[index] { take(holding, 1, on: index) }
    if host.state == .ready { ready.insert(index) } else { ready.remove(index) }
    kinds[index] = kind(of: host)
    enter(index)
    return true
  }

  private mutating func kind(of host: Placement.Host) -> Int {
    if let known = kindNumbers[host.hardware] { return known }
    let new = kindNumbers.count
    kindNumbers[host.hardware] = new
    return new
  }

  /// Free GPUs at most, over all hosts.
  var largestFree: Int { byFree.count - 1 }

  /// Hosts of `set` with exactly so many free GPUs.
  func hosts(free: Int, in set: BitSet) -> BitSet {
    byFree.indices.contains(free) ? byFree[free].intersection(set) : BitSet()
  }

  mutating func hold(_ holding: Holding, on index: Int) {
    leave(index)
    let place = holdings[index].lastIndex { ($0.endsBy ?? .infinity) <= holding.endsBy ?? .infinity }
    holdings[index].insert(holding, at: place.map { $0 + 1 } ?? 0)
    take(holding, 1, on: index)
    enter(index)
  }

  mutating func release(_ run: String, on index: Int) {
    guard let place = holdings[index].firstIndex(where: { $0.run == run }) else { return }
    let holding = holdings[index].remove(at: place)
    leave(index)
    take(holding, -1, on: index)
    enter(index)
  }

  private mutating func take(_ holding: Holding, _ sign: Int, on index: Int) {
    if hosts[index].isExclusive {
      hosts[index].freeGPUs = holdings[index].isEmpty ? empty[index].freeGPUs : 0
      hosts[index].freeCPUSlots = holdings[index].isEmpty ? empty[index].freeCPUSlots : 0
    } else if holding.gpus == 0 {
      hosts[index].freeCPUSlots -= sign
    } else {
      hosts[index].freeGPUs -= sign * holding.gpus
    }
  }

  /// GPUs that are free, or CPU slots for a run without any.
  func free(for gpus: Int, on index: Int) -> Int { gpus == 0 ? hosts[index].freeCPUSlots : hosts[index].freeGPUs }

  /// When a host has `gpus` GPUs, or for none a CPU slot, free at the latest, and how many it has then: nil where a
  /// holding without a time limit stands in the way.
  func release(of gpus: Int, on index: Int) -> (at: Double, free: Int)? {
    var free = free(for: gpus, on: index)
    let needed = max(1, gpus)
    if free >= needed { return (-.infinity, free) }
    let held = holdings[index].indices
    if hosts[index].isExclusive {
      guard let last = held.last, let end = holdings[index][last].endsBy else { return nil }
      free = gpus == 0 ? empty[index].freeCPUSlots : empty[index].freeGPUs
      return free >= needed ? (end, free) : nil
    }
    for place in held where (holdings[index][place].gpus == 0) == (gpus == 0) {
      guard let end = holdings[index][place].endsBy else { return nil }
      free += max(1, holdings[index][place].gpus)
      if free >= needed { return (end, free) }
    }
    return nil
  }

  private mutating func enter(_ index: Int) {
    if hosts[index].freeCPUSlots > 0 { withFreeSlots.insert(index) }
    guard hosts[index].totalGPUs != nil, hosts[index].freeGPUs >= 0 else { return }
    while byFree.count <= hosts[index].freeGPUs { byFree.append(BitSet()) }
    byFree[hosts[index].freeGPUs].insert(index)
  }

  private mutating func leave(_ index: Int) {
    withFreeSlots.remove(index)
    if byFree.indices.contains(hosts[index].freeGPUs) { byFree[hosts[index].freeGPUs].remove(index) }
  }
}

/// What makes two runs equal for the hosts: they fit, and fail to fit, together.
struct Shape: Hashable, Sendable {
  var gpus: Int
  var nodes: Int
  var labels: OrderedDictionary<String, String>
  var hardware: String?
  var excludedHosts: Set<String>
  var avoidedHosts: Set<String>

  init(_ run: Placement.QueuedRun, hardware: String?) {
    gpus = run.gpus
    nodes = max(1, run.nodes)
    labels = run.labels
    self.hardware = hardware
    excludedHosts = run.excludedHosts
    avoidedHosts = run.avoidedHosts
  }

  /// What no waiting mends: a label or the hardware class.
  func mismatch(_ host: Placement.Host) -> Placement.Why? {
    Explanation.labelMismatch(host, labels)
      ?? hardware.flatMap { $0 == host.hardware ? nil : .hardware(wanted: $0, found: host.hardware) }
  }

  /// In whatever state, with everything free.
  func canEver(_ host: Placement.Host) -> Bool {
    guard mismatch(host) == nil else { return false }
    if gpus == 0 { return host.cpuSlots > 0 }
    return host.totalGPUs.map { $0 >= gpus } ?? true
  }
}
