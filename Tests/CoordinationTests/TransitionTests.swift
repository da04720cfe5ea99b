import Launching
import Ledger
import Scheduling
import Testing

@testable import Coordination

@Suite struct TransitionTests {
  private func attempt(_ state: AttemptRecord.State) -> AttemptRecord {
    var attempt = AttemptRecord(
      id: "a", sweep: "s", run: "r", number: 1, host: "h", token: "t", gpus: 1, now: 100)
    attempt.state = state
    return attempt
  }

  private let ended = ExitRecord(code: 0, signal: nil, started: 101, ended: 150, reason: nil)

  @Test func aLaunchThatNeverArrivedIsSentAgainAsTheSameAttempt() {
    let next = Transition.after(.absent, of: attempt(.launching), now: 200)
    #expect(next?.action == .launchAgain)
    #expect(next?.attempt.id == "a")
    #expect(next?.attempt.number == 1)
    #expect(next?.run == .launching)
  }

  @Test func aYoungClaimIsWaitedFor() {
    #expect(Transition.after(.claimed(ageSeconds: 5), of: attempt(.launching), now: 200) == nil)
    #expect(Transition.after(.claimed(ageSeconds: 61), of: attempt(.launching), now: 200)?.action == .launchAgain)
  }

  @Test func aLostReplyToALaunchIsRepairedByLooking() {
    let next = Transition.after(.running(outputBytes: 9), of: attempt(.launching), now: 200)
    #expect(next?.attempt.state == .running)
    #expect(next?.action == Transition.Action.none)
    #expect(Transition.after(.running(outputBytes: 9), of: attempt(.running), now: 200) == nil)
  }

  @Test(arguments: [AttemptRecord.State.launching, .running])
  func aFailureOnAFullDiskIsNotTheCommandsOwn(_ state: AttemptRecord.State) {
    let full = ExitRecord(code: 9, signal: nil, started: 101, ended: 150, reason: ExitRecord.noSpace)
    let next = Transition.after(.exited(full), of: attempt(state), now: 200)
    #expect(next?.ending == .noSpace)
    #expect(next?.why?.contains("exit code 9") == true)
    #expect(next?.why?.contains("no room") == true)
    // Of a gang, the share that failed first tells.
    var share = attempt(.running)
    share.share = AttemptRecord.Share(node: 0, nodeCount: 2, masterAddress: "h", masterPort: 1)
    #expect(Transition.after(.exited(full), of: share, now: 200)?.action == .gather)
  }

  @Test(arguments: [AttemptRecord.State.launching, .running])
  func whatItsHostToldToEndIsLostAndNotCancelled(_ state: AttemptRecord.State) {
    let told = ExitRecord(code: 143, signal: 15, started: 101, ended: 150, reason: ExitRecord.terminated)
    let next = Transition.after(.exited(told), of: attempt(state), now: 200)
    #expect(next?.ending == .lost)
    #expect(next?.run == .queued)
    #expect(next?.why?.contains("SIGTERM") == true)
  }

  @Test(arguments: [AttemptRecord.State.launching, .running])
  func anExitRecordLeadsToGathering(_ state: AttemptRecord.State) {
    let next = Transition.after(.exited(ended), of: attempt(state), now: 200)
    #expect(next?.attempt.state == .exited)
    #expect(next?.attempt.exitCode == 0)
    #expect(next?.attempt.ended == 150)
    #expect(next?.action == .gather)
    #expect(next?.run == .gathering)
  }

  @Test func aVanishedOrLostAttemptIsInfrastructureNotTheCommand() {
    let gone = Transition.after(.absent, of: attempt(.running), now: 200)
    #expect(gone?.attempt.state == .lost)
    #expect(gone?.run == .queued)
    let rebooted = Transition.after(.lost("the host rebooted"), of: attempt(.running), now: 200)
    #expect(rebooted?.attempt.why == "the host rebooted")
    #expect(rebooted?.attempt.state == .lost)
  }

  @Test(arguments: [AttemptRecord.State.gathered, .failed, .lost])
  func aClosedAttemptStaysAsItIs(_ state: AttemptRecord.State) {
    for status in [AttemptStatus.absent, .running(outputBytes: 1), .exited(ended), .lost("x")] {
      #expect(Transition.after(status, of: attempt(state), now: 200) == nil)
    }
  }

  @Test func endingsAreNamed() {
    func ending(_ code: Int?, _ signal: Int? = nil, _ reason: String? = nil) -> String {
      var attempt = attempt(.gathered)
      attempt.exitCode = code
      attempt.signal = signal
      attempt.reason = reason
      return Transition.ending(of: attempt).state.rawValue
    }
    #expect(ending(0) == "succeeded")
    #expect(ending(1) == "failed")
    #expect(ending(0, nil, "timeout") == "timed-out")
    #expect(ending(143, 15, "stalled") == "stalled")
    #expect(ending(143, 15, "cancelled") == "cancelled")
    #expect(ending(137, 9) == "failed")
    #expect(ending(nil) == "failed")
  }
}
