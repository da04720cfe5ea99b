import Foundation
import Ledger
import TestSupport
import Testing

/// Hosts that a person drained, as the store holds them.
@Suite struct DrainListTests {
  @Test func drainedHostsAreKeptUntilTheyAreResumed() async throws {
    try await Scratch.with { scratch in
      let list = DrainList(store: scratch.path("store"))
      #expect(try list.hosts().isEmpty)
      try list.drain("gpu-1.a", why: "fan", now: 5)
      try list.drain("gpu2", why: nil, now: 6)
      // Another process.
      let other = DrainList(store: scratch.path("store"))
      #expect(try other.hosts() == ["gpu-1.a": .init(since: 5, why: "fan"), "gpu2": .init(since: 6)])
      #expect(try other.resume("gpu2"))
      #expect(try other.resume("gpu2") == false)
      #expect(try list.hosts().keys.sorted() == ["gpu-1.a"])
      // A file that was cut drains its host all the same: better idle than used against a person's word.
      try scratch.write("store/drained/gpu3", "{")
      #expect(try list.hosts()["gpu3"] != nil)
    }
  }

  @Test(arguments: ["../x", "", ".", "..", "a/b", ".hidden", "a\u{0}b"])
  func noNameLeavesTheDirectory(_ name: String) async throws {
    try await Scratch.with { scratch in
      let list = DrainList(store: scratch.path("store"))
      #expect(throws: LedgerError.self) { try list.drain(name, why: nil, now: 1) }
      #expect(throws: LedgerError.self) { try list.resume(name) }
    }
  }
}
