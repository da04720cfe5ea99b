import Ledger
import Scheduling

@testable import Coordination

extension CoordinatorCore {
  /// Where what the core keeps count of differs from what a look at everything tells.
  var staleness: [String] {
    var core = self
    core.sortOutHosts()
    var found: [String] = []
    if Array(core.troubled) != hosts.indices.filter({ hosts[$0].trouble != nil }) {
      found.append("\(core.troubled) are not the hosts in trouble")
    }
    if Array(core.unknown) != hosts.indices.filter({ hosts[$0].facts == nil }) {
      found.append("\(core.unknown) are not the hosts that never told who they are")
    }
    guard core.isPlacingAllowed else { return found }
    core.tellScheduler()
    for host in hosts.indices where core.book.hosts[host] != (isInPlay(host) ? placementHost(host) : nil) {
      found.append("the scheduler was told otherwise of \(name(host))")
    }
    let watched = Set(hosts.indices.filter(isInPlay).flatMap { hosts[$0].watched })
    for index in attempts.indices {
      let isHolding = watched.contains(index) && attempts[index].occupies
      let isLimited = [.launching, .running].contains(attempts[index].record.state)
      if core.book.held[index] != (isHolding ? isLimited : nil) {
        found.append("the scheduler was told otherwise of what \(id(index)) holds")
      }
    }
    for place in sweeps.indices {
      guard let sweep = sweeps[place] else {
        if runs.indices(of: place).count + attempts.indices(of: place + 1).count > 0 {
          found.append("something is left of the sweep that was at \(place)")
        }
        continue
      }
      if core.sweeps[place]?.pin != firstPin(from: sweep.runs.lowerBound, of: place) {
        found.append("\(sweep.id) keeps to the hardware of another attempt than its first")
      }
      let own = attempts.indices(of: place + 1)
      let watches = hosts.flatMap(\.watched).count { own.contains($0) }
      let commands = pending.values.flatMap(\.kind.attempts).count { own.contains($0) }
      if sweep.ties != watches + commands { found.append("\(sweep.ties) ties of \(sweep.id) are counted wrongly") }
    }
    let open = Set(runs.indices.filter { !runs[$0].record.state.isFinal })
    if !queue.union(delayed).isSubset(of: open) {
      found.append("runs wait that are not to be placed")
    }
    if !Set(attempts.indices).isSuperset(of: attemptIndex.values) {
      found.append("attempts are known that are forgotten")
    }
    return found
  }
}
