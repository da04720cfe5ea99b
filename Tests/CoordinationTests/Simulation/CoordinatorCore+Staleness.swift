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
    for sweep in sweeps.indices
    where core.sweeps[sweep].pin != firstPin(from: sweeps[sweep].runs.lowerBound, of: sweep) {
      found.append("\(sweeps[sweep].id) keeps to the hardware of another attempt than its first")
    }
    return found
  }
}
