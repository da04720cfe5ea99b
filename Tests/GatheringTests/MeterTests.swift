import Foundation
import Synchronization
import TestSupport
import Testing
import Transports

@testable import Gathering

/// What a person is told of a gather while it goes on.
@Suite(.timeLimit(.minutes(3)))
struct MeterTests {
  @Test func `bytes count once, however often their transfer is cut, and what need not come counts, too`() async throws
  {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      let replica = SplitMix64.bytes(300_000, seed: 1)
      try attempt.dump("layer00_Block_rank0.pt", replica)
      try attempt.dump("layer00_Block_rank1.pt", replica)
      try attempt.dump("layer01_Block_rank0.pt", SplitMix64.bytes(500_000, seed: 2))
      let meter = GatherMeter()
      let seen = Mutex<[Int]>([])
      // Half of the second file is there when it is cut.
      let transport = FaultyTransport(LocalTransport(), faults: [.cut(after: 550_000), .cut(after: 100_000)]) { _ in
        seen.withLock { $0.append(meter.figures.bytes) }
      }
      var limits = Gatherer.Limits()
      limits.pause = .zero
      limits.freeSpaceFloor = 0
      #expect(meter.figures == (0, 0))
      _ = try await Gatherer(limits: limits, meter: meter).gather(
        attemptDirectory: attempt.directory, transport: transport, store: attempt.store, sweep: "s1", run: "r1")
      let bytes = seen.withLock { $0 }
      #expect(bytes.count == 3)
      #expect(bytes.first == replica.count, "the replica need not come")
      #expect(bytes == bytes.sorted())
      #expect(bytes.dropFirst().allSatisfy { $0 > 2 * replica.count && $0 < 1_100_000 }, "\(bytes)")
      #expect(meter.figures == (1_100_000, 1_100_000))
    }
  }

  @Test func `the store tells what is under way and nothing of what has ended`() async throws {
    try await Scratch.with { scratch in
      let store = try ArtifactStore(root: scratch.path("store"))
      let board = GatherBoard(store: store.root)
      // As a coordinator that was killed leaves it.
      try scratch.write(
        "store/gathering.json",
        #"{"gathers":[{"sweep":"s","run":"old","attempt":"o","bytes":1,"total":2,"rate":3}],"silences":[]}"#)
      #expect(GatherBoard.view(store: store.root).gathers.map(\.run) == ["old"])
      let keeper = Task { await board.keep() }
      defer { keeper.cancel() }
      try await board.during(sweep: "s", run: "r", attempt: "a") { meter in
        meter.expect(1_000_000)
        meter.hold(200)
        meter.note("p", written: 300)
        try await wait { GatherBoard.view(store: store.root).gathers.first?.bytes == 500 }
        let entry = try #require(GatherBoard.view(store: store.root).gathers.first)
        #expect(entry.run == "r" && entry.attempt == "a" && entry.total == 1_000_000)
        // The rate is that of the last second: bytes come until it is seen.
        var written = 300
        try await wait {
          written += 1
          meter.note("p", written: written)
          return GatherBoard.view(store: store.root).gathers.first.map { $0.bytes > 500 && $0.rate > 0 } == true
        }
        meter.note("p", written: 700_000)
        try await wait { GatherBoard.view(store: store.root).gathers.first?.bytes == 700_200 }
      }
      try await wait { GatherBoard.view(store: store.root).gathers.isEmpty }
      try scratch.write("store/gathering.json", "{[")
      #expect(GatherBoard.view(store: store.root).gathers.isEmpty)
      keeper.cancel()
      await keeper.value
      #expect(scratch.text("store/gathering.json") == nil)
    }
  }

  @Test func `the store tells which hosts owe whom an answer`() async throws {
    try await Scratch.with { scratch in
      let board = GatherBoard(store: try ArtifactStore(root: scratch.path("store")).root)
      let keeper = Task { await board.keep() }
      defer { keeper.cancel() }
      let (one, other) = (Waiter(), Waiter())
      board.note([.init(host: "a", sweeps: ["s"], seconds: 12)], by: one)
      board.note([.init(host: "b", sweeps: ["t"], seconds: 13)], by: other)
      func hosts() -> [String] { GatherBoard.view(store: scratch.path("store")).silences.map(\.host).sorted() }
      try await wait { hosts() == ["a", "b"] }
      board.note([], by: one)
      try await wait { hosts() == ["b"] }
      board.note([], by: other)
      try await wait { hosts().isEmpty }
    }
  }

  /// Whoever waits.
  private final class Waiter {}

  private func wait(until isSo: () -> Bool) async throws {
    while !isSo() { try await Task.sleep(for: .milliseconds(20)) }
  }
}
