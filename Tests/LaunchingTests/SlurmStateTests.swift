import Testing

@testable import Launching

/// What Slurm says, and what stands in the run directory, as one answer.
@Suite struct SlurmStateTests {
  /// - Parameter claimed: The number of the job that began.
  private static func evidence(
    _ states: String..., reason: String = "None", claimed: String? = nil, code: Int? = nil, because: String? = nil,
    cancel: String? = nil, submitted: String? = "7"
  ) -> SlurmEvidence {
    var evidence = SlurmEvidence()
    evidence.hasDirectory = true
    evidence.submitted = submitted
    evidence.cancel = cancel
    evidence.claim = claimed.map { SlurmEvidence.Claim(number: $0, nodes: "n1", started: 5) }
    evidence.record = code.map { ExitRecord(code: $0, signal: nil, started: 5, ended: 9, reason: because) }
    for (index, state) in states.enumerated() {
      guard let job = SlurmJob(row: "\(7 + index)|\(state)|\(reason)|n1||a.t") else {
        Issue.record("the row cannot be read")
        continue
      }
      evidence.jobs.append(job)
    }
    return evidence
  }

  private static func status(_ evidence: SlurmEvidence, unexplained: Double = 0) -> AttemptStatus? {
    evidence.status(unexplained: unexplained, now: 100)
  }

  private static func isLost(_ status: AttemptStatus?) -> Bool {
    if case .lost = status { true } else { false }
  }

  private static func isWaiting(_ status: AttemptStatus?) -> Bool {
    if case .waiting = status { true } else { false }
  }

  @Test func statesAreReadAsSlurmWritesThem() {
    #expect(SlurmState(text: "CANCELLED by 1000") == .cancelled)
    #expect(SlurmState(text: "CANCELLED+") == .cancelled)
    #expect(SlurmState(text: "OUT_OF_MEMORY") == .outOfMemory)
    #expect(SlurmState(text: "") == nil)
    #expect(SlurmState(text: "completed") == nil)
  }

  /// Each row of the table, of a job that has just that state, with nothing in the run directory but its submission.
  @Test(arguments: SlurmState.allCases) func everyStateHasItsMeaning(_ state: SlurmState) {
    let began = Self.evidence(state.rawValue, claimed: "7")
    let fresh = Self.evidence(state.rawValue)
    let ended = Self.evidence(state.rawValue, claimed: "7", code: 0)
    let failed = Self.evidence(state.rawValue, claimed: "7", code: 3)
    let record = ExitRecord(code: 0, signal: nil, started: 5, ended: 9, reason: nil)
    let failure = ExitRecord(code: 3, signal: nil, started: 5, ended: 9, reason: nil)
    func told(_ reason: String, _ code: Int?) -> AttemptStatus {
      let isMemory = reason == "out-of-memory"
      return .exited(
        ExitRecord(
          code: code ?? (isMemory ? 137 : 143), signal: code == nil ? (isMemory ? 9 : 15) : nil, started: 5,
          ended: code == nil ? 100 : 9, reason: reason))
    }
    switch state {
    case .pending, .configuring, .reservationDeleted:
      #expect(Self.isWaiting(Self.status(fresh)))
      #expect(Self.isLost(Self.status(began)), "it was put back into the queue")
    case .running, .stageOut, .signaling, .resizing, .completing:
      // Not before the job has ended is its record the truth.
      for evidence in [fresh, began, ended, failed] {
        #expect(Self.status(evidence) == .running(outputBytes: 0))
      }
    case .suspended, .stopped:
      #expect(Self.isWaiting(Self.status(began)))
    case .requeued, .requeueFederated, .requeueHeld, .specialExit:
      for evidence in [fresh, began, ended, failed] { #expect(Self.isLost(Self.status(evidence))) }
    case .completed:
      #expect(Self.status(ended) == .exited(record))
      #expect(Self.status(failed) == .exited(failure))
      #expect(Self.status(began) == nil, "the record may come late")
      #expect(Self.isLost(Self.status(began, unexplained: 91)), "no record, no success")
    case .failed:
      #expect(Self.status(failed) == .exited(failure))
      #expect(Self.isLost(Self.status(ended, unexplained: 91)), "Slurm and the record contradict each other")
      #expect(Self.isLost(Self.status(began, unexplained: 91)))
    case .timeout, .deadline:
      #expect(Self.status(began) == told("timeout", nil))
      #expect(Self.status(failed) == told("timeout", 3))
      #expect(Self.status(ended) == told("timeout", 0))
    case .outOfMemory:
      #expect(Self.status(began) == told("out-of-memory", nil))
      #expect(Self.status(ended) == told("out-of-memory", 0), "a part of it was ended")
    case .nodeFail, .bootFail, .launchFailed, .reconfigureFailed, .preempted, .revoked:
      for evidence in [fresh, began, ended, failed] { #expect(Self.isLost(Self.status(evidence))) }
    case .cancelled:
      #expect(Self.status(began) == told("cancelled-elsewhere", nil))
      #expect(Self.status(failed) == .exited(failure), "it had failed by itself before")
      #expect(Self.isLost(Self.status(ended)), "its end is in doubt")
    }
  }

  @Test func onlyASilentEndIsASuccess() {
    for state in SlurmState.allCases where state != .completed {
      let evidence = Self.evidence(state.rawValue, claimed: "7", code: 0)
      for seconds in [0.0, 1e6] {
        guard case .exited(let record) = Self.status(evidence, unexplained: seconds) else { continue }
        #expect(record.code != 0 || record.reason != nil, "\(state) must not be a success")
      }
    }
  }

  @Test func ourOwnCancelIsNotSomebodyElses() {
    let ours = Self.evidence("CANCELLED by 0", claimed: "7", code: 143, because: "superseded", cancel: "superseded")
    let theirs = Self.evidence("CANCELLED by 0", claimed: "7", code: 143, because: ExitRecord.terminated)
    #expect(
      Self.status(ours)
        == .exited(ExitRecord(code: 143, signal: nil, started: 5, ended: 9, reason: "superseded")))
    #expect(
      Self.status(theirs)
        == .exited(ExitRecord(code: 143, signal: nil, started: 5, ended: 9, reason: "cancelled-elsewhere")))
  }

  @Test func theSignalOfACancelIsNoFailureOfTheCommand() {
    for code in [137, 143] {
      #expect(
        Self.status(Self.evidence("CANCELLED", claimed: "7", code: code))
          == .exited(ExitRecord(code: code, signal: nil, started: 5, ended: 9, reason: "cancelled-elsewhere")))
    }
  }

  /// A node that is shut down signals all that runs on it, and so may a person who does not cancel the job.
  @Test(arguments: ["cancelled", "terminated"]) func aSupervisorThatSomebodyElseEndedIsNoCancelOfOurs(_ reason: String)
  {
    for state in ["FAILED", "COMPLETED"] {
      let evidence = Self.evidence(state, claimed: "7", code: 143, because: reason)
      #expect(Self.isLost(Self.status(evidence)), "\(state)")
    }
    let elsewhere = ExitRecord(code: 143, signal: nil, started: 5, ended: 9, reason: "cancelled-elsewhere")
    for states in [["CANCELLED"], []] {
      var evidence = Self.evidence(claimed: "7", code: 143, because: reason)
      evidence.jobs = states.compactMap { SlurmJob(row: "7|\($0)|None|n1||a.t") }
      #expect(Self.status(evidence) == .exited(elsewhere), "\(states)")
    }
    var ours = Self.evidence("FAILED", claimed: "7", code: 143, because: "cancelled", cancel: "cancelled")
    #expect(Self.status(ours) == ours.record.map(AttemptStatus.exited))
    ours.jobs = []
    #expect(Self.status(ours) == ours.record.map(AttemptStatus.exited))
  }

  @Test func aJobThatBeganNothingSaysWhy() {
    for state in ["FAILED", "COMPLETED"] {
      var evidence = Self.evidence(state)
      guard case .lost(let hint) = Self.status(evidence, unexplained: 91) else {
        Issue.record("\(state)")
        continue
      }
      #expect(hint.contains("share"))
      evidence.said = "sh: cannot open job.sh"
      #expect(
        Self.status(evidence, unexplained: 91)
          == .lost("Slurm says \(state) of job 7, and it began nothing: sh: cannot open job.sh"))
    }
  }

  @Test func nodesThatAnswerNobodyAreNotFree() {
    let cluster = ClusterExamination(
      lines: [
        "partition gpu|up|1-00:00:00", "node gpu|n1|idle|gpu:h200:8|gpu:h200:0(IDX:N/A)|0/96/0/96",
        "node gpu|n2|mixed-|gpu:h200:8|gpu:h200:6(IDX:0-5)|72/24/0/96",
        "node gpu|n3|down*|gpu:h200:8|gpu:h200:0|0/0/96/96", "node gpu|n4|drained|gpu:h200:8|gpu:h200:0|0/0/96/96",
        "node gpu|n5|idle*|gpu:h200:8|gpu:h200:0|0/96/0/96", "node gpu|n6|idle~|gpu:h200:8|gpu:h200:0|0/96/0/96",
      ])
    let partition = cluster.partitions.first
    #expect(partition?.gpus == 48)
    #expect(partition?.gpusFree == 8 + 2 + 8)
    #expect(partition?.cpusFree == 96 + 24 + 96)
  }

  @Test func whatWasToldToEndDidNotEndWell() {
    for states in [["CANCELLED"], []] {
      var evidence = Self.evidence(claimed: "7", code: 0)
      evidence.jobs = states.compactMap { SlurmJob(row: "7|\($0)|None|n1||a.t") }
      evidence.isSignalled = true
      for seen in [nil, ExitRecord.terminated] {
        evidence.record?.reason = seen
        #expect(
          Self.status(evidence)
            == .exited(ExitRecord(code: 0, signal: nil, started: 5, ended: 9, reason: "cancelled-elsewhere")))
      }
      evidence.cancel = "cancelled"
      #expect(
        Self.status(evidence)
          == .exited(ExitRecord(code: 0, signal: nil, started: 5, ended: 9, reason: "cancelled")))
    }
  }

  @Test func dumpsThatWereNotCopiedAreNoSuccess() {
    func evidence(_ states: [String], _ because: String?, cancel: String? = nil) -> SlurmEvidence {
      var evidence = Self.evidence(claimed: "7", code: because == nil ? nil : 0, because: because, cancel: cancel)
      evidence.jobs = states.compactMap { SlurmJob(row: "7|\($0)|None|n1||a.t") }
      evidence.uncopied = "n1: no space"
      return evidence
    }
    let why = AttemptStatus.lost("its dumps were not all copied from its nodes: n1: no space")
    for states in [["COMPLETED"], ["TIMEOUT"], ["OUT_OF_MEMORY"], []] {
      #expect(Self.status(evidence(states, "not-copied")) == why, "\(states)")
    }
    #expect(Self.isLost(Self.status(evidence(["FAILED"], "not-copied"), unexplained: 91)))
    for cancel in ["cancelled", nil] {
      let reason = cancel ?? "cancelled-elsewhere"
      guard case .exited(let record) = Self.status(evidence(["CANCELLED"], "not-copied", cancel: cancel)) else {
        if cancel == nil { continue }
        Issue.record("our own cancel")
        return
      }
      #expect(record.reason == reason)
    }
    for state in ["TIMEOUT", "OUT_OF_MEMORY"] {
      var copying = evidence([state], nil)
      copying.isCopying = true
      #expect(Self.status(copying) == .lost("its job ended while its dumps were copied from its nodes"))
    }
  }

  @Test func whatTheSupervisorEndedKeepsItsReason() {
    let timedOut = ExitRecord(code: 143, signal: nil, started: 5, ended: 9, reason: "timeout")
    #expect(Self.status(Self.evidence("FAILED", claimed: "7", code: 143, because: "timeout")) == .exited(timedOut))
  }

  @Test func aReasonSaysWhetherWaitingHelps() {
    #expect(Self.status(Self.evidence("PENDING", reason: "Priority")) == .waiting("job 7 waits in Slurm: Priority"))
    for reason in ["QOSMaxJobsPerUserLimit", "PartitionTimeLimit", "AssocGrpGRES", "DependencyNeverSatisfied"] {
      #expect(
        Self.status(Self.evidence("PENDING", reason: reason))
          == .waiting(
            "job 7 waits in Slurm: \(reason); it may never start"
              + (reason == "PartitionTimeLimit" ? "; its limit is `timeout` and 2 min, 12 min with `scratch`" : "")))
    }
  }

  @Test func anUnknownStateIsSaidAndConcludesNothing() {
    #expect(
      Self.status(Self.evidence("LEVITATING", claimed: "7", code: 0))
        == .waiting("Slurm shows job 7 as LEVITATING, a state that is not known here"))
  }

  @Test func ofTwoJobsTheOneThatBeganCounts() {
    // The second came when the first was thought lost, found the claim and ended.
    #expect(
      Self.status(Self.evidence("RUNNING", "FAILED", claimed: "7")) == .running(outputBytes: 0))
    #expect(Self.isWaiting(Self.status(Self.evidence("FAILED", "PENDING"))), "the first began nothing")
    // A number that Slurm has given to another job is no identity.
    #expect(Self.status(Self.evidence("COMPLETED", claimed: "6")) == nil)
    #expect(Self.isLost(Self.status(Self.evidence("COMPLETED", claimed: "6"), unexplained: 91)))
  }

  @Test func whatSlurmHasForgottenTheRunDirectoryTells() {
    let record = ExitRecord(code: 0, signal: nil, started: 5, ended: 9, reason: nil)
    #expect(Self.status(Self.evidence(claimed: "7", code: 0)) == .exited(record))
    #expect(Self.status(Self.evidence(claimed: "7")) == nil, "files of shared file systems come late")
    #expect(Self.isLost(Self.status(Self.evidence(claimed: "7"), unexplained: 91)))
    #expect(Self.isLost(Self.status(Self.evidence(), unexplained: 91)), "Slurm lost what it had acknowledged")
    #expect(Self.status(Self.evidence(submitted: nil)) == .absent, "killed between intent and submission")
    #expect(Self.status(SlurmEvidence()) == .absent)
  }

  /// An element of an array that is cancelled while it waits is gone at once, and its array is not. So may be one that
  /// ended before it began anything, once that is forgotten: the difference is whether that would still be known.
  @Test(arguments: ["7_3", nil]) func whatItsArrayLacksWasCancelledOrIsForgotten(_ submitted: String?) {
    func status(_ evidence: SlurmEvidence, unseen: Double? = nil) -> AttemptStatus? {
      evidence.status(unexplained: 100, unseen: unseen, now: 100)
    }
    func told(_ reason: String) -> AttemptStatus {
      .exited(ExitRecord(code: 143, signal: 15, started: 100, ended: 100, reason: reason))
    }
    var evidence = Self.evidence(submitted: submitted)
    for (hasMemory, shown, unseen, isCancelled) in [
      (true, 300, nil, true), (true, nil, nil, true), (false, 300, 299.0, true), (false, 0, nil, true),
      (false, 300, 301.0, false), (false, 300, nil, false), (false, nil, 1.0, false),
    ] as [(Bool, Int?, Double?, Bool)] {
      evidence.leftOut = SlurmEvidence.LeftOut(hasMemory: hasMemory, shown: shown)
      #expect(Self.status(evidence) == nil, "files come late: it may have run")
      let found = status(evidence, unseen: unseen)
      #expect(
        isCancelled ? found == told("cancelled-elsewhere") : Self.isLost(found),
        "memory \(hasMemory), shown \(shown.map { "\($0)" } ?? "?") s, unseen \(unseen.map { "\($0)" } ?? "?") s")
    }
    evidence.cancel = "superseded"
    #expect(status(evidence) == told("superseded"))
    evidence.leftOut = SlurmEvidence.LeftOut(hasMemory: true, shown: 300)
    evidence.claim = SlurmEvidence.Claim(number: "9", nodes: "n1", started: 5)
    #expect(Self.isLost(status(evidence)), "it had begun")
    evidence.unasked = "sacct: error"
    #expect(Self.isWaiting(status(evidence)))
  }

  @Test func withoutAnAnswerOfTheAccountingNothingIsConcluded() {
    for var evidence in [Self.evidence(claimed: "7"), Self.evidence(), Self.evidence(submitted: nil)] {
      evidence.unasked = "sacct: error"
      let isSubmitted = evidence.submitted != nil || evidence.claim != nil
      let why = AttemptStatus.waiting("Slurm's accounting cannot be asked how its job ended: sacct: error")
      #expect(Self.status(evidence, unexplained: 1e6) == (isSubmitted ? why : nil))
    }
  }

  @Test func attemptsAskForWhatTheyNeed() {
    let options = SlurmLauncher.Options(words: ["--partition=p"], gpuType: "h200")
    func words(_ change: (inout AttemptSpec) -> Void) -> [String] {
      var spec = AttemptSpec(
        id: "a", token: "t", sweep: "s", run: "r", number: 1, command: "true", environment: [], gpuCount: 0,
        timeout: 61, stallTimeout: nil)
      change(&spec)
      return options.words(for: spec)
    }
    #expect(words { _ in } == ["--ntasks=1", "--time=4", "--partition=p"])
    #expect(
      words {
        $0.gpuCount = 8
        $0.nodes = 2
        $0.isExclusive = true
      } == ["--ntasks-per-node=1", "--time=4", "--gpus-per-node=h200:8", "--exclusive", "--partition=p"])
    let gres = SlurmLauncher.Options(usesGres: true)
    var spec = AttemptSpec(
      id: "a", token: "t", sweep: "s", run: "r", number: 1, command: "true", environment: [], gpuCount: 2,
      timeout: 1, stallTimeout: nil)
    #expect(gres.words(for: spec).contains("--gres=gpu:2"))
    #expect(!gres.words(for: spec).contains { $0.hasPrefix("--signal") })
    spec.dumpDirectory = "/local/x"
    #expect(gres.words(for: spec).contains("--time=13"), "there is time to copy")
    #expect(gres.words(for: spec).contains("--signal=B:USR1@300"))
    spec.timeout = 1e300
    #expect(gres.words(for: spec).contains { $0.hasPrefix("--time=") }, "a huge timeout is no trap")
  }

  @Test func gpusAreCountedAsSinfoWritesThem() {
    for (text, count) in [
      ("gpu:2", 2), ("gpu:h200:8(S:0-1)", 8), ("gpu:2(IDX:0-1)", 2), ("gpu:a:4,gpu:b:4(S:0,1),shard:16", 8),
      ("(null)", 0), ("", 0), ("gpu:x", 0),
    ] {
      #expect(ClusterExamination.gpus(text) == count, "\(text)")
    }
  }
}
