import Dumps
import Foundation
import TestSupport
import Testing

@Suite struct SafetensorsTests {
  /// A file of this header, with `data` bytes behind it; `promised` is the header's length as the file states it.
  private func file(_ header: String, data: Int, promised: UInt64? = nil) -> [UInt8] {
    let length = promised ?? UInt64(header.utf8.count)
    return (0..<8).map { UInt8((length >> (8 * $0)) & 255) } + Array(header.utf8) + [UInt8](repeating: 1, count: data)
  }

  private func error(_ bytes: [UInt8], _ name: String = "x.safetensors") throws -> DumpError? {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try scratch.write(name, bytes)
    return #expect(throws: DumpError.self) { try DumpFileReader.read(path: scratch.path(name)) }
  }

  @Test("every dtype has the shape, bytes and numbers that the safetensors package gives")
  func agreesWithTheReference() async throws {
    let corpus = try await Corpus(otherFormat: "safetensors")
    let dump = try DumpFileReader.read(path: corpus.file("dtypes.safetensors"))
    #expect(dump.skipped.isEmpty)
    #expect(dump.tensors.count == 23)
    try corpus.expectAgreement(dump, "dtypes")
    #expect(dump.scalar("__metadata__.format") == .string("pt"))
    #expect(dump.scalar("__metadata__.note") == .string("two\nlines"))
  }

  @Test func isKnownByItsContentToo() async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try scratch.write("renamed.bin", try await Corpus(otherFormat: "safetensors").contents("small.safetensors"))
    #expect(try DumpFileReader.read(path: scratch.path("renamed.bin")).tensors.map(\.name) == ["hidden"])
  }

  @Test func aCutFileIsAnErrorAtEveryLength() async throws {
    let whole = try await Corpus(otherFormat: "safetensors").contents("small.safetensors")
    for length in 0..<whole.count {
      let error = try error(Array(whole[..<length]))
      #expect(error?.code == .truncated, "\(length) bytes: \(error?.description ?? "")")
    }
    #expect(try error(whole + [0])?.code == .malformed)
  }

  @Test("headers that contradict themselves are refused")
  func refusesHostileHeaders() async throws {
    func one(_ shape: String, _ offsets: String, _ dtype: String = "F32") -> String {
      "{\"a\":{\"dtype\":\"\(dtype)\",\"shape\":\(shape),\"data_offsets\":\(offsets)}}"
    }
    let good = "\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":"
    let cases: [(String, Int, DumpError.Code, String)] = [
      (one("[2]", "[0,4]"), 4, .malformed, "does not take"),
      (one("[1]", "[4,8]"), 8, .malformed, "neither holes nor overlaps"),
      (one("[1]", "[4,0]"), 4, .malformed, "ends before it begins"),
      (one("[1]", "[0,4]"), 5, .malformed, "follow the last tensor"),
      (one("[1]", "[0,4]"), 3, .truncated, "promises 1 more bytes"),
      (one("[1]", "[0,4,8]"), 4, .malformed, "more than 2 numbers"),
      (one("[1]", "[0]"), 4, .malformed, "is missing"),
      (one("[-1]", "[0,4]"), 4, .malformed, "whole number"),
      (one("[1.0]", "[0,4]"), 4, .malformed, "whole number"),
      (one("[01]", "[0,4]"), 4, .malformed, "begins with 0"),
      (one("[4611686018427387904,4]", "[0,0]"), 0, .malformed, "does not take"),
      (one("[2305843009213693952]", "[0,8]"), 8, .malformed, "does not take"),
      (one("[0,4611686018427387904,4]", "[0,0]"), 0, .malformed, "does not take"),
      (one("[18446744073709551616]", "[0,4]"), 4, .malformed, "too large"),
      (one("[9223372036854775807]", "[0,9223372036854775807]", "U8"), 4, .malformed, "does not take"),
      (one("[1152921504606846975]", "[0,1152921504606846975]", "U8"), 4, .truncated, "more bytes"),
      (one("[3]", "[0,1]", "F4"), 1, .malformed, "does not take"),
      ("{\"a\":{\(good)[0,1]},\"a\":{\(good)[1,2]}}", 2, .malformed, "stands twice"),
      ("{\"a\":{\(good)[0,1]},\"\\u0061\":{\(good)[1,2]}}", 2, .malformed, "stands twice"),
      ("{\"a\":{\(good)[0,1]},\"b\":{\(good)[0,1]}}", 1, .malformed, "neither holes nor overlaps"),
      ("{\"a\":{\(good)[0,1]},\"b\":{\(good)[2,3]}}", 3, .malformed, "neither holes nor overlaps"),
      ("{\"a\":{\(good)[0,1],\"dtype\":\"F32\"}}", 1, .malformed, "stands twice"),
      ("{\"__metadata__\":{\"a\":1}}", 0, .malformed, "a text should stand"),
      ("{\"a\":{\(good)[0,1]}}x", 1, .malformed, "follows its end"),
      ("{\"a\":\(String(repeating: "[", count: 100_000))", 0, .malformed, "should stand here"),
      ("{\"a\":{\"x\":\(String(repeating: "[", count: 100_000))", 0, .malformed, "nested more than"),
      ("{\"a\\ud800\":{\(good)[0,1]}}", 1, .malformed, "surrogate"),
      ("[]", 0, .malformed, "begins with {"), ("", 0, .malformed, "begins with {"),
    ]
    for (header, data, code, words) in cases {
      let error = try error(file(header, data: data))
      #expect(error?.code == code, "\(header.prefix(100)): \(error?.description ?? "")")
      #expect(error?.message.contains(words) == true, "\(header.prefix(100)): \(error?.description ?? "")")
    }
    #expect(try error(file("{}", data: 0, promised: .max))?.code == .limit)
    #expect(try error(file("{}", data: 0, promised: 100_000_001))?.code == .limit)
    #expect(try error(file("{}", data: 0, promised: 100_000_000))?.code == .truncated)
  }

  @Test func namesTypesThatTorchDoesNotHave() async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    let header =
      "{\"six\":{\"dtype\":\"F6_E2M3\",\"shape\":[4],\"data_offsets\":[0,3]},"
      + "\"new\":{\"dtype\":\"F1\",\"shape\":[4],\"data_offsets\":[3,5]},"
      + "\"odd\":{\"dtype\":\"F4\",\"shape\":[2,3],\"data_offsets\":[5,8]},"
      + "\"u\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[8,10],\"more\":[{\"a\":null},-1.5e3]}}"
    try scratch.write("x.safetensors", file(header, data: 10))
    let dump = try DumpFileReader.read(path: scratch.path("x.safetensors"))
    #expect(dump.tensors.map(\.name) == ["u"])
    #expect(dump.skipped.map(\.name) == ["six", "new", "odd"])
    #expect(dump.skipped.allSatisfy { !$0.isDamaged })
  }

  @Test("thousands of mutations of the header never crash or hang", arguments: [1, 2] as [UInt64])
  func mutations(seed: UInt64) async throws {
    let whole = try await Corpus(otherFormat: "safetensors").contents("dtypes.safetensors")
    let header = 8 + (Int(whole[0]) | Int(whole[1]) << 8)
    try expectNoHarm(mutating: whole, header: 0..<header, name: "mutant.safetensors", seed: seed)
  }

  // MARK: Shards

  @Test func readsShardsThroughTheirIndex() async throws {
    let corpus = try await Corpus(otherFormat: "sharded")
    let dump = try DumpFileReader.read(path: corpus.file("model.safetensors.index.json"))
    #expect(dump.skipped.isEmpty)
    #expect(Set(dump.tensors.map(\.storage.path)).count == 2)
    try corpus.expectAgreement(dump, "model")
  }

  @Test("a missing, broken or contradicting shard costs its own tensors, by name")
  func namesWhatShardsLack() async throws {
    let corpus = try await Corpus(otherFormat: "sharded")
    let scratch = try Scratch()
    defer { scratch.remove() }
    let index = "model.safetensors.index.json"
    let (first, second) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    try scratch.write(index, try corpus.contents(index))
    try scratch.write(first, try corpus.contents(first))
    var dump = try DumpFileReader.read(path: scratch.path(index))
    #expect(dump.tensors.count == 4)
    #expect(dump.skipped.map(\.name) == (0..<4).map { "model.layers.\($0).k.weight" })
    #expect(dump.skipped.allSatisfy { $0.isDamaged && $0.why.contains(second) })

    try scratch.write(second, Array(try corpus.contents(second).dropLast()))
    dump = try DumpFileReader.read(path: scratch.path(index))
    #expect(dump.tensors.count == 4)
    #expect(dump.skipped.count == 4)
    #expect(dump.skipped.first?.why.contains("copy or dump it again") == true)

    // The wrong shard under this name: four tensors lack, and four have no place.
    try scratch.write(second, try corpus.contents(first))
    dump = try DumpFileReader.read(path: scratch.path(index))
    #expect(dump.tensors.count == 4)
    #expect(dump.skipped.count == 8)
    #expect(dump.skipped.filter { $0.why.contains("does not name it") }.count == 4)
    #expect(dump.skipped.filter { $0.why.contains("should stand in") }.count == 4)
  }

  @Test(
    "an index leads nowhere but beside itself",
    arguments: ["../x.safetensors", "/etc/passwd", "..", ".", "", "a/b.safetensors", "a\\u0000b", "\\u002e\\u002e"])
  func refusesEscapes(shard: String) async throws {
    let error = try error(Array("{\"weight_map\":{\"t\":\"\(shard)\"}}".utf8), "m.safetensors.index.json")
    #expect(error?.code == .malformed)
    #expect(error?.message.contains("no file name beside the index") == true)
  }

  @Test func refusesABrokenIndex() async throws {
    for (text, words) in [
      ("{}", "must have this key"), ("{\"weight_map\":{\"a\":1}}", "a text should stand"),
      ("{\"weight_map\":{\"a\":\"x\",\"a\":\"y\"}}", "stands twice"), ("{\"weight_map\":{\"a\":\"x\"}", "} should"),
    ] {
      let error = try error(Array(text.utf8), "m.safetensors.index.json")
      #expect(error?.message.contains(words) == true, "\(error?.description ?? "")")
    }
  }
}
