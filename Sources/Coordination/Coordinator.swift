public import Foundation
public import Gathering
import Launching
public import Ledger
import Planning
import Scheduling
public import Transports

/// Drives one sweep from queued runs to gathered files.
///
/// The ledger is the only state that counts: each tick reads it, observes the hosts, and writes what follows, the
/// intent before the effect. Killed at any point and started again, it goes on where the ledger stands: every open
/// attempt is asked for at its host, and the same attempt is sent again only where the host never heard of it.
public actor Coordinator {
  public struct Settings: Sendable {
    /// Seconds between two looks at the hosts.
    public var tick = 0.5
    /// Seconds without word from a host after which its attempts count as lost.
    public var lostAfter = 1800.0
    /// Gathers at once on one host.
    public var gathersPerHost = 2
    /// Tries of one gather before the run counts as lost.
    public var gatherTries = 3

    public init() {}
  }

  private let ledger: SweepLedger
  private let artifacts: ArtifactStore
  private let settings: Settings
  private let report: @Sendable (Progress) -> Void
  private let now: @Sendable () -> Double

  private var hosts: [String: HostState] = [:]
  /// Attempts with a launch or a gather under way; not to be touched by the tick.
  private var busy: Set<String> = []
  /// Hosts that are being asked.
  private var contacting: Set<String> = []
  /// What the hosts' answers ask for, until the next tick starts it.
  private var todo: [(Transition.Action, AttemptRecord)] = []
  private var cells: [String: Cell] = [:]
  /// Run → cell.
  private var runCells: [String: String] = [:]
  private var gatherFailures: [String: Int] = [:]
  /// Run → time before which it is not tried again.
  private var notBefore: [String: Double] = [:]
  /// Run → hosts that the scheduler keeps for it.
  private var reservations: [String: [String]] = [:]
  /// A trouble that waiting does not mend: ends `drive`.
  private var fatal: (any Error)?

  private struct HostState {
    var connection: HostConnection
    var facts: HostFacts?
    /// Set by a failed contact; no work until then.
    var retryAt = 0.0
    var failures = 0
    var trouble: TransportError?
    var isBlocked = false
  }

  public init(
    ledger: SweepLedger, artifacts: ArtifactStore, hosts: [HostConnection], settings: Settings = Settings(),
    now: @escaping @Sendable () -> Double = { Date().timeIntervalSince1970 },
    report: @escaping @Sendable (Progress) -> Void
  ) {
    self.ledger = ledger
    self.artifacts = artifacts
    self.settings = settings
    self.now = now
    self.report = report
    for connection in hosts { self.hosts[connection.host.name] = HostState(connection: connection) }
  }

  /// Returns when every run of the sweep is final. Cancelling the task detaches: the attempts go on.
  /// - Throws: `CancellationError`, `TransportError` when no host can be used, `GatheringError` when the store is full.
  public func drive(sweep id: String) async throws {
    let plan = try ledger.plan(of: id)
    cells = Dictionary(uniqueKeysWithValues: plan.cells.map { ($0.id, $0) })
    try await enrol()
    try await withThrowingDiscardingTaskGroup { group in
      while true {
        try Task.checkCancellation()
        if let fatal { throw fatal }
        let sweep = try ledger.sweep(named: id)
        let runs = try ledger.runs(of: id)
        if runs.allSatisfy(\.state.isFinal), busy.isEmpty { break }
        runCells = Dictionary(uniqueKeysWithValues: runs.map { ($0.name, $0.cell) })
        let attempts = try ledger.attempts(of: id)
        if sweep.state == .cancelling { try await cancel(id, attempts) }
        let open = attempts.filter { $0.state.isOpen && !busy.contains($0.id) }
        contact(open, plan, &group)
        try giveUp(open)
        if sweep.state == .active { try place(runs, plan, &group) }
        try await Task.sleep(for: .seconds(settings.tick))
      }
      group.cancelAll()
    }
  }

  /// Closes every connection.
  public func close() async {
    for state in hosts.values { await state.connection.transport.close() }
  }

  /// Hosts that could not be used, with the reason.
  public var troubles: [String: TransportError] { hosts.compactMapValues(\.trouble) }

  // MARK: Hosts

  /// Asks every host who it is; at least one must answer.
  private func enrol() async throws {
    await withTaskGroup(of: Void.self) { group in
      for name in hosts.keys.sorted() { group.addTask { await self.enrol(name) } }
    }
    if hosts.values.allSatisfy({ $0.facts == nil }), let first = troubles.min(by: { $0.key < $1.key })?.value {
      throw first
    }
  }

  private func enrol(_ name: String) async {
    guard let state = hosts[name], !state.isBlocked else { return }
    do {
      let facts = try await state.connection.launcher.enrol()
      hosts[name]?.facts = facts
      recovered(name)
      let gpus = gpuCount(of: state.connection.host, facts)
      report(.hostReady(host: name, summary: "\(facts.cpuCount) CPUs, \(gpus) GPUs"))
    } catch {
      failed(name, error)
    }
  }

  private func failed(_ name: String, _ error: any Error) {
    guard !Task.isCancelled, var state = hosts[name] else { return }
    let trouble = HostTrouble.of(error, host: name)
    let isNews = state.trouble != trouble
    state.trouble = trouble
    state.failures += 1
    state.isBlocked = trouble.isPermanent
    state.retryAt = now() + min(60, pow(2, Double(min(state.failures, 6))))
    hosts[name] = state
    if isNews { report(.hostTrouble(host: name, message: trouble.message)) }
  }

  private func recovered(_ name: String) {
    hosts[name]?.trouble = nil
    hosts[name]?.failures = 0
    hosts[name]?.retryAt = 0
  }

  private func gpuCount(of host: Fleet.Host, _ facts: HostFacts) -> Int {
    switch host.gpus {
    case .auto: facts.gpuIDs.count
    case .count(let count): count
    }
  }

  private func isUsable(_ name: String) -> Bool {
    guard let state = hosts[name] else { return false }
    return !state.isBlocked && state.retryAt <= now()
  }

  // MARK: Observing

  /// Has every usable host looked at once for all of its open attempts. A host that is still being asked is left
  /// alone, so that one that hangs delays no other.
  private func contact(
    _ open: [AttemptRecord], _ plan: Plan, _ group: inout ThrowingDiscardingTaskGroup<any Error>
  ) {
    let byHost = Dictionary(grouping: open, by: \.host)
    for name in hosts.keys.sorted() where isUsable(name) && !contacting.contains(name) {
      let attempts = byHost[name] ?? []
      guard hosts[name]?.facts == nil || !attempts.isEmpty else { continue }
      contacting.insert(name)
      group.addTask { await self.guarded { try await self.observe(attempts, on: name) } }
    }
    // What the looks found to be done.
    for (action, attempt) in todo {
      guard !busy.contains(attempt.id), let cell = cells[runCells[attempt.run] ?? ""] else { continue }
      start(action, attempt, cell, plan, &group)
    }
    todo = []
  }

  /// A trouble of the ledger or the store ends the sweep's drive; the host's own are dealt with below.
  private func guarded(_ body: () async throws -> Void) async {
    do { try await body() } catch { if !(error is CancellationError), fatal == nil { fatal = error } }
  }

  private func observe(_ attempts: [AttemptRecord], on name: String) async throws {
    defer { contacting.remove(name) }
    if hosts[name]?.facts == nil { await enrol(name) }
    // An exited attempt needs no look at the host, only its files.
    todo += attempts.filter { $0.state == .exited }.map { (.gather, $0) }
    let asked = attempts.filter { $0.state != .exited }
    let statuses = asked.isEmpty ? [:] : await statuses(of: asked.map(\.id), on: name) ?? [:]
    let time = now()
    try ledger.heard(asked.map(\.id).filter { statuses[$0] != nil }, now: time)
    for attempt in asked {
      if let status = statuses[attempt.id] {
        guard let transition = Transition.after(status, of: attempt, now: time) else { continue }
        try write(transition)
        if transition.action != .none { todo.append((transition.action, transition.attempt)) }
      }
    }
  }

  /// An unreachable host is not dead: only after `lostAfter`, and only when it was tried in vain, is its work lost.
  private func giveUp(_ open: [AttemptRecord]) throws {
    let time = now()
    for attempt in open where attempt.state != .exited && time - attempt.heard > settings.lostAfter {
      guard let trouble = hosts[attempt.host]?.trouble, !contacting.contains(attempt.host) else { continue }
      let silence = "host \(attempt.host) was not heard of for \(Int(time - attempt.heard)) s: \(trouble.message)"
      try write(Transition.lost(attempt, silence, time))
    }
    // Nothing that waiting could mend.
    if hosts.values.allSatisfy(\.isBlocked), let first = troubles.min(by: { $0.key < $1.key })?.value { throw first }
  }

  private func statuses(of attempts: [String], on name: String) async -> [String: AttemptStatus]? {
    guard let launcher = hosts[name]?.connection.launcher else { return nil }
    do {
      let statuses = try await launcher.status(of: attempts)
      recovered(name)
      return statuses
    } catch {
      failed(name, error)
      return nil
    }
  }

  /// Writes a transition; a lost or failed attempt is retried or ends its run.
  private func write(_ transition: Transition) throws {
    var attempt = transition.attempt
    var state = transition.run
    var why = transition.why
    if let ending = transition.ending {
      let earlier = try ledger.attempts(of: attempt.sweep).filter { $0.run == attempt.run && $0.id != attempt.id }
      let policy = RetryPolicy(retries: cells[runCells[attempt.run] ?? ""]?.run.retries ?? 0)
      let next = policy.next(
        after: ending, charged: earlier.count { $0.isCharged }, uncharged: earlier.count { !$0.isCharged })
      switch next {
      case .retry(let delay, let isCharged, _):
        attempt.isCharged = isCharged
        notBefore[attempt.run] = now() + delay
        state = .queued
        why = "to be tried again: \(attempt.why ?? "infrastructure failure")"
      case .end(let final):
        state = final
        why = attempt.why
      case .gather: break
      }
    }
    try ledger.record(
      attempt, run: state, why: why,
      event: EventRecord(
        at: now(), sweep: attempt.sweep, run: attempt.run, attempt: attempt.id, kind: transition.event,
        detail: why ?? ""))
    report(.run(name: attempt.run, state: state, host: attempt.host, why: why))
  }

  // MARK: Acting

  private func start(
    _ action: Transition.Action, _ attempt: AttemptRecord, _ cell: Cell, _ plan: Plan,
    _ group: inout ThrowingDiscardingTaskGroup<any Error>
  ) {
    switch action {
    case .none: return
    case .launchAgain:
      busy.insert(attempt.id)
      group.addTask { await self.guarded { try await self.launch(attempt, cell, plan) } }
    case .gather:
      let running = busy.filter { $0.hasPrefix("gather:\(attempt.host):") }.count
      guard running < settings.gathersPerHost else { return }
      busy.insert(attempt.id)
      busy.insert("gather:\(attempt.host):\(attempt.id)")
      group.addTask { await self.guarded { try await self.gather(attempt, cell) } }
    }
  }

  private func launch(_ attempt: AttemptRecord, _ cell: Cell, _ plan: Plan) async throws {
    defer { busy.remove(attempt.id) }
    guard let host = hosts[attempt.host] else { return }
    var next = attempt
    do {
      let directory = try await host.connection.launcher.directory(of: attempt.id)
      next.directory = directory
      guard let run = try ledger.runs(of: attempt.sweep).first(where: { $0.name == attempt.run }) else { return }
      let spec = Launch.spec(attempt, run: run, cell: cell, host: host.connection.host, directory: directory)
      let outcome = try await host.connection.launcher.launch(spec, files: try Launch.files(cell, plan))
      recovered(attempt.host)
      let time = now()
      next.heard = time
      switch outcome {
      case .started, .adopted:
        next.state = .running
        next.started = time
        try write(Transition(attempt: next, run: .running, event: "running", action: .none))
      case .gpuBusy(let why):
        next.state = .failed
        next.why = why
        try write(Transition(attempt: next, run: .queued, event: "gpu-busy", action: .none, ending: .gpuBusy))
      case .noSpace(let why):
        next.state = .failed
        next.why = why
        next.ended = time
        try write(Transition(attempt: next, run: .queued, event: "no-space", action: .none, ending: .noSpace))
      case .refused(let why):
        next.state = .failed
        next.why = why
        next.ended = time
        try write(Transition(attempt: next, run: .queued, event: "refused", action: .none, ending: .launchFailed))
      }
    } catch let error as LaunchPreparationError {
      next.state = .failed
      next.why = error.message
      next.ended = now()
      try write(Transition(attempt: next, run: .queued, event: "refused", action: .none, ending: .launchFailed))
    } catch let error as LedgerError {
      throw error
    } catch {
      // The launch may or may not have arrived: the attempt stays 'launching' and its host is asked.
      failed(attempt.host, error)
    }
  }

  private func gather(_ attempt: AttemptRecord, _ cell: Cell) async throws {
    defer {
      busy.remove(attempt.id)
      busy.remove("gather:\(attempt.host):\(attempt.id)")
    }
    guard let host = hosts[attempt.host] else { return }
    do {
      let directory: String
      if let known = attempt.directory {
        directory = known
      } else {
        directory = try await host.connection.launcher.directory(of: attempt.id)
      }
      let result = try await Gatherer().gather(
        attemptDirectory: directory, transport: host.connection.transport, store: artifacts, sweep: attempt.sweep,
        run: attempt.run)
      var next = attempt
      next.state = .gathered
      next.heard = now()
      next.facts = Launch.fingerprint(host.facts)
      let missing = result.refused.map { "refused file: \($0)" } + Launch.missing(result.entries, cell)
      try ledger.setGathered(
        run: attempt.run, of: attempt.sweep, files: result.entries.count,
        bytes: result.entries.reduce(0) { $0 + $1.byteCount }, missing: missing)
      let ending = Transition.ending(of: next)
      try write(Transition(attempt: next, run: ending.state, why: ending.why, event: "gathered", action: .none))
    } catch let error as LedgerError {
      throw error
    } catch let error as GatheringError where error.code == .noSpace {
      throw error
    } catch {
      guard !Task.isCancelled else { return }
      let tries = gatherFailures[attempt.id, default: 0] + 1
      gatherFailures[attempt.id] = tries
      let trouble = (error as? GatheringError)?.transport ?? error as? TransportError
      if let trouble { failed(attempt.host, trouble) }
      // A host that cannot be reached keeps its files: they are asked for again when it is back.
      guard trouble == nil, tries >= settings.gatherTries else { return }
      var next = attempt
      next.state = .lost
      next.why = "its files could not be gathered: \(error)"
      try write(Transition(attempt: next, run: .queued, event: "gather-failed", action: .none, ending: .lost))
    }
  }

  /// Stops what runs and ends what waits.
  private func cancel(_ sweep: String, _ attempts: [AttemptRecord]) async throws {
    let open = attempts.filter { $0.state.isOpen && !busy.contains($0.id) }
    for run in try ledger.runs(of: sweep) where run.state == .queued {
      try ledger.set(
        run: run.name, of: sweep, to: .cancelled, why: "cancelled before it started",
        event: EventRecord(at: now(), sweep: sweep, run: run.name, kind: "cancelled"))
      report(.run(name: run.name, state: .cancelled, host: nil, why: nil))
    }
    for attempt in open where attempt.state != .exited && isUsable(attempt.host) {
      do {
        try await hosts[attempt.host]?.connection.launcher.stop(attempt.id, reason: "cancelled")
      } catch {
        failed(attempt.host, error)
      }
    }
  }

  // MARK: Placing

  private func place(
    _ runs: [RunRecord], _ plan: Plan, _ group: inout ThrowingDiscardingTaskGroup<any Error>
  ) throws {
    guard runs.contains(where: { $0.state == .queued }), let sweep = runs.first?.sweep else { return }
    let attempts = try ledger.attempts(of: sweep)
    let ready = runs.filter { $0.state == .queued && (notBefore[$0.name] ?? 0) <= now() }
    // Waiting does not mend a blocked host: what only it could take ends here, and is told why.
    let blocked = hosts.filter(\.value.isBlocked).sorted { $0.key < $1.key }
      .compactMap { entry in entry.value.trouble.map { "\(entry.key): \($0.message)" } }
    let snapshot = Launch.snapshot(
      runs: ready, attempts: attempts, plan: plan, reservations: reservations,
      hosts: hosts.values.filter { !$0.isBlocked }.map { state in
        (
          host: state.connection.host, facts: state.facts, isReady: state.facts != nil && state.retryAt <= now()
        )
      })
    reservations = [:]
    for decision in Placement.decide(snapshot) {
      switch decision {
      case .place(let name, let places, _) where places.count > 1:
        let why = "a gang over \(places.count) hosts cannot be launched yet"
        try ledger.set(
          run: name, of: sweep, to: .failed, why: why,
          event: EventRecord(at: now(), sweep: sweep, run: name, kind: "impossible", detail: why))
        report(.run(name: name, state: .failed, host: nil, why: why))
      case .place(let name, let places, let gpus):
        guard let host = places.first, let run = runs.first(where: { $0.name == name }), let cell = cells[run.cell]
        else { continue }
        let number = (attempts.filter { $0.run == name }.map(\.number).max() ?? 0) + 1
        let attempt = AttemptRecord(
          id: Naming.attempt(sweep: sweep, position: run.position, number: number), sweep: sweep, run: name,
          number: number, host: host, token: Launch.token(), gpus: gpus, now: now())
        try ledger.begin(attempt)
        report(.run(name: name, state: .launching, host: host, why: nil))
        busy.insert(attempt.id)
        group.addTask { await self.guarded { try await self.launch(attempt, cell, plan) } }
      case .reserve(let name, let hosts): reservations[name] = hosts
      case .wait: continue
      case .impossible(let name, let reason):
        let why = blocked.isEmpty ? reason : "\(reason); not usable: \(blocked.joined(separator: "; "))"
        try ledger.set(
          run: name, of: sweep, to: .failed, why: why,
          event: EventRecord(at: now(), sweep: sweep, run: name, kind: "impossible", detail: why))
        report(.run(name: name, state: .failed, host: nil, why: why))
      }
    }
  }
}
