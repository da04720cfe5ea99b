import BitCollections
import Launching
import Ledger
import Planning
import Scheduling
import Transports

/// The coordinator's thinking: a state machine without input or output, clock or randomness.
///
/// Made from the ledger's rows alone, so that a restart at any point is the same as a start. Each step takes what has
/// happened, has the rows that follow committed, and only then gives out commands: whatever a host may ever have heard
/// of stands in the ledger.
struct CoordinatorCore: Sendable {
  typealias Settings = Coordinator.Settings

  /// A run is named by its sweep and its name.
  struct RunKey: Hashable, Sendable {
    var sweep: String
    var name: String
  }

  struct Sweep: Sendable {
    let id: String
    let plan: Plan
    let cells: [String: Cell]
    /// Later ones came later.
    let age: Int
    var runs: Range<Int>
    var openRuns: Int
    var isCancelling: Bool
    /// Steady time at which its end was asked for.
    var cancelledAt = Double.infinity
    var isFinished = false
    /// Its attempts that are watched, and those that a command under way names, once for each.
    var ties = 0
    /// The first attempt of its first run that has one which neither failed nor was lost: the others keep to its hardware.
    var pin: Int?
  }

  struct Run: Sendable {
    var record: RunRecord
    let sweep: Int
    /// In the order of their making.
    var attempts: [Int] = []
    var lastNumber = 0
    /// Steady time before which it is not tried again.
    var notBefore = 0.0
  }

  struct Attempt: Sendable {
    enum Need: Sendable {
      case launch
      case release
      case gather
      case stop
    }

    var record: AttemptRecord
    /// nil: of a sweep that is not driven here; only to be stopped.
    let run: Int?
    let host: Int
    /// What is to be asked of its host next; nil: how it stands.
    var need: Need?
    /// The command under way for it.
    var command: Int?
    /// A launch was sent and never answered: it may still arrive, until its host has said that it stopped it.
    var isInDoubt = false
    /// Since when its directory was seen without a supervisor.
    var claimedSince: Double?
    var gatherTries = 0
    /// Steady time since which its files were to come.
    var gatherSince: Double?
    /// How often the store had no room for its files.
    var roomTries = 0
    /// How often its host said that something of it outlives every signal.
    var stopTries = 0
    /// How often in a row this need of it had no answer, though its host answered otherwise, and the steady time of the
    /// first.
    var vain: (need: Need, count: Int, since: Double)?
    /// Of a share: its host has said that it stands.
    var isClaimed = false
    /// Of a share: its host was told to let it begin.
    var isReleased = false
    /// Of a share: its files are in the store.
    var isFetched = false
    /// Steady time before which its need waits.
    var notBefore = 0.0
    /// Its sweep is driven since: another one stands for it.
    var isReplaced = false

    /// Whether GPUs or a CPU slot of its host are its own.
    var occupies: Bool {
      !isReplaced && (record.state == .launching || record.state == .running || !record.isFenced)
    }
    /// Whether the other runs of its sweep may keep to its hardware.
    var mayPin: Bool { record.state != .failed && record.state != .lost }
    /// Whether its host is still to be asked anything about it.
    var isWatched: Bool { record.state.isOpen || !record.isFenced }
  }

  let settings: Settings
  /// Makes this core's tokens unlike those of any other; letters and digits.
  let nonce: String
  let started: Double

  /// By name.
  var hosts: Noted<[Host]>
  let hostIndex: [String: Int]
  /// The one host is a cluster, which places runs by itself.
  let isCluster: Bool
  /// nil: a free place; see `forgetFinished()`.
  var sweeps: [Sweep?] = []
  /// Sweeps that ever came.
  var sweepCount = 0
  /// A page a sweep, by its place.
  var runs = PagedArray<Run>()
  /// Those that only are to be stopped on the first page, then a page a sweep.
  var attempts = Noted(PagedArray<Attempt>())
  var attemptIndex: [String: Int] = [:]
  /// Runs that wait for a place, in the order of the sweeps and of their positions.
  var queue: Set<Int> = []
  /// Runs that are tried again later.
  var delayed: Set<Int> = []
  /// What the scheduler knows.
  var book = PlacementBook()
  /// Something that placing depends on has changed.
  var isPlacingDue = true
  /// Hosts in trouble.
  var troubled = BitSet()
  /// Hosts that have never told who they are.
  var unknown = BitSet()
  /// Hosts that have changed since the scheduler was last told of them.
  var untoldHosts: Set<Int> = []
  /// Hosts that a person keeps from new runs.
  var drained: Set<String> = []
  var room = StoreRoom()
  /// Commands under way.
  var pending: [Int: Pending] = [:]
  var lastCommand = 0
  var tokens = 0

  /// Of the step under way.
  var now: Moment
  var output = Output()

  struct Pending: Sendable {
    enum Kind: Sendable {
      case enrol
      case poll([Int])
      case launch(Int)
      case release(Int)
      case stop(Int)
      case gather(Int)

      /// The attempt that it is for alone.
      var subject: (attempt: Int, need: Attempt.Need)? {
        switch self {
        case .enrol, .poll: nil
        case .launch(let attempt): (attempt, .launch)
        case .release(let attempt): (attempt, .release)
        case .stop(let attempt): (attempt, .stop)
        case .gather(let attempt): (attempt, .gather)
        }
      }

      var attempts: [Int] {
        switch self {
        case .enrol: []
        case .poll(let attempts): attempts
        case .launch(let attempt), .release(let attempt), .stop(let attempt), .gather(let attempt): [attempt]
        }
      }
    }

    var kind: Kind
    var host: Int
    /// Steady time.
    var given: Double
  }

  /// - Parameters:
  ///   - stragglers: Attempts of any sweep that are not fenced.
  ///   - nonce: Random letters and digits, other ones for each core.
  init(hosts: [Fleet.Host], stragglers: [AttemptRecord], settings: Settings, nonce: String, at now: Moment) {
    self.settings = settings
    self.nonce = nonce
    self.now = now
    started = now.steady
    let known = hosts.sorted { $0.name < $1.name }.map { Host($0, now: now.steady) }
    self.hosts = Noted(known)
    isCluster = known.contains { $0.host.slurm != nil }
    hostIndex = Dictionary(known.enumerated().map { ($1.host.name, $0) }) { first, _ in first }
    for record in stragglers where attemptIndex[record.id] == nil { add(record, run: nil) }
  }

  /// Takes what has happened; what follows is committed before it is given out.
  /// - Throws: What `commit` throws; the core is then of no use any more.
  mutating func step(
    _ events: [Event], at now: Moment, commit: ([LedgerWrite]) throws -> Void
  ) rethrows -> Output {
    self.now = now
    output = Output()
    for event in events { take(event) }
    sortOutHosts()
    giveUpSilentHosts()
    leaveLateFiles()
    output.failure = hopelessness
    if output.failure == nil {
      place()
      issue()
    }
    conclude()
    if !output.writes.isEmpty { try commit(output.writes) }
    return output
  }

  /// Hosts that could not be used, with the reason.
  var troubles: [String: TransportError] {
    Dictionary(troubled.compactMap { host in hosts[host].trouble.map { (name(host), $0) } }) { first, _ in first }
  }

  /// Hosts that owe an answer to who they are, or how their attempts stand, with the seconds since they were asked.
  func unanswered(at now: Moment) -> [(host: String, seconds: Double)] {
    hosts.indices.compactMap { host in
      guard let asked = hosts[host].question.flatMap({ pending[$0] })?.given else { return nil }
      let seconds = now.steady - asked
      return seconds >= settings.shownSilence ? (name(host), seconds) : nil
    }
  }

  // MARK: - Events

  private mutating func take(_ event: Event) {
    switch event {
    case .added(let rows): add(rows)
    case .cancelRequested(let id):
      if let sweep = sweeps.firstIndex(where: { $0?.id == id && $0?.isFinished == false }) { cancel(sweep) }
    case .answered(let id, let answer): take(answer, to: id)
    case .drained(let names):
      for name in names.symmetricDifference(drained) {
        if let host = hostIndex[name] { hosts.note(host) }
      }
      drained = names
    case .tick: return
    }
  }

  /// An answer to a command that is not under way, one that was answered before say, means nothing.
  private mutating func take(_ answer: Answer, to id: Int) {
    guard let command = pending.removeValue(forKey: id) else { return }
    hosts[command.host].restsUntil = -.infinity
    for attempt in command.kind.attempts { tie(attempt, by: -1) }
    release(command)
    if case .trouble(let trouble) = answer {
      failed(command, trouble)
      return
    }
    if case .unprepared = answer {} else { recovered(command.host, asked: command.given) }
    if let (attempt, _) = command.kind.subject { attempts[attempt].vain = nil }
    switch (command.kind, answer) {
    case (.enrol, .facts(let facts)): enrolled(command.host, facts)
    case (.poll(let asked), .statuses(let statuses)):
      hosts[command.host].polled = now.steady
      hosts[command.host].pollCost = now.steady - command.given
      for attempt in asked where attempts[attempt].command == nil {
        if let status = statuses[attempts[attempt].record.id] { observed(status, of: attempt) }
      }
    case (.launch(let attempt), .launched(let outcome, let directory)): launched(attempt, outcome, directory)
    case (.launch(let attempt), .unprepared(let why)), (.launch(let attempt), .notGathered(let why)),
      (.launch(let attempt), .storeFull(let why)):
      refused(attempt, why)
    case (.release(let attempt), .released): released(attempt)
    case (.release(let attempt), .notReleased): attempts[attempt].notBefore = now.steady + 2
    case (.stop(let attempt), .stopped): stopped(attempt)
    case (.stop(let attempt), .notStopped(let why)): notStopped(attempt, why)
    case (.gather(let attempt), .gathered(let files)): gathered(attempt, files)
    case (.gather(let attempt), .storeFull(let why)): storeIsFull(attempt, why)
    case (.gather(let attempt), .notGathered(let why)): notGathered(attempt, why)
    case (.gather(let attempt), .stillWritten(let why)): stillWritten(attempt, why)
    case (.gather(let attempt), .brokenOff): leaveLateFiles(of: attempt)
    default: return
    }
  }

  private mutating func release(_ command: Pending) {
    switch command.kind {
    case .enrol, .poll: hosts[command.host].question = nil
    case .launch(let attempt):
      attempts[attempt].command = nil
      hosts[command.host].launches -= 1
    case .release(let attempt): attempts[attempt].command = nil
    case .gather(let attempt):
      attempts[attempt].command = nil
      hosts[command.host].gathers -= 1
    case .stop(let attempt):
      attempts[attempt].command = nil
      hosts[command.host].stops -= 1
    }
  }

  // MARK: - Rows

  private mutating func add(_ rows: SweepRows) {
    // One that has ended and was opened again stands once more, as its rows are now.
    guard !sweeps.contains(where: { $0?.id == rows.sweep.id && $0?.isFinished == false }) else { return }
    let sweep = sweeps.firstIndex { $0 == nil } ?? sweeps.count
    if sweep == sweeps.count { sweeps.append(nil) }
    sweepCount += 1
    var index: [String: Int] = [:]
    for record in rows.runs { index[record.name] = runs.append(Run(record: record, sweep: sweep), to: sweep) }
    let places = runs.indices(of: sweep)
    sweeps[sweep] = Sweep(
      id: rows.sweep.id, plan: rows.plan, cells: Dictionary(rows.plan.cells.map { ($0.id, $0) }) { first, _ in first },
      age: sweepCount, runs: places, openRuns: rows.runs.count { !$0.state.isFinal }, isCancelling: false)
    for record in rows.attempts {
      if let run = index[record.run] { add(record, run: run) }
    }
    for run in places { settleGang(of: run) }
    for run in places where !runs[run].record.state.isFinal {
      // Attempt and run are committed together, so this is the run of an attempt that is over, or of none.
      if !runs[run].attempts.contains(where: { attempts[$0].record.state.isOpen }) { enqueue(run) }
    }
    if rows.sweep.state == .cancelling { cancel(sweep) }
  }

  mutating func add(_ record: AttemptRecord, run: Int?) {
    if let run { runs[run].lastNumber = max(runs[run].lastNumber, record.number) }
    guard let host = hostIndex[record.host] else {
      // Nobody can be asked about it.
      if let run, record.state.isOpen { abandon(record, run) }
      return
    }
    var attempt = Attempt(record: record, run: run, host: host)
    if record.state == .launching {
      // Sent or not, arrived or not: the host is asked.
      attempt.isInDoubt = true
    } else if record.state == .running, record.share != nil {
      // Begun or not: it may.
      attempt.need = .release
    } else if record.state == .exited {
      attempt.need = record.share == nil ? .gather : nil
      attempt.gatherSince = now.steady
    } else if !record.isFenced {
      attempt.need = .stop
    }
    if let known = attemptIndex[record.id] {
      // A straggler whose sweep is driven now.
      unwatch(known)
      attempts[known].isReplaced = true
    }
    let index = attempts.append(attempt, to: run.map { runs[$0].sweep + 1 } ?? 0)
    attemptIndex[record.id] = index
    if let run { runs[run].attempts.append(index) }
    if attempt.isWatched { watch(index) }
    if record.state.isOpen, record.unheard > 0 {
      hosts[host].formerSilence = hosts[host].formerSilence.map { max($0, record.unheard) }
      hosts[host].notedSilence = max(hosts[host].notedSilence, record.unheard)
    }
    hosts[host].restsUntil = -.infinity
  }

  /// The attempt's host is not in the fleet: its run ends, since a second one might run beside it.
  private mutating func abandon(_ record: AttemptRecord, _ run: Int) {
    var next = record
    next.state = .lost
    next.why = "its host \(record.host) is not in the fleet"
    next.ended = now.wall
    next.isFenced = false
    output.writes.append(.attempt(next))
    set(run, .lost, why: next.why, host: record.host, attempt: record.id, kind: "lost")
  }

  // MARK: - Runs

  func isCancelling(_ run: Int) -> Bool { sweeps[runs[run].sweep]?.isCancelling ?? false }
  func cell(of run: Int) -> Cell? { sweeps[runs[run].sweep]?.cells[runs[run].record.cell] }

  func retryPolicy(of run: Int) -> RetryPolicy {
    RetryPolicy(retries: cell(of: run)?.run.retries ?? 0)
  }

  /// Writes a run's new state with the line of the diary that says why.
  mutating func set(
    _ run: Int, _ state: RunState, why: String?, host: String?, attempt: String?, kind: String, detail: String? = nil
  ) {
    let wasFinal = runs[run].record.state.isFinal
    runs[run].record.state = state
    runs[run].record.why = why
    if state.isFinal, !wasFinal { sweeps[runs[run].sweep]?.openRuns -= 1 }
    let record = runs[run].record
    output.writes.append(.run(sweep: record.sweep, name: record.name, state: state, why: why))
    note(record.sweep, record.name, attempt, kind, detail ?? why ?? "")
    output.progress.append(.run(name: record.name, state: state, host: host, why: why))
  }

  mutating func note(_ sweep: String, _ run: String?, _ attempt: String?, _ kind: String, _ detail: String) {
    output.writes.append(
      .event(EventRecord(at: now.wall, sweep: sweep, run: run, attempt: attempt, kind: kind, detail: detail)))
  }

  /// Ends what waits; what runs is stopped at its host.
  private mutating func cancel(_ sweep: Int) {
    guard let places = sweeps[sweep]?.runs, sweeps[sweep]?.isCancelling == false else { return }
    sweeps[sweep]?.isCancelling = true
    sweeps[sweep]?.cancelledAt = now.steady
    for run in places where runs[run].record.state == .queued {
      dequeue(run)
      set(run, .cancelled, why: "cancelled before it started", host: nil, attempt: nil, kind: "cancelled")
    }
    for run in places {
      for attempt in runs[run].attempts where attempts[attempt].command == nil { stopIfCancelled(attempt) }
    }
  }

  /// The trouble of the first host, where no host can be used and waiting does not mend it. For what is open somewhere its
  /// host is waited for, and given up when its time is up.
  private var hopelessness: TransportError? {
    guard troubled.count == hosts.count, unknown.count == hosts.count || hosts.allSatisfy(\.isBlocked),
      sweeps.contains(where: { ($0?.openRuns ?? 0) > 0 }),
      !hosts.contains(where: { $0.watched.contains { attempts[$0].record.state.isOpen } })
    else { return nil }
    return hosts.first?.trouble
  }

  /// The sweeps that are over.
  private mutating func conclude() {
    for sweep in sweeps.indices where sweeps[sweep]?.openRuns == 0 && sweeps[sweep]?.isFinished == false {
      let isBusy = hosts.indices.contains { host in
        hosts[host].watched.contains { index in
          guard let run = attempts[index].run, runs[run].sweep == sweep else { return false }
          if attempts[index].command != nil { return true }
          return hosts[host].trouble == nil && attempts[index].stopTries < settings.stopTries
        }
      }
      if !isBusy, let id = sweeps[sweep]?.id {
        sweeps[sweep]?.isFinished = true
        output.finished.append(id)
      }
    }
  }
}
