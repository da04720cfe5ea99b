import OrderedCollections
import Scheduling
import Testing

typealias Run = Placement.QueuedRun
typealias Host = Placement.Host

func gpuHost(
  _ name: String, _ total: Int?, free: Int? = nil, labels: OrderedDictionary<String, String> = [:],
  state: Host.State = .ready, hardware: String = "H200", slots: Int = 1
) -> Host {
  Host(
    name: name, labels: labels, state: state, totalGPUs: total, freeGPUs: free ?? total ?? 0, cpuSlots: slots,
    freeCPUSlots: slots, hardware: hardware)
}

@Suite struct PlacementTests {
  @Test func ordersByPriorityThenAge() {
    let runs = [
      Run(id: "young", gpus: 1, order: 3), Run(id: "old", gpus: 1, order: 1),
      Run(id: "urgent", gpus: 1, priority: 5, order: 9),
    ]
    let decisions = Placement.decide(.init(runs: runs, hosts: [gpuHost("a", 2)]))
    #expect(
      decisions == [
        .place(run: "urgent", hosts: ["a"], gpus: 1), .place(run: "old", hosts: ["a"], gpus: 1),
        .reserve(run: "young", hosts: ["a"]),
        .wait(run: "young", reasons: [.init(host: "a", why: .gpusBusy(wanted: 1, free: 0))]),
      ])
  }

  @Test func packsTightlySoThatLargeGangsKeepRoom() {
    let runs = [Run(id: "small", gpus: 1, order: 1), Run(id: "large", gpus: 8, order: 2)]
    let decisions = Placement.decide(.init(runs: runs, hosts: [gpuHost("a", 8), gpuHost("b", 4)]))
    #expect(decisions == [.place(run: "small", hosts: ["b"], gpus: 1), .place(run: "large", hosts: ["a"], gpus: 8)])
  }

  @Test func overtakesTheHeadOnlyElsewhere() {
    let runs = [Run(id: "head", gpus: 8, order: 1), Run(id: "later", gpus: 2, order: 2)]
    let busy = gpuHost("a", 8, free: 6)
    #expect(
      Placement.decide(.init(runs: runs, hosts: [busy])) == [
        .reserve(run: "head", hosts: ["a"]),
        .wait(run: "head", reasons: [.init(host: "a", why: .gpusBusy(wanted: 8, free: 6))]),
        .wait(run: "later", reasons: [.init(host: "a", why: .reserved(for: "head"))]),
      ])
    let elsewhere = Placement.decide(.init(runs: runs, hosts: [busy, gpuHost("b", 8, free: 4)]))
    #expect(elsewhere.contains(.reserve(run: "head", hosts: ["a"])))
    #expect(elsewhere.last == .place(run: "later", hosts: ["b"], gpus: 2))
  }

  @Test func aReservationStaysWhereItWas() {
    let runs = [Run(id: "head", gpus: 8, order: 1)]
    let hosts = [gpuHost("a", 8, free: 2), gpuHost("b", 8, free: 6)]
    #expect(
      Placement.decide(.init(runs: runs, hosts: hosts, reservations: ["head": ["a"]])).first
        == .reserve(run: "head", hosts: ["a"]))
    #expect(Placement.decide(.init(runs: runs, hosts: hosts)).first == .reserve(run: "head", hosts: ["b"]))
    let drained = [gpuHost("a", 8, free: 2, state: .draining), hosts[1]]
    #expect(
      Placement.decide(.init(runs: runs, hosts: drained, reservations: ["head": ["a"]])).first
        == .reserve(run: "head", hosts: ["b"]))
  }

  @Test func poolsThatShareNoHostHaveHeadsOfTheirOwn() {
    let runs = [
      Run(id: "nvidia", gpus: 8, labels: ["gpu": "h200"], order: 1),
      Run(id: "amd", gpus: 8, labels: ["gpu": "mi300"], order: 2), Run(id: "small", gpus: 1, order: 3),
    ]
    let hosts = [
      gpuHost("a", 8, free: 7, labels: ["gpu": "h200"]), gpuHost("b", 8, free: 7, labels: ["gpu": "mi300"]),
    ]
    let decisions = Placement.decide(.init(runs: runs, hosts: hosts))
    #expect(decisions.contains(.reserve(run: "nvidia", hosts: ["a"])))
    #expect(decisions.contains(.reserve(run: "amd", hosts: ["b"])))
    #expect(
      decisions.last
        == .wait(
          run: "small",
          reasons: [
            .init(host: "a", why: .reserved(for: "nvidia")), .init(host: "b", why: .reserved(for: "amd")),
          ]))
  }

  @Test func runsWithoutGPUsTakeSlotsAndDisturbNoGang() {
    let runs = [
      Run(id: "head", gpus: 8, order: 1), Run(id: "c1", gpus: 0, order: 2), Run(id: "c2", gpus: 0, order: 3),
      Run(id: "c3", gpus: 0, order: 4),
    ]
    let hosts = [gpuHost("a", 8, free: 7), gpuHost("cpu", 0, slots: 1)]
    let decisions = Placement.decide(.init(runs: runs, hosts: hosts))
    #expect(decisions.contains(.place(run: "c1", hosts: ["cpu"], gpus: 0)))
    #expect(decisions.contains(.place(run: "c2", hosts: ["a"], gpus: 0)))
    guard case .wait(run: "c3", let reasons) = decisions.last else {
      Issue.record("c3 should wait: \(decisions)")
      return
    }
    #expect(reasons.contains(.init(host: "cpu", why: .cpuSlotsBusy)))
  }

  @Test func saysWhyHostByHost() {
    let run = Run(id: "r", gpus: 4, labels: ["gpu": "h200"], order: 1, excludedHosts: ["failed"])
    let label: OrderedDictionary<String, String> = ["gpu": "h200"]
    let hosts = [
      gpuHost("away", 8, labels: label, state: .unreachable), gpuHost("busy", 8, free: 3, labels: label),
      gpuHost("draining", 8, labels: label, state: .draining), gpuHost("failed", 8, labels: label),
      gpuHost("new", nil, labels: label), gpuHost("other", 8, labels: ["gpu": "a100"]), gpuHost("plain", 8),
      gpuHost("small", 2, labels: label),
    ]
    let decisions = Placement.decide(.init(runs: [run], hosts: hosts))
    guard case .wait(run: "r", let reasons) = decisions.last else {
      Issue.record("r should wait: \(decisions)")
      return
    }
    #expect(
      Explanation.lines(reasons) == [
        "away: unreachable", "busy: 3 GPUs free, needs 4", "draining: draining, takes nothing new",
        "failed: failed this run before; another host will do", "new: has not told how many GPUs it has",
        "other: label gpu is a100, needs h200", "plain: label gpu is missing, needs h200",
        "small: has 2 GPUs, needs 4",
      ])
    #expect(Explanation.summary(reasons).hasPrefix("unreachable (away); 3 GPUs free, needs 4 (busy); "))
  }

  @Test func aHostWhoseGPUsSomebodyElseHadIsTheLastToBeAsked() {
    let run = Run(id: "r", gpus: 1, order: 1, avoidedHosts: ["a"])
    #expect(
      Placement.decide(.init(runs: [run], hosts: [gpuHost("a", 1), gpuHost("b", 8)]))
        == [.place(run: "r", hosts: ["b"], gpus: 1)])
    // But is not waited for by way of another.
    #expect(
      Placement.decide(.init(runs: [run], hosts: [gpuHost("a", 1), gpuHost("b", 8, free: 0)]))
        == [.place(run: "r", hosts: ["a"], gpus: 1)])
  }

  @Test func repeatsOfACellGoToHostsOfTheirOwn() {
    let hosts = ["a", "b", "c"].map { gpuHost($0, 4) }
    let runs = (0..<8).map { Run(id: "r\($0)", gpus: 1, order: $0, cell: $0 < 4 ? "x" : nil) }
    let places = Placement.decide(.init(runs: runs, hosts: hosts)).compactMap { decision -> String? in
      if case .place(_, let hosts, _) = decision { hosts.first } else { nil }
    }
    // The fourth has no host of its own left, and does not wait for one.
    #expect(Set(places.prefix(3)) == ["a", "b", "c"] && places.count == 8)

    // One that comes later knows of the first, though that has ended.
    var scheduler = Scheduler(hosts: hosts)
    for run in [runs[0], Run(id: "waits", gpus: 8, order: 9)] { scheduler.add(run) }
    scheduler.set(gpuHost("big", 8, state: .unreachable))
    guard case .place(_, let first, _) = scheduler.decide().first else {
      Issue.record("r0 should be placed")
      return
    }
    scheduler.release("r0")
    scheduler.add(runs[1])
    let second = scheduler.decide().compactMap { if case .place(_, let hosts, _) = $0 { hosts } else { nil } }
    #expect(second.count == 1 && second.first != first)

    // A host that has to be avoided is avoided before one that a repeat has.
    let two = [gpuHost("a", 1, free: 0), gpuHost("b", 1), gpuHost("c", 8)]
    var small = Scheduler(hosts: two)
    small.add(Run(id: "r0", gpus: 1, order: 0, cell: "x"))
    small.add(Run(id: "waits", gpus: 8, nodes: 2, order: 9))
    #expect(small.decide().first == .place(run: "r0", hosts: ["b"], gpus: 1))
    small.release("r0")
    small.add(Run(id: "r1", gpus: 1, order: 1, avoidedHosts: ["c"], cell: "x"))
    #expect(small.decide().contains(.place(run: "r1", hosts: ["b"], gpus: 1)))
  }

  @Test func aHostThatFailedIsUsedWhereThereIsNoOther() {
    let run = Run(id: "r", gpus: 1, order: 1, excludedHosts: ["a"])
    #expect(
      Placement.decide(.init(runs: [run], hosts: [gpuHost("a", 1)])) == [.place(run: "r", hosts: ["a"], gpus: 1)])
    #expect(
      Placement.decide(.init(runs: [run], hosts: [gpuHost("a", 1), gpuHost("b", 8)]))
        == [.place(run: "r", hosts: ["b"], gpus: 1)])
    #expect(
      Placement.decide(.init(runs: [run], hosts: [gpuHost("a", 1), gpuHost("b", 8, state: .unreachable)]))
        == [.place(run: "r", hosts: ["a"], gpus: 1)])
  }

  @Test(arguments: [
    (Run(id: "r", gpus: 8, order: 1), "needs 8 GPUs; the largest host that matches has 4 (b)"),
    (
      Run(id: "r", gpus: 1, labels: ["gpu": "h200"], order: 1),
      "no host has the label gpu=h200; there is gpu=a100, gpu=l40"
    ),
    (Run(id: "r", gpus: 1, labels: ["zone": "x"], order: 1), "no host has the label zone=x"),
    (
      Run(id: "r", gpus: 1, labels: ["gpu": "a100", "rack": "2"], order: 1),
      "no host has all of the labels gpu=a100, rack=2"
    ),
    (Run(id: "r", gpus: 0, order: 1), "no host that matches takes runs without GPUs (cpu_slots: 0)"),
  ])
  func namesWhatCanNeverRun(run: Run, reason: String) {
    let hosts = [
      gpuHost("a", 2, labels: ["gpu": "a100", "rack": "1"], slots: 0),
      gpuHost("b", 4, labels: ["gpu": "l40", "rack": "2"], state: .unreachable, slots: 0),
    ]
    #expect(Placement.decide(.init(runs: [run], hosts: hosts)) == [.impossible(run: "r", reason: reason)])
  }

  @Test func anEmptyFleetCanRunNothing() {
    #expect(
      Placement.decide(.init(runs: [Run(id: "r", gpus: 0, order: 1)], hosts: []))
        == [.impossible(run: "r", reason: "the fleet has no hosts")])
  }

  @Test func whatMayYetBecomePossibleWaits() {
    let decisions = Placement.decide(
      .init(
        runs: [Run(id: "r", gpus: 8, order: 1)],
        hosts: [gpuHost("a", 2), gpuHost("new", nil, state: .unreachable, hardware: "")]))
    #expect(
      decisions == [
        .wait(
          run: "r",
          reasons: [
            .init(host: "a", why: .tooFewGPUs(wanted: 8, total: 2)), .init(host: "new", why: .unreachable),
          ])
      ])
  }

  @Test func aGangOverSeveralHostsIsTakenWholeOrNotAtAll() {
    let gang = Run(id: "gang", gpus: 8, nodes: 2, order: 1)
    let hosts = [
      gpuHost("a", 8), gpuHost("b", 8, free: 6), gpuHost("c", 8), gpuHost("other", 8, hardware: "MI300X"),
    ]
    #expect(Placement.decide(.init(runs: [gang], hosts: hosts)) == [.place(run: "gang", hosts: ["a", "c"], gpus: 8)])
    let later = Run(id: "later", gpus: 2, order: 2)
    let decisions = Placement.decide(.init(runs: [gang, later], hosts: [hosts[0], hosts[1], hosts[3]]))
    #expect(decisions.first == .reserve(run: "gang", hosts: ["a", "b"]))
    // Its share of a is kept, although it is free.
    #expect(decisions.last == .place(run: "later", hosts: ["other"], gpus: 2))
    guard case .wait(run: "gang", let reasons) = decisions[1] else {
      Issue.record("the gang should wait: \(decisions)")
      return
    }
    #expect(
      Explanation.lines(reasons) == [
        "a: has room for its share; 2 hosts at once are needed", "b: 6 GPUs free, needs 8",
        "other: 6 GPUs free, needs 8",
      ])
    #expect(
      Placement.decide(.init(runs: [gang], hosts: [hosts[0], hosts[3]])) == [
        .impossible(
          run: "gang", reason: "needs 2 hosts of one kind with 8 GPUs each; only a, other would do")
      ])
  }

  @Test func aGangUsesAHostThatFailedItWhereTheOthersAreOfSeveralKinds() {
    var gang = Run(id: "gang", gpus: 1, nodes: 2, order: 1)
    gang.excludedHosts = ["a"]
    let hosts = [gpuHost("a", 8), gpuHost("b", 8), gpuHost("other", 8, hardware: "MI300X")]
    #expect(Placement.decide(.init(runs: [gang], hosts: hosts)) == [.place(run: "gang", hosts: ["a", "b"], gpus: 1)])
    let third = hosts + [gpuHost("c", 8)]
    #expect(Placement.decide(.init(runs: [gang], hosts: third)) == [.place(run: "gang", hosts: ["b", "c"], gpus: 1)])
  }

  @Test func overtakesOnAKeptHostOnlyWhatEndsInTime() {
    var scheduler = Scheduler(hosts: [gpuHost("a", 8)])
    scheduler.hold("long", hosts: ["a"], gpus: 4, endsBy: 100)
    scheduler.add(Run(id: "head", gpus: 8, order: 1))
    scheduler.add(Run(id: "short", gpus: 2, order: 2, timeLimit: 50))
    scheduler.add(Run(id: "late", gpus: 2, order: 3, timeLimit: 101))
    scheduler.add(Run(id: "unlimited", gpus: 2, order: 4))
    #expect(
      scheduler.decide(now: 0) == [.reserve(run: "head", hosts: ["a"]), .place(run: "short", hosts: ["a"], gpus: 2)])
    #expect(scheduler.reasons(for: "late") == [.init(host: "a", why: .reserved(for: "head"))])
    // Everything in its way has ended.
    scheduler.release("long")
    scheduler.release("short")
    #expect(
      scheduler.decide(now: 60) == [.place(run: "head", hosts: ["a"], gpus: 8), .reserve(run: "late", hosts: ["a"])])
  }

  @Test func whatTheHeadLeavesOverIsFreeForAll() {
    var scheduler = Scheduler(hosts: [gpuHost("a", 8)])
    scheduler.hold("long", hosts: ["a"], gpus: 6, endsBy: 100)
    scheduler.add(Run(id: "head", gpus: 6, order: 1))
    for id in 2...4 { scheduler.add(Run(id: "one\(id)", gpus: 1, order: id)) }
    #expect(
      scheduler.decide(now: 0) == [
        .reserve(run: "head", hosts: ["a"]), .place(run: "one2", hosts: ["a"], gpus: 1),
        .place(run: "one3", hosts: ["a"], gpus: 1),
      ])
  }

  @Test func sweepsTakeTurns() {
    var scheduler = Scheduler(hosts: [gpuHost("a", 8)])
    for id in 0..<20 { scheduler.add(Run(id: "old\(id)", gpus: 1, order: id, sweep: "old")) }
    for id in 0..<2 { scheduler.add(Run(id: "new\(id)", gpus: 2, order: 100 + id, sweep: "new")) }
    var gpus: [String: Int] = [:]
    for case .place(let run, _, let count) in scheduler.decide() { gpus[String(run.prefix(3)), default: 0] += count }
    #expect(gpus == ["old": 4, "new": 4])
  }

  @Test func sweepsWithoutGPUsTakeTurnsToo() {
    var scheduler = Scheduler(hosts: [gpuHost("a", 0, slots: 8)])
    for id in 0..<20 { scheduler.add(Run(id: "old\(id)", gpus: 0, order: id, sweep: "old")) }
    for id in 0..<20 { scheduler.add(Run(id: "new\(id)", gpus: 0, order: 100 + id, sweep: "new")) }
    var places: [String: [String]] = [:]
    for case .place(let run, _, _) in scheduler.decide() { places[String(run.prefix(3)), default: []].append(run) }
    #expect(places.mapValues(\.count) == ["old": 4, "new": 4])
    // What has ended counts no more.
    for run in places["old", default: []] { scheduler.release(run) }
    let next = scheduler.decide().compactMap { if case .place(let run, _, _) = $0 { run.prefix(3) } else { nil } }
    #expect(next == ["old", "old", "old", "old"])
  }

  @Test func aComparisonTakesTheHardwareForMostOfWhatStillWaits() {
    let a = Host(name: "a", labels: ["kind": "x"], totalGPUs: 1, freeGPUs: 1, hardware: "A")
    let b = Host(name: "b", labels: ["kind": "y"], totalGPUs: 1, freeGPUs: 1, hardware: "B")
    var scheduler = Scheduler(hosts: [a, b])
    for (order, kind) in ["x", "x", "x", "y", "y"].enumerated() {
      scheduler.add(Run(id: "\(kind)\(order)", gpus: 1, labels: ["kind": kind], order: order, comparison: "c"))
    }
    for id in ["x0", "x2"] { scheduler.removeQueued(id) }
    #expect(scheduler.decide().contains(.place(run: "y3", hosts: ["b"], gpus: 1)))
  }

  @Test func aComparisonWithAGangTakesTheHardwareThatHasEnoughHosts() {
    // One large host of one kind, with the more GPUs, and two smaller ones of another.
    let hosts = [
      gpuHost("large", 32, hardware: "H200"), gpuHost("a1", 8, hardware: "A100"), gpuHost("a2", 8, hardware: "A100"),
    ]
    let runs = [
      Run(id: "gang", gpus: 8, nodes: 2, order: 1, comparison: "c"),
      Run(id: "one", gpus: 8, order: 2, comparison: "c"),
    ]
    let decisions = Placement.decide(.init(runs: runs, hosts: hosts))
    #expect(decisions.first == .place(run: "gang", hosts: ["a1", "a2"], gpus: 8))
  }

  @Test func aComparisonTakesTheHardwareOfTheLargestGangOverItsHosts() {
    let hosts = [
      gpuHost("h", 8, labels: ["kind": "x"], hardware: "H200"),
      gpuHost("a1", 4, labels: ["kind": "y"], hardware: "A100"),
      gpuHost("a2", 4, labels: ["kind": "y"], hardware: "A100"),
      gpuHost("a3", 4, labels: ["kind": "y"], hardware: "A100"),
    ]
    let runs = [
      Run(id: "one", gpus: 8, labels: ["kind": "x"], order: 1, comparison: "c"),
      Run(id: "gang", gpus: 4, nodes: 3, labels: ["kind": "y"], order: 2, comparison: "c"),
    ]
    #expect(
      Placement.decide(.init(runs: runs, hosts: hosts)).contains(
        .place(run: "gang", hosts: ["a1", "a2", "a3"], gpus: 4)))
  }

  @Test func aHostThatHasNotToldItsGPUsHoldsUpNoComparison() {
    let hosts = [gpuHost("small", 2), gpuHost("new", nil, state: .unreachable, hardware: "")]
    let runs = [
      Run(id: "large", gpus: 8, order: 1, comparison: "c"), Run(id: "one", gpus: 1, order: 2, comparison: "c"),
    ]
    let decisions = Placement.decide(.init(runs: runs, hosts: hosts))
    #expect(decisions.contains(.place(run: "one", hosts: ["small"], gpus: 1)))
  }

  @Test func hostsComeAndGoAndWhatTheyHoldStays() {
    var scheduler = Scheduler(hosts: [gpuHost("a", 2)])
    scheduler.add(Run(id: "r1", gpus: 2, order: 1))
    scheduler.add(Run(id: "r2", gpus: 1, order: 2))
    #expect(scheduler.decide() == [.place(run: "r1", hosts: ["a"], gpus: 2), .reserve(run: "r2", hosts: ["a"])])
    scheduler.set(gpuHost("a", 2, state: .draining))
    scheduler.set(gpuHost("b", 1))
    #expect(scheduler.decide() == [.place(run: "r2", hosts: ["b"], gpus: 1)])
    scheduler.set(gpuHost("a", 2))
    scheduler.add(Run(id: "r3", gpus: 1, order: 3))
    #expect(scheduler.decide() == [.reserve(run: "r3", hosts: ["a"])])
    scheduler.release("r1")
    #expect(scheduler.decide() == [.place(run: "r3", hosts: ["a"], gpus: 1)])
    #expect(scheduler.queuedCount == 0)
  }

  @Test func oneComparisonUsesOneHardwareClass() {
    let runs = [
      Run(id: "r1", gpus: 1, order: 1, comparison: "s"), Run(id: "r2", gpus: 2, order: 2, comparison: "s"),
      Run(id: "r8", gpus: 8, order: 3, comparison: "s"), Run(id: "free", gpus: 1, order: 4),
    ]
    let hosts = [gpuHost("a1", 4, hardware: "A100"), gpuHost("h1", 8, hardware: "H200")]
    let decisions = Placement.decide(.init(runs: runs, hosts: hosts))
    #expect(decisions.contains(.place(run: "r1", hosts: ["h1"], gpus: 1)))
    #expect(decisions.contains(.place(run: "r2", hosts: ["h1"], gpus: 2)))
    #expect(decisions.contains(.reserve(run: "r8", hosts: ["h1"])))
    #expect(decisions.contains(.place(run: "free", hosts: ["a1"], gpus: 1)))
    let pinned = Placement.decide(.init(runs: [runs[0]], hosts: hosts, pinnedHardware: ["s": "A100"]))
    #expect(pinned == [.place(run: "r1", hosts: ["a1"], gpus: 1)])
    let tooLarge = Placement.decide(.init(runs: [runs[2]], hosts: hosts, pinnedHardware: ["s": "A100"]))
    #expect(
      tooLarge == [
        .impossible(
          run: "r8",
          reason: "needs 8 GPUs; the largest host that matches has 4 (a1); "
            + "larger ones are not of the comparison's hardware (A100)")
      ])
  }
}
