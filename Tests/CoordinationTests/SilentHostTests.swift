import Launching
import Ledger
import Scheduling
import Testing
import Transports

@testable import Coordination

/// Hosts that are not heard of after a restart of the coordinator.
@Suite struct SilentHostTests {
  private typealias Bench = CoreBench

  private static let lostAfter = Coordinator.Settings().lostAfter

  private func running(unheard: Double = 0) -> AttemptRecord {
    var attempt = AttemptRecord(
      id: "s-run1-try1", sweep: "s", run: "r0", number: 1, host: "a", token: "t", gpus: 1, now: 1e9)
    attempt.state = .running
    attempt.unheard = unheard
    return attempt
  }

  @Test func aLateAnswerIsShownAndDecidesNothing() {
    var bench = Bench(hosts: ["a"], attempts: [running()])
    func unanswered() -> [String] {
      bench.core.unanswered(at: Moment(wall: 1e9, steady: bench.time)).map { "\($0.host) \(Int($0.seconds))" }
    }
    let written = bench.writes.count
    bench.pass(9)
    #expect(unanswered().isEmpty)
    bench.pass(3)
    #expect(unanswered() == ["a 12"])
    bench.pass(40)
    #expect(unanswered() == ["a 52"])
    #expect(bench.writes.count == written && bench.alarms.isEmpty)
    bench.answer { if case .poll = $0.action { .statuses(["s-run1-try1": .running(outputBytes: 1)]) } else { nil } }
    #expect(unanswered().isEmpty)
  }

  /// Lets time pass, and every question to the host fail, until its run has left `running` or the time is over.
  private func wait(_ bench: inout Bench, until end: Double) {
    while bench.state(of: "r0") == nil, bench.time < end, bench.last.failure == nil {
      if !bench.commands.isEmpty { bench.trouble("a") }
      if bench.state(of: "r0") != nil { return }
      bench.pass(max(0.01, min(60, bench.last.wakeAt - bench.time, end - bench.time)))
    }
  }

  @Test(arguments: [(SweepRecord.State.active, RunState.queued), (.cancelling, .cancelled)])
  func whatRunsOnAHostThatNeverComesBackIsGivenUp(sweep: SweepRecord.State, end: RunState) {
    var bench = Bench(hosts: ["a"], state: sweep, attempts: [running()])
    wait(&bench, until: Self.lostAfter - 1)
    #expect(bench.last.failure == nil, "it may be starting")
    #expect(bench.state(of: "r0") == nil, "an unreachable host is not dead")
    wait(&bench, until: Self.lostAfter + 100)
    #expect(bench.state(of: "r0") == end)
    #expect(bench.last.finished == (sweep == .cancelling ? ["s"] : []))
    // Without anything to wait for there is nothing to be done.
    #expect((bench.last.failure == nil) == (sweep == .cancelling))
  }

  @Test func aRestartDoesNotBeginTheSilenceAnew() throws {
    var first = Bench(hosts: ["a"], attempts: [running()])
    wait(&first, until: Self.lostAfter * 0.75)
    let noted = first.writes.compactMap { if case .attempt(let attempt) = $0 { attempt } else { nil } }
    let left = try #require(noted.last)
    #expect(noted.count < 10, "a silent host does not fill the store")
    #expect(left.unheard > Self.lostAfter * 0.6)
    var second = Bench(hosts: ["a"], attempts: [left])
    wait(&second, until: Self.lostAfter)
    #expect(second.state(of: "r0") == .queued)
    #expect(second.time < Self.lostAfter * 0.45)
  }

  @Test func whoLooksAtItSoonSeesThatAHostIsSilent() throws {
    var bench = Bench(hosts: ["a"], attempts: [running()])
    wait(&bench, until: 60)
    let noted = bench.writes.compactMap { if case .attempt(let attempt) = $0 { attempt.unheard } else { nil } }
    #expect(noted.count == 1 && noted[0] > 0 && noted[0] < 60, "\(noted)")
  }

  /// A network that is away and a key that has changed are mended by other people.
  @Test func whoLooksSoonSeesThatASilentHostNeedsAPerson() throws {
    var bench = Bench(hosts: ["a"], attempts: [running()])
    wait(&bench, until: 20)
    let end = bench.time + 90
    while bench.time < end {
      if !bench.commands.isEmpty { bench.trouble("a", .hostKeyChanged) }
      bench.pass(max(0.01, min(5, bench.last.wakeAt - bench.time)))
    }
    let noted = bench.writes.compactMap { if case .attempt(let attempt) = $0 { attempt.why } else { nil } }
    #expect(noted == ["unreachable", "hostKeyChanged"])
    let told = bench.writes.compactMap { if case .event(let event) = $0 { event.detail } else { nil } }
    #expect(told.filter { $0.contains("does not answer") }.count == 2, "\(told)")
  }

  @Test func anAnswerEndsTheSilenceForGood() {
    var bench = Bench(hosts: ["a"], attempts: [running(unheard: Self.lostAfter - 1)])
    bench.answer { if case .poll = $0.action { .statuses(["s-run1-try1": .running(outputBytes: 1)]) } else { nil } }
    let noted = bench.writes.compactMap { if case .attempt(let attempt) = $0 { attempt.unheard } else { nil } }
    #expect(noted == [0])
    bench.pass(60)
    wait(&bench, until: Self.lostAfter / 2)
    #expect(bench.state(of: "r0") == nil)
  }

  /// How often it is asked grows rarer, up to once in five minutes: what comes back in between has its last word.
  @Test(arguments: [TransportError.Code.unreachable, .authenticationFailed])
  func aHostThatIsBackWhenItsTimeIsUpLosesNothing(code: TransportError.Code) throws {
    var bench = Bench(hosts: ["a"], attempts: [running()])
    while bench.time < Self.lostAfter - 1 {
      if !bench.commands.isEmpty { bench.trouble("a", code) }
      bench.pass(max(0.01, min(bench.last.wakeAt - bench.time, Self.lostAfter - 1 - bench.time)))
    }
    // From here on it would answer.
    while bench.commands.isEmpty, bench.time < Self.lostAfter + 400 {
      bench.pass(max(0.01, min(60, bench.last.wakeAt - bench.time)))
    }
    #expect(bench.time < Self.lostAfter + 1, "it is asked when its time is up")
    #expect(bench.state(of: "r0") == nil, "nobody has asked it")
    let ended = ExitRecord(code: 0, signal: nil, started: 1, ended: 2, reason: nil)
    bench.answer { if case .poll = $0.action { .statuses(["s-run1-try1": .exited(ended)]) } else { nil } }
    #expect(bench.state(of: "r0") == .gathering)
  }
}
