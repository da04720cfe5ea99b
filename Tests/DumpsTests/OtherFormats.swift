import Dumps
import Foundation
import TestSupport
import Testing

extension Corpus {
  private static let otherFormats = ScriptFolder.filled(by: "write_other_formats.py")

  /// One folder of what `Python/write_other_formats.py` makes.
  init(otherFormat kind: String) async throws { path = "\(try await Self.otherFormats.value)/\(kind)" }

  /// Expects that `dump` holds the tensors that torch and numpy found in `stem`, with their bytes and numbers.
  func expectAgreement(_ dump: DumpFile, _ stem: String) throws {
    let expected = try ExpectedTensor.list(stem, in: self)
    #expect(!expected.isEmpty)
    #expect(dump.tensors.map(\.name) == expected.map(\.name), "\(stem)")
    for (i, (tensor, want)) in zip(dump.tensors, expected).enumerated() {
      let label = Comment("\(stem) \(want.name)")
      #expect(tensor.dtype == want.dtype, label)
      #expect(tensor.shape == want.shape, label)
      let reader = try TensorReader(tensor)
      #expect(reader.elementCount == want.numel, label)
      var bytes: [UInt8] = []
      try reader.read(0..<reader.elementCount, into: &bytes)
      #expect(bytes == (try contents("\(stem).\(i).raw")), label)
      var values: [Double] = []
      try reader.readDoubles(0..<reader.elementCount, into: &values)
      #expect(patterns(values) == patterns(doubles(try contents("\(stem).\(i).f64"))), label)
    }
  }
}

/// Reads every tensor of a file; what comes back without an error must be complete.
func readWhole(_ path: String, verifyChecksums: Bool = true) throws {
  let dump = try DumpFileReader.read(path: path, verifyChecksums: verifyChecksums)
  for tensor in dump.tensors {
    let reader = try TensorReader(tensor)
    guard reader.elementCount < 1 << 20 else { continue }
    var bytes: [UInt8] = []
    try reader.read(0..<reader.elementCount, into: &bytes)
    #expect(bytes.count == reader.elementCount * tensor.dtype.byteCount)
    var values: [Double] = []
    try reader.readDoubles(0..<reader.elementCount, into: &values)
    #expect(values.count == reader.elementCount * tensor.dtype.valuesPerElement)
  }
}

/// Changes, cuts and repeats bytes of `header` at random; every result must be read whole or be a `DumpError`.
func expectNoHarm(
  mutating whole: [UInt8], header: Range<Int>, name: String, seed: UInt64, rounds: Int = 750,
  verifyChecksums: Bool = true
) throws {
  let scratch = try Scratch()
  defer { scratch.remove() }
  var random = SplitMix64(seed: seed)
  let interesting: [UInt8] = [0, 1, 0x7F, 0x80, 0xFF] + Array("{}[](),:'\"\\0195-eTF<>|fVO .".utf8)
  for _ in 0..<rounds {
    var bytes = whole
    for _ in 0..<Int.random(in: 1...4, using: &random) {
      let at = Int.random(in: header.clamped(to: 0..<bytes.count), using: &random)
      switch Int.random(in: 0..<5, using: &random) {
      case 0: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      case 1: bytes[at] = interesting.randomElement(using: &random) ?? 0
      case 2: for i in at..<min(at + 4, bytes.count) { bytes[i] = 0xFF }
      case 3: bytes.insert(contentsOf: bytes[at..<min(at + 9, bytes.count)], at: at)
      default: bytes.remove(at: at)
      }
    }
    try scratch.write(name, bytes)
    do { try readWhole(scratch.path(name), verifyChecksums: verifyChecksums) } catch is DumpError {}
  }
}
