import Foundation
import TestSupport
import Testing
import Transports

@testable import Gathering

/// Attempts without dumps are gathered together; whatever is otherwise is left to a gather of its own.
@Suite(.timeLimit(.minutes(3)))
struct DumplessTests {
  /// Without a command, where the files are this machine's.
  @Test(arguments: HostKind.allCases, [true, false])
  func `many come in one command, as each would alone`(_ kind: HostKind, byCommand: Bool) async throws {
    try await kind.with { scratch, transport in
      let store = try ArtifactStore(root: scratch.path("store"))
      let parent = try scratch.directory("it's a work dir/attempts")
      var runs: [String: String] = [:]
      for number in 0..<20 {
        try scratch.directory("it's a work dir/attempts/a\(number)/dumps")
        try scratch.write("it's a work dir/attempts/a\(number)/exit.json", "{\"code\":\(number)}\n")
        try scratch.write("it's a work dir/attempts/a\(number)/stdout.log", number == 3 ? "" : "- a\(number)\n\n1 x\n")
        runs["a\(number)"] = "r\(number)"
      }
      // None of these may be taken for one that left nothing.
      try scratch.write("it's a work dir/attempts/a10/dumps/layer00_Block_rank0.pt", "x")
      try scratch.write("it's a work dir/attempts/a11/dumps/.hidden", "")
      try scratch.directory("it's a work dir/attempts/a12/dumps/..d")
      try scratch.write("it's a work dir/attempts/a13/stderr.log", String(repeating: "x", count: 70_000))
      try FileManager.default.removeItem(atPath: parent + "/a14/dumps")
      try FileManager.default.removeItem(atPath: parent + "/a15/dumps")
      try FileManager.default.createSymbolicLink(atPath: parent + "/a15/dumps", withDestinationPath: "../a1/dumps")
      try FileManager.default.createSymbolicLink(
        atPath: parent + "/a16/dumps/*", withDestinationPath: "/nowhere")
      try FileManager.default.removeItem(atPath: parent + "/a17")
      // Something of it stands in the store.
      _ = try await gatherer.gather(
        attemptDirectory: parent + "/a18", transport: transport, store: store, sweep: "s1", run: "r18")
      let first = try store.manifest(sweep: "s1", run: "r18")
      try FileManager.default.removeItem(atPath: parent + "/a19/stdout.log")
      try FileManager.default.createSymbolicLink(
        atPath: parent + "/a19/stdout.log", withDestinationPath: "/etc/hostname")

      let counting = CountingTransport(transport)
      let chosen: any Transport = byCommand ? counting : transport
      let found = try await gatherer.gatherDumpless(
        parent: parent, attempts: runs.merging(["a b": "r20", "-n": "r21"]) { $1 }, transport: chosen, store: store,
        sweep: "s1")
      #expect(counting.commands.count == (byCommand ? 1 : 0))
      #expect(Set(found.keys) == Set((0..<10).map { "a\($0)" } + ["a19"]))
      for number in 0..<10 {
        let manifest = try store.manifest(sweep: "s1", run: "r\(number)")
        #expect(manifest == found["a\(number)"])
        #expect(manifest.entries.isEmpty && manifest.refused.isEmpty)
        let log = try store.attemptDirectory(sweep: "s1", run: "r\(number)", attempt: "a\(number)") + "/stdout.log"
        #expect(try String(contentsOfFile: log, encoding: .utf8) == (number == 3 ? "" : "- a\(number)\n\n1 x\n"))
      }
      #expect(found["a19"]?.attempt?.files.map(\.name) == ["exit.json"])
      #expect(throws: GatheringError.self) { try store.manifest(sweep: "s1", run: "r10") }
      #expect(try store.manifest(sweep: "s1", run: "r18") == first)

      // Alone it comes to the same.
      let twin = try ArtifactStore(root: scratch.path("twin"))
      for number in [0, 3, 19] {
        let alone = try await gatherer.gather(
          attemptDirectory: parent + "/a\(number)", transport: transport, store: twin, sweep: "s1", run: "r")
        #expect(alone.manifest == found["a\(number)"])
      }
    }
  }

  @Test func `a run cut off before its manifest is gathered again`() async throws {
    try await Scratch.with { scratch in
      let store = try ArtifactStore(root: scratch.path("store"))
      try scratch.directory("attempts/a1/dumps")
      try scratch.write("attempts/a1/stdout.log", "hello\n")
      try scratch.write("store/sweeps/s1/r1/attempts/a1/stdout.log", "hel")
      try scratch.write("store/sweeps/s1/r1/manifest.json.part", "{")
      let found = try await gatherer.gatherDumpless(
        parent: scratch.path("attempts"), attempts: ["a1": "r1"], transport: LocalTransport(), store: store, sweep: "s1"
      )
      #expect(found.isEmpty)
      let result = try await gatherer.gather(
        attemptDirectory: scratch.path("attempts/a1"), transport: LocalTransport(), store: store, sweep: "s1",
        run: "r1")
      #expect(try store.manifest(sweep: "s1", run: "r1") == result.manifest)
      #expect(scratch.text("store/sweeps/s1/r1/attempts/a1/stdout.log") == "hello\n")
      #expect(scratch.text("store/sweeps/s1/r1/manifest.json.part") == nil)
    }
  }

  private var gatherer: Gatherer {
    var limits = Gatherer.Limits()
    limits.freeSpaceFloor = 0
    return Gatherer(limits: limits)
  }
}
