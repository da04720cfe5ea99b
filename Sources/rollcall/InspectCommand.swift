import ArgumentParser
import Crypto
import Dumps
import FoundationEssentials

/// `rollcall inspect FILE`: what stands in one dump file.
struct InspectCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract: "Show the tensors of a dump file.",
    discussion: """
      Reads the file without running anything in it. Values that are no tensors and no plain data are listed by the
      name of their class.

      Example: rollcall inspect --stats dumps/layer00_Block_rank0.pt
      """)

  @Argument(help: "A file that torch.save wrote.", completion: .file(extensions: ["pt", "pth", "bin"]))
  var file: String

  @Flag(help: "Read the elements too: sum, largest magnitude, non-finite count, SHA-256.")
  var stats = false

  @Flag(help: "Print one JSON document.")
  var json = false

  func run() async throws {
    let dump = try DumpFileReader.read(path: file)
    let listing = DumpListing(
      file: file, tensors: try dump.tensors.map { try TensorListing($0, withStatistics: stats) },
      opaque: dump.skipped.map { DumpListing.Opaque(name: $0.name, why: $0.why) })
    print(json ? try JSONText.of(listing) : listing.text)
    // What is damaged is listed above, and the exit code says so too.
    if let damaged = dump.skipped.first(where: \.isDamaged) {
      throw DumpError(code: .checksum, file: file, at: .key(damaged.name), message: damaged.why)
    }
  }
}

/// One JSON document with sorted keys.
enum JSONText {
  static func of(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
  }
}

private struct DumpListing: Encodable {
  struct Opaque: Encodable {
    var name: String
    var why: String
  }

  var schema = "rollcall.inspect/1"
  var file: String
  var tensors: [TensorListing]
  var opaque: [Opaque]

  var text: String {
    var lines = tensors.map(\.line)
    lines += opaque.map { "\($0.name)  \($0.why)" }
    return lines.isEmpty ? "\(file) holds no tensor" : lines.joined(separator: "\n")
  }
}

private struct TensorListing: Encodable {
  var name: String
  var dtype: String
  var shape: [Int]
  var stride: [Int]
  var offset: Int
  var numel: Int
  var statistics: TensorStatistics?

  init(_ tensor: Tensor, withStatistics: Bool) throws(DumpError) {
    name = tensor.name
    dtype = tensor.dtype.rawValue
    shape = tensor.shape
    stride = tensor.strides
    offset = tensor.storageOffset
    numel = tensor.elementCount
    statistics = withStatistics ? try TensorStatistics(tensor) : nil
  }

  private enum CodingKeys: String, CodingKey {
    case name
    case dtype
    case shape
    case stride
    case offset
    case numel
    case sum
    case absMax = "abs_max"
    case nonfinite
    case sha256
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(name, forKey: .name)
    try container.encode(dtype, forKey: .dtype)
    try container.encode(shape, forKey: .shape)
    try container.encode(stride, forKey: .stride)
    try container.encode(offset, forKey: .offset)
    try container.encode(numel, forKey: .numel)
    guard let statistics else { return }
    // `encode` of an optional writes null, where `encodeIfPresent` would leave the key out.
    try container.encode(statistics.sum.isFinite ? statistics.sum : nil, forKey: .sum)
    try container.encode(statistics.absMax.isFinite ? statistics.absMax : nil, forKey: .absMax)
    try container.encode(statistics.nonfinite, forKey: .nonfinite)
    try container.encode(statistics.sha256, forKey: .sha256)
  }

  var line: String {
    var line = "\(name)  \(dtype) \(shape)"
    if stride != Self.contiguousStride(shape) { line += "  stride \(stride)" }
    if offset != 0 { line += "  offset \(offset)" }
    if let statistics {
      line += "\n  sum \(statistics.sum)  abs_max \(statistics.absMax)"
      if statistics.nonfinite > 0 { line += "  NaN or infinite: \(statistics.nonfinite) of \(numel)" }
      line += "  sha256 \(statistics.sha256)"
    }
    return line
  }

  private static func contiguousStride(_ shape: [Int]) -> [Int] {
    var step = 1
    return Array(
      shape.reversed().map { count in
        defer { step *= max(count, 1) }
        return step
      }.reversed())
  }
}

/// One pass over the elements in row-major order.
private struct TensorStatistics {
  /// Over all numbers that the elements decode to, real and imaginary parts alike; summed in order, in double
  /// precision.
  var sum = 0.0
  /// Largest magnitude of a number; NaN where one is NaN, 0 for an empty tensor.
  var absMax = 0.0
  /// Elements with a NaN or infinity in them.
  var nonfinite = 0
  /// Of the contiguous little-endian bytes.
  var sha256 = ""

  init(_ tensor: Tensor) throws(DumpError) {
    let reader = try TensorReader(tensor)
    let dtype = tensor.dtype
    let step = (256 << 10) / dtype.byteCount
    var hash = SHA256()
    var bytes: [UInt8] = []
    var values: [Double] = []
    var start = 0
    while start < reader.elementCount {
      let end = min(start + step, reader.elementCount)
      try reader.read(start..<end, into: &bytes)
      bytes.withUnsafeBytes { hash.update(bufferPointer: $0) }
      let count = (end - start) * dtype.valuesPerElement
      if values.count != count { values = [Double](repeating: 0, count: count) }
      bytes.withUnsafeBytes { bytes in values.withUnsafeMutableBufferPointer { dtype.decode(bytes, into: $0) } }
      for first in Swift.stride(from: 0, to: count, by: dtype.valuesPerElement) {
        var isFinite = true
        for value in values[first..<(first + dtype.valuesPerElement)] {
          sum += value
          absMax = value.isNaN || absMax.isNaN ? .nan : max(absMax, value.magnitude)
          if !value.isFinite { isFinite = false }
        }
        if !isFinite { nonfinite += 1 }
      }
      start = end
    }
    sha256 = hash.finalize().map { byte in
      let digits = String(byte, radix: 16)
      return digits.count == 1 ? "0\(digits)" : digits
    }.joined()
  }
}
