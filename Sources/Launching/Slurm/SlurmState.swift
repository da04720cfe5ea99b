/// A job's state as squeue and sacct spell it.
enum SlurmState: String, Sendable, Hashable, CaseIterable {
  case pending = "PENDING"
  case configuring = "CONFIGURING"
  case running = "RUNNING"
  case stageOut = "STAGE_OUT"
  case signaling = "SIGNALING"
  case resizing = "RESIZING"
  case suspended = "SUSPENDED"
  case stopped = "STOPPED"
  case completing = "COMPLETING"
  case requeued = "REQUEUED"
  case requeueFederated = "REQUEUE_FED"
  case requeueHeld = "REQUEUE_HOLD"
  case specialExit = "SPECIAL_EXIT"
  case reservationDeleted = "RESV_DEL_HOLD"
  case completed = "COMPLETED"
  case failed = "FAILED"
  case timeout = "TIMEOUT"
  case deadline = "DEADLINE"
  case outOfMemory = "OUT_OF_MEMORY"
  case nodeFail = "NODE_FAIL"
  case bootFail = "BOOT_FAIL"
  case launchFailed = "LAUNCH_FAILED"
  case reconfigureFailed = "RECONFIG_FAIL"
  case preempted = "PREEMPTED"
  case revoked = "REVOKED"
  case cancelled = "CANCELLED"

  /// - Parameter text: `CANCELLED by 1000` and `CANCELLED+` are cancelled, too.
  init?(text: String) {
    let word = text.split(separator: " ").first.map { $0.hasSuffix("+") ? $0.dropLast() : $0[...] }
    guard let word, let state = SlurmState(rawValue: String(word)) else { return nil }
    self = state
  }

  /// What the state alone says.
  enum Phase: Sendable, Hashable {
    case waits
    case runs
    /// It does not count, but is there.
    case paused
    /// The command has ended, the job has not.
    case ends
    /// Back in the queue after it had begun.
    case requeued
    case ended(End)
  }

  enum End: Sendable, Hashable {
    case well
    /// Of itself.
    case badly
    case outOfTime
    case outOfMemory
    /// The cluster is to blame.
    case taken
    case cancelled
  }

  var phase: Phase {
    switch self {
    case .pending, .configuring, .reservationDeleted: .waits
    case .running, .stageOut, .signaling, .resizing: .runs
    case .suspended, .stopped: .paused
    case .completing: .ends
    case .requeued, .requeueFederated, .requeueHeld, .specialExit: .requeued
    case .completed: .ended(.well)
    case .failed: .ended(.badly)
    case .timeout, .deadline: .ended(.outOfTime)
    case .outOfMemory: .ended(.outOfMemory)
    case .nodeFail, .bootFail, .launchFailed, .reconfigureFailed, .preempted, .revoked: .ended(.taken)
    case .cancelled: .ended(.cancelled)
    }
  }
}

/// One row of squeue or sacct.
struct SlurmJob: Sendable, Hashable {
  var number: String
  var state: String
  var reason: String
  var nodes: String
  /// `3:0`: code and signal; empty from squeue.
  var exitCode: String
  /// The attempt and its token.
  var name: String

  /// `NUMBER|STATE|REASON|NODES|EXIT|NAME`; nil where it is not that.
  init?(row: Substring) {
    let fields = row.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
    guard fields.count >= 6, let name = fields.last else { return nil }
    number = fields[0]
    state = fields[1]
    reason = fields[2]
    nodes = fields[3]
    exitCode = fields[4]
    self.name = name
  }

  var parsed: SlurmState? { SlurmState(text: state) }

  var hasEnded: Bool { if case .ended = parsed?.phase { true } else { false } }

  /// The attempt of the name.
  var attempt: String { name.firstIndex(of: ".").map { String(name[..<$0]) } ?? name }
}

/// All that is known of one attempt: what Slurm shows of its jobs, and what stands in its run directory.
struct SlurmEvidence: Sendable, Hashable {
  /// What the job that began wrote.
  struct Claim: Sendable, Hashable {
    var number: String
    var nodes: String
    var started: Double

    /// Made, and no more is known: files of shared file systems come late.
    static let unknown = Claim(number: "?", nodes: "?", started: 0)
  }

  /// Slurm knows the array of which it was to be an element, and not the element: it was cancelled while it waited, or
  /// has ended so long ago that it is forgotten.
  struct LeftOut: Sendable, Hashable {
    /// The accounting or the log of ended jobs was asked, too. Neither is told of what is cancelled while it waits.
    var hasMemory: Bool
    /// Seconds for which Slurm shows what has ended, at least: 0 is for ever; nil: not known.
    var shown: Int?
  }

  var hasDirectory = false
  /// What sbatch told.
  var submitted: String?
  var claim: Claim?
  /// Why we cancelled it.
  var cancel: String?
  /// Why its supervisor did not begin.
  var refusal: String?
  var record: ExitRecord?
  /// What stands in place of a record.
  var unreadableRecord: String?
  /// Slurm told its job to end while it ran.
  var isSignalled = false
  /// Its job was to make room, and Slurm gave it time to end by itself (`GraceTime`).
  var isPreempted = false
  /// Its command has ended, and its dumps were being brought from the disks of its nodes.
  var isCopying = false
  /// The last line of what a job said that began nothing.
  var said: String?
  /// Why not all of them were brought.
  var uncopied: String?
  /// Nodes on which its job is not to run, since they failed an earlier attempt.
  var avoided: String?
  var leftOut: LeftOut?
  var jobs: [SlurmJob] = []
  /// Why not all who could know its job could be asked.
  var unasked: String?

  /// How the attempt stands.
  ///
  /// Success is a job that Slurm calls completed, and an exit record of it with code 0, which for several nodes is that
  /// of all of them. Where the two contradict each other, the attempt is lost, and another one decides.
  ///
  /// - Parameters:
  ///   - unexplained: Seconds since it was first seen without an explanation: files of shared file systems come late.
  ///   - unseen: Seconds between the last look that found it in the queue and then; nil: no look of ours has.
  ///   - now: Seconds since 1970.
  /// - Returns: nil: not known at present.
  func status(unexplained: Double, unseen: Double? = nil, now: Double) -> AttemptStatus? {
    let status = plainStatus(unexplained, unseen, now)
    if let unreadableRecord {
      switch status {
      case nil, .absent, .lost: return .lost("its exit record cannot be read: \(unreadableRecord.debugDescription)")
      default: break
      }
    }
    guard case .exited(let end) = status else { return status }
    if end.reason == ExitRecord.notCopied {
      return .lost("its dumps were not all copied from its nodes: \(uncopied ?? "no reason is left")")
    }
    // Its command had ended before.
    if record == nil, isCopying, end.reason == "timeout" || end.reason == "out-of-memory" {
      return .lost("its job ended while its dumps were copied from its nodes")
    }
    return status
  }

  private func plainStatus(_ unexplained: Double, _ unseen: Double?, _ now: Double) -> AttemptStatus? {
    guard hasDirectory else { return .absent }
    guard let job = decisive else { return forgotten(unexplained, unseen, now) }
    guard let state = job.parsed else {
      return .waiting("Slurm shows job \(job.number) as \(job.state), a state that is not known here")
    }
    switch state.phase {
    case .waits:
      if claim != nil { return .lost("Slurm put job \(job.number) back into the queue after it had begun") }
      let elsewhere = avoided.map { "; not on \($0), where an earlier try was lost" } ?? ""
      return .waiting(Self.waiting(job, state) + elsewhere)
    case .runs, .ends: return .running(outputBytes: 0)
    case .paused: return .waiting("job \(job.number) is \(state.rawValue.lowercased())")
    case .requeued: return .lost("Slurm put job \(job.number) back into the queue: \(state.rawValue)")
    case .ended(let end): return ended(end, job, unexplained, now)
    }
  }

  /// Slurm has a job of it that has not ended.
  var isQueued: Bool {
    jobs.contains { job in
      job.parsed != nil && !job.hasEnded
    }
  }

  /// The job that runs the attempt: that which has begun; else one that still may, else the last.
  private var decisive: SlurmJob? {
    if let claim, let own = jobs.last(where: { $0.number == claim.number }) { return own }
    // Of jobs that began, only the one that made the claim ran anything; which it was is not told yet.
    let rest = claim == nil || claim?.number == "?" ? jobs : []
    return rest.last { job in
      switch job.parsed?.phase {
      case .waits, .runs, .paused, .ends: true
      default: false
      }
    } ?? rest.last
  }

  private func ended(_ end: SlurmState.End, _ job: SlurmJob, _ unexplained: Double, _ now: Double) -> AttemptStatus? {
    let place = claim.map { " on \($0.nodes)" } ?? ""
    let words = "Slurm says \(job.state) of job \(job.number)\(place)"
    let reason = job.reason.isEmpty || job.reason == "None" ? "" : " (\(job.reason))"
    switch end {
    case .taken: return .lost(words + reason)
    case .outOfTime: return .exited(told("timeout", now))
    case .outOfMemory: return .exited(told("out-of-memory", now))
    case .cancelled:
      if let cancel { return .exited(told(cancel, now)) }
      // Slurm signals the command as well as its supervisor, which may see its end first.
      guard let record, record.reason == nil, ![137, 143].contains(record.code), !isSignalled else {
        return .exited(told("cancelled-elsewhere", now))
      }
      // It ended by itself before; a controller that lost its memory says so of jobs that it does not know.
      return record.code == 0 ? .lost(words + ", but its command had ended well") : .exited(record)
    case .well, .badly:
      if isPreempted, cancel == nil { return .lost(words + ", which was preempted") }
      if let record {
        // Its node was shut down, or somebody's scancel did not say what it was.
        if isForeign(record) { return .lost(words + ", and its command was told to end by somebody else") }
        if end == .well || record.code != 0 || record.reason != nil { return .exited(record) }
      }
      if end == .badly, let refusal { return .lost("its supervisor did not begin: \(refusal)") }
      guard unexplained >= Self.patience else { return nil }
      let code = job.exitCode.isEmpty ? "" : " with \(job.exitCode)"
      if record != nil { return .lost(words + code + ", but its command had ended well") }
      guard claim == nil else { return .lost(words + code + ", and it left no exit record") }
      let shared = "; is the work directory on a file system that all nodes share?"
      return .lost(words + code + ", and it began nothing" + (said.map { ": \($0)" } ?? shared))
    }
  }

  /// Whether its supervisor was told to end, and not by us.
  private func isForeign(_ record: ExitRecord) -> Bool {
    cancel == nil && record.reason.map(Self.told.contains) == true
  }

  /// What a supervisor says that was told to end.
  private static let told: Set = ["cancelled", ExitRecord.terminated]

  /// Slurm does not know it any more.
  private func forgotten(_ unexplained: Double, _ unseen: Double?, _ now: Double) -> AttemptStatus? {
    if let record {
      // Why it was told to end nobody knows any more; that it ended well must not be believed.
      let isTold = record.reason.map(Self.told.contains) ?? isSignalled
      return .exited(isTold ? told(cancel ?? "cancelled-elsewhere", record.ended) : record)
    }
    if let refusal { return .lost("its supervisor did not begin: \(refusal)") }
    guard submitted != nil || claim != nil || leftOut != nil else { return unasked == nil ? .absent : nil }
    if let unasked { return .waiting("Slurm's accounting cannot be asked how its job ended: \(unasked)") }
    guard unexplained >= Self.patience else { return nil }
    if let leftOut, claim == nil {
      if let cancel { return .exited(told(cancel, now)) }
      // Had it ended of itself, the memory would have it, or Slurm would still show it.
      let isShown = leftOut.shown.map { shown in shown == 0 || unseen.map { $0 < Double(shown) } == true } ?? false
      if leftOut.hasMemory || isShown { return .exited(told("cancelled-elsewhere", now)) }
      return .lost("Slurm does not know its element of array job \(submitted ?? "?") any more, which began nothing")
    }
    if let claim {
      return .lost(
        "Slurm does not know job \(claim.number) any more, which began on \(claim.nodes) and left no exit record")
    }
    return .lost("Slurm does not know job \(submitted ?? "?") any more, which never began")
  }

  /// The record with the reason that Slurm tells; one of our own where there is none.
  private func told(_ reason: String, _ now: Double) -> ExitRecord {
    var told =
      record
      ?? ExitRecord(
        code: reason == "out-of-memory" ? 137 : 143, signal: reason == "out-of-memory" ? 9 : 15,
        started: claim?.started ?? now, ended: now, reason: nil)
    // What its supervisor saw was only a signal; and of what was cancelled nobody wants the dumps.
    let isCancel = reason != "timeout" && reason != "out-of-memory"
    if told.reason.map(Self.told.contains) ?? true || (isCancel && told.reason == ExitRecord.notCopied) {
      told.reason = reason
    }
    return told
  }

  /// Seconds: above the minute for which NFS may take a file for missing (`acdirmax`).
  static let patience = 90.0

  private static func waiting(_ job: SlurmJob, _ state: SlurmState) -> String {
    if state != .pending { return "job \(job.number): \(state.rawValue)" }
    let isBlocked = blocking.contains { job.reason.hasPrefix($0) }
    // Not all know that it is above their own.
    let limit = job.reason == "PartitionTimeLimit" ? "; its limit is `timeout` and 2 min, 12 min with `scratch`" : ""
    return "job \(job.number) waits in Slurm: \(job.reason)" + (isBlocked ? "; it may never start" : "") + limit
  }

  /// Reasons that waiting alone does not mend.
  private static let blocking = [
    "PartitionNodeLimit", "PartitionTimeLimit", "PartitionDown", "PartitionInactive", "QOS", "Assoc", "BadConstraints",
    "DependencyNeverSatisfied", "JobHeld", "AccountNotAllowed", "InvalidAccount", "InvalidQOS", "ReqNodeNotAvail",
    "ReservationDeleted", "launch failed requeued held", "MaxJobRequeue", "NodeDown",
  ]
}
