import BitCollections
import Ledger
import OrderedCollections
import Planning
import Scheduling
import Transports

extension CoordinatorCore {
  /// Every host has told who it is or failed to, or was waited for long enough: which hardware a comparison takes must
  /// not depend on who answers first.
  var isPlacingAllowed: Bool {
    now.steady >= started + settings.enrolPatience || unknown.isSubset(of: troubled)
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
    for run in delayed.filter({ runs[$0].notBefore <= now.steady }).sorted() {
      delayed.remove(run)
      enqueue(run)
    }
    guard isPlacingAllowed else { return }
    tellScheduler()
    forgetFinished()
    // What ends while the store is full fills the hosts.
    guard isPlacingDue, room.refusals == 0 else { return }
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
        let unusable = hosts.indices.filter { !isInPlay($0) }.compactMap { host in
          hosts[host].trouble.map { "\(name(host)): \($0.message)" }
        }
        let why = unusable.isEmpty ? reason : "\(reason); not usable: \(unusable.joined(separator: "; "))"
        dequeue(run)
        set(run, .failed, why: why, host: nil, attempt: nil, kind: "impossible")
      }
    }
  }

  /// Tells the scheduler of the hosts and attempts that have changed.
  mutating func tellScheduler() {
    sortOutHosts()
    var changed = attempts.takeChanged()
    for attempt in changed where hosts[attempts[attempt].host].refusals > 0 {
      untoldHosts.insert(attempts[attempt].host)
    }
    var news: [(index: Int, host: Placement.Host?)] = []
    for host in untoldHosts {
      let place = isInPlay(host) ? placementHost(host) : nil
      let former = book.hosts[host]
      guard place != former else { continue }
      news.append((host, place))
      if place == nil || former == nil { changed.formUnion(hosts[host].watched) }
    }
    untoldHosts = []
    if !news.isEmpty {
      book.setHosts(news)
      isPlacingDue = true
    }
    for attempt in changed {
      pin(after: attempt)
      let limited = isLimited(attempt)
      guard book.held[attempt] != limited else { continue }
      book.setHolding(of: attempt, limited.flatMap { _ in holding(attempt) }, isLimited: limited ?? false)
      isPlacingDue = true
    }
  }

  /// The one place where the scheduler is asked.
  private mutating func decide() -> [Placement.Decision] {
    // In order: the queue takes what comes at its end at once.
    for run in book.takeChangedRuns().sorted() { book.set(run, queue.contains(run) ? queuedRun(run) : nil) }
    return book.decide(pinnedHardware: pinnedHardware, now: now.steady)
  }

  /// Whether a time limit ends what an attempt holds; nil where it holds nothing of a host in play.
  func isLimited(_ attempt: Int) -> Bool? {
    guard attempts[attempt].occupies, book.hosts[attempts[attempt].host] != nil else { return nil }
    let state = attempts[attempt].record.state
    return state == .launching || state == .running
  }

  /// Waiting does not mend a blocked host, nor one that was never heard of at all.
  func isInPlay(_ host: Int) -> Bool { !hosts[host].isBlocked && !(hosts[host].facts == nil && isSilent(host)) }

  /// A host that has not told who it is may be what the run needs.
  private func mayStillBeTaken(_ run: Int) -> Bool {
    guard let labels = cell(of: run)?.run.hosts else { return false }
    return unknown.contains { host in
      isInPlay(host) && labels.allSatisfy { hosts[host].host.labels[$0.key] == $0.value }
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

  private func queuedRun(_ run: Int) -> Placement.QueuedRun? {
    let sweep = runs[run].sweep
    guard let age = sweeps[sweep]?.age, let plan = sweeps[sweep]?.plan, let cell = cell(of: run) else { return nil }
    return SchedulerInput.run(
      runs[run].record, id: String(run), cell: cell, plan: plan,
      attempts: runs[run].attempts.map { attempts[$0].record },
      order: age << 32 + PagedArray<Run>.place(of: run), isCluster: isCluster)
  }

  func placementHost(_ host: Int) -> Placement.Host {
    var place = SchedulerInput.host(
      hosts[host].host, facts: hosts[host].facts, isReachable: hosts[host].isEnrolled,
      isDrained: drained.contains(name(host)), isFull: hosts[host].isDiskFull)
    if hosts[host].refusals > 0 {
      // A cluster that takes no more: those that it has refused come first.
      place.freeCPUSlots = min(place.cpuSlots, hosts[host].watched.count { attempts[$0].occupies })
    }
    return place
  }

  private func holding(_ attempt: Int) -> Placement.Holding? {
    guard attempts[attempt].occupies else { return nil }
    let record = attempts[attempt].record
    // Of a sweep that is not driven here only its room is known.
    let cell = attempts[attempt].run.flatMap(cell)
    return SchedulerInput.holding(
      record, cell: cell, age: now.wall - record.created, now: now.steady,
      isCluster: hosts[attempts[attempt].host].host.slurm != nil)
  }

  /// Comparison → the hardware that its first attempt took.
  private var pinnedHardware: [String: String] {
    var pinned: [String: String] = [:]
    for sweep in sweeps.indices {
      guard let openRuns = sweeps[sweep]?.openRuns, openRuns > 0, sweeps[sweep]?.plan.compare.sameHardware == true,
        let id = sweeps[sweep]?.id, let pin = sweeps[sweep]?.pin
      else { continue }
      pinned[id] = SchedulerInput.pinned([attempts[pin].record]) { _ in hosts[attempts[pin].host].facts }
    }
    return pinned
  }

  /// An attempt may have become the one whose hardware its sweep keeps to, or be so no longer.
  private mutating func pin(after attempt: Int) {
    guard let run = attempts[attempt].run else { return }
    let sweep = runs[run].sweep
    let former = sweeps[sweep]?.pin
    if attempts[attempt].mayPin {
      if let former, let first = attempts[former].run, (first, former) <= (run, attempt) { return }
      sweeps[sweep]?.pin = attempt
    } else if attempt == former {
      // None before it did.
      let first = firstPin(from: run, of: sweep)
      sweeps[sweep]?.pin = first
    }
    isPlacingDue = isPlacingDue || sweeps[sweep]?.pin != former
  }

  /// The first attempt of a run or of the sweep's later ones that may pin.
  func firstPin(from run: Int, of sweep: Int) -> Int? {
    (run..<runs.indices(of: sweep).upperBound).lazy.flatMap { runs[$0].attempts }.first { attempts[$0].mayPin }
  }
}
