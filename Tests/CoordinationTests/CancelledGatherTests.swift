import Gathering
import Launching
import Ledger
import Planning
import Scheduling
import TestSupport
import Testing
import Transports

@testable import Coordination

/// A sweep that is cancelled while files come: what is here soon counts, for the rest nobody waits.
@Suite(.timeLimit(.minutes(2))) struct CancelledGatherTests {
  private typealias Bench = CoreBench

  private func gathering(hosts: [String] = ["a"]) -> CoreBench {
    var bench = Bench(hosts: hosts, runs: hosts.count)
    for host in hosts { bench.enrol(host) }
    for host in hosts {
      bench.answer { command in
        guard case .launch = command.action, command.host == host else { return nil }
        return .launched(.started, directory: "/w/attempts/x")
      }
    }
    bench.pass(1)
    for host in hosts {
      bench.answer { command in
        guard case .poll(let ids) = command.action, command.host == host else { return nil }
        let record = ExitRecord(code: 0, signal: nil, started: 1, ended: 2, reason: nil)
        return .statuses(Dictionary(uniqueKeysWithValues: ids.map { ($0, .exited(record)) }))
      }
    }
    return bench
  }

  private var isGather: (Command) -> Bool {
    { if case .gather = $0.action { true } else { false } }
  }

  @Test func aGatherUnderWayIsBrokenOffSoon() {
    var bench = gathering()
    let gather = bench.commands.first(where: isGather)?.id
    bench.pass(100)
    bench.tell(.cancelRequested(sweep: "s"))
    #expect(bench.last.brokenOff.isEmpty)
    #expect(bench.last.wakeAt <= bench.time + 5)
    bench.pass(4.9)
    #expect(bench.last.brokenOff.isEmpty)
    bench.pass(0.2)
    #expect(bench.last.brokenOff == [gather])
    #expect(bench.states.filter(\.isFinal).isEmpty, "it may be whole by now")
    bench.answer { isGather($0) ? .brokenOff : nil }
    #expect(bench.states.last == .cancelled)
    #expect(bench.whys.last == "cancelled before its files were here, which stay at a")
    #expect(bench.last.finished == ["s"])
    #expect(bench.stops.isEmpty && bench.gathers == 0)
    let ends = bench.writes.compactMap { if case .attempt(let end) = $0, end.state == .lost { end } else { nil } }
    #expect(ends.map(\.isFenced) == [true], "it has ended there: nothing is left to be stopped")
  }

  @Test func whatIsWholeBeforeThatCounts() {
    var bench = gathering(hosts: ["a", "b"])
    bench.tell(.cancelRequested(sweep: "s"))
    bench.pass(3)
    bench.answer { isGather($0) ? .gathered(.init(count: 1, bytes: 1, missing: [])) : nil }
    #expect(bench.states.last == .succeeded)
    bench.pass(3)
    #expect(bench.last.brokenOff.count == 1)
    // It came while it was told.
    bench.answer { isGather($0) ? .gathered(.init(count: 1, bytes: 1, missing: [])) : nil }
    #expect(bench.states.last == .succeeded)
    #expect(bench.last.finished == ["s"])
  }

  @Test func aHostThatIsAwayIsNotWaitedForWhereItsRunHasEnded() {
    var bench = gathering()
    bench.trouble("a")
    bench.tell(.cancelRequested(sweep: "s"))
    bench.pass(6)
    if bench.gathers > 0 { bench.answer { isGather($0) ? .brokenOff : nil } }
    #expect(bench.states.last == .cancelled)
    #expect(bench.last.finished == ["s"])
  }

  @Test func whoWaitsForAPlaceToGatherLeavesAtOnce() async throws {
    try await Scratch.with { scratch in
      let store = scratch.path("store")
      let queue = GatherQueue(
        transport: LocalTransport(), store: try ArtifactStore(root: store), board: GatherBoard(store: store), limit: 1)
      let (held, holder) = AsyncStream.makeStream(of: Never.self)
      async let first: Void = queue.alone { for await _ in held {} }
      try await Task.sleep(for: .milliseconds(50))
      let second = Task { try await queue.alone { "second" } }
      let third = Task { try await queue.alone { "third" } }
      try await Task.sleep(for: .milliseconds(50))
      second.cancel()
      await #expect(throws: CancellationError.self) { try await second.value }
      holder.finish()
      #expect(try await third.value == "third")
      try await first
    }
  }
}
