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
    book.note(run)
    isPlacingDue = true
  }

  mutating func enqueue(_ run: Int, after delay: Double) {
    runs[run].notBefore = now.steady + delay
    delayed.insert(run)
  }

  mutating func dequeue(_ run: Int) {
    if queue.remove(run) != nil { book.note(run) }
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
    // What ends while the store is full fills the hosts.
    guard isPlacingDue, isPlacingAllowed, room.refusals == 0 else { return }
    isPlacingDue = false
    guard !queue.isEmpty else { return }
    for decision in decide() {
      guard let run = Int(decision.run), queue.contains(run) else { continue }
      switch decision {
      case .place(_, let places, let gpus):
        let chosen = places.compactMap { hostIndex[$0] }.filter { hosts[$0].facts != nil }
        guard chosen.count == places.count else {
          book.note(run)
          continue
        }
        begin(run, on: chosen, gpus: isCluster ? cell(of: run)?.run.gpus ?? 0 : gpus)
      case .reserve, .wait: continue
      case .impossible(_, let reason):
        guard !mayStillBeTaken(run) else {
          book.note(run)
          continue
        }
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

  /// The one place where the scheduler is asked: it is told what has changed since.
  private mutating func decide() -> [Placement.Decision] {
    let usable = hosts.filter(isInPlay)
    let isKnown = book.setHosts(usable.map(placementHost))
    let changed = book.takeChangedRuns()
    // In order: the queue takes what comes at its end at once.
    for run in (isKnown ? changed : changed.union(queue)).sorted() {
      book.set(run, queue.contains(run) ? queuedRun(run) : nil)
    }
    book.setHoldings(of: usable.lazy.flatMap(\.watched), isLimited: isLimited, holding: holding)
    return book.decide(pinnedHardware: pinnedHardware, now: now.steady)
  }

  /// Whether a time limit ends what an attempt holds; nil where it holds nothing.
  private func isLimited(_ attempt: Int) -> Bool? {
    guard attempts[attempt].occupies else { return nil }
    let state = attempts[attempt].record.state
    return state == .launching || state == .running
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

  /// The intent to launch: the attempt exists from here on, on all of its hosts, whatever becomes of the messages to
  /// them.
  private mutating func begin(_ run: Int, on places: [Int], gpus: Int) {
    let record = runs[run].record
    let number = runs[run].lastNumber + 1
    let id = Naming.attempt(sweep: record.sweep, position: record.position, number: number)
    let shares = Launch.shares(
      id, hosts: places.compactMap { hosts[$0].facts }, gpus: gpus,
      address: places.first.flatMap { hosts[$0].host.networkAddress })
    for (node, host) in places.enumerated() {
      tokens += 1
      var attempt = AttemptRecord(
        id: shares.isEmpty ? id : "\(id)-node\(node)", sweep: record.sweep, run: record.name, number: number,
        host: hosts[host].host.name, token: nonce + String(tokens, radix: 16), gpus: gpus, now: now.wall)
      attempt.share = shares.isEmpty ? nil : shares[node]
      attempt.facts = Launch.fingerprint(hosts[host].facts)
      output.writes.append(.begin(attempt))
      add(attempt, run: run)
      if let index = runs[run].attempts.last {
        attempts[index].need = .launch
        attempts[index].isInDoubt = false
      }
    }
    dequeue(run)
    let names = places.map { hosts[$0].host.name }.joined(separator: ", ")
    set(
      run, .launching, why: nil, host: names, attempt: id, kind: "launching",
      detail: "attempt \(number) on \(names)")
  }

  // MARK: - What the scheduler sees

  private func cell(of run: Int) -> Cell? { sweeps[runs[run].sweep].cells[runs[run].record.cell] }

  private func queuedRun(_ run: Int) -> Placement.QueuedRun? {
    let record = runs[run].record
    let sweep = sweeps[runs[run].sweep]
    guard let cell = sweep.cells[record.cell] else { return nil }
    return SchedulerInput.run(
      record, id: String(run), cell: cell, plan: sweep.plan,
      attempts: runs[run].attempts.map { attempts[$0].record },
      order: run, isCluster: isCluster)
  }

  private func placementHost(_ host: Host) -> Placement.Host {
    var place = SchedulerInput.host(
      host.host, facts: host.facts, isReachable: host.isEnrolled, isDrained: drained.contains(host.host.name),
      isFull: host.isDiskFull)
    if host.refusals > 0 {
      // A cluster that takes no more: those that it has refused come first.
      place.freeCPUSlots = min(place.cpuSlots, host.watched.count { attempts[$0].occupies })
    }
    return place
  }

  private func holding(_ attempt: Int) -> Placement.Holding? {
    guard attempts[attempt].occupies else { return nil }
    let record = attempts[attempt].record
    // Of a sweep that is not driven here only its room is known.
    let cell = attempts[attempt].run.flatMap { sweeps[runs[$0].sweep].cells[runs[$0].record.cell] }
    return SchedulerInput.holding(
      record, cell: cell, age: now.wall - record.created, now: now.steady,
      isCluster: hosts[attempts[attempt].host].host.slurm != nil)
  }

  /// Comparison → the hardware that its first attempt took.
  private var pinnedHardware: [String: String] {
    var pinned: [String: String] = [:]
    for sweep in sweeps where sweep.openRuns > 0 && sweep.plan.compare.sameHardware {
      let own = sweep.runs.lazy.flatMap { runs[$0].attempts }.map { attempts[$0].record }
      pinned[sweep.id] = SchedulerInput.pinned(own) { record in hostIndex[record.host].flatMap { hosts[$0].facts } }
    }
    return pinned
  }
}
