import Foundation
import TestSupport
import Testing
import Transports

@testable import Gathering

@Suite(.timeLimit(.minutes(3)))
struct GathererTests {
  @Test(arguments: HostKind.allCases)
  func `files arrive whole, with their times, and replicas cost one object`(_ kind: HostKind) async throws {
    try await kind.with { scratch, transport in
      let attempt = try Attempt(scratch)
      let replica = SplitMix64.bytes(300_000, seed: 1)
      for rank in 0..<8 {
        try attempt.dump("layer00_Block_rank\(rank).pt", replica)
        try attempt.dump("layer01_Block_rank\(rank).pt", SplitMix64.bytes(1000 + rank, seed: UInt64(rank + 2)))
      }
      try attempt.dump("empty_rank0.pt", [])
      try attempt.dump("notes.txt", "no rank")
      try attempt.dump("sub dir/it's (odd) $HOME \"q\" `x` \\ -_rank1.pt", "odd")
      try attempt.dump("-n_rank1.pt", "dash")
      let date = Date(timeIntervalSince1970: 1_600_000_000.25)
      try FileManager.default.setAttributes(
        [.modificationDate: date], ofItemAtPath: attempt.directory + "/dumps/layer00_Block_rank3.pt")

      let result = try await attempt.gather(over: transport)
      #expect(result.entries.count == 20)
      #expect(result.refused.isEmpty)
      #expect(attempt.objects.count == 1 + 8 + 4)
      let total = result.entries.reduce(0) { $0 + $1.byteCount }
      #expect(result.bytesDeduplicated == 7 * replica.count)
      #expect(result.bytesTransferred == total - 7 * replica.count)
      for rank in 0..<8 {
        #expect(try attempt.stored("rank\(rank)/layer00_Block_rank\(rank).pt") == replica)
        #expect(
          try attempt.stored("rank\(rank)/layer01_Block_rank\(rank).pt")
            == SplitMix64.bytes(1000 + rank, seed: UInt64(rank + 2)))
      }
      #expect(try attempt.stored("rank0/empty_rank0.pt") == [])
      #expect(try attempt.stored("shared/notes.txt") == Array("no rank".utf8))
      #expect(
        try attempt.stored("rank1/sub dir/it's (odd) $HOME \"q\" `x` \\ -_rank1.pt") == Array("odd".utf8))
      #expect(try attempt.stored("rank1/-n_rank1.pt") == Array("dash".utf8))
      let times = try attempt.store.modificationTimes(sweep: "s1", run: "r1")
      #expect(times.count == 20)
      #expect(times["rank3/layer00_Block_rank3.pt"] == 1_600_000_000_250_000_000)
      #expect(try attempt.store.manifest(sweep: "s1", run: "r1") == result.manifest)
      #expect(try attempt.store.verify(sweep: "s1", run: "r1").isEmpty)
      #expect(attempt.leftovers.isEmpty)

      let mode = try FileManager.default.attributesOfItem(atPath: attempt.store.objectPath(attempt.objects[0]))
      #expect(mode[.posixPermissions] as? Int == 0o444)
    }
  }

  @Test(arguments: HostKind.allCases)
  func `a second gather moves no byte, also for another run, and mends a deleted link`(_ kind: HostKind) async throws {
    try await kind.with { scratch, transport in
      let attempt = try Attempt(scratch)
      for rank in 0..<4 { try attempt.dump("layer00_Block_rank\(rank).pt", SplitMix64.bytes(5000, seed: UInt64(rank))) }
      #expect(try await attempt.gather(over: transport).bytesTransferred == 20_000)

      let lost = try attempt.store.runDirectory(sweep: "s1", run: "r1") + "/rank2/layer00_Block_rank2.pt"
      try FileManager.default.removeItem(atPath: lost)
      let again = try await attempt.gather(over: transport)
      #expect(again.bytesTransferred == 0)
      #expect(again.bytesDeduplicated == 20_000)
      #expect(try attempt.store.verify(sweep: "s1", run: "r1").isEmpty)

      let other = try await attempt.gather(over: transport, run: "r2")
      #expect(other.bytesTransferred == 0)
      #expect(try attempt.stored("rank2/layer00_Block_rank2.pt", run: "r2") == SplitMix64.bytes(5000, seed: 2))
      #expect(attempt.objects.count == 4)
    }
  }

  @Test(arguments: HostKind.allCases)
  func `what could do harm is refused by name and not followed`(_ kind: HostKind) async throws {
    try await kind.with { scratch, transport in
      let attempt = try Attempt(scratch)
      let dumps = attempt.directory + "/dumps"
      try attempt.dump("good_rank0.pt", "good")
      try attempt.dump("new\nline_rank0.pt", "x")
      try attempt.dump("esc\u{1B}[31m_rank0.pt", "x")
      try attempt.dump("..hidden_rank0.pt", "two dots are a name like any other")
      #expect(symlink("/etc/passwd", dumps + "/passwd_rank0.pt") == 0)
      #expect(symlink("/etc", dumps + "/etc_rank0") == 0)
      #expect(symlink("/no/such", dumps + "/dangling_rank0.pt") == 0)
      #expect(mkfifo(dumps + "/pipe_rank0.pt", 0o644) == 0)
      // Not UTF-8.
      let bad = (dumps + "/bad").utf8.map { CChar(bitPattern: $0) } + [CChar(bitPattern: 0xFF), 0]
      let descriptor = open(bad, O_CREAT | O_WRONLY, 0o644)
      #expect(descriptor >= 0)
      close(descriptor)

      let result = try await attempt.gather(over: transport)
      #expect(result.entries.map(\.path) == ["..hidden_rank0.pt", "good_rank0.pt"])
      for (name, why) in [
        ("passwd_rank0.pt", "symbolic link"), ("etc_rank0", "symbolic link"), ("dangling_rank0.pt", "symbolic link"),
        ("pipe_rank0.pt", "named pipe"), ("new\\nline_rank0.pt", "control character"),
        ("esc\\u{1b}[31m_rank0.pt", "control character"), ("bad", "not UTF-8"),
      ] {
        #expect(result.refused.contains { $0.hasPrefix(name) && $0.contains(why) }, "\(name): \(result.refused)")
      }
      #expect(result.refused.count == 7)
      #expect(attempt.objects.count == 2)
      #expect(try attempt.store.manifest(sweep: "s1", run: "r1").refused == result.refused)
    }
  }

  /// Above 32 MiB several commands hash, with openssl where the host has a good one.
  @Test(arguments: HostKind.allCases, [nil, "return 1", "echo deadbeef *stdin"])
  func `many bytes are hashed by several commands, with openssl or without`(
    _ kind: HostKind, _ openssl: String?
  ) async throws {
    try await kind.with { scratch, transport in
      let attempt = try Attempt(scratch)
      let large = Array(repeating: SplitMix64.bytes(7 << 10, seed: 1), count: 1 << 10).flatMap(\.self)
      for rank in 0..<6 {
        try attempt.dump("layer00 it's \\n ü_rank\(rank).pt", large.dropLast(rank) + [])
        try attempt.dump("-layer01_rank\(rank).pt", SplitMix64.bytes(10 + rank, seed: UInt64(rank + 2)))
      }
      try attempt.dump("replica_rank7.pt", large)
      let host = CountingTransport(transport, preamble: openssl.map { "openssl() { \($0); }\n" } ?? "")
      let result = try await attempt.gather(over: host)
      #expect(result.entries.count == 13)
      #expect(result.refused.isEmpty)
      #expect(result.bytesDeduplicated == large.count)
      #expect(try attempt.everyObjectIsWhole())
      #expect(try attempt.stored("rank5/layer00 it's \\n ü_rank5.pt") == large.dropLast(5) + [])
      let hashers = host.commands.filter { $0.contains("xargs -0 -r sha256sum") }
      #expect(hashers.count == 4)
      #expect(hashers.allSatisfy { $0.contains("openssl") })
    }
  }

  @Test func `a file that cannot be hashed is refused by name, whoever hashes`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      try attempt.dump("large_rank0.pt", [UInt8](repeating: 7, count: 33 << 20))
      try attempt.dump("gone_rank1.pt", "x")
      let path = attempt.directory + "/dumps/gone_rank1.pt"
      let host = CountingTransport(LocalTransport()) { command in
        if command.contains("openssl") { unlink(path) }
      }
      let result = try await attempt.gather(over: host)
      #expect(result.entries.map(\.path) == ["large_rank0.pt"])
      #expect(result.refused.count == 1)
      #expect(result.refused.allSatisfy { $0.hasPrefix("gone_rank1.pt: could not be read") })
    }
  }

  @Test func `a list with harmful paths is refused whoever wrote it`() throws {
    func listing(_ path: String) -> [UInt8] { Array("f 3 1600000000.5000000000 \(path)\0".utf8) }
    for path in ["../x", "/etc/passwd", "a/../../x", "a//b", "."] {
      let listed = try Listing(listing(path)[...], directory: "/d")
      #expect(listed.files.isEmpty)
      #expect(listed.refused.count == 1)
    }
    #expect(try Listing(listing("x")[...], directory: "/d").files.first?.modified == 1_600_000_000_500_000_000)
    for broken in [
      "f", "f 3\0", "f -1 0 x\0", "f 99999999999999999999 0 x\0", "f 1 0 x", "f 1 zz x\0", "\0",
      "f \(Int.max) 0 x\0f \(Int.max) 0 y\0",
    ] {
      #expect(throws: GatheringError.self, "\(printable(broken))") {
        try Listing(Array(broken.utf8)[...], directory: "/d")
      }
    }
    let hash = String(repeating: "a", count: 64)
    #expect(try Manifest.parseHashes(Array("\(hash)  ./x\0".utf8)[...], directory: "/d") == ["x": hash])
    for broken in ["abc  ./x\0", "\(hash)  x\0", "\(hash)\0"] {
      #expect(throws: GatheringError.self, "\(printable(broken))") {
        try Manifest.parseHashes(Array(broken.utf8)[...], directory: "/d")
      }
    }
    // A file that could not be hashed, or that the host hashed under another name, is refused by name.
    let manifest = try Listing(listing("x")[...], directory: "/d").manifest(hashes: ["y": hash])
    #expect(manifest.entries.isEmpty)
    #expect(manifest.refused.count == 1)
  }

  @Test(arguments: HostKind.allCases)
  func `the logs' last bytes and the records are kept beside the dumps`(_ kind: HostKind) async throws {
    try await kind.with { scratch, transport in
      let attempt = try Attempt(scratch)
      try scratch.write("work dir/attempts/a-1/stdout.log", String(repeating: "abcdefghij", count: 1000))
      try scratch.write("work dir/attempts/a-1/identity", "boot 1 2\n")
      #expect(symlink("/etc/passwd", attempt.directory + "/stderr.log") == 0)
      let result = try await attempt.gather(over: transport) { $0.logBytes = 95 }
      #expect(result.manifest.attempt?.id == "a-1")
      #expect(
        result.manifest.attempt?.files == [
          .init(name: "stdout.log", hostByteCount: 10_000, keptByteCount: 95),
          .init(name: "exit.json", hostByteCount: 11, keptByteCount: 11),
          .init(name: "identity", hostByteCount: 9, keptByteCount: 9),
        ])
      let log = try attempt.stored("attempts/a-1/stdout.log")
      #expect(log == Array(("fghij" + String(repeating: "abcdefghij", count: 9)).utf8))
      #expect(try attempt.stored("attempts/a-1/exit.json") == Array("{\"code\":0}\n".utf8))
      #expect(try attempt.stored("attempts/a-1/stderr.log") == nil)
    }
  }

  @Test(arguments: HostKind.allCases)
  func `two thousand small files come in one stream`(_ kind: HostKind) async throws {
    try await kind.with { scratch, base in
      let attempt = try Attempt(scratch)
      for index in 0..<2000 {
        try attempt.dump("rank\(index % 8)/call\(index).pt", SplitMix64.bytes(64, seed: UInt64(index)))
      }
      let transport = FaultyTransport(base)
      let result = try await attempt.gather(over: transport)
      #expect(transport.streams == 1)
      #expect(result.bytesTransferred == 2000 * 64)
      #expect(try attempt.store.verify(sweep: "s1", run: "r1").isEmpty)
      #expect(result.entries.count == 2000)
    }
  }

  @Test func `noise of login files is no harm`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      try attempt.dump("x_rank0.pt", SplitMix64.bytes(100_000, seed: 3))
      let result = try await attempt.gather(over: NoisyTransport(base: LocalTransport()))
      #expect(try attempt.stored("rank0/x_rank0.pt") == SplitMix64.bytes(100_000, seed: 3))
      #expect(result.entries.count == 1)
    }
  }

  @Test func `a file that an earlier attempt of the run left is gone after the next`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      try attempt.dump("old/deep_rank0.pt", "old")
      try attempt.dump("same_rank0.pt", "first")
      _ = try await attempt.gather(over: LocalTransport())
      try FileManager.default.removeItem(atPath: attempt.directory + "/dumps/old")
      try attempt.dump("same_rank0.pt", "second")
      _ = try await attempt.gather(over: LocalTransport())
      #expect(try attempt.stored("rank0/old/deep_rank0.pt") == nil)
      #expect(try attempt.stored("rank0/same_rank0.pt") == Array("second".utf8))
      #expect(try attempt.store.verify(sweep: "s1", run: "r1").isEmpty)
    }
  }

  @Test func `an attempt that is not there, a dumps that is a link, no dumps`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      try FileManager.default.removeItem(atPath: attempt.directory + "/dumps")
      let empty = try await attempt.gather(over: LocalTransport())
      #expect(empty.entries.isEmpty)
      #expect(empty.refused == ["dumps: no such directory"])

      // The run's own doing: gathered for what it is, and never run again for it.
      #expect(symlink("/etc", attempt.directory + "/dumps") == 0)
      let linked = try await attempt.gather(over: LocalTransport())
      #expect(linked.entries.isEmpty && linked.refused.first?.contains("no directory") == true, "\(linked.refused)")
      #expect(unlink(attempt.directory + "/dumps") == 0)
      try Data("a file".utf8).write(to: URL(fileURLWithPath: attempt.directory + "/dumps"))
      #expect(try await attempt.gather(over: LocalTransport()).refused == linked.refused)

      try FileManager.default.removeItem(atPath: attempt.directory)
      let error = await #expect(throws: GatheringError.self) { try await attempt.gather(over: LocalTransport()) }
      #expect(error?.code == .listing)
      #expect(error?.description.contains("no such directory") == true)
    }
  }

  @Test func `names that leave the store are refused`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      for name in ["..", "a/b", "", ".", "a\nb"] {
        let error = await #expect(throws: GatheringError.self) {
          try await attempt.gather(over: LocalTransport(), run: name)
        }
        #expect(error?.code == .badName)
      }
    }
  }
}

/// What a host's login files print before every command's output.
private struct NoisyTransport: Transport {
  let base: LocalTransport

  func run(_ command: String, input: [UInt8], limit: Int, timeout: Duration) async throws -> CommandResult {
    try await base.run("echo 'Welcome, rollcall-user'; " + command, input: input, limit: limit, timeout: timeout)
  }

  func stream(
    _ command: String, input: [UInt8], timeout: Duration,
    onOutput: @escaping @Sendable (consuming [UInt8]) async throws -> Void
  ) async throws -> CommandResult {
    try await base.stream(
      "echo 'Welcome, rollcall-user'; " + command, input: input, timeout: timeout, onOutput: onOutput)
  }

  func close() async { await base.close() }
}
