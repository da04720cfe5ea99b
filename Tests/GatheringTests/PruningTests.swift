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

  @Test func `pruning that was cut after the manifest goes on`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      let store = attempt.store
      try attempt.dump("layer00_Block_rank0.pt", SplitMix64.bytes(5000, seed: 1))
      _ = try await attempt.gather(over: LocalTransport(), run: "r0")
      let manifest = try store.runDirectory(sweep: "s1", run: "r0") + "/manifest"
      try #require(rename(manifest + ".json", manifest + ".pruned.json") == 0)
      #expect(try Array(store.contents(sweep: "s1", run: "r0").values) == [5000])
      try Self.prune(store, "r0", beside: [])
      #expect(try store.contents(sweep: "s1", run: "r0").isEmpty)
      #expect(attempt.objects.isEmpty)
    }
  }

  @Test func `a run that is gathered again was not pruned`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      let store = attempt.store
      try attempt.dump("layer00_Block_rank0.pt", SplitMix64.bytes(5000, seed: 1))
      _ = try await attempt.gather(over: LocalTransport())
      try Self.prune(store, "r1", beside: [])
      let directory = try store.runDirectory(sweep: "s1", run: "r1")
      let pruned = directory + "/" + ArtifactStore.prunedManifest
      #expect(access(pruned, F_OK) == 0)
      _ = try await attempt.gather(over: LocalTransport())
      #expect(access(pruned, F_OK) != 0)
      // All that is not a dump is known as the store's.
      let files = try FileSystem.contents(of: directory).files
      #expect(files.filter { !ArtifactStore.isOwn($0) } == ["rank0/layer00_Block_rank0.pt"])
    }
  }

  @Test func `what no run holds is removed, what a gather may still name is not`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      let store = attempt.store
      try attempt.dump("layer00_Block_rank0.pt", SplitMix64.bytes(5000, seed: 1))
      _ = try await attempt.gather(over: LocalTransport(), run: "r0")
      let named = try #require(attempt.objects.first)
      // On a file system without hard links, the manifest alone keeps it.
      let link = try store.runDirectory(sweep: "s1", run: "r0") + "/rank0/layer00_Block_rank0.pt"
      try #require(unlink(link) == 0 && symlink("../../../../objects/\(named)", link) == 0)
      // Named by no manifest: alone, and linked by a run whose gather was cut.
      let lone = String(repeating: "a", count: 64)
      let linked = String(repeating: "b", count: 64)
      for name in [lone, linked, "notes"] { try scratch.write("store/objects/\(name)", "1234567") }
      try #require(Glibc.link(store.objectPath(linked), scratch.path("store/sweeps/\(linked)")) == 0)
      for name in ["cut.part", "open.part", "notes"] { try scratch.write("store/incoming/\(name)", "123") }
      let descriptor = open(scratch.path("store/incoming/open.part"), O_RDWR | O_CLOEXEC)
      defer { close(descriptor) }
      try #require(flock(descriptor, LOCK_EX | LOCK_NB) == 0)

      let now = Date().timeIntervalSince1970
      #expect(try store.pruning { try store.removeOrphans(before: now - 3600) } == 0)
      #expect(attempt.objects.count == 4 && attempt.leftovers.count == 3)
      #expect(try store.pruning { try store.removeOrphans(before: now + 3600) } == 10)
      #expect(attempt.objects == [named, linked, "notes"].sorted())
      #expect(attempt.leftovers.sorted() == ["notes", "open.part"])
      #expect(try store.verify(sweep: "s1", run: "r0").isEmpty)
    }
  }

  @Test func `what a share of a gang brought is held by its manifest`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      let store = attempt.store
      try attempt.dump("layer00_Block_rank0.pt", SplitMix64.bytes(5000, seed: 1))
      try await Gatherer().fetchShare(
        attemptDirectory: attempt.directory, transport: LocalTransport(), store: store, sweep: "s1", run: "r1")
      #expect(try store.pruning { try store.removeOrphans(before: .infinity) } == 0)
      #expect(attempt.objects.count == 1)
    }
  }

  @Test func `a host is done with what the store holds whole, and with what it held`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      let store = attempt.store
      func isDone(_ id: String = "a-1", share: Bool = false, run: String = "r0") throws -> Bool {
        try store.isDone(with: id, isShare: share, sweep: "s1", run: run)
      }
      #expect(try !isDone())
      try attempt.dump("layer00_Block_rank0.pt", SplitMix64.bytes(5000, seed: 1))
      _ = try await attempt.gather(over: LocalTransport(), run: "r0")
      #expect(try isDone())
      #expect(try isDone("a-0"), "another attempt's files have taken the place of its own")
      try await Gatherer().fetchShare(
        attemptDirectory: attempt.directory, transport: LocalTransport(), store: store, sweep: "s1", run: "r2")
      #expect(try isDone(share: true, run: "r2"))
      #expect(try !isDone("a-2", share: true, run: "r2"), "it was not fetched")
      // What was refused is only there.
      try #require(symlink("/etc/passwd", attempt.directory + "/dumps/passwd_rank0.pt") == 0)
      _ = try await attempt.gather(over: LocalTransport(), run: "r1")
      #expect(try !isDone(run: "r1"))
      let object = store.objectPath(try #require(attempt.objects.first))
      try #require(truncate(object, 10) == 0)
      #expect(try !isDone() && !isDone(share: true, run: "r2"))
      for run in ["r0", "r1", "r2"] { try Self.prune(store, run, beside: []) }
      #expect(try isDone() && isDone(run: "r1"))
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
