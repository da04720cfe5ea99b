import Scheduling
import TestSupport
import Testing

@testable import Coordination

/// A scheduler that is told only of changes decides as one that is told everything anew.
@Suite struct PlacementBookTests {
  @Test(arguments: 0..<20)
  func `what is told in pieces is decided as if it were told at once`(block: UInt64) {
    for seed in (block * 20)..<(block * 20 + 20) {
      var random = SplitMix64(seed: seed)
      var book = PlacementBook()
      var hosts = (0..<4).map { index in
        Placement.Host(
          name: "h\(index)", totalGPUs: [0, 2, 4, 8][index], freeGPUs: [0, 2, 4, 8][index], cpuSlots: 2,
          freeCPUSlots: 2,
          hardware: index == 3 ? "H200" : "MI300X")
      }
      var runs: [Int: Placement.QueuedRun] = [:]
      var attempts: [(holding: Placement.Holding, isLimited: Bool)?] = []
      var reservations: [String: [String]] = [:]
      var lastRun = 0
      for step in 0..<40 {
        let now = Double(step)
        switch Int.random(in: 0..<9, using: &random) {
        case 0...3:
          lastRun += 1
          let gpus = [0, 1, 2, 4, 8, 16].randomElement(using: &random) ?? 1
          runs[lastRun] = Placement.QueuedRun(
            id: String(lastRun), gpus: gpus, nodes: gpus == 2 ? 2 : 1, order: lastRun,
            comparison: Bool.random(using: &random) ? "c" : nil, sweep: "s\(lastRun % 2)",
            timeLimit: Bool.random(using: &random) ? 10 : nil)
          book.note(lastRun)
        case 4:
          if let run = runs.keys.sorted().randomElement(using: &random) {
            runs[run] = nil
            reservations[String(run)] = nil
            book.note(run)
          }
        case 5:
          if let index = attempts.indices.randomElement(using: &random) { attempts[index] = nil }
        case 6:
          let index = Int.random(in: 0..<hosts.count, using: &random)
          hosts[index].state = [.ready, .unreachable, .draining].randomElement(using: &random) ?? .ready
        case 8:
          // It tells something else of itself, as after a reboot.
          let index = Int.random(in: 0..<hosts.count, using: &random)
          hosts[index].hardware = Bool.random(using: &random) ? "H200" : "MI300X"
          hosts[index].isExclusive = Int.random(in: 0..<4, using: &random) == 0
          hosts[index].cpuSlots = Int.random(in: 0...2, using: &random)
          hosts[index].freeCPUSlots = hosts[index].cpuSlots
          if Int.random(in: 0..<4, using: &random) == 0 {
            hosts[index].totalGPUs = [nil, 2, 4, 8].randomElement(using: &random) ?? nil
            hosts[index].freeGPUs = hosts[index].totalGPUs ?? 0
          }
        default:
          // Lost: it holds what it held, and nobody knows for how long.
          if let index = attempts.indices.randomElement(using: &random) {
            attempts[index]?.isLimited = false
            attempts[index]?.holding.endsBy = nil
          }
        }
        // The last host goes and comes.
        let present = seed % 2 == 0 && (15..<20).contains(step) ? Array(hosts.dropLast()) : hosts
        let names = Set(present.map(\.name))
        let there = attempts.indices.filter { attempts[$0].map { names.isSuperset(of: $0.holding.hosts) } ?? false }
        let pinned = seed % 3 == 0 ? ["c": "H200"] : [:]

        let expected = Placement.decide(
          .init(
            runs: Array(runs.values), hosts: present, pinnedHardware: pinned, reservations: reservations,
            holdings: there.compactMap { attempts[$0]?.holding }, now: now)
        ).filter { if case .wait = $0 { false } else { true } }
        let news = hosts.indices.map { (index: $0, host: present.indices.contains($0) ? present[$0] : nil) }
        book.setHosts(news.filter { book.hosts[$0.index] != $0.host })
        for run in book.takeChangedRuns() { book.set(run, runs[run]) }
        for attempt in attempts.indices {
          let told = there.contains(attempt) ? attempts[attempt] : nil
          guard book.held[attempt] != told?.isLimited else { continue }
          book.setHolding(of: attempt, told?.holding, isLimited: told?.isLimited ?? false)
        }
        let decisions = book.decide(pinnedHardware: pinned, now: now)
        #expect(Set(decisions.map(plain)) == Set(expected.map(plain)), "seed \(seed), step \(step)")

        reservations = [:]
        for decision in decisions {
          guard let run = Int(decision.run) else { continue }
          switch decision {
          case .place(_, let places, let gpus):
            let limit = runs[run]?.timeLimit
            for place in places {
              attempts.append(
                (
                  Placement.Holding(
                    run: "attempt \(attempts.count)", sweep: runs[run]?.sweep ?? "", hosts: [place], gpus: gpus,
                    endsBy: limit.map { now + $0 + 60 }), limit != nil
                ))
            }
            runs[run] = nil
            book.note(run)
          case .impossible:
            // May still be taken one day: asked again.
            book.note(run)
          case .reserve(let id, let hosts): reservations[id] = hosts
          case .wait: continue
          }
        }
      }
    }
  }

  /// The order of the hosts that are kept means nothing.
  private func plain(_ decision: Placement.Decision) -> Placement.Decision {
    guard case .reserve(let run, let hosts) = decision else { return decision }
    return .reserve(run: run, hosts: hosts.sorted())
  }
}
