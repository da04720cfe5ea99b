import Launching
import Ledger
import OrderedCollections
import Planning
import Scheduling
import Testing
import Transports

@testable import Coordination

/// Single courses of the core that a person can follow; `SimulationTests` tries the many.
@Suite struct CoordinatorCoreTests {
  private struct StoreFull: Error {}

  private typealias Bench = CoreBench

  private func running(_ host: String, state: AttemptRecord.State = .running) -> AttemptRecord {
    var attempt = AttemptRecord(
      id: "s-run1-try1", sweep: "s", run: "r0", number: 1, host: host, token: "t", gpus: 1, now: 1e9)
    attempt.state = state
    return attempt
  }

  @Test(arguments: [
    (1.9, nil), (-1.9, nil), (7.2, "its clock is 7 s ahead of ours"), (-90.0, "its clock is 90 s behind ours"),
  ])
  func aClockThatIsOffIsToldWhenTheHostIsMet(offset: Double, words: String?) throws {
    var bench = Bench(hosts: ["a"])
    var facts = Bench.facts
    facts.clockOffset = offset
    bench.answer { $0.action == .enrol ? .facts(facts) : nil }
    let summaries = bench.last.progress.compactMap { if case .hostReady(_, let summary) = $0 { summary } else { nil } }
    #expect(summaries == ["1 CPUs, 1 GPUs" + (words.map { "; " + $0 } ?? "")])
  }

  @Test func aHostThatEndsRunsWithTheirLoginIsToldAndUsed() {
    var bench = Bench(hosts: ["a"])
    var facts = Bench.facts
    facts.endedAtLogout = "ada"
    bench.answer { $0.action == .enrol ? .facts(facts) : nil }
    #expect(bench.alarms.count == 1)
    #expect(bench.alarms.first?.contains("KillExcludeUsers=root ada") == true)
    #expect(bench.launches.count == 1)
  }

  @Test func theIntentIsCommittedBeforeTheLaunchIsGivenOut() throws {
    var bench = Bench(hosts: ["a"])
    bench.enrol("a")
    let launch = try #require(bench.launches.first)
    #expect(bench.writes.contains(.begin(launch)))
  }

  @Test(arguments: [(nil, "s"), (1, "t"), (-1, "s")]) func theSweepOfHigherPriorityGoesFirst(
    priority: Int?, first: String
  ) throws {
    var bench = Bench(hosts: ["a"])
    var plan = Plan(
      name: "t", baseDirectory: "/", axes: [],
      cells: [Cell(id: "c", values: [:], run: RunSpec(command: "true", gpus: 1))])
    plan.priority = priority
    bench.tell(
      .added(
        SweepRows(
          sweep: SweepRecord(id: "t", job: "t", state: .active, created: 1), plan: plan,
          runs: [RunRecord(sweep: "t", name: "later", position: 0, cell: "c", repetition: 1)], attempts: [])))
    bench.enrol("a")
    #expect(bench.launches.map(\.sweep) == [first])
  }

  @Test(arguments: [(ExitRecord.gpuBusy, 0), (ExitRecord.notReleased, 0), (ExitRecord.terminated, 1)])
  func aGangThatOneHostSpoiltIsTriedAgain(_ reason: String, retries: Int) {
    var bench = Bench(hosts: ["a", "b"], nodes: 2, retries: retries)
    for host in ["a", "b"] { bench.enrol(host) }
    for _ in 0..<2 {
      bench.answer { if case .launch = $0.action { .launched(.started, directory: "/w") } else { nil } }
    }
    for _ in 0..<2 { bench.answer { if case .release = $0.action { .released } else { nil } } }
    let record = ExitRecord(code: 75, signal: nil, started: 1, ended: 2, reason: reason)
    bench.answer { command in
      guard case .poll(let ids) = command.action, command.host == "b" else { return nil }
      return .statuses(Dictionary(uniqueKeysWithValues: ids.map { ($0, .exited(record)) }))
    }
    #expect(bench.state(of: "r0") == .queued)
    // Nothing of it lives on at either host when it is tried again.
    #expect(bench.stops.sorted() == ["s-run1-try1-node0 superseded", "s-run1-try1-node1 superseded"])
  }

  @Test func aShareThatLetGoBeforeItsGangHadComeTogetherIsNotCharged() {
    var bench = Bench(hosts: ["a", "b"], nodes: 2, retries: 0)
    for host in ["a", "b"] { bench.enrol(host) }
    bench.answer { if case .launch = $0.action, $0.host == "a" { .launched(.started, directory: "/w") } else { nil } }
    let record = ExitRecord(code: 143, signal: 15, started: 1, ended: 2, reason: ExitRecord.notReleased)
    bench.answer { command in
      guard case .poll(let ids) = command.action, command.host == "a" else { return nil }
      return .statuses(Dictionary(uniqueKeysWithValues: ids.map { ($0, .exited(record)) }))
    }
    #expect(bench.state(of: "r0") == .queued)
  }

  @Test func aRunOfWhichNothingTellsAnyMoreEndsWhenItsTimeIsOver() {
    var bench = Bench(hosts: ["a"], retries: 0)
    bench.enrol("a")
    bench.answer { if case .launch = $0.action { .launched(.started, directory: "/w") } else { nil } }
    func look() {
      bench.answer { command in
        guard case .poll(let ids) = command.action else { return nil }
        // The age of its directory says nothing.
        return .statuses(Dictionary(uniqueKeysWithValues: ids.map { ($0, .claimed(ageSeconds: 99_999)) }))
      }
    }
    look()
    bench.pass(3_600)
    look()
    #expect(bench.state(of: "r0") == .running)
    bench.pass(300)
    look()
    #expect(bench.state(of: "r0") == .lost)
    #expect(bench.stops == ["s-run1-try1 superseded"])
  }

  @Test func aShareThatHadNoRoomToBeginIsReleasedLater() {
    var bench = Bench(hosts: ["a", "b"], nodes: 2)
    for host in ["a", "b"] { bench.enrol(host) }
    for _ in 0..<2 {
      bench.answer { if case .launch = $0.action { .launched(.started, directory: "/w") } else { nil } }
    }
    func releases() -> [String] {
      bench.commands.compactMap { if case .release = $0.action { $0.host } else { nil } }
    }
    for answer in [Answer.released, .notReleased("no room")] {
      bench.answer { if case .release = $0.action { answer } else { nil } }
    }
    #expect(releases().isEmpty)
    #expect(bench.core.hosts.allSatisfy { $0.trouble == nil })
    bench.pass(2)
    #expect(releases().count == 1)
  }

  @Test func aGangMeetsAtTheAddressThatTheFleetGives() {
    var bench = Bench(hosts: ["a", "b"], addresses: ["a": "10.0.0.7", "b": "10.0.0.8"], nodes: 2)
    for host in ["a", "b"] { bench.enrol(host) }
    let shares = bench.launches.sorted { $0.id < $1.id }
    #expect(shares.count == 2)
    #expect(Set(shares.compactMap(\.share?.masterAddress)) == [shares.first?.host == "a" ? "10.0.0.7" : "10.0.0.8"])
  }

  @Test func anExclusiveHostIsExclusiveBetweenCoordinatorsToo() {
    let cell = Cell(id: "c", values: [:], run: RunSpec(command: "true"))
    let run = RunRecord(sweep: "s", name: "r0", position: 0, cell: "c", repetition: 1)
    for isExclusive in [true, false] {
      let host = Fleet.Host(name: "a", address: .local, isExclusive: isExclusive)
      #expect(
        Launch.spec(running("a"), run: run, cell: cell, host: host, directory: "/w/attempts/a").isExclusive
          == isExclusive)
    }
  }

  @Test func aFullStoreGivesOutNothing() {
    var bench = Bench(hosts: ["a"])
    let enrol = bench.commands[0].id
    #expect(throws: StoreFull.self) {
      _ = try bench.core.step([.answered(enrol, .facts(Bench.facts))], at: Moment(wall: 1e9, steady: 1)) { _ in
        throw StoreFull()
      }
    }
  }

  @Test func aSupersededAttemptIsStoppedBeforeItsGPUCountsAsFree() {
    var bench = Bench(hosts: ["a"], attempts: [running("a")])
    bench.answer { command in
      guard case .poll = command.action else { return nil }
      return .statuses(["s-run1-try1": .running(outputBytes: 1)])
    }
    bench.enrol("a")
    bench.pass(10)
    bench.trouble("a")
    while bench.state(of: "r0") != .queued, bench.time < 4000 {
      bench.pass(61)
      if !bench.commands.isEmpty { bench.trouble("a") }
    }
    #expect(bench.time > 1800, "an unreachable host is not dead")
    #expect(bench.state(of: "r0") == .queued)
    // The host is back, with the old attempt on its only GPU.
    bench.pass(120)
    bench.enrol("a")
    bench.pass(60)
    #expect(bench.stops == ["s-run1-try1 superseded"])
    #expect(bench.launches.isEmpty)
    bench.answer { command in
      guard case .stop = command.action else { return nil }
      return .stopped
    }
    #expect(bench.launches.map(\.number) == [2])
  }

  @Test func whatAnEarlierSweepLeftBehindIsStoppedToo() {
    var left = running("a", state: .lost)
    left.sweep = "earlier"
    left.isFenced = false
    var bench = Bench(hosts: ["a"], stragglers: [left])
    bench.enrol("a")
    #expect(bench.stops == ["s-run1-try1 superseded"])
    #expect(bench.launches.isEmpty)
    bench.answer { command in
      guard case .stop = command.action else { return nil }
      return .stopped
    }
    #expect(bench.launches.count == 1)
  }

  @Test func hostsThatAreAllBlockedEndTheDriveAndNotTheRuns() {
    var bench = Bench(hosts: ["a", "b"])
    bench.trouble("b", .hostKeyChanged)
    #expect(bench.last.failure == nil)
    bench.trouble("a", .hostKeyUnknown)
    #expect(bench.last.failure?.host == "a")
    #expect(bench.state(of: "r0") == nil)
  }

  /// A key may be trusted at any moment; a login that is refused may lock an account.
  @Test(arguments: [(TransportError.Code.hostKeyChanged, 15.0), (.authenticationFailed, 300)])
  func aBlockedHostIsUsedAgainOnceAPersonHasMendedIt(_ code: TransportError.Code, _ pause: Double) {
    var bench = Bench(hosts: ["a", "b"], runs: 2)
    bench.enrol("a")
    bench.trouble("b", code)
    #expect(bench.launches.map(\.host) == ["a"])
    for _ in 0..<3 {
      bench.pass(pause - 1)
      #expect(!bench.commands.contains { $0.host == "b" })
      bench.pass(1)
      bench.trouble("b", code)
    }
    bench.pass(pause)
    bench.enrol("b")
    #expect(bench.launches.map(\.host) == ["a", "b"])
  }

  @Test func whatABlockedHostWasAskedBeforeDoesNotFreeIt() {
    let attempts = ["r0", "r1"].map { run in
      var attempt = running("a", state: .exited)
      attempt.id = "s-\(run)-try1"
      attempt.run = run
      return attempt
    }
    var bench = Bench(hosts: ["a"], runs: 2, attempts: attempts)
    bench.enrol("a")
    #expect(bench.gathers == 2)
    bench.pass(1)
    bench.trouble("a", .hostKeyChanged)
    bench.answer { if case .gather = $0.action { .gathered(.init(count: 1, bytes: 1, missing: [])) } else { nil } }
    #expect(bench.states.count(where: \.isFinal) == 1)
    bench.pass(14)
    #expect(bench.commands.isEmpty)
    bench.pass(1)
    bench.enrol("a")
    #expect(bench.gathers == 1)
  }

  @Test(arguments: [TransportError.Code.authenticationFailed, .configuration])
  func aFaultThatPassesOnAHostThatWasWellBeforeIsTriedAgain(_ code: TransportError.Code) {
    var bench = Bench(hosts: ["a"])
    bench.enrol("a")
    bench.answer { command in
      guard case .launch = command.action else { return nil }
      return .launched(.started, directory: "/w/x")
    }
    bench.pass(10)
    bench.trouble("a", code)
    #expect(bench.last.failure == nil)
    var waits: [Double] = []
    for _ in 0..<10 {
      let began = bench.time
      while bench.commands.isEmpty, bench.time < began + 1000 { bench.pass(1) }
      waits.append(bench.time - began)
      bench.trouble("a", code)
    }
    #expect(waits.first == 2)
    #expect(waits.last == 300, "a directory service that is away is not stormed")
    bench.pass(300)
    bench.answer { command in
      guard case .poll(let attempts) = command.action else { return nil }
      return .statuses(Dictionary(uniqueKeysWithValues: attempts.map { ($0, .running(outputBytes: 1)) }))
    }
    #expect(bench.core.hosts[0].trouble == nil)
  }

  @Test func aRunGoesOnElsewhereWhereSomebodyElseHasTheGPUs() throws {
    var bench = Bench(hosts: ["a", "b"])
    bench.enrol("b")
    bench.enrol("a")
    let first = try #require(bench.launches.first?.host)
    bench.answer { command in
      guard case .launch = command.action else { return nil }
      return .launched(.gpuBusy("process 7 is on it"), directory: "/w/x")
    }
    bench.pass(10)
    let second = try #require(bench.launches.first?.host)
    #expect(second != first)
  }

  @Test func whatOutlivesEverySignalStopsNeitherItsHostNorItsSweep() {
    var bench = Bench(hosts: ["a"], runs: 2, attempts: [running("a")])
    bench.answer { command in
      guard case .poll = command.action else { return nil }
      return .statuses(["s-run1-try1": .running(outputBytes: 1)])
    }
    bench.tell(.cancelRequested(sweep: "s"))
    for _ in 0..<Coordinator.Settings().stopTries {
      while bench.stops.isEmpty, bench.time < 10_000 { bench.pass(1) }
      #expect(bench.last.finished.isEmpty)
      bench.answer { command in
        guard case .stop = command.action else { return nil }
        return .notStopped("process 7 outlives KILL")
      }
    }
    #expect(bench.state(of: "r0") == .cancelled)
    bench.pass(1)
    #expect(bench.core.hosts[0].trouble == nil)
    #expect(
      bench.writes.contains { if case .event(let event) = $0 { event.kind == "not-stopped" } else { false } })
  }

  /// Answers polls as long as nothing else is asked, and lets time pass; then leaves the one thing asked without answer.
  /// - Returns: How often it had none before what it was for was over.
  private func leaveUnanswered(_ bench: inout Bench, _ status: AttemptStatus, until isOver: (Bench) -> Bool) -> Int {
    var count = 0
    while !isOver(bench), bench.time < 20_000 {
      guard let command = bench.commands.popLast() else {
        bench.pass(max(0.1, min(60, bench.last.wakeAt - bench.time)))
        continue
      }
      let answer: Answer
      switch command.action {
      case .enrol: answer = .facts(Bench.facts)
      case .poll(let ids): answer = .statuses(Dictionary(uniqueKeysWithValues: ids.map { ($0, status) }))
      case .launch, .stop, .release, .gather:
        count += 1
        answer = .trouble(TransportError(code: .timedOut, host: "a", message: "no answer"))
      }
      bench.tell(.answered(command.id, answer))
    }
    return count
  }

  @Test func aLaunchThatNeverHasAnAnswerIsGivenUp() throws {
    var bench = Bench(hosts: ["a"])
    bench.enrol("a")
    let count = leaveUnanswered(&bench, .absent) { $0.state(of: "r0") == .queued }
    #expect(count >= Coordinator.Settings().vainTries)
    #expect(bench.time >= Coordinator.Settings().vainPatience, "a bad hour of the network is waited for")
    // It may still arrive.
    bench.pass(3)
    bench.enrol("a")
    #expect(bench.stops == ["s-run1-try1 superseded"])
  }

  @Test func aStopThatNeverHasAnAnswerKeepsNoSweepOpen() {
    var bench = Bench(hosts: ["a"], state: .cancelling, attempts: [running("a")])
    let settings = Coordinator.Settings()
    let count = leaveUnanswered(&bench, .running(outputBytes: 1)) { $0.last.finished == ["s"] }
    #expect(count >= settings.vainTries + settings.stopTries - 1)
    #expect(bench.state(of: "r0") == .cancelled)
  }

  @Test func aGatherThatNeverHasAnAnswerIsGivenUp() {
    var bench = Bench(hosts: ["a"], retries: 0, attempts: [running("a", state: .exited)])
    let settings = Coordinator.Settings()
    let count = leaveUnanswered(&bench, .absent) { $0.state(of: "r0") == .lost }
    #expect(count >= settings.vainTries + settings.gatherTries - 1)
    #expect(bench.time >= settings.vainPatience, "finished work is not given up for a moment's trouble")
  }

  /// Another run of the command would leave the same behind.
  @Test func filesThatAreStillWrittenDoNotRunTheCommandAgain() {
    var bench = Bench(hosts: ["a"], retries: 3, attempts: [running("a", state: .exited)])
    var gathers = 0
    while bench.time < 10_000, bench.state(of: "r0")?.isFinal != true {
      guard let command = bench.commands.popLast() else {
        bench.pass(max(0.1, min(60, bench.last.wakeAt - bench.time)))
        continue
      }
      switch command.action {
      case .gather:
        gathers += 1
        bench.tell(.answered(command.id, .stillWritten("rank0.pt changed")))
        #expect(bench.whys.last?.contains("outlived the run still writes them: rank0.pt changed") == true)
      case .enrol: bench.tell(.answered(command.id, .facts(Bench.facts)))
      default:
        Issue.record("\(command.action)")
        return
      }
    }
    #expect(bench.state(of: "r0") == .lost)
    #expect(gathers == Coordinator.Settings().gatherTries)
    #expect(bench.launches.isEmpty)
  }

  @Test func anAnswerBetweenTwoTriesInVainBeginsTheCountAnew() {
    var bench = Bench(hosts: ["a"], retries: 0, attempts: [running("a", state: .exited)])
    var count = 0
    while bench.time < 10_000, bench.state(of: "r0") != .lost {
      guard let command = bench.commands.popLast() else {
        bench.pass(max(0.1, min(60, bench.last.wakeAt - bench.time)))
        continue
      }
      guard case .gather = command.action else {
        bench.tell(.answered(command.id, .facts(Bench.facts)))
        continue
      }
      count += 1
      let isFull = count % 6 == 0
      let trouble = TransportError(code: .timedOut, host: "a", message: "no answer")
      bench.tell(.answered(command.id, isFull ? .storeFull("no room") : .trouble(trouble)))
    }
    #expect(count > 20)
    #expect(bench.state(of: "r0") != .lost)
  }

  @Test func anEnrolmentThatHangsKeepsNobodyFromPolling() {
    var bench = Bench(hosts: ["a"], attempts: [running("a")])
    var polls = 0
    func poll() {
      bench.answer { command in
        guard case .poll(let ids) = command.action else { return nil }
        return .statuses(Dictionary(uniqueKeysWithValues: ids.map { ($0, .running(outputBytes: 1)) }))
      }
      polls += 1
    }
    poll()
    // A tool of its GPUs hangs.
    bench.time += 60
    bench.trouble("a", .timedOut)
    let hung = bench.time
    while bench.time < hung + 59 {
      bench.pass(1)
      #expect(!bench.commands.contains { $0.action == .enrol })
      if !bench.commands.isEmpty { poll() }
    }
    #expect(polls > 10)
    while !bench.commands.contains(where: { $0.action == .enrol }), bench.time < hung + 1000 {
      bench.pass(1)
      if bench.commands.contains(where: { $0.action != .enrol }) { poll() }
    }
    #expect(bench.time < hung + 70)
    bench.enrol("a")
    #expect(bench.core.hosts[0].isEnrolled)
  }

  @Test func aHostThatHangsDelaysNoOther() {
    var bench = Bench(hosts: ["a", "b"], runs: 2)
    bench.enrol("a")
    #expect(bench.launches.isEmpty, "the hardware must not depend on who answers first")
    bench.pass(Coordinator.Settings().enrolPatience)
    #expect(bench.launches.count == 1)
  }

  @Test(arguments: [Answer.unprepared("no list"), .notGathered("no list"), .storeFull("no list")])
  func aLaunchThatCouldNotBePreparedIsNotAskedForAtOnce(_ answer: Answer) {
    var bench = Bench(hosts: ["a"], retries: 0)
    bench.enrol("a")
    bench.answer { if case .launch = $0.action { answer } else { nil } }
    #expect(bench.launches.isEmpty)
    #expect(bench.state(of: "r0") == .lost)
    #expect(bench.whys.last == "no list")
  }

  /// Releases that noted no CPU have left sweeps to go on with.
  @Test func aSweepWhoseAttemptsToldNoCPUGoesOnWhereItWas() {
    var left = running("a", state: .gathered)
    left.facts = ["cpus": "8", "torch": "2.9"]
    var bench = Bench(hosts: ["a", "b"], gpus: 0, runs: 2, attempts: [left])
    for (host, cpu) in [("a", "C"), ("b", "D")] {
      var facts = Bench.facts
      facts.gpuNames = []
      facts.gpuIDs = []
      facts.versions = ["cpu": cpu]
      bench.answer { $0.host == host && $0.action == .enrol ? .facts(facts) : nil }
    }
    #expect(bench.launches.map(\.host) == ["a"])
    #expect(bench.state(of: "r1") != .failed)

    #expect(SchedulerInput.pinned([left]) { _ in nil } == nil)
    left.facts["cpu"] = "E"
    #expect(SchedulerInput.pinned([left]) { _ in Bench.facts } == "E")
  }

  @Test func theNextLaunchFollowsTheExitInOneStep() {
    var bench = Bench(hosts: ["a"], runs: 2)
    bench.enrol("a")
    bench.answer { command in
      guard case .launch = command.action else { return nil }
      return .launched(.started, directory: "/w/x")
    }
    bench.pass(1)
    let ended = ExitRecord(code: 0, signal: nil, started: 1, ended: 2, reason: nil)
    bench.answer { command in
      guard case .poll(let ids) = command.action, let id = ids.first else { return nil }
      return .statuses([id: .exited(ended)])
    }
    #expect(bench.launches.map(\.run) == ["r1"])
  }

  @Test func aHostThatWasNeverHeardOfIsGivenUpWhenItsTimeIsUp() {
    var bench = Bench(hosts: ["a", "b"], nodes: 2)
    bench.enrol("a")
    bench.trouble("b")
    bench.pass(Coordinator.Settings().lostAfter)
    // Nothing is new of it when its time is up.
    bench.pass(0)
    #expect(bench.state(of: "r0") == nil, "it may still come")
    bench.trouble("b")
    #expect(bench.state(of: "r0") == .failed)
  }

  @Test func aStragglerWhoseSweepIsDrivenLaterHoldsItsGPUOnce() {
    var left = AttemptRecord(
      id: "t-run1-try1", sweep: "t", run: "left", number: 1, host: "a", token: "t", gpus: 1, now: 1e9)
    left.state = .lost
    left.isFenced = false
    var bench = Bench(hosts: ["a"], stragglers: [left])
    bench.enrol("a")
    #expect(bench.stops == ["t-run1-try1 superseded"])
    bench.trouble("a")
    var run = RunRecord(sweep: "t", name: "left", position: 0, cell: "c", repetition: 1)
    run.state = .lost
    bench.tell(
      .added(
        SweepRows(
          sweep: SweepRecord(id: "t", job: "t", state: .active, created: 1),
          plan: Plan(name: "t", baseDirectory: "/", axes: [], cells: []), runs: [run], attempts: [left])))
    bench.pass(60)
    bench.enrol("a")
    #expect(bench.launches.isEmpty, "its host has not said yet that it is gone")
    bench.answer { if case .stop = $0.action { .stopped } else { nil } }
    #expect(bench.launches.map(\.run) == ["r0"])
  }

  @Test(arguments: [Fleet.Host.Address.local, .ssh("a")])
  func pollsComeQuicklyAtFirstAndSlowlyLater(at address: Fleet.Host.Address) {
    var bench = Bench(hosts: ["a"], at: address)
    bench.enrol("a")
    bench.answer { command in
      guard case .launch = command.action else { return nil }
      return .launched(.started, directory: "/w/x")
    }
    var gaps: [Double] = []
    for _ in 0..<240 {
      bench.answer { command in
        guard case .poll(let ids) = command.action, let id = ids.first else { return nil }
        return .statuses([id: .running(outputBytes: 1)])
      }
      gaps.append(bench.last.wakeAt - bench.time)
      bench.time = bench.last.wakeAt
      bench.tell(.tick)
    }
    let settings = Coordinator.Settings()
    let quickest = address == .local ? settings.quickestLocalPoll : settings.quickestPoll
    #expect(abs(gaps[0] - quickest) < 1e-9)
    #expect(abs(gaps[239] - settings.slowestPoll) < 1e-9)
    #expect(zip(gaps, gaps.dropFirst()).allSatisfy { $0 <= $1 + 1e-9 })
    #expect(bench.commands.count == 1, "never more than one question to one host")
  }

  @Test func aHostThatWasIdleForLongIsNotSilentForLong() throws {
    var bench = Bench(hosts: ["a"], runs: 1)
    bench.enrol("a")
    let launch = try #require(bench.commands.first { if case .launch = $0.action { true } else { false } })
    // Nothing was asked of it, and nothing heard, for longer than an attempt is waited for.
    bench.time += 4000
    bench.tell(.answered(launch.id, .trouble(TransportError(code: .unreachable, host: "a", message: "cut"))))
    #expect(bench.state(of: "r0") == .launching)
  }

  @Test func aJumpOfOurClockLosesNothing() {
    var bench = Bench(hosts: ["a"], attempts: [running("a")])
    bench.trouble("a")
    bench.time += 70
    bench.tell(.tick, wall: 9e9)
    #expect(bench.state(of: "r0") == nil)
  }

  @Test func aCancelledLaunchThatMayStillArriveIsStoppedBeforeItDoes() {
    var bench = Bench(hosts: ["a"], state: .cancelling, attempts: [running("a", state: .launching)])
    bench.enrol("a")
    #expect(bench.stops == ["s-run1-try1 cancelled"])
    bench.answer { command in
      guard case .stop = command.action else { return nil }
      return .stopped
    }
    #expect(bench.state(of: "r0") == nil, "its end is told by its host")
    let ended = ExitRecord(code: 143, signal: 15, started: 1, ended: 1, reason: "cancelled")
    bench.answer { command in
      guard case .poll = command.action else { return nil }
      return .statuses(["s-run1-try1": .exited(ended)])
    }
    bench.answer { command in
      guard case .gather = command.action else { return nil }
      return .gathered(GatheredFiles(count: 0, bytes: 0, missing: []))
    }
    #expect(bench.state(of: "r0") == .cancelled)
    #expect(bench.last.finished == ["s"])
    #expect(bench.launches.isEmpty)
  }

  @Test func aSweepThatIsOpenedAgainIsDrivenByTheSameCore() throws {
    var bench = Bench(hosts: ["a"], retries: 0)
    bench.enrol("a")
    bench.answer { if case .launch = $0.action { .launched(.started, directory: "/w/x") } else { nil } }
    bench.pass(10)
    bench.answer { command in
      guard case .poll(let ids) = command.action, let id = ids.first else { return nil }
      return .statuses([id: .exited(ExitRecord(code: 3, signal: nil, started: 1, ended: 2, reason: nil))])
    }
    bench.answer { command in
      guard case .gather = command.action else { return nil }
      return .gathered(GatheredFiles(count: 0, bytes: 0, missing: []))
    }
    #expect(bench.state(of: "r0") == .failed)
    #expect(bench.last.finished == ["s"])

    let plan = try #require(bench.core.sweeps[0]?.plan)
    var run = bench.core.runs[0].record
    run.state = .queued
    bench.commands = []
    bench.tell(
      .added(
        SweepRows(
          sweep: SweepRecord(id: "s", job: "s", state: .active, created: 0), plan: plan,
          runs: [run], attempts: bench.core.attempts.map(\.record))))
    let attempt = try #require(bench.launches.first)
    #expect(attempt.number == 2)
    bench.answer { if case .launch = $0.action { .launched(.started, directory: "/w/x") } else { nil } }
    // The one that stands now is meant.
    bench.tell(.cancelRequested(sweep: "s"))
    #expect(bench.stops == ["\(attempt.id) cancelled"])
  }

  @Test func anAnswerThatComesTwiceCountsOnce() throws {
    var bench = Bench(hosts: ["a"])
    bench.enrol("a")
    let launch = try #require(bench.commands.first { if case .launch = $0.action { true } else { false } })
    bench.tell(.answered(launch.id, .launched(.gpuBusy("busy"), directory: "/w/x")))
    let count = bench.writes.count
    bench.tell(.answered(launch.id, .launched(.started, directory: "/w/x")))
    #expect(bench.writes.count == count)
    #expect(bench.state(of: "r0") == .queued)
  }
}
