import Launching
import Ledger
import Scheduling

/// What an observation of one attempt means: the attempt and run as they are from now on, and what to do.
///
/// A pure function of its arguments; the coordinator performs the action.
struct Transition: Equatable {
  enum Action: Equatable {
    case none
    /// The host never heard of it: send the same attempt again.
    case launchAgain
    case gather
  }

  var attempt: AttemptRecord
  var run: RunState
  var why: String?
  var event: String
  var action: Action
  /// For an attempt that is over without files: what the retry policy is asked about.
  var ending: AttemptEnding?

  /// Seconds after which a claimed directory without a supervisor is taken for a half-made launch of ours.
  static let claimPatience = 60.0

  /// nil: nothing new.
  static func after(_ status: AttemptStatus, of attempt: AttemptRecord, now: Double) -> Transition? {
    var next = attempt
    next.heard = now
    switch (attempt.state, status) {
    case (.launching, .absent):
      return Transition(attempt: next, run: .launching, event: "not-on-host", action: .launchAgain)
    case (.launching, .claimed(let age)) where age > claimPatience:
      return Transition(attempt: next, run: .launching, event: "half-launched", action: .launchAgain)
    case (.launching, .waiting(let why)):
      return Transition(attempt: next, run: .launching, why: why, event: "waiting", action: .none)
    case (.running, .waiting(let why)):
      return Transition(attempt: next, run: .running, why: why, event: "paused", action: .none)
    case (.launching, .running):
      next.state = .running
      next.started = now
      return Transition(attempt: next, run: .running, event: "running", action: .none)
    case (.launching, .exited(let record)) where attempt.share == nil && record.reason == ExitRecord.noSpace,
      (.running, .exited(let record)) where attempt.share == nil && record.reason == ExitRecord.noSpace:
      let why = noRoom(record.code)
      return Transition(attempt: next, run: .queued, why: why, event: "no-space", action: .none, ending: .noSpace)
    case (.launching, .exited(let record)) where attempt.share == nil && record.reason == ExitRecord.terminated,
      (.running, .exited(let record)) where attempt.share == nil && record.reason == ExitRecord.terminated:
      return Transition(attempt: next, run: .queued, why: terminated, event: "terminated", action: .none, ending: .lost)
    case (.launching, .exited(let record)), (.running, .exited(let record)):
      next.state = .exited
      next.exitCode = record.code
      next.signal = record.signal
      next.reason = record.reason
      next.started = record.started
      next.ended = record.ended
      return Transition(attempt: next, run: .gathering, event: "exited", action: .gather)
    case (.exited, _):
      return Transition(attempt: next, run: .gathering, event: "exited", action: .gather)
    case (.running, .absent):
      return lost(next, "its run directory is gone from the host", now)
    case (.launching, .lost(let why)), (.running, .lost(let why)):
      return lost(next, why, now)
    case (.launching, .claimed), (.running, .claimed), (.running, .running): return nil
    case (.gathered, _), (.failed, _), (.lost, _): return nil
    }
  }

  static func noRoom(_ code: Int?) -> String {
    "its command failed\(code.map { " with exit code \($0)" } ?? "") and left no room on the host's disk"
  }

  /// Nobody has cancelled it, and its end says nothing of what it runs.
  static let terminated = "somebody else told it to end (SIGTERM), as a host does that goes down"

  static func lost(_ attempt: AttemptRecord, _ why: String, _ now: Double) -> Transition {
    var next = attempt
    next.state = .lost
    next.why = why
    next.ended = now
    return Transition(attempt: next, run: .queued, why: why, event: "lost", action: .none, ending: .lost)
  }

  /// The run's final state once the files of an exited attempt are in the store.
  static func ending(of attempt: AttemptRecord) -> (state: RunState, why: String?) {
    switch (attempt.reason, attempt.exitCode, attempt.signal) {
    case ("timeout", _, _): (.timedOut, "stopped at its time limit")
    case ("stalled", _, _): (.stalled, "stopped: no output and no new dump bytes for its stall limit")
    case ("cancelled", _, _): (.cancelled, "cancelled")
    case ("cancelled-elsewhere", _, _): (.cancelled, "its job was cancelled by somebody else")
    case (ExitRecord.notCopied, _, _): (.lost, "its dumps were not all copied from its nodes")
    case ("out-of-memory", _, _): (.failed, "its job was ended since it had used up its memory")
    case (_, _, .some(let signal)): (.failed, "its command was ended by signal \(signal)")
    case ("contended", 0, nil): (.succeeded, "somebody else used its GPUs while it ran")
    case (_, 0, nil): (.succeeded, nil)
    case (_, 127, nil): (.failed, "exit code 127: the command was not found on the host")
    case (_, 126, nil): (.failed, "exit code 126: the command is not executable on the host")
    case (_, .some(let code), nil): (.failed, "its command ended with exit code \(code)")
    case (_, nil, nil): (.failed, "its exit record holds no exit code")
    }
  }
}
