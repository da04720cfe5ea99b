import Foundation
import Synchronization
import TestSupport
import Testing
import Transports

@testable import Gathering

/// Files come while their host still hashes.
@Suite struct AheadTests {
  /// Holds hashing commands back until so many bytes have come over streams: who waits for hashes first waits for ever.
  private final class Holding: Transport {
    private let base: any Transport
    private let isHeld: @Sendable (_ hashing: Int) -> Bool
    private let bytes: Int
    /// Called once the bytes have come, before the hashes do.
    private let then: @Sendable () throws -> Void
    private let state = Mutex((seen: 0, hashing: 0, released: 0))

    init(
      _ base: any Transport, until bytes: Int, isHeld: @escaping @Sendable (Int) -> Bool = { _ in true },
      then: @escaping @Sendable () throws -> Void = {}
    ) {
      self.base = base
      self.bytes = bytes
      self.isHeld = isHeld
      self.then = then
    }

    /// Hashing commands that were held back and saw the bytes come.
    var released: Int { state.withLock { $0.released } }

    func run(_ command: String, input: [UInt8], limit: Int, timeout: Duration) async throws -> CommandResult {
      if command.contains("sha256sum -z --") {
        let number = state.withLock { state in
          defer { state.hashing += 1 }
          return state.hashing
        }
        if isHeld(number) {
          var waits = 0
          while state.withLock({ $0.seen }) < bytes {
            guard waits < 15_000 else {
              throw TransportError(code: .timedOut, host: "test", message: "no byte came before the hashes")
            }
            waits += 1
            try await Task.sleep(for: .milliseconds(20))
          }
          state.withLock { $0.released += 1 }
          try then()
        }
      }
      return try await base.run(command, input: input, limit: limit, timeout: timeout)
    }

    func stream(
      _ command: String, input: [UInt8], timeout: Duration,
      onOutput: @escaping @Sendable (consuming [UInt8]) async throws -> Void
    ) async throws -> CommandResult {
      try await base.stream(command, input: input, timeout: timeout) { piece in
        self.state.withLock { $0.seen += piece.count }
        try await onOutput(piece)
      }
    }

    func close() async { await base.close() }
  }

  private static let size = 65 << 20
  private static func big(_ seed: UInt64) -> [UInt8] {
    let block = SplitMix64.bytes(13 << 10, seed: seed)
    return Array(repeating: block, count: 5 << 10).flatMap(\.self)
  }

  @Test(arguments: HostKind.allCases)
  func `a big file comes while it is hashed, its replicas do not come at all`(_ kind: HostKind) async throws {
    try await kind.with { scratch, base in
      let attempt = try Attempt(scratch)
      let alone = Self.big(1)
      let replica = Array(Self.big(2).dropLast(5))
      try attempt.dump("alone_rank0.pt", alone)
      for rank in 0..<3 { try attempt.dump("replica_rank\(rank).pt", replica) }
      try attempt.dump("small_rank0.pt", "small")
      let host = Holding(base, until: alone.count)
      let result = try await attempt.gather(over: host)
      #expect(host.released > 0)
      #expect(result.refused.isEmpty)
      #expect(result.bytesTransferred == alone.count + replica.count + 5)
      #expect(result.bytesDeduplicated == 2 * replica.count)
      #expect(try attempt.stored("rank0/alone_rank0.pt") == alone)
      #expect(try attempt.store.verify(sweep: "s1", run: "r1").isEmpty)
      #expect(attempt.leftovers.isEmpty)

      // An object of that size may be the file: its hash is waited for.
      let again = try await attempt.gather(over: base, run: "r2")
      #expect(again.bytesTransferred == 0)
      #expect(again.bytesDeduplicated == alone.count + 3 * replica.count + 5)
    }
  }

  @Test func `files that are hashed come while others are not`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      for rank in 0..<8 { try attempt.dump("layer00_rank\(rank).pt", SplitMix64.bytes(20 << 20, seed: UInt64(rank))) }
      let host = Holding(LocalTransport(), until: 20 << 20, isHeld: { $0 >= 2 })
      let result = try await attempt.gather(over: host)
      #expect(host.released > 0)
      #expect(result.bytesTransferred == 8 * 20 << 20)
      #expect(try attempt.store.verify(sweep: "s1", run: "r1").isEmpty)
    }
  }

  @Test func `a cut before the hash is known is gone on with, also by a later gather`() async throws {
    for retries in [0, 2] {
      try await Scratch.with { scratch in
        let attempt = try Attempt(scratch)
        let bytes = Self.big(3)
        try attempt.dump("layer00_Block_rank0.pt", bytes)
        let cut = FaultyTransport(LocalTransport(), faults: [.cut(after: 40 << 20)])
        let host = Holding(cut, until: retries == 0 ? .max : 40 << 20 - 1)
        if retries == 0 {
          await #expect(throws: GatheringError.self) { try await attempt.gather(over: host) { $0.retries = 0 } }
          #expect(attempt.objects.isEmpty)
          #expect(attempt.leftovers.count == 1)
        }
        let last = retries == 0 ? Holding(LocalTransport(), until: 20 << 20) : host
        let result = try await attempt.gather(over: last)
        #expect(last.released > 0)
        #expect(result.bytesTransferred <= (retries == 0 ? bytes.count - 39 << 20 : bytes.count))
        #expect(try attempt.stored("rank0/layer00_Block_rank0.pt") == bytes)
        #expect(attempt.leftovers.isEmpty)
      }
    }
  }

  @Test func `a file that changes before it is hashed is fetched as it is then`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      try attempt.dump("layer00_Block_rank0.pt", Self.big(4))
      let now = Self.big(5)
      let file = URL(fileURLWithPath: attempt.directory + "/dumps/layer00_Block_rank0.pt")
      let host = Holding(LocalTransport(), until: now.count, then: { try Data(now).write(to: file) })
      let result = try await attempt.gather(over: host)
      #expect(host.released > 0)
      #expect(result.entries.map(\.byteCount) == [now.count])
      #expect(try attempt.stored("rank0/layer00_Block_rank0.pt") == now)
      #expect(try attempt.everyObjectIsWhole())
      #expect(attempt.objects.count == 1)
      #expect(attempt.leftovers.isEmpty)
    }
  }

  @Test func `a big file that cannot be hashed is refused, and nothing of it is kept`() async throws {
    try await Scratch.with { scratch in
      let attempt = try Attempt(scratch)
      try attempt.dump("layer00_Block_rank0.pt", Self.big(6))
      try attempt.dump("layer01_Block_rank0.pt", "small")
      let file = attempt.directory + "/dumps/layer00_Block_rank0.pt"
      let host = Holding(LocalTransport(), until: Self.size, then: { unlink(file) })
      let result = try await attempt.gather(over: host)
      #expect(result.entries.map(\.path) == ["layer01_Block_rank0.pt"])
      #expect(result.refused.count == 1)
      #expect(attempt.objects.count == 1)
    }
  }
}
