import Foundation
import Synchronization
import TestSupport
import Testing
import Transports

@testable import Gathering

/// Whatever goes wrong on the way: every file is whole, or an error names what is not, and nothing half is seen.
@Suite(.timeLimit(.minutes(3)))
struct FaultTests {
  /// 0, 1, …, and the neighbours of every file's end.
  private static let cuts = [0, 1, 40, 50, 100, 101, 1000, 4095, 4096, 4097, 9999, 20_000, 65_536, 100_000, 170_000]

  private func fill(_ attempt: Attempt) throws -> [String: [UInt8]] {
    var files: [String: [UInt8]] = [:]
    for (index, size) in [0, 1, 4096, 0, 100_000, 7, 65_536, 0].enumerated() {
      files["layer0\(index)_Block_rank\(index % 2).pt"] = noise(size, seed: UInt64(index))
    }
    for (name, bytes) in files { try attempt.dump(name, bytes) }
    return files
  }

  private func check(_ attempt: Attempt, _ files: [String: [UInt8]]) throws {
    for (name, bytes) in files {
      #expect(try attempt.stored("rank\(DumpName.rank(of: name) ?? -1)/\(name)") == bytes, "\(name)")
    }
    #expect(try attempt.store.verify(sweep: "s1", run: "r1").isEmpty)
    #expect(attempt.leftovers.isEmpty)
  }

  @Test(arguments: HostKind.allCases)
  func `a cut anywhere is gone on with, and no byte comes twice`(_ kind: HostKind) async throws {
    try await kind.with { _, base in
      for cut in Self.cuts {
        try await Scratch.with { scratch in
          let attempt = try Attempt(scratch)
          let files = try fill(attempt)
          let transport = FaultyTransport(base, faults: [.cut(after: cut)])
          let result = try await attempt.gather(over: transport)
          try check(attempt, files)
          let total = files.values.reduce(0) { $0 + $1.count }
          #expect(result.bytesTransferred == total, "cut after \(cut)")
        }
      }
    }
  }

  @Test(arguments: [40, 100, 5000, 60_000])
  func `a host that cuts every stream at the same byte ends whole or in a named error`(_ cut: Int) async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      let files = try fill(attempt)
      let transport = FaultyTransport(LocalTransport(), always: .cut(after: cut))
      do {
        _ = try await attempt.gather(over: transport)
        try check(attempt, files)
      } catch let error as GatheringError {
        #expect(error.code == .host)
        #expect(error.transport?.code == .connectionLost)
        #expect(throws: GatheringError.self) { try attempt.store.manifest(sweep: "s1", run: "r1") }
      }
      #expect(try attempt.everyObjectIsWhole())
      #expect(transport.streams <= 20)

      // What arrived is kept for the next gather.
      let before = attempt.objects.count
      let result = try await attempt.gather(over: LocalTransport())
      #expect(attempt.objects.count >= before)
      #expect(result.bytesTransferred <= files.values.reduce(0) { $0 + $1.count })
      try check(attempt, files)
    }
  }

  @Test func `a big file is gone on with by offset, also by a later gather`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      let bytes = noise(3 << 20, seed: 9)
      try attempt.dump("layer00_Block_rank0.pt", bytes)
      let cut = FaultyTransport(LocalTransport(), faults: [.cut(after: 2 << 20)])
      await #expect(throws: GatheringError.self) { try await attempt.gather(over: cut) { $0.retries = 0 } }
      #expect(attempt.objects.isEmpty)
      #expect(attempt.leftovers.count == 1)

      let result = try await attempt.gather(over: LocalTransport())
      #expect(result.bytesTransferred < bytes.count - (1 << 20))
      #expect(try attempt.stored("rank0/layer00_Block_rank0.pt") == bytes)
    }
  }

  @Test func `a leftover with wrong bytes is found by the hash and fetched anew`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      let bytes = noise(500_000, seed: 9)
      try attempt.dump("layer00_Block_rank0.pt", bytes)
      let cut = FaultyTransport(LocalTransport(), faults: [.cut(after: 200_000)])
      await #expect(throws: GatheringError.self) { try await attempt.gather(over: cut) { $0.retries = 0 } }
      let leftover = try #require(attempt.leftovers.first)
      try Data(repeating: 0, count: 1000).write(
        to: URL(fileURLWithPath: attempt.store.root + "/incoming/" + leftover))
      _ = try await attempt.gather(over: LocalTransport())
      #expect(try attempt.stored("rank0/layer00_Block_rank0.pt") == bytes)
      #expect(attempt.leftovers.isEmpty)
    }
  }

  @Test(arguments: cuts)
  func `a stream that ends early without a word is noticed`(_ end: Int) async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      let files = try fill(attempt)
      let once = FaultyTransport(LocalTransport(), faults: [.quietEnd(after: end)])
      _ = try await attempt.gather(over: once)
      try check(attempt, files)
    }
  }

  @Test func `a flipped byte never gets a name`() async throws {
    for position in [60, 61, 200, 4000, 5000, 100_000, 169_000] {
      try await Scratch.with { scratch in
        let attempt = try Attempt(scratch)
        let files = try fill(attempt)
        let transport = FaultyTransport(LocalTransport(), faults: [.flip(at: position)])
        _ = try await attempt.gather(over: transport)
        try check(attempt, files)

        let other = try Attempt(Scratch())
        defer { other.scratch.remove() }
        try other.dump("layer03_Block_rank1.pt", noise(200_000, seed: 77))
        let error = await #expect(throws: GatheringError.self) {
          try await other.gather(over: FaultyTransport(LocalTransport(), always: .flip(at: position)))
        }
        #expect(error.map { [.fileChanged, .listing].contains($0.code) } == true)
        #expect(other.objects.isEmpty)
      }
    }
  }

  @Test(arguments: ["layer02_Block_rank0.pt", "layer06_Block_rank0.pt"])
  func `a file that changes once while it is gathered is fetched as it is now`(_ name: String) async throws {
    for change in ["shorter", String(repeating: "longer", count: 50_000), "", nil] {
      try await Scratch.with { scratch in
        let attempt = try Attempt(scratch)
        var files = try fill(attempt)
        let transport = FaultyTransport(LocalTransport()) { stream in
          guard stream == 0 else { return }
          if let change {
            try attempt.dump(name, change)
          } else {
            try FileManager.default.removeItem(atPath: attempt.directory + "/dumps/" + name)
          }
        }
        let result = try await attempt.gather(over: transport)
        files[name] = change.map { Array($0.utf8) }
        #expect(result.entries.count == files.count)
        try check(attempt, files)
      }
    }
  }

  @Test func `a file that never stays the same is named`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      _ = try fill(attempt)
      let name = "layer04_Block_rank0.pt"
      let transport = FaultyTransport(LocalTransport()) { stream in
        try attempt.dump(name, noise(100_000 + stream, seed: UInt64(stream + 50)))
      }
      let error = await #expect(throws: GatheringError.self) { try await attempt.gather(over: transport) }
      #expect(error?.code == .fileChanged)
      #expect(error?.message.contains(name) == true)
      #expect(try attempt.everyObjectIsWhole())
      let missing = #expect(throws: GatheringError.self) { try attempt.store.manifest(sweep: "s1", run: "r1") }
      #expect(missing?.code == .notGathered)
    }
  }

  @Test func `a permanent fault is not tried again, another one a bounded number of times`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      _ = try fill(attempt)
      let refusing = FaultyTransport(LocalTransport(), always: .refuse(.hostKeyChanged))
      var error = await #expect(throws: GatheringError.self) { try await attempt.gather(over: refusing) }
      #expect(error?.transport?.code == .hostKeyChanged)
      #expect(refusing.streams == 1)
      let unreachable = FaultyTransport(LocalTransport(), always: .refuse(.unreachable))
      error = await #expect(throws: GatheringError.self) { try await attempt.gather(over: unreachable) }
      #expect(error?.transport?.code == .unreachable)
      #expect(unreachable.streams == 5)
    }
  }

  @Test func `two gathers of the same contents at once both end whole`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      for index in 0..<6 { try attempt.dump("layer0\(index)_Block_rank0.pt", noise(400_000, seed: UInt64(index))) }
      try await withThrowingTaskGroup(of: Void.self) { group in
        for run in ["r1", "r2", "r3"] {
          group.addTask { _ = try await attempt.gather(over: LocalTransport(), run: run) }
        }
        try await group.waitForAll()
      }
      for run in ["r1", "r2", "r3"] { #expect(try attempt.store.verify(sweep: "s1", run: run).isEmpty) }
      #expect(attempt.objects.count == 6)
      #expect(attempt.leftovers.isEmpty)
    }
  }

  @Test func `what a killed gather left aside is no file of the run`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      let files = try fill(attempt)
      _ = try await attempt.gather(over: LocalTransport())
      // Killed right before the last rename, with an older manifest's name gone already.
      let run = URL(fileURLWithPath: try attempt.store.runDirectory(sweep: "s1", run: "r1"))
      let manifest = run.appendingPathComponent("manifest.json")
      try FileManager.default.removeItem(at: manifest)
      try Data("{".utf8).write(to: run.appendingPathComponent("manifest.json.part"))
      _ = try await attempt.gather(over: LocalTransport())
      try check(attempt, files)
      let names = try FileManager.default.contentsOfDirectory(atPath: run.path).sorted()
      #expect(names == ["attempts", "manifest.json", "rank0", "rank1"])
    }
  }

  @Test func `a gang's run is laid out when all its hosts' files are there, and conflicts are named`() async throws {
    try await Scratch.with { scratch in
      let first = try Attempt(scratch)
      let second = try Attempt(Scratch())
      defer { second.scratch.remove() }
      try first.dump("layer00_Block_rank0.pt", noise(1000, seed: 1))
      try second.dump("layer00_Block_rank1.pt", noise(1000, seed: 2))
      for attempt in [first, second] { try attempt.dump("config.json", "same") }
      try first.dump("notes.txt", "of node 0")
      try second.dump("notes.txt", "of node 1")
      let link = second.directory.replacing(/[^\/]+$/, with: "node1")
      try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: second.directory)
      func fetch(_ directory: String) async throws {
        try await Gatherer().fetchShare(
          attemptDirectory: directory, transport: LocalTransport(), store: first.store, sweep: "s1", run: "r1")
      }
      let names = [String(first.directory.split(separator: "/").last ?? ""), "node1"]
      try await fetch(first.directory)
      // Half of it is no run.
      #expect(throws: GatheringError.self) { try first.store.manifest(sweep: "s1", run: "r1") }
      #expect(throws: GatheringError.self) { try first.store.layOut(shares: names, sweep: "s1", run: "r1") }
      try await fetch(link)
      let manifest = try first.store.layOut(shares: names, sweep: "s1", run: "r1")
      #expect(manifest == (try first.store.manifest(sweep: "s1", run: "r1")))
      #expect(try first.store.verify(sweep: "s1", run: "r1").isEmpty)
      #expect(manifest.entries.compactMap(\.rank).sorted() == [0, 1])
      #expect(manifest.entries.count == 4)
      #expect(manifest.refused.count == 1)
      #expect(manifest.refused.first?.contains("notes.txt") == true)
      #expect(try first.stored("shared/notes.txt") == Array("of node 0".utf8))
    }
  }

  @Test func `a cancelled gather leaves nothing half`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      let files = try fill(attempt)
      let transport = FaultyTransport(LocalTransport()) { _ in
        withUnsafeCurrentTask { $0?.cancel() }
        try Task.checkCancellation()
      }
      let task = Task { try await attempt.gather(over: transport) }  // A task of its own, so that it can be cancelled.
      let result = await task.result
      #expect(throws: GatheringError.self) { try result.get() }
      #expect(try attempt.everyObjectIsWhole())
      _ = try await attempt.gather(over: LocalTransport())
      try check(attempt, files)
    }
  }
}
