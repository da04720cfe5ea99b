import Scheduling
import Testing

@Suite struct RetryPolicyTests {
  @Test(arguments: [AttemptEnding.lost, .unreachable, .noSpace, .launchFailed])
  func infrastructureIsTriedAgainUpToTheLimit(ending: AttemptEnding) {
    let policy = RetryPolicy(retries: 2, firstDelay: 5, longestDelay: 300)
    #expect(ending.isInfrastructure)
    #expect(policy.next(after: ending, charged: 0) == .retry(after: 5, isCharged: true))
    #expect(policy.next(after: ending, charged: 1) == .retry(after: 10, isCharged: true))
    #expect(policy.next(after: ending, charged: 2) == .end(.lost))
    #expect(RetryPolicy(retries: 0).next(after: ending, charged: 0) == .end(.lost))
  }

  @Test(arguments: [AttemptEnding.gpuBusy, .noRoom]) func whatWasNeverStartedIsNotCharged(ending: AttemptEnding) {
    let policy = RetryPolicy(retries: 0, firstDelay: 5, longestDelay: 300)
    #expect(ending.isInfrastructure)
    #expect(policy.next(after: ending, charged: 0) == .retry(after: 5, isCharged: false))
    #expect(policy.next(after: ending, charged: 0, uncharged: 9) == .retry(after: 300, isCharged: false))
  }

  @Test(arguments: [
    (AttemptEnding.exited(1), RunState.failed), (.exited(127), .failed), (.signalled(9), .failed),
    (.stillWritten, .lost),
    (.timedOut, .timedOut), (.stalled, .stalled), (.cancelled, .cancelled),
  ])
  func whatTheCommandDidIsFinal(ending: AttemptEnding, state: RunState) {
    #expect(!ending.isInfrastructure)
    #expect(RetryPolicy(retries: 9).next(after: ending, charged: 0) == .end(state))
  }

  @Test func successGathers() {
    #expect(RetryPolicy(retries: 0).next(after: .exited(0), charged: 5) == .gather)
  }

  @Test func aBusyGPUCostsNoRetryAndWaitsLonger() {
    let policy = RetryPolicy(retries: 0, firstDelay: 5, longestDelay: 60)
    let delays = [0, 1, 3, 4, 1_000_000].map { policy.next(after: .gpuBusy, charged: 7, uncharged: $0) }
    #expect(delays == [5, 10, 40, 60, 60].map { .retry(after: $0, isCharged: false) })
  }
}
