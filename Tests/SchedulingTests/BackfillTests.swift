import Scheduling
import TestSupport
import Testing

/// Whatever overtakes it, the run that is first in the queue starts no later than it would if nothing younger ever
/// started: over gangs of several hosts, exclusive hosts, and hosts that are drained and come back.
@Suite struct BackfillTests {
  /// A queue on its way, by the clock of the test.
  private struct World {
    struct Active {
      var run: Run
      var hosts: [String]
      /// When it ends, and when its time limit would end it.
      var end: Double
      var limit: Double
    }

    let seed: UInt64
    var random: SplitMix64
    var hosts: [Host]
    var scheduler: Scheduler
    /// In the order of their age.
    var waiting: [Run] = []
    var arrivals: [(at: Double, run: Run)] = []
    var minutes: [String: Double] = [:]
    var active: [Active] = []
    var now = 0.0
    /// Run → when it starts at the latest, told when it came to be first.
    var promises: [String: Double] = [:]
    /// What the test has seen of what it is about.
    var seen: [String: Int] = [:]
    var violations: [String] = []

    init(seed: UInt64, isExact: Bool) {
      self.seed = seed
      var random = SplitMix64(seed: seed)
      hosts = (0..<Int.random(in: 2...5, using: &random)).map { index in
        var host = gpuHost(
          "h\(index)", [4, 8, 8, 8].randomElement(using: &random) ?? 8,
          hardware: Int.random(in: 0..<4, using: &random) == 0 ? "MI300X" : "H200", slots: 2)
        host.isExclusive = Int.random(in: 0..<3, using: &random) == 0
        return host
      }
      scheduler = Scheduler(hosts: hosts)
      for index in 0..<40 {
        let (gpus, nodes) =
          [(1, 1), (1, 1), (2, 1), (2, 1), (4, 1), (8, 1), (8, 2), (4, 2), (0, 1), (0, 2)]
          .randomElement(using: &random) ?? (1, 1)
        let limit = Double(Int.random(in: 2...60, using: &random))
        let run = Run(
          id: "r\(index)", gpus: gpus, nodes: nodes, order: index, sweep: "s", timeLimit: limit)
        minutes[run.id] = isExact ? limit : limit * Double.random(in: 0.05...1, using: &random)
        arrivals.append((index < 15 ? 0 : Double.random(in: 0...90, using: &random), run))
      }
      // The younger come later.
      let times = arrivals.map(\.at).sorted()
      for index in arrivals.indices { arrivals[index].at = times[index] }
      self.random = random
    }

    /// Until everything has started. Hosts that are drained come back at the end.
    mutating func run() {
      var steps = 0
      while !arrivals.isEmpty || !waiting.isEmpty || !active.isEmpty {
        steps += 1
        while let next = arrivals.first, next.at <= now {
          arrivals.removeFirst()
          waiting.append(next.run)
          scheduler.add(next.run)
        }
        drain(isOver: steps > 150)
        decide()
        guard let next = (active.map(\.end) + arrivals.prefix(1).map(\.at)).min() else {
          guard hosts.contains(where: { $0.state == .draining }) else {
            violations.append("nothing runs, and \(waiting.map(\.id)) wait")
            return
          }
          steps = 1000
          continue
        }
        now = max(now, next)
        for item in active where item.end <= now { scheduler.release(item.run.id) }
        active.removeAll { $0.end <= now }
      }
    }

    private mutating func drain(isOver: Bool) {
      guard isOver ? hosts.contains(where: { $0.state == .draining }) : Int.random(in: 0..<12, using: &random) == 0
      else { return }
      for index in hosts.indices where isOver || Int.random(in: 0..<hosts.count, using: &random) == 0 {
        hosts[index].state = isOver || hosts[index].state == .draining ? .ready : .draining
        scheduler.set(hosts[index])
      }
      // Who drains a host takes its promises back.
      if !promises.isEmpty { seen["drained", default: 0] += 1 }
      promises = [:]
    }

    private mutating func decide() {
      var placed: [String: [String]] = [:]
      for decision in scheduler.decide(now: now) {
        switch decision {
        case .place(let run, let hosts, _): placed[run] = hosts
        case .impossible(let run, _): waiting.removeAll { $0.id == run }
        case .reserve, .wait: continue
        }
      }
      let head = waiting.first { placed[$0.id] == nil }
      for run in waiting where placed[run.id] != nil && (head.map { run.order < $0.order } ?? true) {
        begin(run, placed[run.id] ?? [])
      }
      if let head {
        // Before anything younger begins.
        let start = earliestStart(of: head)
        if promises[head.id] == nil { promises[head.id] = start }
        for run in waiting where placed[run.id] != nil && run.order > head.order {
          begin(run, placed[run.id] ?? [])
          guard start < .infinity else { continue }
          seen["overtaken", default: 0] += 1
          if head.nodes > 1 { seen[head.gpus == 0 ? "slot gang overtaken" : "gang overtaken", default: 0] += 1 }
        }
        if start < .infinity, hosts.contains(where: { $0.isExclusive && canHold($0, head) }) {
          seen["exclusive", default: 0] += 1
        }
      }
      waiting.removeAll { placed[$0.id] != nil }
    }

    private mutating func begin(_ run: Run, _ places: [String]) {
      if now > promises[run.id] ?? .infinity {
        violations.append("\(run.id) was promised \(promises[run.id] ?? 0) and starts at \(now)")
      }
      for place in places {
        let others = active.filter { $0.hosts.contains(place) }
        guard let host = hosts.first(where: { $0.name == place }), host.state == .ready, canHold(host, run),
          host.isExclusive
            ? others.isEmpty
            : run.gpus == 0
              ? others.count { $0.run.gpus == 0 } < host.cpuSlots
              : others.reduce(0) { $0 + $1.run.gpus } + run.gpus <= host.totalGPUs ?? 0
        else {
          violations.append("\(place) has no room for \(run.id)")
          continue
        }
      }
      active.append(
        Active(run: run, hosts: places, end: now + (minutes[run.id] ?? 0), limit: now + (run.timeLimit ?? 0)))
    }

    private func canHold(_ host: Host, _ run: Run) -> Bool { run.gpus <= host.totalGPUs ?? 0 }

    /// If nothing but it started any more, and all that runs took as long as it may.
    private func earliestStart(of run: Run) -> Double {
      let able = hosts.filter { $0.state == .ready && canHold($0, run) }
      let starts = Dictionary(grouping: able, by: \.hardware).values.compactMap { kind -> Double? in
        let times = kind.map { freeTime($0, run) }.sorted()
        return times.count < run.nodes ? nil : times[run.nodes - 1]
      }
      return starts.min() ?? .infinity
    }

    private func freeTime(_ host: Host, _ run: Run) -> Double {
      let here = active.filter { $0.hosts.contains(host.name) }
      let times = [now] + here.map(\.limit).sorted()
      return times.first { time in
        let left = here.filter { $0.limit > time }
        if host.isExclusive { return left.isEmpty }
        if run.gpus == 0 { return left.count { $0.run.gpus == 0 } < host.cpuSlots }
        return left.reduce(0) { $0 + $1.run.gpus } + run.gpus <= host.totalGPUs ?? 0
      } ?? .infinity
    }
  }

  /// - Parameter isExact: Each run takes just as long as it may: then nobody starts even a moment later than without
  ///   those who overtook it.
  @Test(arguments: 0..<8, [false, true])
  func theFirstOfTheQueueIsNeverDelayed(block: Int, isExact: Bool) {
    var seen: [String: Int] = [:]
    for seed in UInt64(block * 30)..<UInt64(block * 30 + 30) {
      var world = World(seed: seed, isExact: isExact)
      world.run()
      #expect(world.violations.isEmpty, "seed \(seed): \(world.violations.prefix(3).joined(separator: "; "))")
      seen.merge(world.seen, uniquingKeysWith: +)
    }
    for sight in ["overtaken", "gang overtaken", "slot gang overtaken", "exclusive", "drained"] {
      #expect(seen[sight, default: 0] > 0, "\(sight) never happened: \(seen)")
    }
  }

  /// Two hosts of which one has a run: what overtakes a gang of both ends before that one does.
  @Test(arguments: [false, true])
  func aGangsFreeHostIsKeptForIt(isExclusive: Bool) {
    var busy = gpuHost("a", 8)
    busy.isExclusive = isExclusive
    var scheduler = Scheduler(hosts: [busy, gpuHost("b", 8)])
    scheduler.hold("old", hosts: ["a"], gpus: 4, endsBy: 10)
    scheduler.add(Run(id: "gang", gpus: 8, nodes: 2, order: 0, timeLimit: 5))
    scheduler.add(Run(id: "long", gpus: 1, order: 1, timeLimit: 100))
    scheduler.add(Run(id: "short", gpus: 1, order: 2, timeLimit: 10))
    let decisions = scheduler.decide(now: 0)
    #expect(scheduler.reservations.mapValues { $0.sorted() } == ["gang": ["a", "b"]])
    #expect(decisions.contains(.place(run: "short", hosts: [isExclusive ? "b" : "a"], gpus: 1)))
    #expect(scheduler.reasons(for: "long").map(\.why).contains(.reserved(for: "gang")))
    #expect(scheduler.reasons(for: "long").map(\.why).contains(.taken) == isExclusive)
    scheduler.release("old")
    scheduler.release("short")
    #expect(scheduler.decide(now: 10).contains(.place(run: "gang", hosts: ["a", "b"], gpus: 8)))
  }

  @Test func anExclusiveHostTakesOneRunInOneGo() {
    var host = gpuHost("a", 8, slots: 4)
    host.isExclusive = true
    var scheduler = Scheduler(hosts: [host])
    for index in 0..<3 { scheduler.add(Run(id: "r\(index)", gpus: index, order: index, timeLimit: 10)) }
    #expect(scheduler.decide(now: 0).first == .place(run: "r0", hosts: ["a"], gpus: 0))
    #expect(scheduler.queuedCount == 2)
    #expect(scheduler.reasons(for: "r1").map(\.why) == [.taken])
    scheduler.release("r0")
    #expect(scheduler.decide(now: 0).first == .place(run: "r1", hosts: ["a"], gpus: 1))
  }

  /// What holds a kept host without a known end, since it was lost say, does not hold its head there.
  @Test func aHeadLeavesAHostThatNobodyKnowsTheEndOf() {
    var scheduler = Scheduler(hosts: [gpuHost("a", 8), gpuHost("b", 8)])
    scheduler.hold("one", hosts: ["a"], gpus: 8, endsBy: 10)
    scheduler.hold("other", hosts: ["b"], gpus: 8, endsBy: 20)
    scheduler.add(Run(id: "head", gpus: 8, order: 0, timeLimit: 5))
    #expect(scheduler.decide(now: 0) == [.reserve(run: "head", hosts: ["a"])])
    scheduler.release("one")
    scheduler.hold("one", hosts: ["a"], gpus: 8)
    #expect(scheduler.decide(now: 1) == [.reserve(run: "head", hosts: ["b"])])
  }
}
