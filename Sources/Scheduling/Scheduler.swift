import BitCollections
import HeapModule

/// Which runs wait, what the hosts hold, and which run starts where next.
///
/// A value that events change (a run is added, ends, a host comes or goes) and `decide` reads: an event costs what it
/// changes, not what waits. The rules are those of ``Placement``.
public struct Scheduler: Sendable {
  private(set) var queue = RunQueue()
  private(set) var table: HostTable
  /// Comparison → hardware class, once chosen.
  private var hardware: [String: String]
  /// Run → hosts kept for it.
  private(set) var kept: [String: [Int]] = [:]
  /// GPUs that the runs of a sweep hold; one without counts as one.
  private var usage: [String: Int] = [:]
  /// Run → its sweep and hosts.
  private var held: [String: (sweep: String, hosts: [Int])] = [:]
  /// Sweep → cell → the hosts that its repeats were given, while any run waits.
  private var hostsOfCells: [String: [String: Set<String>]] = [:]
  /// Hosts that can ever take a shape, whichever hosts a run of it avoids, and how many of them are of one kind at most.
  private var able: [Shape: (hosts: BitSet, most: Int)] = [:]

  public init(hosts: [Placement.Host], pinnedHardware: [String: String] = [:]) {
    table = HostTable(hosts)
    hardware = pinnedHardware
  }

  public var queuedCount: Int { queue.count }

  /// Puts a run into the queue; one that is in it stays where it is.
  public mutating func add(_ run: Placement.QueuedRun) { queue.add(run) }

  /// Takes a run out of the queue.
  public mutating func removeQueued(_ id: String) {
    queue.remove(id)
    kept[id] = nil
  }

  /// Marks what a run holds that was started before: `gpus` on each host.
  ///
  /// - Parameter endsBy: seconds by the clock of `decide` at which its time limit ends it; nil: no limit known.
  public mutating func hold(_ id: String, sweep: String = "", hosts: [String], gpus: Int, endsBy: Double? = nil) {
    hold(id, sweep: sweep, on: hosts.compactMap { table.indices[$0] }, gpus: gpus, endsBy: endsBy)
  }

  public mutating func hold(_ holding: Placement.Holding) {
    hold(
      holding.run, sweep: holding.sweep, hosts: holding.hosts, gpus: holding.gpus, endsBy: holding.endsBy)
  }

  /// A run has ended: what it held is free.
  public mutating func release(_ id: String) {
    guard let (sweep, hosts) = held.removeValue(forKey: id) else { return }
    for host in hosts {
      usage[sweep, default: 0] -= table.holdings[host].first { $0.run == id }.map { max(1, $0.gpus) } ?? 0
      table.release(id, on: host)
    }
    if usage[sweep] == 0 { usage[sweep] = nil }
  }

  /// A sweep has ended: nothing of it waits or is held.
  public mutating func forget(sweep: String) { hostsOfCells[sweep] = nil }

  /// Adds a host, or says how it stands now; what its runs hold is kept.
  public mutating func set(_ host: Placement.Host) { set([host]) }

  /// The same for many, of which none is among those that are taken out.
  public mutating func set(_ hosts: [Placement.Host], removing gone: Set<String> = []) {
    let others = hosts.filter { !replace($0) }
    guard !others.isEmpty || !gone.isEmpty else { return }
    let former = gone.union(others.map(\.name))
    rebuild(table.empty.filter { !former.contains($0.name) } + others)
  }

  /// - Returns: False where the table has to be made anew for it.
  private mutating func replace(_ host: Placement.Host) -> Bool {
    let former = table.indices[host.name].map { table.empty[$0] }
    guard table.replace(with: host) else { return false }
    let isAlike =
      former?.labels == host.labels && former?.hardware == host.hardware && former?.cpuSlots == host.cpuSlots
    if !isAlike { able = [:] }
    return true
  }

  /// Which hardware class comparisons are bound to; what was chosen for the others is chosen anew.
  public mutating func setPinnedHardware(_ pinned: [String: String]) { hardware = pinned }

  /// Run → the hosts that the last `decide` kept for it.
  public var reservations: [String: [String]] { kept.mapValues { $0.map { table.hosts[$0].name } } }

  /// Hosts that were kept for runs before: they stay theirs while they can.
  public mutating func keep(_ reservations: [String: [String]]) {
    kept = reservations.mapValues { $0.compactMap { table.indices[$0] } }
  }

  private mutating func rebuild(_ hosts: [Placement.Host]) {
    let former = table
    let names = { (index: Int) in former.hosts[index].name }
    let keptNames = kept.mapValues { $0.map(names) }
    let heldNames = held.mapValues { ($0.sweep, $0.hosts.map(names)) }
    // Free is what a host has when nothing of ours runs there.
    table = HostTable(hosts)
    able = [:]
    kept = keptNames.mapValues { $0.compactMap { table.indices[$0] } }
    held = [:]
    usage = [:]
    for (id, (sweep, names)) in heldNames.sorted(by: { $0.key < $1.key }) {
      guard let first = names.first.flatMap({ former.indices[$0] }),
        let holding = former.holdings[first].first(where: { $0.run == id })
      else { continue }
      hold(id, sweep: sweep, on: names.compactMap { table.indices[$0] }, gpus: holding.gpus, endsBy: holding.endsBy)
    }
  }

  private mutating func hold(_ id: String, sweep: String, on hosts: [Int], gpus: Int, endsBy: Double?) {
    guard held[id] == nil else { return }
    held[id] = (sweep, hosts)
    usage[sweep, default: 0] += max(1, gpus) * hosts.count
    for host in hosts { table.hold(.init(run: id, gpus: gpus, endsBy: endsBy), on: host) }
  }
}

// MARK: - Decisions

extension Scheduler {
  /// A host that is kept for a run: what others may still do there.
  private struct Keep {
    var run: String
    /// When the run starts at the latest.
    var start: Double
    /// GPUs or CPU slots that it leaves over then.
    var spare: Int

    func leavesRoom(for shape: Shape, until end: Double?) -> Bool {
      end.map { $0 <= start } ?? false || spare >= max(1, shape.gpus)
    }
  }

  /// By host. Runs with GPUs and runs without are in one another's way on exclusive hosts alone.
  private struct Keeps {
    private var forGPUs: [Int: Keep] = [:]
    private var forSlots: [Int: Keep] = [:]

    /// Those of one kind.
    subscript(_ shape: Shape) -> [Int: Keep] {
      get { shape.gpus == 0 ? forSlots : forGPUs }
      set { if shape.gpus == 0 { forSlots = newValue } else { forGPUs = newValue } }
    }

    /// - Parameter end: When the run ends at the latest; nil: not known.
    func leaveRoom(for shape: Shape, until end: Double?, on host: Int, isExclusive: Bool) -> Bool {
      if isExclusive {
        return [forGPUs[host], forSlots[host]].allSatisfy { $0?.leavesRoom(for: shape, until: end) ?? true }
      }
      return self[shape][host]?.leavesRoom(for: shape, until: end) ?? true
    }
  }

  /// A host that could be kept.
  private struct Candidate {
    var host: Int
    /// When it has room at the latest.
    var at: Double
    /// GPUs that are not free now.
    var lacking: Int
  }

  /// What starts now, what is kept for whom, and what can never run; the rest waits (``reasons(for:)``).
  ///
  /// Placed runs leave the queue and hold their hosts; impossible ones leave it.
  ///
  /// - Parameter now: seconds by any steady clock.
  public mutating func decide(now: Double = 0) -> [Placement.Decision] {
    var round = Round(former: kept)
    chooseHardware()
    kept = [:]
    var agenda = Agenda(queue.lines)
    while let number = agenda.next(usage), let (run, key) = queue.front(of: number) {
      let shape = shape(of: key)
      let (able, most) = ableHosts(shape)
      if most < shape.nodes, let reason = hopeless(shape) {
        for run in queue.line(of: run.id).map(queue.runs) ?? [] {
          round.decisions.append(.impossible(run: run.id, reason: reason))
          queue.remove(run.id)
        }
        continue
      }
      if !round.isFull(shape, limit: run.timeLimit) {
        let usable = withoutFailed(able, shape)
        var found: [Int]?
        for hosts in preferences(run, usable) where found == nil {
          found = room(for: shape, in: hosts, round.keeps, now: now, limit: run.timeLimit)
        }
        if let hosts = found {
          place(run, shape, on: hosts, &round.keeps, now: now)
          round.decisions.append(.place(run: run.id, hosts: hosts.map { table.hosts[$0].name }, gpus: run.gpus))
          if let (next, key) = queue.front(of: number) { agenda.add(number, next, key) }
          continue
        }
        round.noteFull(shape, limit: run.timeLimit)
      }
      // A run of one CPU slot takes the first that is free, being the first to be asked.
      if shape.gpus > 0 || shape.nodes > 1, round.keeps[shape].keys.allSatisfy({ !able.contains($0) }),
        let hosts = nearest(shape, withoutFailed(able, shape), former: round.former[run.id], now: now)
      {
        keep(hosts, for: run, shape, &round.keeps)
        round.decisions.append(.reserve(run: run.id, hosts: hosts.map { table.hosts[$0].name }))
      }
    }
    if queue.count == 0 { hostsOfCells = [:] }
    return round.decisions
  }

  /// Where to look for room first, and last among all that are usable.
  private func preferences(_ run: Placement.QueuedRun, _ usable: BitSet) -> [BitSet] {
    var preferences: [BitSet] = []
    let others = run.cell.flatMap { hostsOfCells[run.sweep]?[$0] } ?? []
    if !others.isEmpty { preferences.append(usable.subtracting(numbers(of: others.union(run.avoidedHosts)))) }
    if !run.avoidedHosts.isEmpty { preferences.append(usable.subtracting(numbers(of: run.avoidedHosts))) }
    return preferences + [usable]
  }

  /// What one call of `decide` finds out.
  private struct Round {
    var decisions: [Placement.Decision] = []
    var keeps = Keeps()
    /// Run → hosts kept for it last time.
    let former: [String: [Int]]
    /// Room only shrinks during a round: what found none, and the shortest time limit that did not.
    private var full: [Shape: Double] = [:]

    init(former: [String: [Int]]) { self.former = former }

    func isFull(_ shape: Shape, limit: Double?) -> Bool { full[shape].map { (limit ?? .infinity) >= $0 } ?? false }

    mutating func noteFull(_ shape: Shape, limit: Double?) {
      full[shape] = min(full[shape] ?? .infinity, limit ?? .infinity)
    }
  }

  /// The lines in the order in which they are served: by priority, then the sweep that holds the fewest GPUs, then age.
  private struct Agenda {
    private struct Entry: Comparable {
      var number: Int
      var priority: Int
      var order: Int
      var id: String

      static func < (a: Entry, b: Entry) -> Bool { (b.priority, a.order, a.id) < (a.priority, b.order, b.id) }
    }

    private var bySweep: [String: Heap<Entry>] = [:]

    init(_ lines: [Int: RunQueue.Line]) {
      let entries = Dictionary(grouping: lines, by: \.value.key.sweep)
      bySweep = entries.mapValues { Heap($0.map { Self.entry($0.key, $0.value.head, $0.value.key) }) }
    }

    private static func entry(_ number: Int, _ run: Placement.QueuedRun, _ key: RunQueue.Key) -> Entry {
      Entry(number: number, priority: key.priority, order: run.order, id: run.id)
    }

    mutating func add(_ number: Int, _ run: Placement.QueuedRun, _ key: RunQueue.Key) {
      bySweep[key.sweep]?.insert(Self.entry(number, run, key))
    }

    mutating func next(_ usage: [String: Int]) -> Int? {
      let heads = bySweep.compactMap { sweep, heap in heap.min.map { (sweep: sweep, entry: $0) } }
      let first = heads.min { a, b in
        if a.entry.priority != b.entry.priority { return a.entry.priority > b.entry.priority }
        let (mine, theirs) = (usage[a.sweep] ?? 0, usage[b.sweep] ?? 0)
        return mine == theirs ? a.entry < b.entry : mine < theirs
      }
      return first.flatMap { bySweep[$0.sweep]?.popMin()?.number }
    }
  }

  private mutating func place(
    _ run: Placement.QueuedRun, _ shape: Shape, on hosts: [Int], _ keeps: inout Keeps, now: Double
  ) {
    queue.remove(run.id)
    if let cell = run.cell {
      hostsOfCells[run.sweep, default: [:]][cell, default: []].formUnion(hosts.map { table.hosts[$0].name })
    }
    let end = run.timeLimit.map { now + $0 }
    for host in hosts {
      // What outlasts the start of the run that the host is kept for takes of what that one leaves over.
      if let keep = keeps[shape][host], end.map({ $0 > keep.start }) ?? true {
        keeps[shape][host]?.spare -= max(1, run.gpus)
      }
    }
    hold(run.id, sweep: run.sweep, on: hosts, gpus: run.gpus, endsBy: end)
  }

  private mutating func keep(_ hosts: [Int], for run: Placement.QueuedRun, _ shape: Shape, _ keeps: inout Keeps) {
    kept[run.id] = hosts
    let start = start(of: shape, on: hosts)
    for host in hosts {
      let free = table.release(of: run.gpus, on: host)?.free ?? 0
      let spare = table.hosts[host].isExclusive ? 0 : free - max(1, run.gpus)
      keeps[shape][host] = Keep(run: run.id, start: start, spare: spare)
    }
  }

  /// When all of the hosts have room at the latest.
  private func start(of shape: Shape, on hosts: some Sequence<Int>) -> Double {
    hosts.map { table.release(of: shape.gpus, on: $0)?.at ?? .infinity }.max() ?? .infinity
  }

  // MARK: Hosts for a shape

  func shape(of key: RunQueue.Key) -> Shape {
    var shape = key.shape
    shape.hardware = key.comparison.flatMap { hardware[$0] }
    return shape
  }

  private mutating func ableHosts(_ shape: Shape) -> (hosts: BitSet, most: Int) {
    var shape = shape
    shape.excludedHosts = []
    shape.avoidedHosts = []
    if let known = able[shape] { return known }
    let hosts = BitSet(table.hosts.indices.filter { shape.canEver(table.hosts[$0]) })
    let result = (hosts, mostOfOneKind(hosts, shape))
    able[shape] = result
    return result
  }

  private mutating func chooseHardware() {
    hardware = HardwareChoice.choose(lines: queue.lines.values, table: table, pinned: hardware)
  }

  /// Why no host can ever take what too few can; nil where one may once it has told its GPUs.
  private func hopeless(_ shape: Shape) -> String? {
    // A host that has not told yet may still do.
    let mayDo = table.hosts.contains { $0.totalGPUs == nil && Explanation.labelMismatch($0, shape.labels) == nil }
    if shape.gpus > 0, mayDo { return nil }
    return Explanation.impossible(shape, hosts: table.hosts.sorted { $0.name < $1.name })
  }

  /// A gang over several hosts takes them of one hardware class.
  private func mostOfOneKind(_ hosts: BitSet, _ shape: Shape) -> Int {
    if shape.nodes == 1 { return hosts.count }
    var counts = Array(repeating: 0, count: table.kindCount)
    for host in hosts { counts[table.kinds[host]] += 1 }
    return counts.max() ?? 0
  }

  /// Hosts that failed the run are left out while enough other ready ones could take it.
  func withoutFailed(_ able: BitSet, _ shape: Shape) -> BitSet {
    guard !shape.excludedHosts.isEmpty else { return able }
    let others = able.subtracting(numbers(of: shape.excludedHosts))
    return mostOfOneKind(others.intersection(table.ready), shape) >= shape.nodes ? others : able
  }

  private func numbers(of hosts: Set<String>) -> BitSet { BitSet(hosts.compactMap { table.indices[$0] }) }

  /// Hosts with room now; nil: not now.
  private func room(
    for shape: Shape, in usable: BitSet, _ keeps: Keeps, now: Double, limit: Double?
  ) -> [Int]? {
    let ready = usable.intersection(table.ready)
    let end = limit.map { now + $0 }
    let mayTake = { (host: Int) -> Bool in
      keeps.leaveRoom(for: shape, until: end, on: host, isExclusive: table.hosts[host].isExclusive)
    }
    if shape.gpus == 0 { return slots(shape, ready.intersection(table.withFreeSlots).lazy.filter(mayTake)) }
    // The tightest fit, so that large gangs keep their room.
    var found: [Int: [Int]] = [:]
    var free = shape.gpus
    while free <= table.largestFree {
      for host in table.hosts(free: free, in: ready) where mayTake(host) {
        if shape.nodes == 1 { return [host] }
        let kind = table.kinds[host]
        found[kind, default: []].append(host)
        if let hosts = found[kind], hosts.count == shape.nodes { return hosts }
      }
      free += 1
    }
    return nil
  }

  /// Runs without GPUs go where GPUs are few and slots many.
  ///
  /// - Parameter candidates: In the order of the table.
  private func slots(_ shape: Shape, _ candidates: some Sequence<Int>) -> [Int]? {
    let order = { (a: Int, b: Int) -> Bool in
      let (x, y) = (table.hosts[a].totalGPUs ?? 0, table.hosts[b].totalGPUs ?? 0)
      return (x, -table.hosts[a].freeCPUSlots, a) < (y, -table.hosts[b].freeCPUSlots, b)
    }
    if shape.nodes == 1 { return candidates.min(by: order).map { [$0] } }
    let group = Dictionary(grouping: candidates) { table.kinds[$0] }.values.filter { $0.count >= shape.nodes }
      .min { ($0.first ?? 0) < ($1.first ?? 0) }
    return group.map { Array($0.sorted(by: order).prefix(shape.nodes)) }
  }

  /// The hosts to keep for a run: those that are free soonest at the latest; of equal ones last time's, so that nobody
  /// is let in there, then those that lack the fewest GPUs.
  private func nearest(_ shape: Shape, _ usable: BitSet, former: [Int]?, now: Double) -> [Int]? {
    let ready = usable.intersection(table.ready)
    let canTell = { (host: Int) -> Bool in shape.gpus == 0 || table.hosts[host].totalGPUs != nil }
    /// By hardware class: the best so far, in order.
    var gangs = Array(repeating: [Candidate](), count: shape.nodes == 1 ? 1 : table.kindCount)
    for host in ready where canTell(host) {
      let candidate = Candidate(
        host: host, at: max(now, table.release(of: shape.gpus, on: host)?.at ?? .infinity),
        lacking: max(0, max(1, shape.gpus) - table.free(for: shape.gpus, on: host)))
      let kind = shape.nodes == 1 ? 0 : table.kinds[host]
      var place = gangs[kind].count
      while place > 0, isBefore(candidate, gangs[kind][place - 1]) { place -= 1 }
      guard place < shape.nodes else { continue }
      gangs[kind].insert(candidate, at: place)
      if gangs[kind].count > shape.nodes { gangs[kind].removeLast() }
    }
    let soonest = gangs.filter { $0.count == shape.nodes }.min { a, b in
      guard let (x, y) = a.last.flatMap({ x in b.last.map { (x, $0) } }) else { return false }
      return isBefore(x, y)
    }
    if let former, former.count == shape.nodes, former.allSatisfy({ ready.contains($0) && canTell($0) }),
      max(now, start(of: shape, on: former)) <= soonest?.last?.at ?? .infinity
    {
      return former
    }
    return soonest?.map(\.host)
  }

  private func isBefore(_ a: Candidate, _ b: Candidate) -> Bool {
    if (a.at, a.lacking) != (b.at, b.lacking) { return (a.at, a.lacking) < (b.at, b.lacking) }
    return table.hosts[a.host].name < table.hosts[b.host].name
  }
}

// MARK: - Reasons

extension Scheduler {
  /// Why a run waits, host by host in the order of their names; empty for one that is not in the queue.
  public func reasons(for id: String) -> [Placement.HostReason] {
    guard let line = queue.line(of: id) else { return [] }
    return reasons(shape(of: line.key), itself: id)
  }

  func reasons(_ shape: Shape, itself: String?) -> [Placement.HostReason] {
    var keptFor: [Int: String] = [:]
    for (run, hosts) in kept {
      let isOfOneKind = (queue.line(of: run)?.key.shape.gpus == 0) == (shape.gpus == 0)
      for host in hosts where isOfOneKind || table.hosts[host].isExclusive { keptFor[host] = run }
    }
    let able = BitSet(table.hosts.indices.filter { shape.canEver(table.hosts[$0]) })
    let usable = withoutFailed(able, shape)
    let reasons = table.hosts.indices.map { index in
      let other = keptFor[index] == itself ? nil : keptFor[index]
      return Placement.HostReason(
        host: table.hosts[index].name,
        why: why(index, shape, isUsable: usable.contains(index), keptFor: other))
    }
    return reasons.sorted { $0.host < $1.host }
  }

  private func why(_ index: Int, _ shape: Shape, isUsable: Bool, keptFor other: String?) -> Placement.Why {
    let host = table.hosts[index]
    if let mismatch = shape.mismatch(host) { return mismatch }
    if shape.gpus == 0, host.cpuSlots == 0 { return .noCPUSlots }
    if shape.gpus > 0, let total = host.totalGPUs, total < shape.gpus {
      return .tooFewGPUs(wanted: shape.gpus, total: total)
    }
    switch host.state {
    case .unreachable: return .unreachable
    case .draining: return .draining
    case .full: return .noDiskRoom
    case .ready: break
    }
    if !isUsable { return .failedHere }
    let hasRoom = shape.gpus == 0 ? host.freeCPUSlots > 0 : host.totalGPUs != nil && host.freeGPUs >= shape.gpus
    if hasRoom, other == nil, shape.nodes > 1 { return .waitsForOthers(nodes: shape.nodes) }
    if host.isExclusive, !table.holdings[index].isEmpty { return .taken }
    if let other, hasRoom || shape.gpus > 0 { return .reserved(for: other) }
    if shape.gpus == 0 { return .cpuSlotsBusy }
    if host.totalGPUs == nil { return .gpusUnknown }
    return .gpusBusy(wanted: shape.gpus, free: max(0, host.freeGPUs))
  }
}
