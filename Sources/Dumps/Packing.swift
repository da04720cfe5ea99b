import TensorKernels

/// How a storage's bytes are packed in its file. Whoever reads them holds the whole storage in memory.
public struct Packing: Sendable, Hashable, Codable {
  public enum Method: String, Sendable, Hashable, Codable {
    /// A raw DEFLATE stream, as `numpy.savez_compressed` writes it.
    case deflate
    /// One character of UTF-8 a byte, as pickles before protocol 3 write byte strings.
    case latin1 = "latin-1"
  }

  public var method: Method
  /// Packed bytes in the file.
  public var byteCount: Int
  /// CRC-32 of the unpacked bytes, checked whenever they are unpacked; nil where none is recorded.
  public var checksum: UInt32?

  public init(method: Method, byteCount: Int, checksum: UInt32? = nil) {
    self.method = method
    self.byteCount = byteCount
    self.checksum = checksum
  }

  /// Unpacked bytes of one storage at most.
  static let limit = 256 << 20
  /// DEFLATE makes no more of a byte.
  private static let largestRatio = 1032
}

extension StorageRegion {
  /// Opens what holds the storage's bytes; they begin at `start` in it.
  func open() throws(DumpError) -> (file: FileHandle, start: Int) {
    let file = try FileHandle(path: path)
    guard let packing else { return (file, offset) }
    return (FileHandle(path: path, contents: try packing.unpack(file, offset: offset, byteCount: byteCount)), 0)
  }
}

extension Packing {
  /// - Parameters:
  ///   - offset: where the packed bytes begin.
  ///   - count: unpacked bytes as the container states them.
  func unpack(_ file: FileHandle, offset: Int, byteCount count: Int) throws(DumpError) -> [UInt8] {
    func refuse(_ code: DumpError.Code, _ message: String) -> DumpError {
      DumpError(code: code, file: file.path, at: .byte(offset), message: message)
    }
    guard count <= Self.limit else {
      throw refuse(
        .limit,
        "these compressed bytes unpack to \(count), more than the \(Self.limit) that are held in memory; save the "
          + "arrays with numpy.savez, which are read in blocks")
    }
    // Before memory is taken: no honest stream unpacks to so much.
    guard count / Self.largestRatio <= byteCount else {
      throw refuse(.malformed, "\(byteCount) compressed bytes cannot unpack to \(count)")
    }
    // Nor does one need so many: incompressible bytes stand in blocks as they are, and a character takes two at most.
    guard byteCount <= (method == .deflate ? count + count / 1000 + 64 : 2 * count) else {
      throw refuse(.malformed, "\(byteCount) packed bytes are more than \(count) can need")
    }
    let packed = try file.bytes(at: offset, count: byteCount)
    var bytes = [UInt8](repeating: 0, count: count)
    let isWhole: Bool
    switch method {
    case .deflate:
      isWhole = packed.withUnsafeBytes { packed in
        bytes.withUnsafeMutableBytes { Kernels.inflate(packed, into: $0) }
      }
    case .latin1: isWhole = Self.characters(packed, into: &bytes)
    }
    guard isWhole else {
      throw refuse(.malformed, "the packed bytes do not unpack to \(count) bytes; copy or dump the file again")
    }
    if let checksum {
      let found = bytes.withUnsafeBytes { Kernels.crc32($0) }
      guard found == checksum else {
        throw .checksumMismatch(file: file.path, offset: offset, recorded: checksum, found: found)
      }
    }
    return bytes
  }

  /// The characters U+0000 to U+00FF that `text` spells in UTF-8; false where it is something else.
  private static func characters(_ text: [UInt8], into bytes: inout [UInt8]) -> Bool {
    var at = 0
    var count = 0
    while at < text.count {
      guard count < bytes.count else { return false }
      if text[at] < 0x80 {
        bytes[count] = text[at]
        at += 1
      } else {
        guard text[at] == 0xC2 || text[at] == 0xC3, at + 1 < text.count, text[at + 1] & 0xC0 == 0x80 else {
          return false
        }
        bytes[count] = text[at] << 6 | text[at + 1] & 0x3F
        at += 2
      }
      count += 1
    }
    return count == bytes.count
  }

  /// Bytes that such a text stands for; nil where it is something else.
  static func characterCount(_ text: ArraySlice<UInt8>) -> Int? {
    var count = 0
    var isInside = false
    for byte in text {
      if isInside {
        guard byte & 0xC0 == 0x80 else { return nil }
        isInside = false
        continue
      }
      guard byte < 0x80 || byte == 0xC2 || byte == 0xC3 else { return nil }
      isInside = byte >= 0x80
      count += 1
    }
    return isInside ? nil : count
  }
}
