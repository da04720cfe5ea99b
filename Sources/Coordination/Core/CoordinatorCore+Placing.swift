import Ledger
import OrderedCollections
import Planning
import Scheduling
import Transports

extension CoordinatorCore {
  /// Every host has told who it is or failed to, or was waited for long enough: which hardware a comparison takes must
  /// not depend on who answers first.
  var isPlacingAllowed: Bool {
    now.steady >= started + settings.enrolPatience || hosts.allSatisfy { $0.facts != nil || $0.trouble != nil }
  }

  mutating func enqueue(_ run: Int) {
    queue.insert(run)
    isPlacingDue = true
  }

  mutating func enqueue(_ run: Int, after delay: Double) {
    runs[run].notBefore = now.steady + delay
    delayed.insert(run)
  }

  mutating func dequeue(_ run: Int) {
    queue.remove(run)
    delayed.remove(run)
    isPlacingDue = true
  }

  /// Lets the scheduler decide where anything that it depends on has changed.
  mutating func place() {
    for run in delayed.sorted() where runs[run].notBefore <= now.steady {
      delayed.remove(run)
      enqueue(run)
    }
    // A host that goes out of play changes what is possible.
    let silent = hosts.count(where: isSilent)
    isPlacingDue = isPlacingDue || silent != silentHosts
    silentHosts = silent
    guard isPlacingDue, isPlacingAllowed else { return }
    isPlacingDue = false
    let ready = queue.sorted()
    guard !ready.isEmpty else { return }
    let names = Dictionary(ready.map { (scheduledName($0), $0) }) { first, _ in first }
    let decisions = decide(ready)
    for decision in decisions {
      switch decision {
      case .place(let name, let places, let gpus):
        guard let run = names[name] else { continue }
        guard places.count == 1, let host = places.first.flatMap({ hostIndex[$0] }) else {
          dequeue(run)
          set(
            run, .failed, why: "a gang over \(places.count) hosts cannot be launched yet", host: nil, attempt: nil,
            kind: "impossible")
          continue
        }
        begin(run, on: host, gpus: gpus)
      case .reserve(let name, let hosts): reservations[name] = hosts
      case .wait: continue
      case .impossible(let name, let reason):
        guard let run = names[name], !mayStillBeTaken(run) else { continue }
        // What only an unusable host could take ends here, and is told why.
        let unusable = hosts.filter { !isInPlay($0) }.compactMap { host in
          host.trouble.map { "\(host.host.name): \($0.message)" }
        }
        let why = unusable.isEmpty ? reason : "\(reason); not usable: \(unusable.joined(separator: "; "))"
        dequeue(run)
        set(run, .failed, why: why, host: nil, attempt: nil, kind: "impossible")
      }
    }
  }

  /// The one place where the scheduler is asked.
  private mutating func decide(_ ready: [Int]) -> [Placement.Decision] {
    let snapshot = Placement.Snapshot(
      runs: ready.compactMap(queuedRun), hosts: hosts.filter(isInPlay).map(placementHost),
      pinnedHardware: pinnedHardware(ready), reservations: reservations)
    reservations = [:]
    return Placement.decide(snapshot)
  }

  /// Waiting does not mend a blocked host, nor one that was never heard of at all.
  private func isInPlay(_ host: Host) -> Bool { !host.isBlocked && !(host.facts == nil && isSilent(host)) }

  /// A host that has not told who it is may be what the run needs.
  private func mayStillBeTaken(_ run: Int) -> Bool {
    guard let labels = sweeps[runs[run].sweep].cells[runs[run].record.cell]?.run.hosts else { return false }
    return hosts.contains { host in
      isInPlay(host) && host.facts == nil && labels.allSatisfy { host.host.labels[$0.key] == $0.value }
    }
  }

  /// The intent to launch: the attempt exists from here on, whatever becomes of the message to its host.
  private mutating func begin(_ run: Int, on host: Int, gpus: Int) {
    let record = runs[run].record
    let number = runs[run].lastNumber + 1
    tokens += 1
    var attempt = AttemptRecord(
      id: Naming.attempt(sweep: record.sweep, position: record.position, number: number), sweep: record.sweep,
      run: record.name, number: number, host: hosts[host].host.name, token: nonce + String(tokens, radix: 16),
      gpus: gpus, now: now.wall)
    attempt.facts = Launch.fingerprint(hosts[host].facts)
    output.writes.append(.begin(attempt))
    add(attempt, run: run)
    if let index = runs[run].attempts.last {
      attempts[index].need = .launch
      attempts[index].doubtUntil = nil
    }
    dequeue(run)
    set(
      run, .launching, why: nil, host: attempt.host, attempt: attempt.id, kind: "launching",
      detail: "attempt \(number) on \(attempt.host)")
  }

  // MARK: - What the scheduler sees

  private func scheduledName(_ run: Int) -> String {
    let record = runs[run].record
    return sweeps.count == 1 ? record.name : record.sweep + "/" + record.name
  }

  /// Runs of one sweep are compared with each other.
  private func comparison(_ run: Int) -> String? {
    let sweep = sweeps[runs[run].sweep]
    return sweep.plan.compare.sameHardware ? sweep.id : nil
  }

  private func queuedRun(_ run: Int) -> Placement.QueuedRun? {
    guard let cell = sweeps[runs[run].sweep].cells[runs[run].record.cell] else { return nil }
    let failedOn = runs[run].attempts.map { attempts[$0].record }
      .filter { ($0.state == .lost || $0.state == .failed) && $0.isCharged }
    return Placement.QueuedRun(
      id: scheduledName(run), gpus: cell.run.gpus, nodes: cell.run.nodes, labels: cell.run.hosts, order: run,
      comparison: comparison(run), excludedHosts: Set(failedOn.map(\.host)), sweep: runs[run].record.sweep)
  }

  private func placementHost(_ host: Host) -> Placement.Host {
    let held = host.watched.filter { attempts[$0].occupies }.map { attempts[$0].record.gpus }
    let total = host.gpuCount
    let isTaken = host.host.isExclusive && !held.isEmpty
    let open: Placement.Host.State = drained.contains(host.host.name) ? .draining : .ready
    return Placement.Host(
      name: host.host.name, labels: host.host.labels, state: host.isEnrolled ? open : .unreachable,
      totalGPUs: total, freeGPUs: isTaken ? 0 : max(0, (total ?? 0) - held.reduce(0, +)),
      cpuSlots: host.host.cpuSlots,
      freeCPUSlots: isTaken ? 0 : max(0, host.host.cpuSlots - held.count { $0 == 0 }),
      hardware: Launch.hardware(host.facts))
  }

  /// Comparison → the hardware that its first attempt took.
  private func pinnedHardware(_ ready: [Int]) -> [String: String] {
    var pinned: [String: String] = [:]
    for sweep in Set(ready.map { runs[$0].sweep }) where sweeps[sweep].plan.compare.sameHardware {
      let used = sweeps[sweep].runs.lazy.flatMap { self.runs[$0].attempts }.map { self.attempts[$0] }
        .first { $0.record.state != .failed && $0.record.state != .lost }
      guard let used else { continue }
      let isTold = !used.record.facts.isEmpty || hosts[used.host].facts == nil
      pinned[sweeps[sweep].id] =
        isTold ? Launch.hardware(used.record.facts) : Launch.hardware(hosts[used.host].facts)
    }
    return pinned
  }
}
