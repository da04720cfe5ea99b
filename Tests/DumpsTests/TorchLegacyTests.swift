import Dumps
import Foundation
import TestSupport
import Testing

@Suite struct TorchLegacyTests {
  @Test(
    "every tensor has the shape, bytes and numbers that torch gives",
    arguments: ["protocol2", "protocol4", "protocol5", "many", "bare", "old"])
  func agreesWithTorch(stem: String) async throws {
    let corpus = try await Corpus(otherFormat: "legacy")
    let dump = try DumpFileReader.read(path: corpus.file("\(stem).pt"))
    #expect(dump.skipped.isEmpty)
    try corpus.expectAgreement(dump, stem)
    let expected = try ExpectedTensor.list(stem, in: corpus)
    #expect(dump.tensors.map(\.strides) == expected.map(\.stride))
  }

  @Test("foreign objects are named, do nothing, and leave the storages behind them in place")
  func namesOpaqueValues() async throws {
    let corpus = try await Corpus(otherFormat: "legacy")
    let dump = try DumpFileReader.read(path: corpus.file("mixed.pt"))
    try corpus.expectAgreement(dump, "mixed")
    #expect(dump.skipped.map(\.name) == ["quantized", "storage", "module", "evil"])
    #expect(dump.skipped.first { $0.name == "evil" }?.why == "opaque posix.system")
    #expect(!FileManager.default.fileExists(atPath: corpus.file("owned")))
  }

  @Test(
    "storages that contradict the pickle are refused",
    arguments: [
      ("view_beyond", "not in the storage"), ("view_overflow", "not in the storage"),
      ("view_negative", "not understood"), ("key_unknown", "list of storages"), ("key_missing", "list of the file"),
      ("key_twice", "stands twice"), ("count_differs", "9 elements here, and 10"),
    ])
  func refusesContradictions(stem: String, words: String) async throws {
    let corpus = try await Corpus(otherFormat: "legacy")
    let error = #expect(throws: DumpError.self) { try DumpFileReader.read(path: corpus.file("\(stem).pt")) }
    #expect(error?.code == .malformed)
    #expect(error?.message.contains(words) == true, "\(error?.description ?? "")")
  }

  @Test func aCutFileIsAnErrorAtEveryLength() async throws {
    let whole = try await Corpus(otherFormat: "legacy").contents("small.pt")
    let scratch = try Scratch()
    defer { scratch.remove() }
    for length in 0..<whole.count {
      try scratch.write("cut.pt", Array(whole[..<length]))
      let error = #expect(throws: DumpError.self) { try DumpFileReader.read(path: scratch.path("cut.pt")) }
      #expect(error?.code == .truncated || length < 16, "\(length) bytes: \(error?.description ?? "")")
    }
    try scratch.write("long.pt", whole + [0])
    let error = #expect(throws: DumpError.self) { try DumpFileReader.read(path: scratch.path("long.pt")) }
    #expect(error?.code == .malformed)
  }

  @Test("thousands of mutations never crash or hang", arguments: [1, 2] as [UInt64])
  func mutations(seed: UInt64) async throws {
    let corpus = try await Corpus(otherFormat: "legacy")
    let whole = try corpus.contents(seed == 1 ? "small.pt" : "mixed.pt")
    try expectNoHarm(mutating: whole, header: 15..<whole.count, name: "mutant.pt", seed: seed, rounds: 1500)
  }
}
