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
  private(set) var holdings: [[Holding]] = []

  init(_ unsorted: [Placement.Host]) {
    hosts = unsorted.sorted { ($0.totalGPUs ?? 0, $0.name) < ($1.totalGPUs ?? 0, $1.name) }
    empty = hosts
    holdings = Array(repeating: [], count: hosts.count)
    for index in hosts.indices {
      indices[hosts[index].name] = index
      if hosts[index].state == .ready { ready.insert(index) }
      enter(index)
    }
  }

  /// Free GPUs at most, over all hosts.
  var largestFree: Int { byFree.count - 1 }

  /// Hosts of `set` with exactly so many free GPUs.
  func hosts(free: Int, in set: BitSet) -> BitSet {
    byFree.indices.contains(free) ? byFree[free].intersection(set) : BitSet()
  }

  mutating func hold(_ holding: Holding, on index: Int) {
    leave(index)
    holdings[index].append(holding)
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
    let isExclusive = hosts[index].isExclusive
    var left = holdings[index].filter { isExclusive || ($0.gpus == 0) == (gpus == 0) }
      .sorted { ($0.endsBy ?? .infinity) < ($1.endsBy ?? .infinity) }[...]
    while let holding = left.popFirst() {
      guard let end = holding.endsBy else { return nil }
      if !isExclusive {
        free += max(1, holding.gpus)
      } else if left.isEmpty {
        free = gpus == 0 ? empty[index].freeCPUSlots : empty[index].freeGPUs
      }
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
