import Ledger
import Scheduling

/// The store without room: what has ended keeps its true end at its host, and waits to be gathered. Meanwhile hosts are
/// polled, nothing new is started, and one gather at a time finds out whether there is room again.
extension CoordinatorCore {
  struct StoreRoom: Sendable {
    /// How often in a row the store had none; 0: it has room, as far as is known.
    var refusals = 0
    /// Steady time before which no gather that was refused is tried again: each has its host read its files anew.
    var retryAt = -Double.infinity
  }

  mutating func storeIsFull(_ index: Int, _ why: String) {
    guard attempts[index].record.state == .exited else { return }
    let isNews = room.refusals == 0
    // Gathers that were under way together are refused together, and count once.
    if isNews || attempts[index].roomTries > 0 {
      room.refusals += 1
      room.retryAt = now.steady + min(60, Double(1 << min(room.refusals, 6)))
    }
    attempts[index].roomTries += 1
    if isNews { output.progress.append(.storeFull(why)) }
    stopIfCancelled(index)
    guard attempts[index].record.state == .exited else { return }
    if let run = attempts[index].run, runs[run].record.why == nil {
      set(
        run, .gathering, why: "waits for room in the store", host: name(attempts[index].host), attempt: id(index),
        kind: "store-full", detail: why)
    }
  }

  /// In a sweep that is being cancelled nobody waits for room, nor long for files: what has ended leaves them at its hosts.
  /// - Parameter why: The reason, of which a clause tells where they are.
  mutating func leaveFiles(of index: Int, _ run: Int, _ why: String) {
    let hosts = shares(with: index).map { name(attempts[$0].host) }
    let why = "\(why), which stay at \(hosts.joined(separator: ", "))"
    closeShares(of: index, but: index, why: why)
    close(index, .lost, why: why)
    set(run, .cancelled, why: why, host: name(attempts[index].host), attempt: id(index), kind: "cancelled")
  }

  /// Of sweeps that are being cancelled: what is under way for too long is to be broken off, and what cannot even begin is
  /// left.
  mutating func leaveLateFiles() {
    guard sweeps.contains(where: { $0?.isCancelling == true && $0?.isFinished == false }) else { return }
    for host in hosts.indices {
      for index in hosts[host].watched {
        guard attempts[index].record.state == .exited, let since = attempts[index].gatherSince,
          let run = attempts[index].run, let sweep = sweeps[runs[run].sweep], sweep.isCancelling
        else { continue }
        let end = max(since, sweep.cancelledAt) + settings.cancelPatience
        if now.steady < end {
          output.wakeAt = min(output.wakeAt, end)
        } else if let command = attempts[index].command {
          output.brokenOff.append(command)
        } else if attempts[index].need == .gather {
          leaveLateFiles(of: index)
        }
      }
    }
  }

  mutating func leaveLateFiles(of index: Int) {
    guard let run = attempts[index].run, attempts[index].record.state == .exited else { return }
    leaveFiles(of: index, run, "cancelled before its files were here")
  }

  /// Files of an attempt are in the store. Small ones may have found room where others do not.
  mutating func storeHasTaken(_ index: Int) {
    if attempts[index].roomTries > 0, room.refusals > 0 { storeHasRoom() }
  }

  private mutating func storeHasRoom() {
    room = StoreRoom()
    isPlacingDue = true
    output.wakeAt = now.steady
    for host in hosts.indices { hosts[host].restsUntil = -.infinity }
    output.progress.append(.storeHasRoom)
  }

  /// The gather that may be tried while the store is full, the least tried first; nil while another is under way.
  mutating func gatherToTry() -> Int? {
    guard room.refusals > 0 else { return nil }
    let waiting = hosts.flatMap(\.watched).filter { attempts[$0].need == .gather }
    guard !waiting.isEmpty else {
      storeHasRoom()
      return nil
    }
    if room.retryAt > now.steady { output.wakeAt = min(output.wakeAt, room.retryAt) }
    guard hosts.allSatisfy({ $0.gathers == 0 }) else { return nil }
    let ready = waiting.filter { index in
      let host = hosts[attempts[index].host]
      return host.isReachable && host.retryAt <= now.steady && attempts[index].notBefore <= now.steady
        && (attempts[index].roomTries == 0 || room.retryAt <= now.steady)
    }
    guard let index = ready.min(by: { (attempts[$0].roomTries, $0) < (attempts[$1].roomTries, $1) }) else { return nil }
    hosts[attempts[index].host].restsUntil = -.infinity
    return index
  }
}
