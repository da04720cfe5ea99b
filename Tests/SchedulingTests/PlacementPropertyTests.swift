import OrderedCollections
import Scheduling
import TestSupport
import Testing

@Suite struct PlacementPropertyTests {
  static func snapshot(_ seed: UInt64) -> Placement.Snapshot {
    var random = SplitMix64(seed: seed)
    let hosts = (0..<Int.random(in: 0...6, using: &random)).map { index in
      let total = [0, 1, 2, 4, 8, nil].randomElement(using: &random) ?? 8
      let slots = Int.random(in: 0...2, using: &random)
      return Host(
        name: "h\(index)", labels: ["gpu": ["h200", "mi300"].randomElement(using: &random) ?? "h200"],
        state: [.ready, .ready, .ready, .unreachable, .draining, .full].randomElement(using: &random) ?? .ready,
        totalGPUs: total, freeGPUs: Int.random(in: 0...(total ?? 0), using: &random), cpuSlots: slots,
        freeCPUSlots: Int.random(in: 0...slots, using: &random),
        hardware: ["H200", "MI300X"].randomElement(using: &random) ?? "")
    }
    let runs = (0..<Int.random(in: 0...20, using: &random)).map { index in
      Run(
        id: "r\(index)", gpus: [0, 0, 1, 1, 2, 4, 8, 16].randomElement(using: &random) ?? 1,
        nodes: Int.random(in: 0...19, using: &random) == 0 ? 2 : 1,
        labels: Bool.random(using: &random) ? [:] : ["gpu": "h200"],
        priority: Int.random(in: 0...2, using: &random), order: Int.random(in: 0...10, using: &random),
        comparison: [nil, "s", "t"].randomElement(using: &random) ?? nil,
        excludedHosts: Bool.random(using: &random) ? [] : ["h0"])
    }
    return Placement.Snapshot(runs: runs, hosts: hosts)
  }

  @Test(arguments: 0..<40)
  func keepsTheRules(block: Int) throws {
    for offset in 0..<50 {
      let seed = UInt64(block * 50 + offset)
      let snapshot = Self.snapshot(seed)
      let decisions = Placement.decide(snapshot)

      // The same question in another order has the same answer.
      var random = SplitMix64(seed: seed ^ 0xFFFF)
      var shuffled = snapshot
      shuffled.runs.shuffle(using: &random)
      shuffled.hosts.shuffle(using: &random)
      #expect(Placement.decide(shuffled) == decisions, "seed \(seed)")

      // Each run has one answer, a reservation aside.
      let answered = decisions.compactMap { decision -> String? in
        switch decision {
        case .place(let run, _, _), .wait(let run, _), .impossible(let run, _): run
        case .reserve: nil
        }
      }
      #expect(answered.sorted() == snapshot.runs.map(\.id).sorted(), "seed \(seed)")

      let runs = Dictionary(uniqueKeysWithValues: snapshot.runs.map { ($0.id, $0) })
      let hosts = Dictionary(uniqueKeysWithValues: snapshot.hosts.map { ($0.name, $0) })
      var gpus: [String: Int] = [:]
      var slots: [String: Int] = [:]
      var classes: [String: Set<String>] = [:]
      // GPUs that the run a host is kept for leaves over.
      var spare: [String: Int] = [:]
      for decision in decisions {
        switch decision {
        case .place(let id, let names, let count):
          let run = try #require(runs[id])
          #expect(Set(names).count == run.nodes, "seed \(seed)")
          #expect(Set(names.map { hosts[$0]?.hardware }).count == 1, "seed \(seed)")
          for name in names {
            let host = try #require(hosts[name])
            #expect(count == run.gpus && host.state == .ready, "seed \(seed)")
            #expect(run.labels.allSatisfy { host.labels[$0.key] == $0.value }, "seed \(seed)")
            if count == 0 { slots[name, default: 0] += 1 } else { gpus[name, default: 0] += count }
            if let key = run.comparison { classes[key, default: []].insert(host.hardware) }
            if count > 0, let left = spare[name] {
              spare[name] = left - count
              #expect(left >= count, "seed \(seed): \(id) takes GPUs that are kept")
            }
          }
        case .reserve(let id, let names):
          let run = try #require(runs[id])
          var isFull = false
          for name in names {
            let host = try #require(hosts[name])
            #expect((host.totalGPUs ?? 0) >= run.gpus && host.state == .ready, "seed \(seed)")
            guard run.gpus > 0 else {
              // A gang of runs without GPUs.
              if host.freeCPUSlots - slots[name, default: 0] < 1 { isFull = true }
              continue
            }
            if host.freeGPUs - gpus[name, default: 0] < run.gpus { isFull = true }
            spare[name] = max(0, host.freeGPUs - gpus[name, default: 0] - run.gpus)
          }
          #expect(isFull && names.count == run.nodes, "seed \(seed): it fits and waits")
        case .impossible(let id, let reason):
          let run = try #require(runs[id])
          #expect(!reason.isEmpty)
          let fits = snapshot.hosts.contains { host in
            run.labels.allSatisfy { host.labels[$0.key] == $0.value }
              && (run.gpus == 0 ? host.cpuSlots > 0 : (host.totalGPUs ?? .max) >= run.gpus)
          }
          if run.comparison == nil, run.nodes == 1 { #expect(!fits, "seed \(seed): \(id) is possible") }
        case .wait(_, let reasons):
          #expect(reasons.map(\.host) == hosts.keys.sorted(), "seed \(seed)")
        }
      }
      for (name, count) in gpus { #expect(count <= hosts[name]?.freeGPUs ?? 0, "seed \(seed)") }
      for (name, count) in slots { #expect(count <= hosts[name]?.freeCPUSlots ?? 0, "seed \(seed)") }
      for (_, used) in classes { #expect(used.count == 1, "seed \(seed)") }
    }
  }

  /// Runs a queue to its end on hosts that never fail, with arbitrary run times: everything is started once, and a
  /// head starts at the latest when what ran on its reserved host has ended.
  @Test(arguments: 0..<20)
  func drainsTheQueueAndNeverDelaysAHead(block: Int) throws {
    for offset in 0..<10 {
      let seed = UInt64(1_000 + block * 10 + offset)
      var random = SplitMix64(seed: seed)
      let hosts = (0..<3).map { gpuHost("h\($0)", [4, 8, 8][$0]) }
      var queue = (0..<40).map { index in
        Run(id: "r\(index)", gpus: [0, 1, 1, 2, 4, 8].randomElement(using: &random) ?? 1, order: index)
      }
      var active: [(run: Run, host: String, end: Int)] = []
      var reservations: [String: [String]] = [:]
      var deadline: [String: Int] = [:]
      var started: Set<String> = []
      var now = 0
      while !queue.isEmpty {
        let state = hosts.map { host in
          var host = host
          for item in active where item.host == host.name {
            if item.run.gpus == 0 { host.freeCPUSlots -= 1 } else { host.freeGPUs -= item.run.gpus }
          }
          return host
        }
        let decisions = Placement.decide(.init(runs: queue, hosts: state, reservations: reservations))
        reservations = [:]
        for case .reserve(let run, let hosts) in decisions { reservations[run] = hosts }
        for case .place(let id, let places, _) in decisions {
          let host = try #require(places.first)
          let run = try #require(queue.first { $0.id == id })
          #expect(started.insert(id).inserted)
          #expect(now <= deadline[id] ?? .max, "seed \(seed): \(id) was delayed")
          active.append((run, host, now + Int.random(in: 1...50, using: &random)))
        }
        queue.removeAll { started.contains($0.id) }
        // The first of the queue is a head from now on.
        if let head = queue.first, let host = reservations[head.id]?.first, deadline[head.id] == nil {
          deadline[head.id] = active.filter { $0.host == host && $0.run.gpus > 0 }.map(\.end).max() ?? now
        }
        guard let next = active.map(\.end).min() else {
          Issue.record("seed \(seed): nothing runs and \(queue.count) wait")
          return
        }
        now = next
        active.removeAll { $0.end <= now }
      }
      #expect(started.count == 40)
    }
  }
}
