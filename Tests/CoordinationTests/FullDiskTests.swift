import Launching
import Ledger
import Planning
import Scheduling
import Testing
import Transports

@testable import Coordination

/// What a full disk, of a host or of the store, costs: some waiting, and no run.
@Suite struct FullDiskTests {
  private typealias Bench = CoreBench

  private static func launched(_ outcome: LaunchOutcome) -> Answer { .launched(outcome, directory: "/w/attempts/x") }

  /// Answers the newest launch on a host.
  private func launch(_ bench: inout Bench, on host: String, _ outcome: LaunchOutcome) {
    bench.answer { command in
      guard case .launch = command.action, command.host == host else { return nil }
      return Self.launched(outcome)
    }
  }

  /// Answers the next poll of a host: what runs there has ended.
  private func end(
    _ bench: inout Bench, on host: String,
    _ record: ExitRecord = ExitRecord(code: 0, signal: nil, started: 1, ended: 2, reason: nil)
  ) {
    bench.pass(1)
    bench.answer { command in
      guard case .poll(let ids) = command.action, command.host == host else { return nil }
      return .statuses(Dictionary(uniqueKeysWithValues: ids.map { ($0, .exited(record)) }))
    }
  }

  private func facts(free bytes: Int) -> HostFacts {
    var facts = Bench.facts
    facts.freeDiskBytes = bytes
    return facts
  }

  @Test func aHostWithAFullDiskIsLeftAloneUntilALookFindsRoom() {
    var bench = Bench(hosts: ["a", "b"], runs: 4, retries: 0)
    for host in ["a", "b"] { bench.enrol(host) }
    #expect(bench.launches.map(\.host).sorted() == ["a", "b"])
    launch(&bench, on: "b", .started)
    launch(&bench, on: "a", .noSpace("no room"))
    #expect(bench.alarms == ["a: no room; no run is started there before there is room"])
    // Free as it is, it gets no other run.
    #expect(bench.launches.isEmpty)
    for _ in 0..<3 {
      bench.pass(64)
      bench.answer { $0.host == "a" && $0.action == .enrol ? .facts(self.facts(free: 1 << 10)) : nil }
      #expect(bench.launches.isEmpty)
    }
    #expect(bench.alarms.count == 1, "said once")
    bench.pass(64)
    bench.answer { $0.host == "a" && $0.action == .enrol ? .facts(self.facts(free: 1 << 40)) : nil }
    #expect(bench.launches.map(\.host) == ["a"])
    // Nothing had been started: it costs no retry.
    #expect(!bench.states.contains(.lost))
  }

  @Test func aHostThatIsMetWithAFullDiskSaysWhyARunWaits() {
    var bench = Bench(hosts: ["a"])
    bench.answer { $0.action == .enrol ? .facts(self.facts(free: 5)) : nil }
    #expect(bench.launches.isEmpty)
    #expect(bench.alarms == ["a: 5 bytes are free in /w; no run is started there before there is room"])
    let host = SchedulerInput.host(
      Fleet.Host(name: "a", address: .local), facts: facts(free: 5), isReachable: true, isDrained: false, isFull: true)
    let run = Placement.QueuedRun(id: "r", gpus: 1, order: 0)
    let decisions = Placement.decide(Placement.Snapshot(runs: [run], hosts: [host]))
    guard case .wait(_, let reasons) = decisions.last else {
      Issue.record("\(decisions)")
      return
    }
    #expect(Explanation.lines(reasons) == ["a: no room on its disk"])
  }

  @Test func aFullStoreIsWaitedForWhileHostsArePolled() throws {
    var bench = Bench(hosts: ["a", "b", "c"], runs: 5, retries: 0)
    for host in ["a", "b", "c"] { bench.enrol(host) }
    for host in ["a", "b", "c"] { launch(&bench, on: host, .started) }
    func end(_ host: String, code: Int = 0) {
      self.end(&bench, on: host, ExitRecord(code: code, signal: nil, started: 1, ended: 2, reason: nil))
    }
    func gather(_ host: String, _ answer: Answer) {
      bench.answer { command in
        guard case .gather = command.action, command.host == host else { return nil }
        return answer
      }
    }
    end("a")
    // Its place was taken before anybody knew.
    launch(&bench, on: "a", .started)
    gather("a", .storeFull("no room: 5 bytes are free"))
    #expect(bench.alarms == ["store: no room: 5 bytes are free"])
    #expect(bench.whys.last == "waits for room in the store")
    // The others are asked how they stand, and what ends is tried once, by itself.
    end("b", code: 3)
    #expect(bench.launches.isEmpty, "a new run would fill its host")
    gather("b", .storeFull("no room: 4 bytes are free"))
    #expect(bench.gathers == 0)
    bench.pass(0.5)
    #expect(bench.gathers == 0)
    var tries = 0
    while bench.time < 1000 {
      bench.pass(max(0.1, min(10, bench.last.wakeAt - bench.time)))
      #expect(bench.gathers <= 1)
      guard bench.gathers == 1 else { continue }
      tries += 1
      bench.answer { if case .gather = $0.action { .storeFull("no room: 5 bytes are free") } else { nil } }
    }
    #expect((10...30).contains(tries), "neither forgotten nor a burden: \(tries)")
    #expect(bench.alarms.count == 1, "said once")
    bench.pass(64)
    bench.answer { if case .gather = $0.action { .gathered(.init(count: 1, bytes: 1, missing: [])) } else { nil } }
    #expect(bench.alarms.last == "store: room")
    #expect(bench.launches.count == 1)
    bench.pass(1)
    bench.answer { if case .gather = $0.action { .gathered(.init(count: 1, bytes: 1, missing: [])) } else { nil } }
    end("c")
    gather("c", .gathered(.init(count: 1, bytes: 1, missing: [])))
    // Each has its true end.
    #expect(Set(bench.states.filter(\.isFinal)) == [.succeeded, .failed])
    #expect(bench.states.count(where: \.isFinal) == 3)
  }

  @Test func aCancelledSweepDoesNotWaitForRoom() {
    var bench = Bench(hosts: ["a", "b", "c"], runs: 3)
    for host in ["a", "b", "c"] { bench.enrol(host) }
    for host in ["a", "b", "c"] { launch(&bench, on: host, .started) }
    for host in ["a", "b"] {
      end(&bench, on: host)
      bench.answer { if case .gather = $0.action { .storeFull("no room") } else { nil } }
    }
    #expect(bench.states.filter(\.isFinal).isEmpty)
    bench.tell(.cancelRequested(sweep: "s"))
    #expect(bench.states.filter(\.isFinal) == [.cancelled, .cancelled])
    #expect(bench.whys.last == "the store had no room for its files, which stay at b")
    // The third is stopped first, and then tried once.
    bench.answer { if case .stop = $0.action { .stopped } else { nil } }
    end(&bench, on: "c", ExitRecord(code: 143, signal: 15, started: 1, ended: 2, reason: "cancelled"))
    #expect(bench.last.finished.isEmpty)
    bench.answer { if case .gather = $0.action { .storeFull("no room") } else { nil } }
    #expect(bench.last.finished == ["s"])
    #expect(bench.states.filter(\.isFinal) == [.cancelled, .cancelled, .cancelled])
    // Nothing is left to be asked of their hosts, and nothing of them is removed there.
    let ends = bench.writes.compactMap { if case .attempt(let end) = $0, end.state == .lost { end } else { nil } }
    #expect(ends.map(\.isFenced) == [true, true, true])
    #expect(bench.stops.isEmpty && bench.gathers == 0)
  }

  @Test func thatThereIsRoomAgainIsSaidOnce() {
    var bench = Bench(hosts: ["a", "b", "c"], runs: 3)
    for host in ["a", "b", "c"] { bench.enrol(host) }
    for host in ["a", "b", "c"] { launch(&bench, on: host, .started) }
    for host in ["a", "b", "c"] { end(&bench, on: host) }
    // All were refused before anybody knew.
    for _ in 0..<3 { bench.answer { if case .gather = $0.action { .storeFull("no room") } else { nil } } }
    while bench.states.count(where: { $0 == .succeeded }) < 3, bench.time < 1000 {
      bench.pass(max(0.1, min(10, bench.last.wakeAt - bench.time)))
      while bench.gathers > 0 {
        bench.answer {
          if case .gather = $0.action { .gathered(.init(count: 1, bytes: 1, missing: [])) } else { nil }
        }
      }
    }
    #expect(bench.alarms == ["store: no room", "store: room"])
  }

  @Test func aSmallGatherPassesAStoreThatIsFullForOthers() {
    var bench = Bench(hosts: ["a", "b"], runs: 2)
    for host in ["a", "b"] { bench.enrol(host) }
    for host in ["a", "b"] { launch(&bench, on: host, .started) }
    for host in ["a", "b"] {
      end(&bench, on: host)
      bench.answer { command in
        guard case .gather = command.action, command.host == host else { return nil }
        return host == "a" ? .storeFull("no room") : .gathered(.init(count: 1, bytes: 1, missing: []))
      }
    }
    #expect(bench.states.last == .succeeded)
    #expect(!bench.alarms.contains("store: room"), "the one that was refused still waits")
  }
}
