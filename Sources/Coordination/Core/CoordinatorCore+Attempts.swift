import Launching
import Ledger
import Planning
import Scheduling

extension CoordinatorCore {
  // MARK: - What hosts say

  /// How an attempt stands, by its host.
  mutating func observed(_ status: AttemptStatus, of index: Int) {
    guard let run = attempts[index].run, attempts[index].record.state.isOpen else { return }
    let host = attempts[index].host
    switch status {
    case .absent, .claimed: break
    // Its directory stays, so that no other launch of it starts anything.
    case .running, .exited, .lost, .waiting: attempts[index].isInDoubt = false
    }
    if observedShare(status, of: index) { return }
    let seen = aged(status, index)
    if isCancelling(run), attempts[index].record.state == .launching, status == .absent {
      stopIfCancelled(index)
      return
    }
    if case .waiting(let why) = seen, runs[run].record.why == why {
      stopIfCancelled(index)
      return
    }
    if let transition = Transition.after(seen, of: attempts[index].record, now: now.wall) {
      hosts[host].changed = now.steady
      apply(transition, to: index, run)
    } else {
      resumeIfPaused(index, run, seen)
    }
    stopIfCancelled(index)
  }

  /// Our own patience with a claimed directory, since the host's clock may have jumped.
  private mutating func aged(_ status: AttemptStatus, _ index: Int) -> AttemptStatus {
    guard case .claimed(let age) = status else {
      attempts[index].claimedSince = nil
      return status
    }
    let since = attempts[index].claimedSince ?? now.steady
    attempts[index].claimedSince = since
    if attempts[index].record.state == .running {
      // What tells of its supervisor was removed. Where that lives, it leaves a record when its time is over.
      let limit = attempts[index].run.flatMap(cell)?.run.timeout ?? 0
      guard now.steady - since > limit + 2 * Transition.claimPatience else { return status }
      return .lost("what tells of its supervisor is gone from its run directory, and it left no record in all its time")
    }
    return .claimed(ageSeconds: max(age, now.steady - since))
  }

  mutating func launched(_ index: Int, _ outcome: LaunchOutcome, _ directory: String) {
    // A share that was given up while its launch was under way keeps its need to be stopped.
    guard let run = attempts[index].run, attempts[index].record.state == .launching else { return }
    attempts[index].need = nil
    attempts[index].record.directory = directory
    hosts[attempts[index].host].changed = now.steady
    switch outcome {
    case .started, .adopted:
      attempts[index].isInDoubt = false
      hosts[attempts[index].host].diskRefusals = 0
      if attempts[index].record.share != nil {
        claimed(index)
        return
      }
      var next = attempts[index].record
      next.state = .running
      next.heard = now.wall
      next.started = now.wall
      apply(Transition(attempt: next, run: .running, event: "running", action: .none), to: index, run)
      stopIfCancelled(index)
    case .submitted:
      attempts[index].isInDoubt = false
      attempts[index].record.heard = now.wall
      hasRoom(attempts[index].host)
      if runs[run].record.why != nil {
        set(run, .launching, why: nil, host: name(attempts[index].host), attempt: id(index), kind: "submitted")
      }
      output.writes.append(.attempt(attempts[index].record))
      stopIfCancelled(index)
    case .full(let why, let mayHaveArrived):
      attempts[index].isInDoubt = mayHaveArrived
      attempts[index].need = .launch
      isFull(attempts[index].host)
      if runs[run].record.why != why {
        set(run, .launching, why: why, host: name(attempts[index].host), attempt: id(index), kind: "waiting")
      }
      stopIfCancelled(index)
    case .gpuBusy(let why): retry(index, run, .failed, why, ending: .gpuBusy, kind: "gpu-busy")
    case .noSpace(let why): retry(index, run, .failed, why, ending: .noRoom, kind: "no-space")
    case .refused(let why): retry(index, run, .failed, why, ending: .launchFailed, kind: "refused")
    }
  }

  /// Nothing was sent, or nothing ever came of it.
  mutating func refused(_ index: Int, _ why: String) {
    guard let run = attempts[index].run, attempts[index].record.state == .launching else { return }
    retry(index, run, .failed, why, ending: .launchFailed, kind: "refused")
  }

  mutating func stopped(_ index: Int) {
    // A share that was seen to end in the meantime may be to be gathered.
    if attempts[index].need == .stop { attempts[index].need = nil }
    guard !attempts[index].record.state.isOpen else {
      // Cancelled: its exit record is there, or it never began.
      hosts[attempts[index].host].polled = -.infinity
      return
    }
    attempts[index].record.isFenced = true
    let record = attempts[index].record
    output.writes.append(.attempt(record))
    note(record.sweep, record.run, record.id, "fenced", "nothing of it lives at \(record.host)")
    mayHaveRoom(attempts[index].host)
    unwatch(index)
  }

  /// Asked again and again: until it is gone it holds what it holds, and the other work of its host goes on. Nobody waits
  /// for it for ever.
  mutating func notStopped(_ index: Int, _ why: String) {
    attempts[index].stopTries += 1
    attempts[index].notBefore = now.steady + Double(1 << min(attempts[index].stopTries, 6))
    // It may have ended by itself meanwhile.
    hosts[attempts[index].host].polled = -.infinity
    let record = attempts[index].record
    if attempts[index].stopTries == 1 { note(record.sweep, record.run, record.id, "not-stopped", why) }
    if attempts[index].stopTries >= settings.stopTries, record.state.isOpen {
      lose(index, "it could not be stopped: \(why)", ending: .lost, kind: "lost")
    }
  }

  mutating func gathered(_ index: Int, _ files: GatheredFiles) {
    storeHasTaken(index)
    guard let run = attempts[index].run, attempts[index].record.state == .exited else { return }
    let shares = shares(with: index)
    attempts[index].isFetched = true
    attempts[index].need = nil
    guard shares.allSatisfy({ attempts[$0].isFetched || attempts[$0].record.share == nil }) else {
      settleGang(of: run)
      return
    }
    for share in shares { close(share, .gathered, why: nil) }
    runs[run].record.fileCount = files.count
    runs[run].record.byteCount = files.bytes
    runs[run].record.missing = files.missing
    let record = runs[run].record
    output.writes.append(
      .files(
        sweep: record.sweep, run: record.name, count: files.count, bytes: files.bytes, missing: files.missing))
    let cause = cause(of: shares) ?? index
    let ending = Transition.ending(of: attempts[cause].record)
    let why = shares.count == 1 ? ending.why : ending.why.map { "\($0), on \(name(attempts[cause].host))" }
    set(run, ending.state, why: why, host: name(attempts[index].host), attempt: id(index), kind: "gathered")
  }

  /// Told at once, since only a person can end what writes them.
  mutating func stillWritten(_ index: Int, _ why: String) {
    let why = "something that outlived the run still writes them: \(why)"
    if let run = attempts[index].run, attempts[index].record.state == .exited, attempts[index].gatherTries == 0 {
      set(run, .gathering, why: why, host: name(attempts[index].host), attempt: id(index), kind: "still-written")
    }
    notGathered(index, why, ending: .stillWritten)
  }

  mutating func notGathered(_ index: Int, _ why: String, ending: AttemptEnding = .lost) {
    guard attempts[index].record.state == .exited else { return }
    attempts[index].gatherTries += 1
    attempts[index].notBefore = now.steady + Double(1 << min(attempts[index].gatherTries, 6))
    guard attempts[index].gatherTries >= settings.gatherTries else { return }
    lose(index, "its files could not be gathered: \(why)", ending: ending, kind: "gather-failed")
  }

  // MARK: - What follows

  /// In a sweep that is being cancelled, what runs is stopped, and what was never sent ends here.
  mutating func stopIfCancelled(_ index: Int) {
    guard let run = attempts[index].run, isCancelling(run), attempts[index].command == nil else { return }
    hosts[attempts[index].host].restsUntil = -.infinity
    switch attempts[index].record.state {
    case .launching where attempts[index].record.share != nil:
      // None of its shares has begun.
      closeShares(of: index, why: "cancelled before it started")
      set(run, .cancelled, why: "cancelled before it started", host: nil, attempt: id(index), kind: "cancelled")
    case .launching where attempts[index].need == .launch && !attempts[index].isInDoubt:
      close(index, .failed, why: "cancelled before it started")
      set(
        run, .cancelled, why: "cancelled before it started", host: name(attempts[index].host), attempt: id(index),
        kind: "cancelled")
    case .launching, .running: attempts[index].need = .stop
    case .exited where attempts[index].roomTries > 0: leaveFiles(of: index, run, "the store had no room for its files")
    case .exited, .gathered, .failed, .lost: return
    }
  }

  /// What the cluster had paused goes on.
  private mutating func resumeIfPaused(_ index: Int, _ run: Int, _ status: AttemptStatus) {
    guard case .running = status, attempts[index].record.state == .running, runs[run].record.why != nil else { return }
    set(run, .running, why: nil, host: name(attempts[index].host), attempt: id(index), kind: "resumed")
  }

  mutating func apply(_ transition: Transition, to index: Int, _ run: Int) {
    if let ending = transition.ending {
      lose(index, transition.why ?? "", ending: ending, kind: transition.event)
      return
    }
    let old = attempts[index].record
    attempts[index].record = transition.attempt
    if transition.action == .gather { mayHaveRoom(attempts[index].host) }
    if transition.action == .gather, transition.attempt.share != nil {
      output.writes.append(.attempt(transition.attempt))
      attempts[index].need = nil
      note(
        transition.attempt.sweep, transition.attempt.run, id(index), transition.event,
        "on \(name(attempts[index].host))")
      settleGang(of: run)
      return
    }
    if old.state != transition.attempt.state { output.writes.append(.attempt(transition.attempt)) }
    switch transition.action {
    case .launchAgain: attempts[index].need = .launch
    case .gather:
      attempts[index].need = .gather
      attempts[index].gatherSince = now.steady
    case .none: break
    }
    set(
      run, transition.run, why: transition.why, host: name(attempts[index].host), attempt: id(index),
      kind: transition.event)
  }

  /// It is over for us; whether anything of it lives, its host must tell before its GPUs are free.
  mutating func lose(_ index: Int, _ why: String, ending: AttemptEnding, kind: String) {
    guard let run = attempts[index].run else { return }
    retry(index, run, .lost, why, ending: ending, kind: kind)
  }

  private mutating func retry(
    _ index: Int, _ run: Int, _ state: AttemptRecord.State, _ why: String, ending: AttemptEnding, kind: String
  ) {
    if ending == .noSpace || ending == .noRoom { hasFullDisk(attempts[index].host, why) }
    let number = attempts[index].record.number
    let earlier = runs[run].attempts.map { attempts[$0].record }.filter { $0.number != number }
    let charged = Set(earlier.filter(\.isCharged).map(\.number))
    let uncharged = Set(earlier.map(\.number)).subtracting(charged)
    let next = retryPolicy(of: run).next(after: ending, charged: charged.count, uncharged: uncharged.count)
    let host = name(attempts[index].host)
    if shares(with: index).count > 1 { closeShares(of: index, but: index, why: "its gang ended: \(host): \(why)") }
    switch next {
    case .retry(_, let isCharged) where isCancelling(run):
      attempts[index].record.isCharged = isCharged
      close(index, state, why: why)
      set(run, .cancelled, why: "cancelled: \(why)", host: host, attempt: id(index), kind: kind)
    case .retry(let delay, let isCharged):
      attempts[index].record.isCharged = isCharged
      close(index, state, why: why)
      set(run, .queued, why: "to be tried again: \(why)", host: host, attempt: id(index), kind: kind)
      enqueue(run, after: delay)
    case .end(let final):
      close(index, state, why: why)
      set(run, final, why: why, host: host, attempt: id(index), kind: kind)
    case .gather: return
    }
  }

  /// Ends an attempt. What exited holds nothing any more; what was lost, or may still be on its way to its host, is to
  /// be fenced.
  mutating func close(_ index: Int, _ state: AttemptRecord.State, why: String?) {
    hosts[attempts[index].host].restsUntil = -.infinity
    let hasExited = attempts[index].record.state == .exited
    attempts[index].record.state = state
    attempts[index].record.why = why
    attempts[index].record.heard = now.wall
    if !hasExited { attempts[index].record.ended = now.wall }
    attempts[index].record.isFenced = hasExited || (state == .failed && !attempts[index].isInDoubt)
    if attempts[index].record.isFenced {
      attempts[index].need = nil
      mayHaveRoom(attempts[index].host)
      unwatch(index)
    } else {
      attempts[index].need = .stop
      attempts[index].notBefore = 0
    }
    output.writes.append(.attempt(attempts[index].record))
  }

  func name(_ host: Int) -> String { hosts[host].host.name }
  func id(_ index: Int) -> String { attempts[index].record.id }
}
