import Launching
import Ledger
import Planning
import Scheduling

/// Gangs over several hosts: one attempt a host, all of one number.
///
/// Every host claims its share and holds it back; when all have, that they may begin is committed for all at once, and
/// each is released. Before that none has begun. Whatever ends one share ends all of them.
extension CoordinatorCore {
  /// All shares of an attempt's gang in the order of their nodes; itself where it has one host.
  func shares(with index: Int) -> [Int] {
    let record = attempts[index].record
    guard record.share != nil, let run = attempts[index].run else { return [index] }
    return runs[run].attempts.filter { attempts[$0].record.number == record.number }
      .sorted { (attempts[$0].record.share?.node ?? 0) < (attempts[$1].record.share?.node ?? 0) }
  }

  /// The names of all shares, if this one is the last whose files are to be fetched.
  func sharesCompleted(by index: Int) -> [String] {
    let shares = shares(with: index)
    guard attempts[index].record.share != nil, shares.allSatisfy({ $0 == index || attempts[$0].isFetched }) else {
      return []
    }
    return shares.map(id)
  }

  /// The share of which the gang's end is told: that which failed first, else the first.
  func cause(of shares: [Int]) -> Int? {
    let ends = shares.map { (Self.exit(attempts[$0].record), hosts[attempts[$0].host].facts?.clockOffset ?? 0) }
    return GangCause.first(of: ends).map { shares[$0] } ?? shares.first
  }

  /// What a share's host says of it, as far as its gang takes it differently from a run on one host.
  /// - Returns: Whether that was all.
  mutating func observedShare(_ status: AttemptStatus, of index: Int) -> Bool {
    guard attempts[index].record.share != nil else { return false }
    switch (attempts[index].record.state, status) {
    case (.launching, .running):
      claimed(index)
      return true
    case (.launching, .exited(let record)):
      // It never began.
      let why = "its share ended before all hosts had theirs: \(record.reason ?? "code \(record.code)")"
      let ending: AttemptEnding = record.reason == ExitRecord.notReleased ? .gpuBusy : .launchFailed
      lose(index, why, ending: ending, kind: "gang-not-taken")
      return true
    case (.running, .running):
      if !attempts[index].isReleased, attempts[index].need == nil { attempts[index].need = .release }
      if let run = attempts[index].run { settleGang(of: run) }
      stopIfCancelled(index)
      return true
    case (.running, .exited(let record)) where record.reason == ExitRecord.notReleased:
      lose(index, "its share was not released in time", ending: .gpuBusy, kind: "gang-not-released")
      return true
    case (.running, .exited(let record)) where record.reason == ExitRecord.terminated:
      lose(index, Transition.terminated, ending: .lost, kind: "terminated")
      return true
    case (.running, .exited(let record)) where record.reason == ExitRecord.gpuBusy:
      lose(index, "somebody else was on its GPUs when its gang was to begin", ending: .gpuBusy, kind: "gpu-busy")
      return true
    default: return false
    }
  }

  /// Its host holds its share. With the last one, all may begin.
  mutating func claimed(_ index: Int) {
    guard let run = attempts[index].run, attempts[index].record.state == .launching else { return }
    attempts[index].isClaimed = true
    attempts[index].need = nil
    if isCancelling(run) {
      stopIfCancelled(index)
      return
    }
    let shares = shares(with: index)
    guard shares.count == attempts[index].record.share?.nodeCount,
      shares.allSatisfy({ attempts[$0].isClaimed && attempts[$0].record.state == .launching })
    else { return }
    for share in shares {
      attempts[share].record.state = .running
      attempts[share].record.heard = now.wall
      attempts[share].record.started = now.wall
      attempts[share].need = .release
      hosts[attempts[share].host].changed = now.steady
      hosts[attempts[share].host].restsUntil = -.infinity
      output.writes.append(.attempt(attempts[share].record))
    }
    let names = shares.map { name(attempts[$0].host) }.joined(separator: ", ")
    set(run, .running, why: nil, host: names, attempt: id(index), kind: "running")
  }

  mutating func released(_ index: Int) {
    guard attempts[index].record.state.isOpen else { return }
    if attempts[index].need == .release { attempts[index].need = nil }
    attempts[index].isReleased = true
    hosts[attempts[index].host].polled = -.infinity
    if let run = attempts[index].run { settleGang(of: run) }
    stopIfCancelled(index)
  }

  /// What a gang's shares need by how they all stand: victims are stopped, and files are fetched when all have ended,
  /// one host after the other.
  mutating func settleGang(of run: Int) {
    guard let last = runs[run].attempts.last, attempts[last].record.share != nil else { return }
    let shares = shares(with: last)
    let open = shares.filter { attempts[$0].record.state.isOpen }
    guard !open.isEmpty else { return }
    if runs[run].record.state.isFinal || open.count < attempts[last].record.share?.nodeCount ?? 0 {
      // The host of one is not in the fleet any more.
      closeShares(of: last, why: "its gang is not whole any more")
      if !runs[run].record.state.isFinal {
        set(run, .lost, why: "its gang is not whole any more", host: nil, attempt: id(last), kind: "lost")
      }
      return
    }
    let running = open.filter { attempts[$0].record.state == .running }
    if running.isEmpty {
      guard open.allSatisfy({ attempts[$0].record.state == .exited }) else { return }
      if let cause = cause(of: shares), attempts[cause].record.reason == ExitRecord.noSpace {
        let why = Transition.noRoom(attempts[cause].record.exitCode)
        lose(cause, why, ending: .noSpace, kind: "no-space")
        return
      }
      if runs[run].record.state != .gathering {
        set(run, .gathering, why: nil, host: nil, attempt: id(last), kind: "exited")
      }
      guard !open.contains(where: { attempts[$0].need == .gather }),
        let next = open.first(where: { !attempts[$0].isFetched })
      else { return }
      attempts[next].need = .gather
      attempts[next].gatherSince = now.steady
      hosts[attempts[next].host].restsUntil = -.infinity
      return
    }
    let isFailed = open.contains { share in
      attempts[share].record.state == .exited && !GangCause.isWell(Self.exit(attempts[share].record))
    }
    guard isFailed else { return }
    for share in running where attempts[share].need != .stop {
      attempts[share].need = .stop
      hosts[attempts[share].host].restsUntil = -.infinity
    }
  }

  /// Ends what is open of a gang. What may have come to its host is stopped there before its GPUs count as free.
  mutating func closeShares(of index: Int, but spared: Int? = nil, why: String) {
    for share in shares(with: index) where share != spared && attempts[share].record.state.isOpen {
      let attempt = attempts[share]
      let wasSent = attempt.need != .launch || attempt.isInDoubt || attempt.command != nil
      // One share is charged for all, and only its host is avoided.
      attempts[share].record.isCharged = false
      close(share, wasSent ? .lost : .failed, why: why)
    }
  }

  private static func exit(_ record: AttemptRecord) -> ExitRecord {
    ExitRecord(
      code: record.exitCode ?? 0, signal: record.signal, started: record.started ?? 0, ended: record.ended ?? 0,
      reason: record.reason)
  }
}
