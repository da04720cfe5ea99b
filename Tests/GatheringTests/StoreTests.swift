import Foundation
import TestSupport
import Testing
import Transports

@testable import Gathering

@Suite(.timeLimit(.minutes(2)))
struct StoreTests {
  /// A directory that was made before, open to all, and may hold other things.
  @Test func `what the store keeps in an open directory is its owner's alone, also where it was open before`()
    async throws
  {
    try await Scratch.with { scratch in
      func mode(_ name: String) throws -> Int? {
        let facts = try FileManager.default.attributesOfItem(atPath: scratch.path("open/\(name)"))
        return facts[.posixPermissions] as? Int
      }
      let own = ["objects", "incoming", "files", "sweeps", "playbooks", "drained"]
      for name in ["mine"] + own { try scratch.directory("open/" + name) }
      for name in ["", "mine"] + own { #expect(try mode(name) == 0o755) }
      _ = try ArtifactStore(root: scratch.path("open"))
      for name in own { #expect(try mode(name) == 0o700, "\(name)") }
      for name in ["", "mine"] { #expect(try mode(name) == 0o755, "\(name)") }
      for name in own { try FileManager.default.removeItem(atPath: scratch.path("open/\(name)")) }
      _ = try ArtifactStore(root: scratch.path("open"))
      for name in own.prefix(4) { #expect(try mode(name) == 0o700, "\(name)") }
    }
  }

  @Test func `a rank file deleted or changed after the gather is named`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      for rank in 0..<4 { try attempt.dump("layer00_Block_rank\(rank).pt", SplitMix64.bytes(5000, seed: UInt64(rank))) }
      _ = try await attempt.gather(over: LocalTransport())
      let run = try attempt.store.runDirectory(sweep: "s1", run: "r1")

      try FileManager.default.removeItem(atPath: run + "/rank3/layer00_Block_rank3.pt")
      var damages = try attempt.store.verify(sweep: "s1", run: "r1")
      #expect(damages.map(\.path) == ["rank3/layer00_Block_rank3.pt"])
      #expect(damages.first?.kind == .missing)
      #expect(damages.first?.rank == 3)
      #expect(damages.first?.message.contains("rank3/layer00_Block_rank3.pt") == true)

      // What is changed is its object again, where that is whole: these have gone.
      for entry in try attempt.store.manifest(sweep: "s1", run: "r1").entries where [1, 2].contains(entry.rank) {
        try FileManager.default.removeItem(atPath: attempt.store.objectPath(entry.sha256))
      }
      // Same size, one byte other, in place as far as the file system goes.
      try FileManager.default.removeItem(atPath: run + "/rank1/layer00_Block_rank1.pt")
      var bytes = SplitMix64.bytes(5000, seed: 1)
      bytes[4999] ^= 1
      try Data(bytes).write(to: URL(fileURLWithPath: run + "/rank1/layer00_Block_rank1.pt"))
      try FileManager.default.removeItem(atPath: run + "/rank2/layer00_Block_rank2.pt")
      try Data(bytes.prefix(10)).write(to: URL(fileURLWithPath: run + "/rank2/layer00_Block_rank2.pt"))
      try Data(bytes).write(to: URL(fileURLWithPath: run + "/rank0/layer09_Block_rank0.pt"))
      damages = try attempt.store.verify(sweep: "s1", run: "r1")
      #expect(damages.map(\.kind) == [.changed, .changed, .missing, .unexpected])
      #expect(damages.last?.path == "rank0/layer09_Block_rank0.pt")

      // The other objects are whole: a gather mends those without a transfer.
      #expect(try await attempt.gather(over: LocalTransport()).bytesTransferred == 10_000)
      #expect(try attempt.store.verify(sweep: "s1", run: "r1").isEmpty)
    }
  }

  @Test func `an object cut short is named, and fetched again`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      try attempt.dump("layer00_Block_rank0.pt", SplitMix64.bytes(5000, seed: 1))
      _ = try await attempt.gather(over: LocalTransport())
      let object = attempt.store.objectPath(attempt.objects[0])
      #expect(chmod(object, 0o644) == 0)
      #expect(truncate(object, 100) == 0)
      let damages = try attempt.store.verify(sweep: "s1", run: "r1")
      #expect(damages.map(\.kind) == [.changed])
      #expect(try await attempt.gather(over: LocalTransport()).bytesTransferred == 5000)
      #expect(try attempt.store.verify(sweep: "s1", run: "r1").isEmpty)
    }
  }

  @Test func `an object with a changed byte is set aside, and the next gather fetches it`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      let bytes = SplitMix64.bytes(5000, seed: 1)
      try attempt.dump("layer00_Block_rank0.pt", bytes)
      for run in ["r1", "r3"] { _ = try await attempt.gather(over: LocalTransport(), run: run) }
      let name = attempt.objects[0]
      let object = attempt.store.objectPath(name)
      try #require(chmod(object, 0o644) == 0)
      var damaged = bytes
      damaged[4999] ^= 1
      let file = try #require(FileHandle(forWritingAtPath: object))
      try file.seek(toOffset: 4999)
      try file.write(contentsOf: damaged.suffix(1))
      try file.close()

      for _ in 0..<2 {
        #expect(try attempt.store.verify(sweep: "s1", run: "r1").map(\.kind) == [.changed])
        #expect(attempt.objects == [name + ".damaged"])
      }
      // What was found stays as evidence, and poisons no other run.
      #expect(try attempt.stored("rank0/layer00_Block_rank0.pt") == damaged)
      #expect(
        try attempt.store.check().known.map(\.path)
          == ["sweeps/s1/r1/rank0/layer00_Block_rank0.pt", "sweeps/s1/r3/rank0/layer00_Block_rank0.pt"])
      #expect(try await attempt.gather(over: LocalTransport(), run: "r2").bytesTransferred == 5000)
      #expect(try attempt.store.verify(sweep: "s1", run: "r2").isEmpty)
      // The files of the others are not the object any more: whoever reads them makes them so.
      #expect(try attempt.store.verify(sweep: "s1", run: "r1").isEmpty)
      #expect(try attempt.stored("rank0/layer00_Block_rank0.pt") == bytes)
      #expect(try attempt.stored("rank0/layer00_Block_rank0.pt", run: "r3") == damaged)
      #expect(try attempt.store.check() == StoreCheck(objects: 1))
      #expect(try attempt.stored("rank0/layer00_Block_rank0.pt", run: "r3") == bytes)
      #expect(attempt.objects == [name, name + ".damaged"])
      #expect(attempt.leftovers.isEmpty)
    }
  }

  @Test func `what is damaged of the jobs' files is named`() async throws {
    try await Scratch.with { scratch in
      let store = try ArtifactStore(root: scratch.path("store"))
      let places = try ["a", "b", "c"].map { ($0, try scratch.write("job/\($0)", "text of \($0)")) }
      try store.keep(files: Dictionary(uniqueKeysWithValues: places), of: "s1")
      try store.keep(files: ["a": places[0].1], of: "s2")
      #expect(try store.check() == StoreCheck())

      let kept = try #require(try store.jobFiles(of: "s1"))
      let changed = try #require(kept["b"]?.sha256)
      let gone = try #require(kept["c"]?.sha256)
      try scratch.write("store/files/\(changed)", "other text")
      try FileManager.default.removeItem(atPath: scratch.path("store/files/\(gone)"))
      try scratch.write("store/sweeps/s2/files.json", "{")
      let found = try store.check()
      #expect(
        found.jobFiles.map(\.path)
          == ["files/\(changed)", "sweeps/s1/files.json", "sweeps/s1/files.json", "sweeps/s2/files.json"])
      #expect(found.jobFiles.map(\.kind) == [.changed, .missing, .missing, .changed])
      for text in ["b, files/\(changed)", "c, files/\(gone)"] {
        #expect(found.jobFiles.contains { $0.message.contains(text) })
      }
      #expect(found.damages.isEmpty && found.lost.isEmpty)
    }
  }

  @Test func `a changed file becomes no object that is damaged itself`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      try attempt.dump("layer00_Block_rank0.pt", SplitMix64.bytes(50, seed: 1))
      _ = try await attempt.gather(over: LocalTransport())
      let file = try attempt.store.runDirectory(sweep: "s1", run: "r1") + "/rank0/layer00_Block_rank0.pt"
      for (place, seed) in [(file, 2), (attempt.store.objectPath(attempt.objects[0]), 3)] as [(String, UInt64)] {
        try FileManager.default.removeItem(atPath: place)
        try Data(SplitMix64.bytes(50, seed: seed)).write(to: URL(fileURLWithPath: place))
      }
      #expect(try attempt.store.verify(sweep: "s1", run: "r1").map(\.kind) == [.changed])
      #expect(try attempt.stored("rank0/layer00_Block_rank0.pt") == SplitMix64.bytes(50, seed: 2))
    }
  }

  @Test func `a manifest that is missing, damaged or hostile is refused`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      try attempt.dump("layer00_Block_rank0.pt", SplitMix64.bytes(50, seed: 1))
      var error = #expect(throws: GatheringError.self) { try attempt.store.verify(sweep: "s1", run: "r1") }
      #expect(error?.code == .notGathered)
      _ = try await attempt.gather(over: LocalTransport())
      let path = try attempt.store.runDirectory(sweep: "s1", run: "r1") + "/manifest.json"
      let text = try String(contentsOfFile: path, encoding: .utf8)
      for (old, new) in [
        ("rollcall.manifest/1", "rollcall.manifest/9"), ("layer00_Block_rank0.pt", "../../../../etc/passwd"),
        ("\"byteCount\":50", "\"byteCount\":-50"), ("\"sha256\":\"", "\"sha256\":\"../"), ("{", ""),
      ] {
        #expect(text.contains(old))
        try Data(text.replacing(old, with: new, maxReplacements: 1).utf8).write(to: URL(fileURLWithPath: path))
        error = #expect(throws: GatheringError.self, "\(new)") {
          try attempt.store.manifest(sweep: "s1", run: "r1")
        }
        #expect(error?.code == .damagedManifest)
      }
    }
  }

  @Test func `too little room is said with figures before a byte moves`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      try attempt.dump("layer00_Block_rank0.pt", SplitMix64.bytes(5000, seed: 1))
      let transport = FaultyTransport(LocalTransport())
      let error = await #expect(throws: GatheringError.self) {
        try await attempt.gather(over: transport) { $0.freeSpaceFloor = .max - 6000 }
      }
      #expect(error?.code == .noSpace)
      #expect(error?.message.contains("5000 bytes to fetch") == true)
      #expect(transport.streams == 0)
    }
  }

  @Test(.enabled("needs the right to mount a small tmpfs (root)", SmallDisk.canBeMade))
  func `a disk that fills up meanwhile costs no whole file, and room mends it`() async throws {
    try await SmallDisk.with(megabytes: 1) { disk, scratch in
      let attempt = try Attempt(scratch, store: disk)
      for rank in 0..<4 {
        try attempt.dump("layer00_Block_rank\(rank).pt", SplitMix64.bytes(150_000, seed: UInt64(rank)))
      }
      let filler = disk + "/filler"
      let transport = FaultyTransport(LocalTransport()) { _ in
        try Data(count: 700_000).write(to: URL(fileURLWithPath: filler))
      }
      let error = await #expect(throws: GatheringError.self) { try await attempt.gather(over: transport) }
      #expect(error?.code == .noSpace)
      #expect(error?.message.contains("bytes are free") == true)
      #expect(try attempt.everyObjectIsWhole())
      #expect(attempt.objects.count == 2)
      #expect(attempt.leftovers.isEmpty)

      try FileManager.default.removeItem(atPath: filler)
      let result = try await attempt.gather(over: LocalTransport())
      #expect(result.bytesTransferred == 300_000)
      #expect(try attempt.store.verify(sweep: "s1", run: "r1").isEmpty)
    }
  }

  @Test func `a store that is a file says so`() throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    let file = try scratch.write("file", "")
    let error = #expect(throws: GatheringError.self) { try ArtifactStore(root: file) }
    #expect(error?.code == .store)
    #expect(error?.path?.hasPrefix(file) == true)
  }
}
