import Dumps
import Foundation
import TestSupport
import Testing

/// Damaged files end in an error or in tensors that are whole, never in a crash and never in fewer bytes.
@Suite struct DamageTests {
  @Test func aCutFileIsAnErrorAtEveryLength() async throws {
    let corpus = try await Corpus("small")
    let scratch = try Scratch()
    defer { scratch.remove() }
    let whole = try corpus.contents("small.pt")
    try readWhole(corpus.file("small.pt"))
    for length in Array(stride(from: 0, to: whole.count, by: 97)) + Array((whole.count - 100)..<whole.count) {
      try scratch.write("cut.pt", Array(whole[..<length]))
      let error = #expect(throws: DumpError.self, "\(length) bytes") { try readWhole(scratch.path("cut.pt")) }
      #expect(error?.code == .truncated || length < 4, "\(length) bytes: \(error?.description ?? "")")
    }
  }

  @Test func aFileCutUnderTheReaderIsAnErrorThatNamesTheByte() async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    let path = scratch.path("views.pt")
    let whole = try await Corpus("views").contents("views.pt")
    try scratch.write("views.pt", whole)
    for tensor in try DumpFileReader.read(path: path).tensors where tensor.elementCount > 1 {
      let reader = try TensorReader(tensor)
      let cut = tensor.storage.offset + tensor.storageOffset * tensor.dtype.byteCount + tensor.dtype.byteCount
      #expect(truncate(path, cut) == 0)
      var bytes: [UInt8] = []
      if tensor.strides.contains(where: { $0 != 0 }) {
        let error = #expect(throws: DumpError.self) { try reader.read(0..<reader.elementCount, into: &bytes) }
        #expect(error?.code == .truncated, "\(tensor.name)")
        #expect(error?.place != nil, "\(tensor.name)")
        #expect(throws: DumpError.self) { try TensorReader(tensor) }
      }
      // In place: the path must keep its file.
      let handle = try FileHandle(forWritingTo: URL(filePath: path))
      try handle.write(contentsOf: Data(whole))
      try handle.close()
    }
  }

  @Test func elementsBeyondATensorAreAnErrorOfItsFile() async throws {
    let corpus = try await Corpus("views")
    let tensor = try #require(try DumpFileReader.read(path: corpus.file("views.pt")).tensors.first)
    let reader = try TensorReader(tensor)
    var bytes: [UInt8] = []
    var values: [Double] = []
    for range in [0..<reader.elementCount + 1, -1..<1] {
      #expect(throws: DumpError.self) { try reader.read(range, into: &bytes) }
      let error = #expect(throws: DumpError.self) { try reader.readDoubles(range, into: &values) }
      #expect(error?.place == .key(tensor.name))
    }
  }

  @Test("thousands of mutations of directory and pickle never crash or hang", arguments: [1, 2, 3, 4] as [UInt64])
  func mutations(seed: UInt64) async throws {
    let corpus = try await Corpus(seed.isMultiple(of: 2) ? "small" : "opaque")
    let scratch = try Scratch()
    defer { scratch.remove() }
    let whole = try corpus.contents(seed.isMultiple(of: 2) ? "small.pt" : "opaque.pt")
    var random = SplitMix64(seed: seed)
    let interesting: [UInt8] = [0, 1, 0x7F, 0x80, 0xFF] + Array("()0122QRbcehjlqrstux}]".utf8) + [0x81, 0x8A, 0x94]
    let pickle = try #require(whole.firstRange(of: [0x80, 0x02])).lowerBound
    let pickleEnd = try #require(whole[pickle...].firstRange(of: [0x50, 0x4B, 0x07, 0x08])).lowerBound
    let directory = try #require(whole.firstRange(of: [0x50, 0x4B, 0x01, 0x02])).lowerBound
    for round in 0..<750 {
      var bytes = whole
      let places = [pickle..<pickleEnd, directory..<whole.count, 0..<whole.count][round % 3]
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        let at = Int.random(in: places.clamped(to: 0..<bytes.count), using: &random)
        switch Int.random(in: 0..<4, using: &random) {
        case 0: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 1: bytes[at] = interesting.randomElement(using: &random) ?? 0
        case 2: for i in at..<min(at + 4, bytes.count) { bytes[i] = 0xFF }
        default: bytes.remove(at: at)
        }
      }
      // Without checksums, so that the damage gets past the gate.
      try clearChecksums(&bytes)
      try scratch.write("mutant.pt", bytes)
      do { try readWhole(scratch.path("mutant.pt"), verifyChecksums: false) } catch is DumpError {}
    }
  }

  @Test func aFlippedBitOfAStorageOrPickleIsSaid() async throws {
    let corpus = try await Corpus("small")
    let scratch = try Scratch()
    defer { scratch.remove() }
    let whole = try corpus.contents("small.pt")
    let tensor = try #require(try DumpFileReader.read(path: corpus.file("small.pt")).tensors.first)
    var bytes = whole
    bytes[tensor.storage.offset + 5] ^= 4
    try scratch.write("flipped.pt", bytes)
    let dump = try DumpFileReader.read(path: scratch.path("flipped.pt"))
    #expect(dump.tensors.isEmpty)
    #expect(dump.skipped.map(\.name) == ["hidden", "output_fields.x_prev"])
    #expect(dump.skipped.allSatisfy { $0.isDamaged && $0.why.contains("CRC-32") })
    #expect(try DumpFileReader.read(path: scratch.path("flipped.pt"), verifyChecksums: false).tensors.count == 2)

    bytes = whole
    let pickle = try #require(bytes.firstRange(of: Array("hidden".utf8)))
    bytes[pickle.lowerBound] ^= 1
    try scratch.write("flipped.pt", bytes)
    let error = #expect(throws: DumpError.self) { try DumpFileReader.read(path: scratch.path("flipped.pt")) }
    #expect(error?.code == .checksum)
  }

  @Test("views that reach out of their storage, and sizes that overflow, are refused")
  func refusesImpossibleViews() throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try scratch.write("raw", [UInt8](repeating: 0, count: 64))
    func tensor(_ shape: [Int], _ strides: [Int], offset: Int = 0, bytes: Int = 64, at: Int = 0) -> Tensor {
      Tensor(
        name: "t", dtype: .float32, shape: shape, strides: strides, storageOffset: offset,
        storage: StorageRegion(path: scratch.path("raw"), offset: at, byteCount: bytes))
    }
    _ = try TensorReader(tensor([16], [1]))
    _ = try TensorReader(tensor([0, 5], [100, 100]))
    for bad in [
      tensor([17], [1]), tensor([16], [1], offset: 1), tensor([2, 2], [15, 1]), tensor([2], [-1], offset: 5),
      tensor([-1], [1]), tensor([2], []), tensor([1 << 62, 4], [0, 0]), tensor([1 << 61], [0]),
      tensor([2], [Int.max]), tensor([3], [Int.max]), tensor([2], [1], offset: Int.max), tensor([2], [1], offset: -1),
      tensor([0, Int.max, Int.max], [1, 1, 1]), tensor([1], [1], bytes: Int.max, at: 1),
      tensor([1], [1], at: -4), tensor([1], [1], at: 4), tensor([1], [1], bytes: 3),
    ] {
      #expect(throws: DumpError.self, "\(bad.shape) \(bad.strides)") { try TensorReader(bad) }
    }
  }

  /// Sets the CRC of every directory entry to 0, which means that none is recorded.
  private func clearChecksums(_ bytes: inout [UInt8]) throws {
    let signature: [UInt8] = [0x50, 0x4B, 0x01, 0x02]
    for at in bytes.indices.dropLast(20) where bytes[at] == 0x50 && bytes[at..<(at + 4)].elementsEqual(signature) {
      for i in 16..<20 { bytes[at + i] = 0 }
    }
  }
}
