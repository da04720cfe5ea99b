import Dumps
import Foundation
import TestSupport
import Testing

@Suite struct NumPyTests {
  private func file(_ header: String, data: Int, version: UInt8 = 1) -> [UInt8] {
    let count = header.utf8.count
    let length = (0..<(version == 1 ? 2 : 4)).map { UInt8((count >> (8 * $0)) & 255) }
    return [0x93] + Array("NUMPY".utf8) + [version, 0] + length + Array(header.utf8)
      + [UInt8](repeating: 1, count: data)
  }

  private func error(_ bytes: [UInt8]) throws -> DumpError? {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try scratch.write("x.npy", bytes)
    return #expect(throws: DumpError.self) { try DumpFileReader.read(path: scratch.path("x.npy")) }
  }

  @Test("every dtype, order and version has the shape, bytes and numbers that numpy gives")
  func agreesWithNumPy() async throws {
    let corpus = try await Corpus(otherFormat: "numpy")
    let stems = try FileManager.default.contentsOfDirectory(atPath: corpus.path)
      .filter { $0.hasSuffix(".json") }.map { String($0.dropLast(5)) }.filter { $0 != "arrays" }
    #expect(stems.count == 21)
    for stem in stems.sorted() {
      try corpus.expectAgreement(try DumpFileReader.read(path: corpus.file("\(stem).npy")), stem)
    }
    let fortran = try DumpFileReader.read(path: corpus.file("fortran.npy")).tensors.first
    #expect(fortran?.shape == [3, 4, 5])
    #expect(fortran?.strides == [1, 3, 12])
  }

  /// A padded batch whose prompts are strung together has as many pieces as prompts.
  @Test("thousands of pieces of one file are read through one descriptor")
  func manyPieces() async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    let values = (0..<(3000 * 4 * 2)).map { Int32($0) }
    try scratch.write("raw", values.flatMap { value in withUnsafeBytes(of: value.littleEndian) { Array($0) } })
    let batch = Tensor(
      name: "t", dtype: .int32, shape: [3000, 3, 2], strides: [8, 2, 1], storageOffset: 0,
      storage: StorageRegion(path: scratch.path("raw"), offset: 0, byteCount: 4 * values.count))
    let whole = try #require(batch.flattened)
    #expect(whole.shape == [9000, 2])
    func descriptors() throws -> Int { try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count }
    let before = try descriptors()
    let reader = try TensorReader(whole)
    #expect(try descriptors() - before < 1000)
    var found: [Double] = []
    try reader.readDoubles(0..<reader.elementCount, into: &found)
    #expect(found == values.filter { $0 % 8 < 6 }.map(Double.init))
  }

  @Test("archives, as they stand and compressed", arguments: ["arrays.npz", "packed.npz"], [true, false])
  func readsArchives(name: String, verifyChecksums: Bool) async throws {
    let corpus = try await Corpus(otherFormat: "numpy")
    let dump = try DumpFileReader.read(path: corpus.file(name), verifyChecksums: verifyChecksums)
    #expect(dump.skipped.isEmpty)
    try corpus.expectAgreement(dump, "arrays")
  }

  @Test("what is damaged in a compressed archive is named, and costs only itself")
  func damagedCompressedArchives() async throws {
    let corpus = try await Corpus(otherFormat: "numpy")
    let bytes = try corpus.contents("packed.npz")
    let scratch = try Scratch()
    defer { scratch.remove() }
    try scratch.write("packed.npz", bytes)
    let tensors = try DumpFileReader.read(path: scratch.path("packed.npz")).tensors
    let tensor = try #require(tensors.first { $0.name == "i8" })
    for place in [5, 150, 200] {
      var bytes = bytes
      bytes[tensor.storage.offset + place] ^= 16
      try scratch.write("flipped.npz", bytes)
      for verifyChecksums in [true, false] {
        let dump = try DumpFileReader.read(path: scratch.path("flipped.npz"), verifyChecksums: verifyChecksums)
        #expect(dump.tensors.count == tensors.count - 1 && dump.skipped.map(\.name) == ["i8"], "\(place)")
        #expect(dump.skipped.first?.isDamaged == true)
      }
    }
    // Changed after it was opened: what is read is checked again.
    var changed = bytes
    changed[tensor.storage.offset + 200] ^= 16
    try scratch.write("packed.npz", changed)
    #expect(throws: DumpError.self) { try TensorReader(tensor) }
  }

  @Test("compressed arrays that are too large to be held are refused before memory is taken")
  func bombs() async throws {
    let corpus = try await Corpus(otherFormat: "numpy")
    var dump = try DumpFileReader.read(path: corpus.file("bomb.npz"))
    #expect(dump.tensors.map(\.name) == ["a", "c"])
    #expect(dump.skipped.map(\.name) == ["b"])
    #expect(dump.skipped.first?.why.contains("numpy.savez") == true)

    // A directory that promises more than its bytes can give.
    let scratch = try Scratch()
    defer { scratch.remove() }
    let bytes = try corpus.contents("bomb.npz")
    let entry = try #require(
      bytes.indices.dropLast(46).last {
        bytes[$0..<($0 + 4)].elementsEqual([0x50, 0x4B, 1, 2]) && bytes[$0 + 46] == UInt8(ascii: "c")
      })
    for (size, why) in [(200 << 20, "cannot unpack"), (130, "do not unpack"), (132, "do not unpack")] {
      var bytes = bytes
      for byte in 0..<4 { bytes[entry + 24 + byte] = UInt8(truncatingIfNeeded: size >> (8 * byte)) }
      try scratch.write("lie.npz", bytes)
      dump = try DumpFileReader.read(path: scratch.path("lie.npz"))
      #expect(dump.tensors.map(\.name) == ["a"])
      #expect(dump.skipped.first { $0.name == "c" }?.why.contains(why) == true, "\(size): \(dump.skipped)")
    }
  }

  @Test(
    "arrays and numbers in files of torch.save, under every protocol",
    arguments: ["protocol2", "protocol3", "protocol4", "protocol5", "legacy"])
  func pickled(stem: String) async throws {
    let corpus = try await Corpus(otherFormat: "pickled")
    let dump = try DumpFileReader.read(path: corpus.file("\(stem).pt"))
    try corpus.expectAgreement(dump, stem)
    #expect(dump.scalar("n32") == .double(1.5))
    #expect(dump.scalar("n64") == .int(-3))
    #expect(dump.scalar("nu") == .int(200))
    #expect(dump.scalar("nb") == .bool(true))
    let skipped = Dictionary(uniqueKeysWithValues: dump.skipped.map { ($0.name, $0.why) })
    #expect(Set(skipped.keys) == ["nc", "objects", "big", "text", "fields"], "\(skipped)")
    #expect(skipped["objects"]?.contains("Python objects") == true)
    #expect(skipped["big"]?.contains(">f4") == true && skipped["text"]?.contains("<U1") == true)
  }

  @Test("what cannot be read in an archive is named, and costs only itself")
  func namesWhatIsForeign() async throws {
    let corpus = try await Corpus(otherFormat: "numpy")
    var dump = try DumpFileReader.read(path: corpus.file("mixed.npz"))
    #expect(dump.tensors.map(\.name) == ["a", "z"])
    #expect(dump.skipped.map(\.name) == ["o"])
    #expect(dump.skipped.first?.why.contains("may run code") == true)
    dump = try DumpFileReader.read(path: corpus.file("bzip.npz"))
    #expect(dump.tensors.isEmpty)
    #expect(dump.skipped.map(\.name) == ["a"])
    #expect(dump.skipped.allSatisfy { $0.why.contains("compressed (method 12)") && $0.why.contains("numpy.savez") })
  }

  @Test("an array whose header is no whole number of elements is checked as the others are", arguments: [false, true])
  func misalignedHeader(verifyChecksums: Bool) async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try await runPython(
      """
      import struct, zipfile
      with zipfile.ZipFile("odd.npz", "w") as archive:
          for name in ("a", "b"):
              header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (4,), }"
              header += b" " * (-(10 + len(header) + 1) % 8 + 3) + b"\\n"
              data = b"\\x93NUMPY\\x01\\x00" + struct.pack("<H", len(header)) + header + struct.pack("<4d", 1, 2, 3, 4)
              archive.writestr(name + ".npy", data)
      """, directory: scratch.path)
    let path = scratch.path("odd.npz")
    let tensors = try DumpFileReader.read(path: path, verifyChecksums: verifyChecksums).tensors
    #expect(tensors.map(\.name) == ["a", "b"])
    let storage = try #require(tensors.last?.storage)
    #expect(storage.checksum == nil && storage.byteCount == 32)
    var bytes = Array(try Data(contentsOf: URL(filePath: path)))
    bytes[storage.offset + 9] ^= 1
    try scratch.write("odd.npz", bytes)
    let damaged = try DumpFileReader.read(path: path, verifyChecksums: verifyChecksums)
    #expect(damaged.tensors.map(\.name) == ["a"])
    #expect(damaged.skipped.map(\.name) == ["b"] && damaged.skipped.first?.why.contains("CRC-32") == true)
  }

  @Test("packed bytes that are more than their array can need are not read")
  func packedBeyondNeed() throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try scratch.write("packed", [UInt8](repeating: 0, count: 1 << 20))
    for method in [Packing.Method.deflate, .latin1] {
      let storage = StorageRegion(
        path: scratch.path("packed"), offset: 0, byteCount: 128, packing: Packing(method: method, byteCount: 1 << 20))
      let tensor = Tensor(name: "t", dtype: .uint8, shape: [128], strides: [1], storageOffset: 0, storage: storage)
      let error = #expect(throws: DumpError.self) { try TensorReader(tensor) }
      #expect(error?.message.contains("more than 128") == true, "\(error?.description ?? "")")
    }
  }

  @Test func aFlippedBitOfAnArchiveIsSaid() async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    var bytes = try await Corpus(otherFormat: "numpy").contents("arrays.npz")
    try scratch.write("good.npz", bytes)
    let tensors = try DumpFileReader.read(path: scratch.path("good.npz")).tensors
    let tensor = try #require(tensors.first { $0.name == "f4" })
    bytes[tensor.storage.offset + (tensor.storageOffset + 3) * 4] ^= 1
    try scratch.write("flipped.npz", bytes)
    let dump = try DumpFileReader.read(path: scratch.path("flipped.npz"))
    #expect(dump.tensors.count == tensors.count - 1)
    #expect(dump.skipped.map(\.name) == ["f4"])
    #expect(dump.skipped.first?.why.contains("CRC-32") == true)
  }

  @Test(
    "arrays that are no tensors are refused by name",
    arguments: [
      ("object", "dtype O"), ("v1", "8-bit float"), ("big", "big-endian (>f4)"), ("text", "dtype <U1"),
      ("time", "dtype <M8[ns]"), ("long", "dtype <f16"), ("fields", "structured"),
    ])
  func refusesByName(stem: String, words: String) async throws {
    let corpus = try await Corpus(otherFormat: "numpy")
    let error = #expect(throws: DumpError.self) { try DumpFileReader.read(path: corpus.file("\(stem).npy")) }
    #expect(error?.code == .unsupported)
    #expect(error?.message.contains(words) == true, "\(error?.description ?? "")")
  }

  @Test func aCutFileIsAnErrorAtEveryLength() async throws {
    let corpus = try await Corpus(otherFormat: "numpy")
    let whole = try corpus.contents("small.npy")
    for length in 0..<whole.count {
      let error = try error(Array(whole[..<length]))
      #expect(error?.code == .truncated || length < 6, "\(length) bytes: \(error?.description ?? "")")
    }
    let two = try error(try corpus.contents("two.npy"))
    #expect(two?.message.contains("several were saved to one file") == true)
    let archive = try corpus.contents("mixed.npz")
    for length in stride(from: 0, to: archive.count, by: 23) {
      _ = try error(Array(archive[..<length]))
    }
  }

  @Test("headers that are no plain literal are refused")
  func refusesHostileHeaders() async throws {
    func header(_ shape: String, _ descr: String = "'<f4'", _ order: String = "False") -> String {
      "{'descr': \(descr), 'fortran_order': \(order), 'shape': \(shape), }"
    }
    let cases: [(String, Int, DumpError.Code, String)] = [
      (header("(2,)"), 4, .truncated, "4 more bytes"), (header("(2,)"), 9, .malformed, "1 bytes follow"),
      (header("(2)"), 8, .malformed, "needs a comma"), (header("(2 2)"), 16, .malformed, "should stand here"),
      (header("[2]"), 8, .malformed, "( should stand"), (header("(-1,)"), 4, .malformed, "whole number"),
      (header("(2.0,)"), 8, .malformed, "should stand here"), (header("(02,)"), 8, .malformed, "begins with 0"),
      (header("(99999999999999999999,)"), 8, .malformed, "too large"),
      (header("(4611686018427387904, 4)"), 0, .malformed, "impossible"),
      (header("(0, 4611686018427387904, 4)"), 0, .malformed, "impossible"),
      (header("(4611686018427387904,)"), 0, .malformed, "too large"),
      (header("(1152921504606846976,)"), 0, .truncated, "more bytes"),
      (header("(\(String(repeating: "1, ", count: 65)))"), 4, .malformed, "more than 64 dimensions"),
      (header("(1,)", "__import__('os')"), 4, .malformed, "a text should stand"),
      (header("(1,)", "'<f4', 'descr': '<f4'"), 4, .malformed, "stands twice"),
      (header("(1,)", "'<f4", "True"), 4, .malformed, "should stand here"),
      (header("(1,)", "'<f4'", "1"), 4, .malformed, "True or False"),
      (header("(1,)", "'\\x3cf4'"), 4, .malformed, "not plain"), (header("(1,)", "'f4'"), 4, .unsupported, "dtype"),
      ("{'descr': '<f4', 'shape': (1,)}", 4, .malformed, "is missing"),
      ("{'x': 1}", 4, .malformed, "unknown"), ("{}", 4, .malformed, "missing"), ("", 4, .malformed, "{ should"),
      (header("(1,)") + "+", 4, .malformed, "follows its end"),
    ]
    for (header, data, code, words) in cases {
      for version in [1, 2, 3] as [UInt8] {
        let error = try error(file(header, data: data, version: version))
        #expect(error?.code == code, "\(header): \(error?.description ?? "")")
        #expect(error?.message.contains(words) == true, "\(header): \(error?.description ?? "")")
      }
    }
    #expect(try error(file("{}", data: 4, version: 4))?.code == .unsupported)
    let promised: [UInt8] = [0x93] + Array("NUMPY".utf8) + [2, 0, 0xFF, 0xFF, 0xFF, 0xFF]
    #expect(try error(promised + Array("{}".utf8))?.code == .limit)
  }

  @Test("thousands of mutations of headers and of the archive's directory never crash or hang")
  func mutations() async throws {
    let corpus = try await Corpus(otherFormat: "numpy")
    try expectNoHarm(mutating: try corpus.contents("small.npy"), header: 0..<128, name: "mutant.npy", seed: 1)
    let archive = try corpus.contents("mixed.npz")
    try expectNoHarm(
      mutating: archive, header: 0..<archive.count, name: "mutant.npz", seed: 2, verifyChecksums: false)
  }
}
