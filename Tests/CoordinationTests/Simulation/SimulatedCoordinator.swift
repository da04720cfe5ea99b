import Launching
import Ledger
import OrderedCollections
import Planning
import Scheduling
import TestSupport
import Transports

@testable import Coordination

/// A process that drives sweeps, of which some come later: it may die between any two of its steps, and is started again.
final class SimulatedCoordinator {
  private struct Crash: Error {}

  private enum CrashPoint: CaseIterable {
    case beforeCommit
    case afterCommit
    case betweenCommands
  }

  let index: Int
  let name: String
  let retries: Int
  private unowned let simulation: Simulation
  private let fleet: [Fleet.Host]
  private var settings = Coordinator.Settings()

  var store = SimulatedStore()
  /// Host → cuts of the network in force.
  var cuts: [String: Int] = [:]
  var refusals: [String: TransportError.Code] = [:]
  var wallOffset = 0.0
  /// Hosts that take nothing new.
  private(set) var drained: Set<String> = []
  /// All sweeps have come and ended.
  var isDone: Bool { awaited == 0 && store.sweeps.allSatisfy(\.isOver) && unfenced.isEmpty }
  /// Attempts that a host can still be asked to stop.
  var unfenced: [AttemptRecord] {
    store.attempts.filter { !$0.isFenced && simulation.host($0.host)?.isGone != true }
  }

  /// Sweeps that are still to come.
  private var awaited = 0
  /// As the core was told.
  private var toldDrained: Set<String> = []
  private var core: CoordinatorCore?
  private var incarnation = 0
  /// It is down, and will be started.
  private var isStarting = false
  private var begun = 0.0
  private var inbox: [Event] = []
  private var isTurnDue = false
  /// Host → time of the first failed contact since its last answer.
  private var silentSince: [String: Double] = [:]
  /// Host → seconds that earlier incarnations asked it in vain since its last answer that came to be committed.
  private var formerSilence: [String: Double] = [:]
  /// Hosts whose answers since the last step are not committed yet.
  private var answered: Set<String> = []
  /// Host → when a person had to act for the first time since its last answer.
  private var blocked: [String: Double] = [:]
  private var badGathers: [String: Int] = [:]
  private var badStops: [String: Int] = [:]
  /// Command → when it was given.
  private var unanswered: [Int: Double] = [:]
  /// Those that were not broken off.
  private var gathers: [Int: Command] = [:]

  init(_ index: Int, simulation: Simulation) {
    self.index = index
    self.simulation = simulation
    name = "c\(index)"
    retries = simulation.random.between(0, 2)
    settings.lostAfter = 200
    settings.quickestPoll = 0.5
    settings.slowestPoll = 15
    fleet = simulation.hosts.map { host in
      Fleet.Host(name: host.name, address: .local, gpus: .auto, cpuSlots: host.cpuSlots)
    }
    let count = simulation.random.chance(0.4) ? simulation.random.between(2, 3) : 1
    for number in 0..<count {
      let rows = sweep(number == 0 ? name : "\(name)s\(number)")
      if number == 0 || simulation.random.chance(0.5) {
        store.add(rows)
      } else {
        awaited += 1
        simulation.at(simulation.random.between(0, 1.2 * simulation.horizon)) { self.come(rows) }
      }
    }
  }

  private func sweep(_ name: String) -> SweepRows {
    let largest = simulation.hosts.map(\.gpuCount).max() ?? 1
    var cells: [Cell] = []
    var runs: [RunRecord] = []
    for number in 0..<simulation.random.between(2, 7) {
      let gpus = min(largest, [0, 1, 1, 2, 4][simulation.random.between(0, 4)])
      let nodes = simulation.hosts.count > 1 && simulation.random.chance(0.35) ? 2 : 1
      cells.append(
        Cell(
          id: "cell\(number)", values: [:],
          run: RunSpec(command: "true", gpus: nodes > 1 ? min(gpus, 1) : gpus, nodes: nodes, retries: retries)))
      runs.append(
        RunRecord(sweep: name, name: "\(name)r\(number)", position: number, cell: "cell\(number)", repetition: 1))
      simulation.workloads["\(name)r\(number)"] = Self.workload(&simulation.random)
    }
    var plan = Plan(
      name: name, baseDirectory: "/", axes: [], cells: cells,
      compare: CompareSpec(sameHardware: simulation.random.chance(0.5)))
    plan.priority = simulation.random.chance(0.3) ? simulation.random.between(-1, 1) : nil
    return SweepRows(
      sweep: SweepRecord(id: name, job: name, state: .active, created: 0), plan: plan, runs: runs, attempts: [])
  }

  private func come(_ rows: SweepRows) {
    simulation.say("\(rows.sweep.id) comes to \(name)")
    awaited -= 1
    var rows = rows
    if simulation.isOneGone { rows.sweep.state = .cancelling }
    store.add(rows)
    if core == nil, !isStarting { start() } else { tell(.added(rows)) }
  }

  /// Mostly fine; some fail by themselves, die of a signal, or hang until their time limit.
  private static func workload(_ random: inout SplitMix64) -> SimulatedHost.Workload {
    let seconds = random.chance(0.2) ? random.between(60, 400) : random.between(0.1, 40)
    return switch random.unit() {
    case ..<0.7: SimulatedHost.Workload(seconds: seconds, code: 0)
    case ..<0.82: SimulatedHost.Workload(seconds: seconds, code: 1)
    case ..<0.9: SimulatedHost.Workload(seconds: seconds, code: 137, signal: 9)
    case ..<0.95: SimulatedHost.Workload(seconds: 600, code: 143, signal: 15, reason: "timeout")
    default: SimulatedHost.Workload(seconds: seconds, code: 143, signal: 15, reason: "stalled")
    }
  }

  // MARK: - Life

  func start() {
    guard core == nil, !isDone else { return }
    simulation.say("\(name) starts")
    incarnation += 1
    begun = simulation.time
    blocked = [:]
    badGathers = [:]
    badStops = [:]
    unanswered = [:]
    gathers = [:]
    isStarting = false
    core = CoordinatorCore(
      hosts: fleet, stragglers: store.attempts.filter { !$0.isFenced }, settings: settings,
      nonce: String(simulation.random.next(), radix: 36), at: moment)
    // The last one takes care of what an earlier one could not reach.
    inbox = [.drained(drained)] + store.sweeps.filter { !$0.isOver }.map { .added(store.rows(of: $0)) }
    turn()
  }

  func crash(_ place: String) {
    guard core != nil else { return }
    simulation.say("\(name) crashes \(place)")
    end()
    isStarting = true
    simulation.after(simulation.random.between(0, 60)) { self.start() }
  }

  private func end() {
    for host in Array(silentSince.keys) { keepSilence(of: host) }
    answered = []
    core = nil
    incarnation += 1
    inbox = []
  }

  func requestCancel() { requestCancel(simulation.random.between(0, store.sweeps.count - 1)) }

  func requestCancelOfAll() {
    for index in store.sweeps.indices { requestCancel(index) }
  }

  private func requestCancel(_ index: Int) {
    guard store.sweeps[index].record.state == .active else { return }
    simulation.say("\(name) is asked to cancel")
    store.sweeps[index].record.state = .cancelling
    tell(.cancelRequested(sweep: store.sweeps[index].record.id))
  }

  func drain(_ host: String, _ isDrained: Bool) {
    simulation.say("\(name): \(host) is \(isDrained ? "drained" : "taken back")")
    if isDrained { drained.insert(host) } else { drained.remove(host) }
    tell(.drained(drained))
  }

  private var moment: Moment {
    Moment(wall: 1e9 + simulation.time + wallOffset, steady: simulation.time - begun)
  }

  private func tell(_ event: Event) {
    guard core != nil else { return }
    inbox.append(event)
    guard !isTurnDue else { return }
    isTurnDue = true
    // Others may arrive in the meantime: they are taken together.
    simulation.after(simulation.random.chance(0.5) ? 0 : 0.02) {
      self.isTurnDue = false
      self.turn()
    }
  }

  // MARK: - One step

  private func turn() {
    guard core != nil else { return }
    let events = inbox
    inbox = []
    for case .drained(let hosts) in events { toldDrained = hosts }
    let crashPoint: CrashPoint? =
      simulation.isFaulty && simulation.faults.crashes && simulation.random.chance(0.01)
      ? CrashPoint.allCases[simulation.random.between(0, 2)] : nil
    let output: Output?
    do {
      output = try core?.step(events, at: moment) { writes in
        if crashPoint == .beforeCommit { throw Crash() }
        check(writes)
        try store.apply(writes)
        listen()
        for write in writes { simulation.say("\(name) writes \(Self.text(write))") }
        if crashPoint == .afterCommit { throw Crash() }
      }
    } catch {
      crash("\(crashPoint.map { "\($0)" } ?? "with a full store")")
      return
    }
    guard let output else { return }
    listen()
    simulation.violations += core?.staleness ?? []
    let lastOne = crashPoint == .betweenCommands ? simulation.random.between(0, output.commands.count) : Int.max
    for (number, command) in output.commands.enumerated() {
      if number == lastOne { break }
      send(command)
    }
    for id in output.brokenOff {
      guard let command = gathers.removeValue(forKey: id) else { continue }
      // It may end by itself meanwhile.
      answer(command, incarnation, .brokenOff, after: delay(false))
    }
    if crashPoint == .betweenCommands {
      crash("between commands")
      return
    }
    if let failure = output.failure {
      crash("since no host can be used: \(failure)")
      return
    }
    for id in output.finished {
      simulation.say("\(id) is finished")
      for index in store.sweeps.indices where store.sweeps[index].record.id == id { store.sweeps[index].isOver = true }
    }
    if !output.finished.isEmpty, store.sweeps.allSatisfy(\.isOver) { finish() }
    guard core != nil, output.wakeAt.isFinite else { return }
    let life = incarnation
    simulation.at(max(simulation.time + 0.001, begun + output.wakeAt)) {
      if self.incarnation == life { self.tell(.tick) }
    }
  }

  private func keepSilence(of host: String) {
    guard let since = silentSince.removeValue(forKey: host) else { return }
    formerSilence[host, default: 0] += simulation.time - since
  }

  /// What was answered is known to every later incarnation.
  private func listen() {
    for host in answered { formerSilence[host] = nil }
    answered = []
  }

  /// Over; but what an unreachable host may still hold is left to the next one.
  private func finish() {
    if unfenced.isEmpty {
      end()
    } else {
      crash("after its end, to be started for another sweep")
    }
  }

  private static func text(_ write: LedgerWrite) -> String {
    switch write {
    case .begin(let attempt): "begin \(attempt.id) on \(attempt.host)"
    case .attempt(let attempt):
      "\(attempt.id) \(attempt.state)\(attempt.isFenced ? "" : " unfenced") \(attempt.why ?? "")"
    case .run(_, let name, let state, let why): "\(name) \(state) \(why ?? "")"
    case .files(_, let run, let count, _, _): "\(run): \(count) files"
    case .event(let event): "event \(event.kind)"
    }
  }

  // MARK: - The network

  private func send(_ command: Command) {
    guard let host = simulation.host(command.host) else { return }
    let life = incarnation
    unanswered[command.id] = simulation.time
    if case .gather = command.action { gathers[command.id] = command }
    let limit: Double =
      switch command.action {
      case .enrol, .poll, .release: 60
      case .launch: 180
      case .stop: 120
      case .gather: 600
      }
    let isBad = simulation.isFaulty && simulation.faults.badNetwork
    if let code = refusals[command.host] {
      answer(command, life, .trouble(trouble(code, command.host)), after: 0.1)
      return
    }
    if cuts[command.host, default: 0] > 0, simulation.random.chance(0.5) {
      answer(command, life, .trouble(trouble(.unreachable, command.host)), after: 3)
      return
    }
    answer(command, life, .trouble(trouble(.timedOut, command.host)), after: limit)
    let isBreaking = isBad && simulation.random.chance(0.08)
    if isBreaking {
      // The connection breaks while the question is under way: it may arrive all the same, and late.
      answer(command, life, .trouble(trouble(.connectionLost, command.host)), after: simulation.random.between(0.1, 5))
    }
    if isBad, simulation.random.chance(0.04) { return }
    let copies = isBad && simulation.random.chance(0.05) ? 2 : 1
    var delay = isBreaking ? simulation.random.between(0, Simulation.longestDelay) : self.delay(isBad)
    for copy in 0..<copies {
      // One sending of a launch arrives once; a second one comes of a second sending.
      if copy > 0, case .launch = command.action {} else if copy > 0 { delay = self.delay(isBad) }
      simulation.after(delay) { self.arrive(command, life, at: host, isBad) }
    }
  }

  private func arrive(_ command: Command, _ life: Int, at host: SimulatedHost, _ isBad: Bool) {
    guard host.isUp, cuts[host.name, default: 0] == 0 else { return }
    guard let result = simulation.execute(command, by: self, on: host) else { return }
    if isBad, simulation.random.chance(0.04) { return }
    answer(command, life, result, after: delay(isBad))
    if isBad, simulation.random.chance(0.05) { answer(command, life, result, after: delay(isBad)) }
  }

  private func delay(_ isBad: Bool) -> Double {
    isBad && simulation.random.chance(0.1)
      ? simulation.random.between(1, Simulation.longestDelay) : simulation.random.between(0.005, 0.2)
  }

  private func trouble(_ code: TransportError.Code, _ host: String) -> TransportError {
    TransportError(code: code, host: host, message: "\(code)")
  }

  private func answer(_ command: Command, _ life: Int, _ answer: Answer, after delay: Double) {
    simulation.after(delay) {
      guard self.incarnation == life else { return }
      if case .trouble(let trouble) = answer {
        if trouble.isPermanent, self.unanswered[command.id] != nil, self.blocked[command.host] == nil {
          self.blocked[command.host] = self.simulation.time
        }
        if self.unanswered[command.id] != nil, self.silentSince[command.host] == nil {
          self.silentSince[command.host] = self.simulation.time
        }
      } else {
        // What comes through a cut network does not come.
        guard self.cuts[command.host, default: 0] == 0 else { return }
        // The first answer counts; others come to nothing.
        guard let given = self.unanswered[command.id] else {
          self.tell(.answered(command.id, answer))
          return
        }
        self.answered.insert(command.host)
        self.keepSilence(of: command.host)
        // A blocked host stays in trouble, whatever older questions still bring.
        if let since = self.blocked[command.host], given > since { self.blocked[command.host] = nil }
        self.silentSince[command.host] = self.blocked[command.host] == nil ? nil : self.simulation.time
        if case .gather(let attempt, _, _) = command.action, case .notGathered = answer {
          self.badGathers[attempt.id, default: 0] += 1
        }
        if case .stop(let attempt, _) = command.action, case .notStopped = answer {
          self.badStops[attempt.id, default: 0] += 1
        }
      }
      self.unanswered[command.id] = nil
      self.tell(.answered(command.id, answer))
    }
  }

  // MARK: - What may be written

  /// Whether there is a reason to give up an attempt, or another share of its gang.
  private func hasCause(_ attempt: AttemptRecord, in writes: [LedgerWrite]) -> Bool {
    if attempt.share != nil, store.isCancelled(attempt.sweep) { return true }
    let given = writes.compactMap { write -> AttemptRecord? in
      guard case .attempt(let other) = write, other.run == attempt.run, other.number == attempt.number else {
        return nil
      }
      return other
    }
    return given.contains { other in
      // Refused: nothing was lost.
      if other.state == .failed, other.id != attempt.id { return true }
      guard other.state == .lost else { return false }
      if badStops[other.id, default: 0] >= settings.stopTries { return true }
      // Of a sweep that is being cancelled nobody waits for files.
      if store.attempt(other.id)?.state == .exited, store.isCancelled(other.sweep) { return true }
      let silence =
        simulation.time - (silentSince[other.host] ?? simulation.time) + formerSilence[other.host, default: 0]
      if badGathers[other.id, default: 0] >= settings.gatherTries || silence >= settings.lostAfter { return true }
      switch simulation.host(other.host)?.attempts[other.id]?.state {
      case .orphaned?, .cutOff?: return true
      case .exited(let record)?:
        return ["not-released", ExitRecord.noSpace, ExitRecord.gpuBusy].contains(record.reason)
      case .claimed?, .held?, .running?, nil: return false
      }
    }
  }

  private func check(_ writes: [LedgerWrite]) {
    for write in writes {
      if case .begin(let attempt) = write, toldDrained.contains(attempt.host) {
        simulation.violations.append("\(attempt.id) is begun on \(attempt.host), which takes nothing new")
      }
      guard case .attempt(let next) = write, let old = store.attempt(next.id),
        let host = simulation.host(next.host)
      else { continue }
      let truth = host.attempts[next.id]
      if next.state == .lost, old.state.isOpen, !hasCause(next, in: writes) {
        simulation.violations.append("\(next.id) is given up (\(next.why ?? "")) without cause")
      }
      if !next.state.isOpen, next.isFenced, let truth, truth.token == next.token, truth.isAlive {
        simulation.violations.append("\(next.id) counts as fenced, but runs")
      }
      if next.state == .gathered || next.state == .exited {
        guard case .exited(let record)? = truth?.state, record.code == next.exitCode else {
          simulation.violations.append("\(next.id) is \(next.state), but did not end so")
          continue
        }
      }
    }
  }
}
