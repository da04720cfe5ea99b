import Launching
import Ledger
import Planning
import Scheduling
import TestSupport
import Transports

@testable import Coordination

/// Hosts, a network, stores and one or two coordinators with up to three sweeps each, under a clock of its own; every fault follows from the seed.
///
/// The coordinators are the product's core, driven as the product drives it: step, commit, then perform.
final class Simulation {
  struct Failure: Error, CustomStringConvertible {
    var seed: UInt64
    var violations: [String]
    var trace: [String]

    var description: String {
      "seed \(seed): \(violations.prefix(3).joined(separator: "; ")) (ROLLCALL_SIM_SEED=\(seed) shows the way there)"
    }
  }

  /// Which faults a seed has; each kind is on in a part of the seeds only, so that a failure points at few.
  struct Faults {
    var crashes: Bool
    var cuts: Bool
    var badNetwork: Bool
    var reboots: Bool
    var clockJumps: Bool
    var fullDisks: Bool
    var strangers: Bool
    var killedSupervisors: Bool
    var refusals: Bool
    var badFiles: Bool
    var cancel: Bool
    var drains: Bool
    var goneHost: Bool

    init(_ random: inout SplitMix64) {
      let isCalm = random.chance(0.05)
      func on(_ probability: Double) -> Bool { random.chance(probability) && !isCalm }
      crashes = on(0.6)
      cuts = on(0.5)
      badNetwork = on(0.5)
      reboots = on(0.35)
      clockJumps = on(0.3)
      fullDisks = on(0.3)
      strangers = on(0.3)
      killedSupervisors = on(0.35)
      refusals = on(0.25)
      badFiles = on(0.15)
      cancel = on(0.2)
      drains = on(0.25)
      goneHost = on(0.1)
    }
  }

  /// Longest way of a question: longer than its sender waits.
  static let longestDelay = 400.0
  static let patience = 3 * 3600.0

  let seed: UInt64
  let isTraced: Bool
  var random: SplitMix64
  let faults: Faults
  /// Until then faults happen.
  let horizon: Double
  /// Hosts of two kinds.
  let isMixed: Bool
  var time = 0.0
  var agenda = Agenda()
  var hosts: [SimulatedHost] = []
  var coordinators: [SimulatedCoordinator] = []
  var workloads: [String: SimulatedHost.Workload] = [:]
  /// Attempt → times that its command was started.
  var starts: [String: Int] = [:]
  /// Attempts whose files are in a store.
  var fetched: Set<String> = []
  var steps = 0
  var violations: [String] = []
  var trace: [String] = []

  init(seed: UInt64, traced: Bool = false) {
    self.seed = seed
    isTraced = traced
    random = SplitMix64(seed: seed &* 0x9E37_79B9_7F4A_7C15 &+ 0xD1B5_4A32_D192_ED03)
    faults = Faults(&random)
    horizon = random.between(60, 900)
    isMixed = random.chance(0.3)
    for index in 0..<random.between(1, 3) {
      hosts.append(
        SimulatedHost(
          name: "h\(index)", gpuCount: [1, 2, 4, 4][random.between(0, 3)], cpuSlots: random.between(1, 2),
          hardware: isMixed && random.chance(0.5) ? "B" : "A"))
    }
    for index in 0..<(random.chance(0.3) ? 2 : 1) {
      coordinators.append(SimulatedCoordinator(index, simulation: self))
    }
  }

  /// Runs to the end.
  /// - Throws: `Failure` with what went wrong.
  func run() throws {
    for coordinator in coordinators { coordinator.start() }
    scheduleFaults()
    at(horizon) { self.endFaults() }
    while violations.isEmpty, let next = agenda.next() {
      time = next.time
      next.action()
      steps += 1
      for coordinator in coordinators { violations += coordinator.store.violations }
      if coordinators.allSatisfy(\.isDone), time > horizon { break }
      if time > horizon + Self.patience || steps > 200_000 {
        violations.append("it does not end")
        break
      }
    }
    if violations.isEmpty { for coordinator in coordinators { checkEnd(of: coordinator) } }
    if !violations.isEmpty { throw Failure(seed: seed, violations: violations, trace: trace) }
  }

  func at(_ time: Double, _ action: @escaping () -> Void) { agenda.add(time, action) }
  func after(_ delay: Double, _ action: @escaping () -> Void) { agenda.add(time + delay, action) }

  func say(_ text: @autoclosure () -> String) {
    guard isTraced else { return }
    trace.append("\((time * 1000).rounded() / 1000) \(text())")
  }

  var isFaulty: Bool { time < horizon }

  // MARK: - Hosts

  func host(_ name: String) -> SimulatedHost? { hosts.first { $0.name == name } }

  /// What the host answers; nil: nothing comes back.
  func execute(_ command: Command, by owner: SimulatedCoordinator, on host: SimulatedHost) -> Answer? {
    switch command.action {
    case .enrol: return .facts(host.facts)
    case .poll(let ids):
      return .statuses(Dictionary(uniqueKeysWithValues: ids.map { ($0, host.status(of: $0, at: time)) }))
    case .launch(let attempt, _):
      // A second copy of a launch takes nothing.
      if !host.knows(attempt.id) { checkRoom(for: attempt, owner, host) }
      let isDying = isFaulty && faults.reboots && random.chance(0.02)
      let outcome = host.launch(
        attempt.id, token: attempt.token, owner: owner.index, gpus: attempt.gpus,
        hold: attempt.share == nil ? nil : Double(Launch.holdSeconds), dying: isDying, at: time
      ) { self.started(attempt, owner, host) }
      say("\(host.name): launch \(attempt.id) gives \(outcome.map { "\($0)" } ?? "nothing, the host dies")")
      guard let outcome else {
        powerCut(host)
        return nil
      }
      return .launched(outcome, directory: "/home/sim/.rollcall/attempts/\(attempt.id)")
    case .stop(let attempt, let reason):
      say("\(host.name): stop \(attempt.id) (\(reason))")
      guard host.stop(attempt.id, owner: owner.index, reason: reason, at: time) else {
        return .notStopped("no room")
      }
      return .stopped
    case .release(let attempt):
      say("\(host.name): release \(attempt.id)")
      host.release(attempt.id, at: time) { self.started(attempt, owner, host) }
      return .released
    case .gather(let attempt, _, let shares):
      guard case .exited? = host.attempts[attempt.id]?.state else {
        violations.append("\(attempt.id) is gathered before it ended")
        return nil
      }
      if owner.store.hasNoRoom, random.chance(0.7) { return .storeFull("no room") }
      if isFaulty, faults.badFiles, random.chance(0.4) { return .notGathered("a file changes all the time") }
      // A gang's run has files from each of its hosts, once all are there.
      fetched.insert(attempt.id)
      if !shares.allSatisfy(fetched.contains) {
        violations.append("\(attempt.run) is laid out without all hosts' files")
      }
      return .gathered(GatheredFiles(count: attempt.share == nil ? 1 : shares.count, bytes: 1, missing: []))
    }
  }

  private func started(_ attempt: AttemptRecord, _ owner: SimulatedCoordinator, _ host: SimulatedHost) {
    starts[attempt.id, default: 0] += 1
    if starts[attempt.id] != 1 { violations.append("\(attempt.id) was started twice") }
    guard let row = owner.store.attempt(attempt.id), row.token == attempt.token else {
      violations.append("\(attempt.id) was started before it was committed")
      return
    }
    if !row.state.isOpen, row.isFenced { violations.append("\(attempt.id) was started after it was fenced") }
    guard var workload = workloads[attempt.run] else { return }
    if let share = row.share {
      checkGang(of: row, owner)
      // One share fails by itself; the others wait for it until they are stopped.
      if workload.code != 0, share.node != share.nodeCount - 1 { workload = Self.victim }
    }
    let boot = host.boot
    after(workload.seconds) {
      if host.boot == boot { host.end(attempt.id, workload, at: self.time) }
    }
    if isFaulty, faults.killedSupervisors, random.chance(0.15) {
      let survivors = random.chance(0.5)
      after(workload.seconds * random.unit()) {
        if host.boot == boot { host.killSupervisor(attempt.id, survivors: survivors) }
      }
    }
  }

  private static let victim = SimulatedHost.Workload(seconds: 1e6, code: 143, signal: 15, reason: "timeout")

  /// All or none: a share begins only after every host has taken its share, and after that was committed.
  private func checkGang(of row: AttemptRecord, _ owner: SimulatedCoordinator) {
    let shares = owner.store.attempts(of: row.run).filter { $0.number == row.number }
    if shares.count != row.share?.nodeCount || Set(shares.map(\.host)).count != shares.count {
      violations.append("\(row.id) has the shares \(shares.map { "\($0.id) on \($0.host)" })")
    }
    for share in shares {
      if share.state == .launching { violations.append("\(row.id) began before \(share.id) was committed as taken") }
      if host(share.host)?.knows(share.id) != true { violations.append("\(row.id) began without \(share.id)") }
    }
  }

  /// What a coordinator takes of a host is never more than there is, counting all that in truth lives there.
  private func checkRoom(for attempt: AttemptRecord, _ owner: SimulatedCoordinator, _ host: SimulatedHost) {
    let alive = host.attempts.filter { $0.key != attempt.id && $0.value.owner == owner.index && $0.value.isAlive }
    let taken = alive.values.reduce(0) { $0 + $1.gpuCount }
    if attempt.gpus > 0, taken + attempt.gpus > host.gpuCount {
      violations.append("\(attempt.id) wants GPUs of \(host.name) that \(alive.keys.sorted()) hold")
    }
    if attempt.gpus == 0, alive.values.count(where: { $0.gpuCount == 0 }) >= host.cpuSlots {
      violations.append("\(attempt.id) wants a CPU slot of \(host.name) that \(alive.keys.sorted()) hold")
    }
  }

  func powerCut(_ host: SimulatedHost) {
    say("\(host.name) loses its power")
    host.losePower()
    after(random.between(5, 120)) { host.isUp = !host.isGone }
  }

  // MARK: - Faults

  private func scheduleFaults() {
    func every(_ mean: Double, _ isOn: Bool, _ action: @escaping () -> Void) {
      guard isOn else { return }
      var moment = random.unit() * mean
      while moment < horizon {
        at(moment, action)
        moment += mean * random.between(0.3, 1.7)
      }
    }
    every(150, faults.cuts) {
      let coordinator = self.anyCoordinator
      let host = self.anyHost.name
      self.say("\(coordinator.name) is cut off from \(host)")
      coordinator.cuts[host, default: 0] += 1
      self.after(self.random.chance(0.3) ? self.random.between(200, 700) : self.random.between(1, 90)) {
        coordinator.cuts[host] = max(0, coordinator.cuts[host, default: 0] - 1)
      }
    }
    every(200, faults.reboots) { self.powerCut(self.anyHost) }
    every(120, faults.clockJumps) {
      let jump = self.random.between(-1, 1) * [10, 1000, 1e7][self.random.between(0, 2)]
      if self.random.chance(0.5) { self.anyHost.clockOffset += jump } else { self.anyCoordinator.wallOffset += jump }
    }
    every(150, faults.fullDisks) {
      let host = self.anyHost
      host.isFull = true
      self.after(self.random.between(5, 100)) { host.isFull = false }
      guard self.random.chance(0.5) else { return }
      let coordinator = self.anyCoordinator
      if self.random.chance(0.5) {
        coordinator.store.hasNoRoom = true
        self.after(self.random.between(5, 300)) { coordinator.store.hasNoRoom = false }
      } else {
        coordinator.store.isFull = true
        self.after(self.random.between(5, 100)) { coordinator.store.isFull = false }
      }
    }
    every(100, faults.strangers) {
      let host = self.anyHost
      let gpu = self.random.between(0, host.gpuCount - 1)
      host.intrude(gpu)
      self.after(self.random.between(10, 200)) { host.strangers.remove(gpu) }
    }
    every(200, faults.refusals) {
      let coordinator = self.anyCoordinator
      let host = self.anyHost.name
      coordinator.refusals[host] = self.random.chance(0.2) ? .hostKeyChanged : .unreachable
      self.after(self.random.between(5, 150)) { coordinator.refusals[host] = nil }
    }
    every(200, faults.drains) {
      let coordinator = self.anyCoordinator
      let host = self.anyHost.name
      guard !coordinator.drained.contains(host) else { return }
      coordinator.drain(host, true)
      self.after(self.random.between(5, 300)) { coordinator.drain(host, false) }
    }
    if faults.cancel {
      at(random.between(0, horizon)) { self.coordinators[0].requestCancel() }
    }
    if faults.goneHost {
      at(random.between(0, horizon)) {
        let host = self.anyHost
        host.isGone = true
        self.powerCut(host)
      }
    }
    every(180, faults.crashes) { self.anyCoordinator.crash("at any time") }
  }

  private var anyHost: SimulatedHost { hosts[random.between(0, hosts.count - 1)] }
  private var anyCoordinator: SimulatedCoordinator { coordinators[random.between(0, coordinators.count - 1)] }

  /// A host will never be heard of again.
  var isOneGone: Bool { hosts.contains(where: \.isGone) }

  private func endFaults() {
    say("the faults end")
    // Nobody waits for it any longer.
    if isOneGone { for coordinator in coordinators { coordinator.requestCancelOfAll() } }
    for host in hosts {
      host.isFull = false
      host.strangers = []
    }
    for coordinator in coordinators {
      coordinator.cuts = [:]
      coordinator.store.isFull = false
      coordinator.store.hasNoRoom = false
      coordinator.refusals = [:]
    }
  }

  // MARK: - The end

  private func checkEnd(of coordinator: SimulatedCoordinator) {
    let store = coordinator.store
    for run in store.runs {
      let attempts = store.attempts(of: run.name)
      let place = "\(run.name) is \(run.state) (\(run.why ?? "no reason")) after \(attempts.map(\.state))"
      guard let last = attempts.last(where: { $0.state == .gathered }) else {
        checkWithoutFiles(run, attempts, place, coordinator)
        continue
      }
      let shares = attempts.filter { $0.number == last.number }
      let records = shares.compactMap { share -> ExitRecord? in
        guard case .exited(let record)? = host(share.host)?.attempts[share.id]?.state else { return nil }
        return record
      }
      guard records.count == shares.count, shares.allSatisfy({ $0.state == .gathered }) else {
        violations.append("\(place), but its command never ended")
        continue
      }
      let ends = zip(shares, records).map { ($1, host($0.host)?.clockOffset ?? 0) }
      // Where clocks jump, which share failed first is not known for sure.
      if shares.count > 1, faults.clockJumps { continue }
      let record = records[GangCause.first(of: ends) ?? 0]
      var truth = last
      truth.exitCode = record.code
      truth.signal = record.signal
      truth.reason = record.reason
      if Transition.ending(of: truth).state != run.state { violations.append("\(place), which is not how it ended") }
      if run.fileCount != shares.count { violations.append("\(place) and has no files") }
      if let workload = workloads[run.name], record.reason != "cancelled", record.code != workload.code {
        violations.append("\(place), which is not its own end")
      }
    }
    for host in hosts {
      for (id, attempt) in host.attempts where attempt.owner == coordinator.index && attempt.isAlive {
        violations.append("\(id) still runs on \(host.name)")
      }
    }
    for attempt in coordinator.unfenced { violations.append("\(attempt.id) was never fenced") }
  }

  private func checkWithoutFiles(
    _ run: RunRecord, _ attempts: [AttemptRecord], _ place: String, _ coordinator: SimulatedCoordinator
  ) {
    switch run.state {
    case .cancelled where coordinator.store.isCancelled(run.sweep): return
    case .lost where attempts.count { $0.isCharged } == coordinator.retries + 1: return
    case .failed where run.why?.contains("not usable") == true: return
    case .failed where isMixed && run.why?.contains("hosts of one kind") == true: return
    // Hosts that could not be reached at first may be of other hardware than the one that was chosen.
    case .failed where isMixed && run.why?.contains("comparison's hardware") == true: return
    default: violations.append("\(place), which is no right end")
    }
  }
}
