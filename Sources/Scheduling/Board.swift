import OrderedCollections

/// The hosts while one round of decisions is made.
struct Board {
  /// What makes two runs equal for the hosts: they fit, and fail to fit, together.
  struct Request: Hashable {
    var gpus: Int
    var nodes: Int
    var labels: OrderedDictionary<String, String>
    var hardware: String?
    var excludedHosts: Set<String>
  }

  private let runs: [Placement.QueuedRun]
  private var hosts: [Placement.Host]
  /// Hardware class of each comparison.
  private let hardware: [String: String]
  private let former: [String: String]
  /// Host index → the run it is kept for.
  private var kept: [Int: String] = [:]

  init(_ snapshot: Placement.Snapshot) {
    runs = snapshot.runs.sorted { ($1.priority, $0.order, $0.id) < ($0.priority, $1.order, $1.id) }
    hosts = snapshot.hosts.sorted { $0.name < $1.name }
    former = snapshot.reservations
    hardware = HardwareChoice.choose(runs: runs, hosts: hosts, pinned: snapshot.pinnedHardware)
  }

  mutating func decide() -> [Placement.Decision] {
    var early: [Int: Placement.Decision] = [:]
    var requests: [Int: Request] = [:]
    var reserved: [Int: Int] = [:]
    // Room only shrinks during a round, so what did not fit once does not fit again.
    var full: Set<Request> = []
    var ableHosts: [Request: [Int]] = [:]
    var hopeless: [Request: String] = [:]
    for (index, run) in runs.enumerated() {
      let request = Request(
        gpus: run.gpus, nodes: run.nodes, labels: run.labels, hardware: run.comparison.flatMap { hardware[$0] },
        excludedHosts: run.excludedHosts)
      requests[index] = request
      if let reason = hopeless[request] {
        early[index] = .impossible(run: run.id, reason: reason)
        continue
      }
      guard run.nodes == 1, !full.contains(request) else { continue }
      let able = ableHosts[request] ?? hosts.indices.filter { canEver(hosts[$0], request) }
      ableHosts[request] = able
      if able.isEmpty {
        // A host that has not told yet may still do.
        if request.gpus > 0, hosts.contains(where: { mayDo($0, request) }) {
          full.insert(request)
          continue
        }
        let reason = Explanation.impossible(request, hosts: hosts)
        hopeless[request] = reason
        early[index] = .impossible(run: run.id, reason: reason)
        continue
      }
      let usable = withoutFailed(able, request)
      if let host = best(
        usable.filter { hasRoom(hosts[$0], request) && (request.gpus == 0 || kept[$0] == nil) }, request)
      {
        if request.gpus == 0 { hosts[host].freeCPUSlots -= 1 } else { hosts[host].freeGPUs -= request.gpus }
        early[index] = .place(run: run.id, host: hosts[host].name, gpus: request.gpus)
        continue
      }
      full.insert(request)
      if request.gpus > 0, !able.contains(where: { kept[$0] != nil }), let host = nearest(usable, run, request) {
        kept[host] = run.id
        reserved[index] = host
      }
    }
    return conclude(early, requests, reserved)
  }

  /// Reasons are given last, when all placements of the round are known.
  private func conclude(
    _ early: [Int: Placement.Decision], _ requests: [Int: Request], _ reserved: [Int: Int]
  ) -> [Placement.Decision] {
    var reasons: [Request: [Placement.HostReason]] = [:]
    var decisions: [Placement.Decision] = []
    decisions.reserveCapacity(runs.count)
    for (index, run) in runs.enumerated() {
      if let decision = early[index] {
        decisions.append(decision)
        continue
      }
      guard let request = requests[index] else { continue }
      if let host = reserved[index] {
        decisions.append(.reserve(run: run.id, host: hosts[host].name))
        decisions.append(.wait(run: run.id, reasons: explain(request, itself: run.id)))
        continue
      }
      let shared = reasons[request] ?? explain(request, itself: nil)
      reasons[request] = shared
      decisions.append(.wait(run: run.id, reasons: shared))
    }
    return decisions
  }

  /// In whatever state, with everything free.
  private func canEver(_ host: Placement.Host, _ request: Request) -> Bool {
    guard mismatch(host, request) == nil else { return false }
    if request.gpus == 0 { return host.cpuSlots > 0 }
    return host.totalGPUs.map { $0 >= request.gpus } ?? true
  }

  /// Nothing is known of its GPUs, and its labels match.
  private func mayDo(_ host: Placement.Host, _ request: Request) -> Bool {
    host.totalGPUs == nil && Explanation.labelMismatch(host, request.labels) == nil
  }

  /// What no waiting mends: a label or the hardware class.
  private func mismatch(_ host: Placement.Host, _ request: Request) -> Placement.Why? {
    Explanation.labelMismatch(host, request.labels)
      ?? request.hardware.flatMap { $0 == host.hardware ? nil : .hardware(wanted: $0, found: host.hardware) }
  }

  private func hasRoom(_ host: Placement.Host, _ request: Request) -> Bool {
    guard host.state == .ready else { return false }
    if request.gpus == 0 { return host.freeCPUSlots > 0 }
    return host.totalGPUs != nil && host.freeGPUs >= request.gpus
  }

  /// Hosts that failed the run are left out while another ready one could take it.
  private func withoutFailed(_ able: [Int], _ request: Request) -> [Int] {
    let others = able.filter { !request.excludedHosts.contains(hosts[$0].name) }
    return others.contains { hosts[$0].state == .ready } ? others : able
  }

  /// The tightest fit, so that large gangs keep their room; CPU runs go where GPUs are few and slots many.
  private func best(_ candidates: [Int], _ request: Request) -> Int? {
    candidates.min { a, b in
      let (x, y) = (hosts[a], hosts[b])
      if request.gpus == 0 {
        return (x.totalGPUs ?? 0, -x.freeCPUSlots, x.name) < (y.totalGPUs ?? 0, -y.freeCPUSlots, y.name)
      }
      return (x.freeGPUs, x.totalGPUs ?? 0, x.name) < (y.freeGPUs, y.totalGPUs ?? 0, y.name)
    }
  }

  /// The host to keep for a run: last time's if it still will do, else the one that lacks the fewest GPUs.
  private func nearest(_ usable: [Int], _ run: Placement.QueuedRun, _ request: Request) -> Int? {
    let ready = usable.filter { hosts[$0].state == .ready && hosts[$0].totalGPUs != nil }
    if let name = former[run.id], let host = ready.first(where: { hosts[$0].name == name }) { return host }
    return ready.min { a, b in
      (request.gpus - hosts[a].freeGPUs, hosts[a].name) < (request.gpus - hosts[b].freeGPUs, hosts[b].name)
    }
  }

  private func explain(_ request: Request, itself: String?) -> [Placement.HostReason] {
    let able = hosts.indices.filter { canEver(hosts[$0], request) }
    let usable = Set(withoutFailed(able, request))
    return hosts.indices.map { index in
      Placement.HostReason(host: hosts[index].name, why: why(index, request, isUsable: usable.contains(index), itself))
    }
  }

  private func why(_ index: Int, _ request: Request, isUsable: Bool, _ itself: String?) -> Placement.Why {
    let host = hosts[index]
    if request.nodes > 1 { return .multiNode }
    if let mismatch = mismatch(host, request) { return mismatch }
    if request.gpus == 0, host.cpuSlots == 0 { return .noCPUSlots }
    if request.gpus > 0, let total = host.totalGPUs, total < request.gpus {
      return .tooFewGPUs(wanted: request.gpus, total: total)
    }
    switch host.state {
    case .unreachable: return .unreachable
    case .draining: return .draining
    case .ready: break
    }
    if !isUsable { return .failedHere }
    if request.gpus == 0 { return .cpuSlotsBusy }
    if let other = kept[index], other != itself { return .reserved(for: other) }
    if host.totalGPUs == nil { return .gpusUnknown }
    return .gpusBusy(wanted: request.gpus, free: host.freeGPUs)
  }
}
