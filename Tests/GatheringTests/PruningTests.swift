import Foundation
import Glibc
import TestSupport
import Testing
import Transports

@testable import Gathering

/// Pruning beside a gather: no manifest names what is gone.
@Suite(.timeLimit(.minutes(2)))
struct PruningTests {
  /// As `rollcall prune` does it.
  private static func prune(_ store: ArtifactStore, _ run: String, beside others: [String]) throws {
    try store.pruning {
      let held = try store.contents(sweep: "s1", run: run).keys
      let needed = try Set(others.flatMap { try store.contents(sweep: "s1", run: $0).keys })
      try store.prune(sweep: "s1", run: run)
      for hash in held where !needed.contains(hash) { _ = try store.removeObject(hash) }
    }
  }

  @Test func `what a gather counted on and was pruned meanwhile is fetched after all`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      for layer in 0..<2 {
        try attempt.dump("layer0\(layer)_Block_rank0.pt", SplitMix64.bytes(5000, seed: UInt64(layer)))
      }
      _ = try await attempt.gather(over: LocalTransport(), run: "r0")
      // All is here, and nothing is fetched; then, before there is a manifest, the run that held it goes.
      let store = attempt.store
      let meter = GatherMeter()
      let transport = CountingTransport(LocalTransport()) { command in
        guard command.contains("stdout.log") else { return }
        while meter.figures != (10_000, 10_000) { usleep(1000) }
        #expect(throws: Never.self) { try Self.prune(store, "r0", beside: []) }
      }
      var limits = Gatherer.Limits()
      limits.freeSpaceFloor = 0
      let result = try await Gatherer(limits: limits, meter: meter).gather(
        attemptDirectory: attempt.directory, transport: transport, store: store, sweep: "s1", run: "r1")
      #expect(result.bytesTransferred == 10_000)
      #expect(try store.verify(sweep: "s1", run: "r1").isEmpty)
      #expect(result.manifest.entries.allSatisfy { store.contains($0.sha256) })
      #expect(try attempt.everyObjectIsWhole())
    }
  }

  @Test func `what a share of a gang counts on outlives the run that brought it`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      let store = attempt.store
      try attempt.dump("layer00_Block_rank0.pt", SplitMix64.bytes(5000, seed: 1))
      _ = try await attempt.gather(over: LocalTransport(), run: "r0")
      let share = String(attempt.directory.split(separator: "/").last ?? "")
      try await Gatherer().fetchShare(
        attemptDirectory: attempt.directory, transport: LocalTransport(), store: store, sweep: "s1", run: "r1")
      // The gang's other hosts are still to be fetched.
      try Self.prune(store, "r0", beside: ["r1"])
      #expect(try store.contents(sweep: "s1", run: "r0").isEmpty)
      _ = try store.layOut(shares: [share], sweep: "s1", run: "r1")
      #expect(try store.verify(sweep: "s1", run: "r1").isEmpty)
      try Self.prune(store, "r1", beside: ["r0"])
      #expect(try store.contents(sweep: "s1", run: "r1").isEmpty)
      #expect(attempt.objects.isEmpty)
    }
  }

  @Test func `a manifest is not written while something is pruned`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      try attempt.dump("layer00_Block_rank0.pt", SplitMix64.bytes(5000, seed: 1))
      let descriptor = open(attempt.store.root + "/objects", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
      defer { close(descriptor) }
      try #require(flock(descriptor, LOCK_EX | LOCK_NB) == 0)
      async let gathered = attempt.gather(over: LocalTransport())
      while attempt.objects.isEmpty { try await Task.sleep(for: .milliseconds(5)) }
      try await Task.sleep(for: .milliseconds(300))
      #expect(throws: GatheringError.self) { try attempt.store.manifest(sweep: "s1", run: "r1") }
      try #require(flock(descriptor, LOCK_UN) == 0)
      let result = try await gathered
      #expect(try attempt.store.manifest(sweep: "s1", run: "r1") == result.manifest)
    }
  }
}
