public import Foundation
public import Gathering
public import Ledger
public import Planning
public import Transports

/// Drives one sweep from queued runs to gathered files.
///
/// The thinking is `CoordinatorCore`'s; this carries it out. It waits for something to happen, takes everything that
/// has, commits what follows in one transaction, and only then asks the hosts for what is to be done. Killed at any
/// point and started again, it goes on where the ledger stands.
public actor Coordinator {
  public struct Settings: Sendable {
    /// Seconds between two looks at the store for what others ask: to cancel.
    public var tick = 0.5
    /// Seconds that these looks may fail in a row; meanwhile what was asked for last holds.
    public var lookPatience = 7.0
    /// Seconds after which a question without an answer is shown to those who look; nothing else follows from it.
    public var shownSilence = 10.0
    /// Seconds without word from a host after which its attempts count as lost: the fleet file's, if it has one.
    public var lostAfter = 1800.0
    /// Gathers that transfer anything at once on one host.
    public var gathersPerHost = 2
    /// Gathers that are asked for at once on one host: those without dumps go together.
    public var gathersAskedPerHost = 512
    /// Launches at once on one host: its launcher sends together what is asked for together.
    public var launchesPerHost = 512
    /// Stops at once on one host.
    public var stopsPerHost = 4
    /// Tries of one gather before the run counts as lost.
    public var gatherTries = 3
    /// Seconds that the files of what has ended may still take in a sweep that is being cancelled.
    public var cancelPatience = 5.0
    /// How often an attempt is to be stopped in vain before its run no longer waits for it.
    public var stopTries = 5
    /// How often in a row, and for how many seconds, a launch, a gather or a stop may have no answer of a host that answers
    /// otherwise: both must be over.
    public var vainTries = 8
    public var vainPatience = 1800.0
    /// Seconds between two polls of one host: right after a launch, and at most.
    public var quickestPoll = 0.1
    public var slowestPoll = 5.0
    /// Part of the time since the last launch or news that passes until the next poll.
    public var pollShare = 0.2
    /// As `quickestPoll`, for this machine, where a poll is a look at some files: what ends there makes room at once.
    public var quickestLocalPoll = 0.002
    /// As `pollShare`, for this machine.
    public var localPollShare = 0.05
    /// So many times as long as such a poll took, the next one waits.
    public var localPollRest = 4.0
    /// Seconds between two polls of a cluster, whose quickest is the fleet file's: at most, and where it answers slowly.
    public var slowestClusterPoll = 60.0
    public var slowestPollUnderLoad = 300.0
    /// So many times as long as a poll of a cluster took, it is left alone.
    public var pollRest = 20.0
    /// Seconds that placing waits for hosts that have not told who they are.
    public var enrolPatience = 10.0

    public init(_ fleet: Fleet? = nil) {
      // A controller that is away for hours leaves its jobs alone, and so do we.
      if let fleet { lostAfter = fleet.lostAfter ?? (fleet.hosts.allSatisfy { $0.slurm != nil } ? 86_400 : lostAfter) }
    }
  }

  private enum Letter: Sendable {
    case event(Event)
    /// Ends `drive`.
    case failure(any Error)
  }

  private let ledger: SweepLedger
  private let artifacts: ArtifactStore
  private let board: GatherBoard
  private let settings: Settings
  private let report: @Sendable (Progress) -> Void
  private let now: @Sendable () -> Double
  private let connections: [String: HostConnection]
  /// Does not count while the machine sleeps: a closed lid makes no host silent.
  private let clock = SuspendingClock()
  /// Moves on while the store is full: what is not listened to is not silent.
  private var start = SuspendingClock().now

  /// Hosts that could not be used, with the reason.
  public private(set) var troubles: [String: TransportError] = [:]

  /// - Parameter board: Of the store; whoever makes it keeps it.
  public init(
    ledger: SweepLedger, artifacts: ArtifactStore, board: GatherBoard, hosts: [HostConnection],
    settings: Settings = Settings(),
    now: @escaping @Sendable () -> Double = { Date().timeIntervalSince1970 },
    report: @escaping @Sendable (Progress) -> Void
  ) {
    self.ledger = ledger
    self.artifacts = artifacts
    self.board = board
    self.settings = settings
    self.now = now
    self.report = report
    connections = Dictionary(hosts.map { ($0.host.name, $0) }) { first, _ in first }
  }

  /// Returns when every run of the sweep is final. Cancelling the task detaches: the attempts go on.
  /// - Throws: `CancellationError`, `LedgerError`, `TransportError` when no host can be used, `GatheringError` when the
  ///   store cannot be used. A full one is waited for.
  public func drive(sweep id: String) async throws {
    try await drive([id], more: { [] }, unreadable: { throw $1 }, ended: { _ in })
  }

  /// Drives sweeps together, so that they share the hosts fairly, until all of them have ended.
  ///
  /// - Parameters:
  ///   - more: Asked at each look at the store: sweeps that are to be driven, too, or again.
  ///   - unreadable: Called where a sweep's rows cannot be read, with the error; it is left out unless this throws.
  ///   - ended: Called when every run of a sweep is final.
  /// - Throws: As `drive(sweep:)`; all of the sweeps can be driven again.
  public func drive(
    _ sweeps: [String], more: @Sendable () throws -> [String],
    unreadable: @Sendable (String, any Error) throws -> Void, ended: @Sendable (String) -> Void
  ) async throws {
    let plans = SweepPlans()
    let actions = HostActions(
      connections: connections, artifacts: artifacts, board: board, plans: plans,
      gathersPerHost: settings.gathersPerHost)
    var core = CoordinatorCore(
      hosts: connections.values.map(\.host), stragglers: try ledger.unfencedAttempts(), settings: settings,
      nonce: Launch.nonce(), at: moment)
    let mailbox = Mailbox<Letter>()
    let drains = DrainList(store: artifacts.root)
    var events: [Event] = [.drained(Set(try drains.hosts().keys))]
    /// The sweeps that have not ended, and whether they were told to stop.
    var open: [String: Bool] = [:]
    for id in sweeps { events += try add(id, to: &open, plans, unreadable) }
    var nextLook = moment.steady + settings.tick
    var blindSince: Double?
    var alarm = Double.infinity
    defer { board.note([], by: self) }
    try await withThrowingDiscardingTaskGroup { group in
      while true {
        let time = moment
        if time.steady >= nextLook {
          nextLook = time.steady + settings.tick
          do {
            events.append(.drained(Set(try drains.hosts().keys)))
            for (id, isCancelling) in open where !isCancelling {
              guard try isToStop(id) else { continue }
              open[id] = true
              events.append(.cancelRequested(sweep: id))
            }
            blindSince = nil
          } catch {
            let since = blindSince ?? time.steady
            guard time.steady - since <= settings.lookPatience else { throw error }
            blindSince = since
          }
          board.note(
            core.unanswered(at: time).map { .init(host: $0, sweeps: Array(open.keys), seconds: $1) }, by: self)
          for id in try more() where open[id] == nil { events += try add(id, to: &open, plans, unreadable) }
        }
        var writes: [LedgerWrite] = []
        let output = core.step(events, at: time) { writes = $0 }
        if try await commit(writes) { alarm = .infinity }
        troubles = core.troubles
        for progress in output.progress { report(progress) }
        if let failure = output.failure { throw failure }
        for command in output.brokenOff { actions.breakOff(command) }
        for command in output.commands { group.addTask { await Self.perform(command, actions, mailbox) } }
        for id in output.finished {
          open[id] = nil
          plans.remove(id)
          ended(id)
        }
        if open.isEmpty { break }

        let due = min(output.wakeAt, nextLook)
        if alarm <= time.steady || due < alarm {
          alarm = due
          let delay = max(0, due - time.steady)
          group.addTask {
            // Cancelled: nobody waits for it any more.
            guard (try? await Task.sleep(for: .seconds(delay), clock: .suspending)) != nil else { return }
            mailbox.put(.event(.tick))
          }
        }
        events = try await Self.arrivals(in: mailbox)
      }
      group.cancelAll()
    }
  }

  private func add(
    _ id: String, to open: inout [String: Bool], _ plans: SweepPlans, _ unreadable: (String, any Error) throws -> Void
  ) throws -> [Event] {
    let rows: SweepRows
    do {
      rows = SweepRows(
        sweep: try ledger.sweep(named: id), plan: try ledger.plan(of: id), runs: try ledger.runs(of: id),
        attempts: try ledger.attempts(of: id))
    } catch {
      try unreadable(id, error)
      return []
    }
    plans.add(rows.plan, of: id)
    open[id] = rows.sweep.state == .cancelling
    return [.added(rows)]
  }

  /// Whether somebody asks for the sweep's end. One whose row alone cannot be read any more goes on.
  private func isToStop(_ id: String) throws -> Bool {
    do {
      return try ledger.sweep(named: id).state == .cancelling
    } catch let error as LedgerError where error.code == .damaged || error.code == .notFound {
      return false
    }
  }

  /// Waits for room where the disk is full: a sweep that has begun at its hosts is not left alone for that.
  /// - Returns: Whether it waited.
  private func commit(_ writes: [LedgerWrite]) async throws -> Bool {
    var pause = Duration.zero
    while true {
      do {
        try ledger.apply(writes)
        if pause > .zero { report(.storeHasRoom) }
        return pause > .zero
      } catch let error as LedgerError where error.code == .diskFull {
        if pause == .zero { report(.storeFull(error.message)) }
        pause = min(.seconds(10), pause + .seconds(1))
        let before = clock.now
        try await Task.sleep(for: pause, clock: .suspending)
        start += before.duration(to: clock.now)
      }
    }
  }

  /// A sentence for each host that could not be used.
  public var notes: [String] {
    troubles.sorted { $0.key < $1.key }.map { "host \($0.key) could not be used: \($0.value.message)" }
  }

  /// Closes every connection.
  public func close() async {
    for connection in connections.values { await connection.transport.close() }
  }

  private var moment: Moment {
    let elapsed = start.duration(to: clock.now).components
    return Moment(wall: now(), steady: Double(elapsed.seconds) + Double(elapsed.attoseconds) * 1e-18)
  }

  /// Waits until something has happened.
  private static func arrivals(in mailbox: Mailbox<Letter>) async throws -> [Event] {
    let letters = await mailbox.takeAll()
    try Task.checkCancellation()
    return try letters.map { letter in
      switch letter {
      case .event(let event): return event
      case .failure(let error): throw error
      }
    }
  }

  private static func perform(_ command: Command, _ actions: HostActions, _ mailbox: Mailbox<Letter>) async {
    do {
      mailbox.put(.event(.answered(command.id, try await actions.perform(command))))
    } catch {
      // Detached: the ledger knows what is under way.
      if !Task.isCancelled { mailbox.put(.failure(error)) }
    }
  }
}
