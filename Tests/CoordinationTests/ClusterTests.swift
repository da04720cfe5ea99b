import Foundation
import Launching
import Ledger
import OrderedCollections
import Planning
import Scheduling
import TestSupport
import Testing
import Transports

@testable import Coordination

/// A fleet that is one cluster: the cluster places, the core keeps its queue short, and asks about all jobs at once.
@Suite struct ClusterTests {
  /// A cluster that runs so many jobs at a time in the order of their submission, each for its own time; a model.
  private struct ModelledSlurm {
    private enum State {
      case waiting
      case running(until: Double)
      case ended
    }

    let places: Int
    /// Jobs that it takes of one user; only a refusal tells.
    var limit = Int.max
    private(set) var refusals = 0
    private(set) var submitted = 0
    private(set) var longestQueue = 0
    private var states: [String: State] = [:]
    private var waiting: [String] = []
    private var firstWaiting = 0
    private var running: Set<String> = []
    private var random: UInt64 = 88_172_645_463_325_252
    /// Parts of the submissions and polls that have no answer.
    var lostSubmissions = 0.0
    var lostPolls = 0.0
    private(set) var losses = 0
    private var chance = SplitMix64(seed: 7)

    init(places: Int, limit: Int = .max) {
      self.places = places
      self.limit = limit
    }

    /// Whether a call has no answer, and if so, whether it arrives all the same.
    mutating func loses(_ part: Double) -> (isLost: Bool, arrives: Bool) {
      guard part > 0, Double.random(in: 0..<1, using: &chance) < part else { return (false, true) }
      losses += 1
      return (true, Bool.random(using: &chance))
    }

    /// Jobs in the queue or running.
    var count: Int { running.count + waiting.count - firstWaiting }

    /// nil: it knows the attempt already.
    mutating func submit(_ id: String) -> LaunchOutcome? {
      guard states[id] == nil else { return nil }
      guard count < limit else {
        refusals += 1
        return .full("QOSMaxSubmitJobPerUserLimit", mayHaveArrived: false)
      }
      states[id] = .waiting
      waiting.append(id)
      submitted += 1
      longestQueue = max(longestQueue, count)
      return .submitted
    }

    mutating func pass(to time: Double) {
      for id in running {
        if case .running(let end) = states[id], end <= time {
          states[id] = .ended
          running.remove(id)
        }
      }
      while running.count < places, firstWaiting < waiting.count {
        let id = waiting[firstWaiting]
        firstWaiting += 1
        random ^= random << 13
        random ^= random >> 7
        random ^= random << 17
        states[id] = .running(until: time + 2 + Double(random % 10))
        running.insert(id)
      }
      if firstWaiting > 10_000 {
        waiting.removeFirst(firstWaiting)
        firstWaiting = 0
      }
    }

    func status(of id: String) -> AttemptStatus {
      switch states[id] {
      case nil: return .absent
      case .waiting: return .waiting("job waits in Slurm: Priority")
      case .running: return .running(outputBytes: 0)
      case .ended: return .exited(ExitRecord(code: 0, signal: nil, started: 0, ended: 1, reason: nil))
      }
    }

    /// Its exit record was all that stood of it.
    mutating func forget(_ id: String) { states[id] = nil }
  }

  private static let facts = HostFacts(
    bootID: "slurm:c", home: "/", workdir: "/w", cpuCount: 1, gpuNames: [], gpuIDs: [], gpuDriver: nil,
    freeDiskBytes: 1 << 40, clockOffset: 0, versions: [:])

  private static func core(
    runs count: Int, maxJobs: Int, gpus: Int = 8, nodes: Int = 1, retries: Int = 1, poll: Double = 5
  ) -> (CoordinatorCore, SweepRows) {
    let slurm = Fleet.Host.Slurm(maxJobs: maxJobs, poll: poll)
    let host = Fleet.Host(name: "slurm", address: .local, gpus: .count(0), cpuSlots: maxJobs, slurm: slurm)
    let core = CoordinatorCore(
      hosts: [host], stragglers: [], settings: Coordinator.Settings(), nonce: "n",
      at: Moment(wall: 1e9, steady: 0))
    let cell = Cell(
      id: "c", values: [:], run: RunSpec(command: "true", gpus: gpus, nodes: nodes, retries: retries))
    let runs = (0..<count).map { RunRecord(sweep: "s", name: "r\($0)", position: $0, cell: "c", repetition: 1) }
    return (
      core,
      SweepRows(
        sweep: SweepRecord(id: "s", job: "s", state: .active, created: 0),
        plan: Plan(name: "s", baseDirectory: "/", axes: [], cells: [cell]), runs: runs, attempts: [])
    )
  }

  /// The core against the model until all runs are final.
  private struct Course {
    var polls = 0
    var largestPoll = 0
    var mostPending = 0
    var time = 0.0
    var ends: [RunState] = []
    var tokensSubmittedTwice = 0
    /// Of an attempt.
    var lastNumber = 0
    /// Bytes of this process in memory, the most of what was seen.
    var residentBytes = 0
  }

  /// Bytes of this process in memory.
  private static func residentBytes() -> Int {
    let words = FileManager.default.contents(atPath: "/proc/self/statm").map { String(decoding: $0, as: UTF8.self) }
    return (words?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) * Int(sysconf(Int32(_SC_PAGESIZE)))
  }

  private static let trouble = Answer.trouble(
    TransportError(code: .timedOut, host: "slurm", message: "no answer of the controller"))

  private static func drive(_ core: inout CoordinatorCore, _ rows: SweepRows, _ slurm: inout ModelledSlurm) -> Course {
    var course = Course()
    var steps = 0
    var events: [Event] = [.added(rows)]
    while true {
      slurm.pass(to: course.time)
      steps += 1
      if steps % 256 == 0 { course.residentBytes = max(course.residentBytes, residentBytes()) }
      let output = core.step(events, at: Moment(wall: 1e9 + course.time, steady: course.time)) { writes in
        for case .run(_, _, let state, _) in writes where state.isFinal { course.ends.append(state) }
      }
      // A look at everything takes its time.
      if rows.runs.count <= 2000, steps % 8 == 0 { #expect(core.staleness.isEmpty) }
      if !output.finished.isEmpty { return course }
      events = output.commands.map { command in
        let answer: Answer
        switch command.action {
        case .enrol: answer = .facts(facts)
        case .poll(let asked):
          course.polls += 1
          course.largestPoll = max(course.largestPoll, asked.count)
          answer =
            slurm.loses(slurm.lostPolls).isLost
            ? trouble : .statuses(Dictionary(uniqueKeysWithValues: asked.map { ($0, slurm.status(of: $0)) }))
        case .launch(let attempt, _):
          let (isLost, arrives) = slurm.loses(slurm.lostSubmissions)
          let outcome = arrives ? slurm.submit(attempt.id) : .submitted
          if outcome == nil { course.tokensSubmittedTwice += 1 }
          course.lastNumber = max(course.lastNumber, attempt.number)
          answer = isLost ? trouble : .launched(outcome ?? .submitted, directory: "/w/attempts/\(attempt.id)")
        case .gather(let attempt, _, _):
          slurm.forget(attempt.id)
          answer = .gathered(GatheredFiles(count: 0, bytes: 0, missing: []))
        case .stop: answer = .stopped
        case .release: answer = .released
        }
        return .answered(command.id, answer)
      }
      course.mostPending = max(course.mostPending, core.pending.count + events.count)
      if events.isEmpty {
        guard output.wakeAt.isFinite else {
          Issue.record("the core waits for nothing at \(course.time) s")
          return course
        }
        course.time = max(course.time + 0.001, output.wakeAt)
        events = [.tick]
      }
    }
  }

  @Test(.timeLimit(.minutes(10))) func aHundredThousandRunsKeepTheQueueShortAndThePollsFew() {
    let count = 100_000
    let maxJobs = 500
    let before = Self.residentBytes()
    var (core, rows) = Self.core(runs: count, maxJobs: maxJobs)
    var slurm = ModelledSlurm(places: 400)
    slurm.lostSubmissions = 0.001
    slurm.lostPolls = 0.05
    let course = Self.drive(&core, rows, &slurm)
    #expect(course.ends.count == count)
    #expect(course.ends.allSatisfy { $0 == .succeeded })
    #expect(slurm.losses > 50)
    #expect(slurm.submitted == count, "one job a run, whatever was not heard of it")
    #expect(course.tokensSubmittedTwice == 0, "one submission an attempt")
    #expect(course.lastNumber == 1)
    #expect(slurm.longestQueue <= maxJobs)
    #expect(course.largestPoll <= maxJobs, "one question for what is open, and no more")
    // One a poll interval at most, whatever happens in between; never one a job.
    // After trouble, at once.
    #expect(
      Double(course.polls) <= course.time / 5 + 2 + Double(slurm.losses),
      "\(course.polls) polls in \(course.time) s, \(slurm.losses) without an answer")
    #expect(course.polls < count / 10)
    // What the core holds for its commands does not grow with the sweep.
    #expect(course.mostPending <= 4 * maxJobs)
    #expect(core.hosts.allSatisfy { $0.watched.isEmpty }, "what has ended is not looked at any more")
    // Rows, plan, core and model of all runs; other tests of this process have their share in it.
    let grown = course.residentBytes - before
    #expect(course.residentBytes > 0)
    #expect(grown < count * 4096, "\(grown >> 20) MiB, \(grown / count) bytes a run")
  }

  /// The cluster takes fewer than it says beforehand.
  @Test func aLimitOfTheClusterMakesRunsWaitAndIsNoFailure() {
    let count = 2_000
    var (core, rows) = Self.core(runs: count, maxJobs: 100, retries: 0)
    var slurm = ModelledSlurm(places: 10, limit: 25)
    let course = Self.drive(&core, rows, &slurm)
    #expect(course.ends.count == count)
    #expect(course.ends.allSatisfy { $0 == .succeeded })
    #expect(course.lastNumber == 1, "the same attempt waits: none has failed")
    #expect(slurm.submitted == count)
    #expect(slurm.longestQueue <= 25)
    #expect(slurm.refusals > 0, "only refusals told of the limit")
    #expect(slurm.refusals < 10 * count, "\(slurm.refusals)")
  }

  @Test func whatTheClusterRefusedWaitsAndIsToldWhy() throws {
    var (core, rows) = Self.core(runs: 3, maxJobs: 2)
    var output = core.step([.added(rows)], at: Moment(wall: 1e9, steady: 0)) { _ in }
    output = core.step(
      [.answered(output.commands[0].id, .facts(Self.facts))], at: Moment(wall: 1e9, steady: 1)
    ) { _ in }
    let launches = output.commands
    #expect(launches.count == 2)
    func full(_ doubt: Bool) -> Answer {
      .launched(.full("no more: QOSMaxSubmitJobPerUserLimit", mayHaveArrived: doubt), directory: "/w/x")
    }
    var writes: [LedgerWrite] = []
    output = core.step(
      [.answered(launches[0].id, full(false)), .answered(launches[1].id, full(true))],
      at: Moment(wall: 1e9, steady: 2)
    ) { writes += $0 }
    #expect(output.commands.isEmpty, "not at once again")
    let why = "launching no more: QOSMaxSubmitJobPerUserLimit"
    #expect(runs(writes) == [why, why])
    // Told once. The third is not placed: those who were refused come first.
    writes = []
    let again = core.step([.tick], at: Moment(wall: 1e9, steady: 12)) { writes += $0 }.commands
    try #require(launched(again) == launched(launches))
    output = core.step([.answered(again[0].id, full(false))], at: Moment(wall: 1e9, steady: 13)) { writes += $0 }
    #expect(writes.isEmpty)
    output = core.step(
      [.answered(again[1].id, .launched(.submitted, directory: "/w/x"))], at: Moment(wall: 1e9, steady: 14)
    ) { writes += $0 }
    #expect(runs(writes) == ["launching -"], "it is in the cluster's queue now")
    #expect(launched(output.commands) == [launched(launches)[0]], "there is room again")
  }

  private func launched(_ commands: [Command]) -> [String] {
    commands.compactMap { if case .launch(let attempt, _) = $0.action { attempt.id } else { nil } }
  }

  /// One that certainly is not in the cluster's queue ends at once; one that may be is looked for there.
  @Test(arguments: [false, true]) func whatWasRefusedIsCancelled(_ doubt: Bool) throws {
    var (core, rows) = Self.core(runs: 1, maxJobs: 2)
    var output = core.step([.added(rows)], at: Moment(wall: 1e9, steady: 0)) { _ in }
    output = core.step(
      [.answered(output.commands[0].id, .facts(Self.facts))], at: Moment(wall: 1e9, steady: 1)
    ) { _ in }
    let answer = Answer.launched(.full("no more", mayHaveArrived: doubt), directory: "/w/x")
    output = core.step([.answered(output.commands[0].id, answer)], at: Moment(wall: 1e9, steady: 2)) { _ in }
    var writes: [LedgerWrite] = []
    output = core.step([.cancelRequested(sweep: "s")], at: Moment(wall: 1e9, steady: 3)) { writes += $0 }
    let stops = output.commands.count { if case .stop = $0.action { true } else { false } }
    #expect(stops == (doubt ? 1 : 0))
    #expect(runs(writes) == (doubt ? [] : ["cancelled cancelled before it started"]))
  }

  @Test func whatTheClusterGivesIsNotCountedHere() {
    // No host of a list has room for this; a cluster may.
    var (core, rows) = Self.core(runs: 3, maxJobs: 2, gpus: 16, nodes: 4)
    var launches: [AttemptRecord] = []
    var output = core.step([.added(rows)], at: Moment(wall: 1e9, steady: 0)) { _ in }
    guard let enrol = output.commands.first else {
      Issue.record("the cluster was not asked who it is")
      return
    }
    var facts = Self.facts
    output = core.step([.answered(enrol.id, .facts(facts))], at: Moment(wall: 1e9, steady: 0.1)) { _ in }
    for case .launch(let attempt, _) in output.commands.map(\.action) { launches.append(attempt) }
    #expect(launches.count == 2, "max_jobs is 2")
    #expect(launches.allSatisfy { $0.gpus == 16 && $0.share == nil && $0.host == "slurm" })

    // What the cluster's accounting lets its user have is less.
    (core, rows) = Self.core(runs: 3, maxJobs: 2)
    output = core.step([.added(rows)], at: Moment(wall: 1e9, steady: 0)) { _ in }
    facts.jobLimit = 1
    output = core.step([.answered(output.commands[0].id, .facts(facts))], at: Moment(wall: 1e9, steady: 0.1)) { _ in }
    #expect(output.commands.count { if case .launch = $0.action { true } else { false } } == 1)
  }

  /// A core whose one run is in the cluster's queue, and what was written since.
  private func waitingCore(_ why: String, retries: Int = 1) throws -> (CoordinatorCore, String) {
    var (core, rows) = Self.core(runs: 1, maxJobs: 5, retries: retries)
    var output = core.step([.added(rows)], at: Moment(wall: 1e9, steady: 0)) { _ in }
    output = core.step([.answered(output.commands[0].id, .facts(Self.facts))], at: Moment(wall: 1e9, steady: 0)) { _ in
    }
    let launch = try #require(output.commands.first)
    guard case .launch(let attempt, _) = launch.action else { throw NothingLaunched() }
    output = core.step(
      [.answered(launch.id, .launched(.submitted, directory: "/w/attempts/\(attempt.id)"))],
      at: Moment(wall: 1e9 + 1, steady: 1)
    ) { _ in }
    // It is asked how the job stands at once.
    let poll = try #require(output.commands.first)
    #expect(poll.action == .poll([attempt.id]))
    _ = core.step([.answered(poll.id, .statuses([attempt.id: .waiting(why)]))], at: core.now) { _ in }
    return (core, attempt.id)
  }

  private struct NothingLaunched: Error {}

  /// Lets time pass until the core polls, and answers.
  private func poll(_ core: inout CoordinatorCore, _ status: AttemptStatus, after seconds: Double) -> [LedgerWrite] {
    var writes: [LedgerWrite] = []
    var moment = Moment(wall: core.now.wall + seconds, steady: core.now.steady + seconds)
    for _ in 0..<50 {
      let output = core.step([.tick], at: moment) { writes += $0 }
      let polls = output.commands.compactMap { command -> (Int, [String])? in
        if case .poll(let asked) = command.action { (command.id, asked) } else { nil }
      }
      if let (id, asked) = polls.first {
        let answers = Dictionary(uniqueKeysWithValues: asked.map { ($0, status) })
        _ = core.step([.answered(id, .statuses(answers))], at: moment) { writes += $0 }
        return writes
      }
      moment.steady += 5
      moment.wall += 5
    }
    Issue.record("no poll was given out")
    return writes
  }

  private func runs(_ writes: [LedgerWrite]) -> [String] {
    writes.compactMap { if case .run(_, _, let state, let why) = $0 { "\(state) \(why ?? "-")" } else { nil } }
  }

  @Test func whyAJobWaitsIsToldOnceAndTheRunGoesOn() throws {
    var (core, _) = try waitingCore("Priority")
    #expect(core.runs[0].record.state == .launching)
    #expect(core.runs[0].record.why == "Priority")
    #expect(runs(poll(&core, .waiting("Priority"), after: 10)).isEmpty, "no news is not written again")
    #expect(runs(poll(&core, .waiting("Resources"), after: 10)) == ["launching Resources"])
    #expect(runs(poll(&core, .running(outputBytes: 0), after: 60)) == ["running -"])
    #expect(runs(poll(&core, .waiting("suspended"), after: 60)) == ["running suspended"])
    #expect(runs(poll(&core, .running(outputBytes: 0), after: 60)) == ["running -"])
    #expect(runs(poll(&core, .running(outputBytes: 9), after: 60)).isEmpty)
    let record = ExitRecord(code: 0, signal: nil, started: 0, ended: 1, reason: nil)
    #expect(runs(poll(&core, .exited(record), after: 60)) == ["gathering -"])
  }

  @Test func aTakenJobIsTriedAgainAndAFailedOneIsNot() throws {
    var (core, _) = try waitingCore("Priority")
    #expect(
      runs(poll(&core, .lost("Slurm says PREEMPTED of job 7"), after: 10))
        == ["queued to be tried again: Slurm says PREEMPTED of job 7"])
    (core, _) = try waitingCore("Priority")
    let failed = ExitRecord(code: 3, signal: nil, started: 0, ended: 1, reason: nil)
    #expect(runs(poll(&core, .exited(failed), after: 10)) == ["gathering -"])
  }

  @Test func whatWaitsIsCancelledInTheCluster() throws {
    var (core, id) = try waitingCore("Priority")
    let output = core.step([.cancelRequested(sweep: "s")], at: core.now) { _ in }
    let stops = output.commands.compactMap { command in
      if case .stop(let attempt, let reason) = command.action { "\(attempt.id) \(reason)" } else { nil }
    }
    #expect(stops == ["\(id) cancelled"])
  }

  @Test func allThatWaitsIsCancelledTogether() throws {
    let count = 200
    var (core, rows) = Self.core(runs: count, maxJobs: 500)
    var slurm = ModelledSlurm(places: 0)
    var output = core.step([.added(rows)], at: Moment(wall: 1e9, steady: 0)) { _ in }
    output = core.step([.answered(output.commands[0].id, .facts(Self.facts))], at: core.now) { _ in }
    let answers = output.commands.map { command -> Event in
      guard case .launch(let attempt, _) = command.action else { return .tick }
      return .answered(command.id, .launched(slurm.submit(attempt.id) ?? .submitted, directory: "/w/\(attempt.id)"))
    }
    #expect(slurm.submitted == count)
    _ = core.step(answers, at: core.now) { _ in }
    output = core.step([.cancelRequested(sweep: "s")], at: core.now) { _ in }
    let stops = output.commands.count { if case .stop = $0.action { true } else { false } }
    #expect(stops == count, "its launcher asks for all of them at once: \(stops)")
  }

  @Test func aSlowControllerIsAskedLessOften() throws {
    var (core, _) = try waitingCore("Priority")
    // Answers after four seconds: twenty times as long is the pause.
    var time = core.now.steady
    var asked: [Double] = []
    while asked.count < 4, time < 2000 {
      time += 1
      let output = core.step([.tick], at: Moment(wall: 1e9 + time, steady: time)) { _ in }
      for command in output.commands {
        guard case .poll(let attempts) = command.action else { continue }
        asked.append(time)
        time += 4
        let answers = Dictionary(uniqueKeysWithValues: attempts.map { ($0, AttemptStatus.waiting("Priority")) })
        _ = core.step(
          [.answered(command.id, .statuses(answers))], at: Moment(wall: 1e9 + time, steady: time)
        ) { _ in }
      }
    }
    #expect(asked.count == 4)
    for (earlier, later) in zip(asked.dropFirst(), asked.dropFirst(2)) {
      #expect(later - earlier >= 80, "\(asked)")
    }
  }
}
