import Launching
import Ledger
import Planning
import Scheduling
import Transports

/// A moment as the core sees it.
struct Moment: Sendable, Hashable {
  /// Seconds since 1970: for the records alone, since this clock may jump.
  var wall: Double
  /// Seconds of a clock that never jumps: whatever is waited for is measured with it.
  var steady: Double
}

/// What the core is told.
enum Event: Sendable {
  /// A sweep to drive, as its rows stand.
  case added(SweepRows)
  case cancelRequested(sweep: String)
  /// The hosts that take nothing new, all of them.
  case drained(Set<String>)
  /// The outcome of the command with this id.
  case answered(Int, Answer)
  /// Nothing but the time has changed.
  case tick
}

/// A sweep's rows.
struct SweepRows: Sendable {
  var sweep: SweepRecord
  var plan: Plan
  var runs: [RunRecord]
  var attempts: [AttemptRecord]
}

/// How a command went.
enum Answer: Sendable, Hashable {
  case facts(HostFacts)
  case statuses([String: AttemptStatus])
  case launched(LaunchOutcome, directory: String)
  /// A file of the job could not be read; nothing was sent.
  case unprepared(String)
  /// The host says that nothing of the attempt lives.
  case stopped
  /// The host is well, but something of the attempt lives on, or may begin since nothing could be noted against it.
  case notStopped(String)
  /// The share may begin, or has ended already: a look tells.
  case released
  /// The host is well, but had no room to let the share begin.
  case notReleased(String)
  case gathered(GatheredFiles)
  /// The host is well, but here is no room for its files.
  case storeFull(String)
  /// The host is well, but its files cannot be had.
  case notGathered(String)
  /// The same, since they change all the time.
  case stillWritten(String)
  /// The gather was broken off, as was asked.
  case brokenOff
  /// The host could not be used; whether the command arrived is not known.
  case trouble(TransportError)
}

/// What a gather brought.
struct GatheredFiles: Sendable, Hashable {
  var count: Int
  var bytes: Int
  /// What was expected and is not there, or was refused.
  var missing: [String]
}

/// What the core wants done. Every command is answered once, under its id.
struct Command: Sendable, Hashable {
  enum Action: Sendable, Hashable {
    case enrol
    /// One question for all of them.
    case poll([String])
    case launch(AttemptRecord, RunRecord)
    case stop(AttemptRecord, reason: String)
    /// Lets a share of a gang begin.
    case release(AttemptRecord)
    /// - `shares`: of the attempt's gang, in the order of the nodes, where these files complete it; else empty.
    case gather(AttemptRecord, RunRecord, shares: [String])
  }

  var id: Int
  var host: String
  var action: Action
}

/// What one step of the core gives: first the writes are committed, then the rest may be acted on.
struct Output: Sendable {
  var writes: [LedgerWrite] = []
  var commands: [Command] = []
  /// Gathers under way that are to end where they are; those that have been told so before may be among them.
  var brokenOff: [Int] = []
  var progress: [Progress] = []
  /// Steady time of the next `tick`; infinite when only an event can change anything.
  var wakeAt = Double.infinity
  /// Sweeps whose runs are all final and whose attempts are all fenced as far as their hosts can be reached.
  var finished: [String] = []
  /// No host can be used, and waiting does not mend it.
  var failure: TransportError?
}
