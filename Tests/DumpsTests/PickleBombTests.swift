import Dumps
import TestSupport
import Testing

/// Pickles made to hurt, in an honest zip.
@Suite struct PickleBombTests {
  private func read(_ pickle: [UInt8]) throws -> DumpFile {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try scratch.write("bomb.pt", StoredZip.file([("x/data.pkl", pickle), ("x/data/0", [0, 0, 0x80, 0x3F])]))
    return try DumpFileReader.read(path: scratch.path("bomb.pt"))
  }

  private func text(_ string: String) -> [UInt8] { [0x8C, UInt8(string.utf8.count)] + Array(string.utf8) }

  @Test func theZipOfThisSuiteIsReadable() throws {
    let dump = try read([0x80, 2] + Array("}".utf8) + text("n") + Array("K\u{7}s.".utf8))
    #expect(dump.scalar("n") == .int(7))
  }

  @Test func manyTuplesInEachOtherAreNotRecursedInto() throws {
    let dump = try read([0x80, 2, UInt8(ascii: ")")] + [UInt8](repeating: 0x85, count: 500_000) + [0x2E])
    #expect(dump.skipped.map(\.why) == ["nested more than 100 deep"])
  }

  @Test func aListThatHoldsItselfEnds() throws {
    let dump = try read([0x80, 2] + Array("]q\0h\0a.".utf8))
    #expect(dump.skipped.count == 1)
  }

  @Test func referencesThatMultiplyMeetALimit() throws {
    // Thirty lists, each of which holds the one before twice.
    var pickle: [UInt8] = [0x80, 2] + Array("]q\0".utf8)
    for i in 1...30 as ClosedRange<UInt8> {
      pickle += Array("]q".utf8) + [i] + Array("h".utf8) + [i - 1] + [0x61, 0x68, i - 1, 0x61]
    }
    // The first 30 stay below the last one on the stack: fold them away.
    pickle += [UInt8](repeating: UInt8(ascii: "0"), count: 30) + [UInt8(ascii: "0"), UInt8(ascii: "h"), 30, 0x2E]
    let error = #expect(throws: DumpError.self) { try read(pickle) }
    #expect(error?.code == .limit)
  }

  @Test(
    "sizes that promise more than is there cost nothing",
    arguments: [
      [0x58, 0xFF, 0xFF, 0xFF, 0xFF], [0x8D, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
      [0x8E, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], [0x8B, 0xFF, 0xFF, 0xFF, 0xFF],
      [0x8B, 0x00, 0x00, 0x00, 0x80], [0x71, 0x00], [0x68, 0x05], [0x30], [0x32], [0x52], [0x74], [0x65], [0x87],
      [0x28, 0x2E], [0x5D, 0x28, 0x30, 0x30, 0x30], [0x29, 0x29, 0x52, 0x2E], [0x80, 0x09], [0x63, 0x61], [0x51],
      [0x93], [0x28, 0x69, 0x2E], [0x4E, 0x4E, 0x2E], [0x4E, 0x2E, 0x4E], [0x97], [0x29, 0x4E, 0x73], [],
    ] as [[UInt8]])
  func refusesBrokenPickles(_ body: [UInt8]) throws {
    #expect(throws: DumpError.self) { try read([0x80, 4] + body) }
  }

  @Test func duplicateNamesAreSaid() throws {
    // {"a.b": 1, "a": {"b": 2}}
    let pickle =
      [0x80, 4] + Array("}".utf8) + text("a.b") + Array("K\u{1}s".utf8) + text("a") + Array("}".utf8)
      + text("b") + Array("K\u{2}ss.".utf8)
    let dump = try read(pickle)
    #expect(dump.scalar("a.b") == .int(1))
    #expect(dump.skipped.map(\.name) == ["a.b"])
  }

  @Test(
    "keys that only look alike do not hold one value",
    arguments: [
      // é in one piece and in two; two lone surrogates, as Python writes them.
      [[0xC3, 0xA9], [0x65, 0xCC, 0x81]], [[0xED, 0xA0, 0x80], [0xED, 0xA0, 0x81]],
    ] as [[[UInt8]]])
  func similarKeys(keys: [[UInt8]]) throws {
    var pickle = [0x80, 4] + Array("}".utf8)
    for (number, key) in keys.enumerated() {
      pickle += [0x8C, UInt8(key.count)] + key + [UInt8(ascii: "K"), UInt8(number), UInt8(ascii: "s")]
    }
    let dump = try read(pickle + [0x2E])
    #expect(dump.scalars.map(\.value) == [.int(0)])
    #expect(dump.skipped.map(\.why) == ["a second value of this name"])
    // The same key again holds its last value.
    let twice = text("a") + Array("K\u{1}s".utf8) + text("a") + Array("K\u{2}s.".utf8)
    let again = try read([0x80, 4] + Array("}".utf8) + twice)
    #expect(again.scalars.map(\.value) == [.int(2)] && again.skipped.isEmpty)
  }

  @Test("zip files whose directory lies", arguments: StoredZip.Lie.allCases)
  func refusesLyingDirectories(lie: StoredZip.Lie) throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    let pickle: [UInt8] = [0x80, 2, UInt8(ascii: "}"), UInt8(ascii: ".")]
    try scratch.write("lie.pt", StoredZip.file([("x/data.pkl", pickle), ("x/data/0", [1, 2, 3, 4])], lie: lie))
    #expect(throws: DumpError.self) { try DumpFileReader.read(path: scratch.path("lie.pt")) }
  }

  @Test("zip files with a comment behind the directory", arguments: [1, 4000, 4030, 4050, 4074, 4075, 5000, 65_535])
  func comments(byteCount: Int) throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    // {"a": 1}
    let pickle = [0x80, 4] + Array("}".utf8) + text("a") + Array("K\u{1}s.".utf8)
    let comment = [UInt8](repeating: UInt8(ascii: "c"), count: byteCount)
    // The directory, its end and the first records lie in one block, or do not.
    for padding in [0, 3000, 70_000] {
      let records = [("x/data.pkl", pickle), ("x/data/0", [UInt8](repeating: 0, count: padding)), ("x/end", [1])]
      try scratch.write("comment.pt", StoredZip.file(records, comment: comment))
      #expect(try DumpFileReader.read(path: scratch.path("comment.pt")).scalar("a") == .int(1))
    }
  }
}
