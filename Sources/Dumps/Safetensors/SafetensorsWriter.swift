import Glibc

/// Writes one safetensors file, tensor after tensor, whole or not at all.
///
/// The bytes go to a temporary file beside the target; `finish` checks that all are there, syncs them to the disk
/// and renames. A writer that is dropped before leaves nothing behind. The format is that of the `safetensors`
/// package: an 8-byte little-endian length, a JSON header padded with spaces to a multiple of 8, the bytes without
/// gaps.
public final class SafetensorsWriter {
  /// A tensor to be written, contiguous and in row-major order.
  public struct Entry: Sendable, Hashable {
    public var name: String
    public var dtype: DType
    public var shape: [Int]

    public init(name: String, dtype: DType, shape: [Int]) {
      self.name = name
      self.dtype = dtype
      self.shape = shape
    }
  }

  /// In the order in which their bytes must come: the widest types first, so that each is aligned, then by name.
  public let entries: [Entry]
  private let path: String
  private let temporary: String
  private let descriptor: Int32
  private let byteCount: Int
  private var written = 0
  private var isFinished = false

  /// Readers refuse longer headers.
  private static let headerLimit = 100_000_000

  /// Opens the temporary file and writes the header.
  ///
  /// - Parameter metadata: texts for the header's `__metadata__`.
  /// - Throws: where safetensors has no such type, two tensors have one name, or the file cannot be written.
  public init(path: String, entries: [Entry], metadata: [String: String] = [:]) throws(DumpError) {
    self.path = path
    self.entries = entries.sorted { ($1.dtype.byteCount, $0.name) < ($0.dtype.byteCount, $1.name) }
    let (header, byteCount) = try Self.header(of: self.entries, metadata: metadata, file: path)
    self.byteCount = byteCount
    temporary = "\(path).part-\(getpid())"
    descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else {
      throw DumpError(
        code: .inaccessible, file: temporary, message: "cannot be made: \(String(cString: strerror(errno)))")
    }
    try header.withContiguousBytes { (bytes) throws(DumpError) in try put(bytes) }
  }

  deinit {
    guard descriptor >= 0 else { return }
    close(descriptor)
    if !isFinished { unlink(temporary) }
  }

  /// Whether safetensors has a name for this type.
  public static func holds(_ dtype: DType) -> Bool { dtype.safetensorsName != nil }

  /// Appends bytes: those of `entries`, one after the other, in pieces of any size.
  public func append(_ bytes: [UInt8]) throws(DumpError) {
    guard bytes.count <= byteCount - written else {
      throw DumpError(
        code: .malformed, file: path, message: "more bytes were given than the \(byteCount) that the header promises")
    }
    try bytes.withContiguousBytes { (bytes) throws(DumpError) in try put(bytes) }
    written += bytes.count
  }

  /// Makes the file appear under its name.
  public func finish() throws(DumpError) {
    guard written == byteCount else {
      throw DumpError(
        code: .truncated, file: path, message: "\(written) bytes were given, the header promises \(byteCount)")
    }
    guard fsync(descriptor) == 0, rename(temporary, path) == 0 else {
      throw DumpError(
        code: .inaccessible, file: path, message: "cannot be written: \(String(cString: strerror(errno)))")
    }
    isFinished = true
    // The new name too; some file systems refuse to sync a directory, and the data are safe then all the same.
    let folder = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    let parent = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if parent >= 0 {
      fsync(parent)
      close(parent)
    }
  }

  private func put(_ bytes: UnsafeRawBufferPointer) throws(DumpError) {
    guard let base = bytes.baseAddress else { return }
    var done = 0
    while done < bytes.count {
      let count = Glibc.write(descriptor, base + done, bytes.count - done)
      if count >= 0 {
        done += count
      } else if errno != EINTR {
        throw DumpError(
          code: .inaccessible, file: temporary, message: "cannot be written: \(String(cString: strerror(errno)))")
      }
    }
  }

  private static func header(
    of entries: [Entry], metadata: [String: String], file: String
  ) throws(DumpError) -> (header: [UInt8], byteCount: Int) {
    var members: [String] = []
    if !metadata.isEmpty {
      let texts = metadata.sorted { $0.key < $1.key }.map { "\(quoted($0.key)):\(quoted($0.value))" }
      members.append("\"__metadata__\":{\(texts.joined(separator: ","))}")
    }
    var names: Set<String> = ["__metadata__"]
    var end = 0
    for entry in entries {
      func failure(_ code: DumpError.Code, _ message: String) -> DumpError {
        DumpError(code: code, file: file, at: .key(entry.name), message: message)
      }
      guard names.insert(entry.name).inserted else {
        throw failure(.malformed, "two tensors have this name, or it is the one that the format keeps for itself")
      }
      guard let dtype = entry.dtype.safetensorsName else {
        throw failure(.unsupported, "safetensors has no type for \(entry.dtype.rawValue)")
      }
      var shape = entry.shape
      var size = entry.dtype.byteCount
      var isSound = true
      for count in shape {
        let (product, overflow) = size.multipliedReportingOverflow(by: count)
        isSound = isSound && count >= 0 && !overflow
        size = product
      }
      let (next, overflow) = end.addingReportingOverflow(size)
      guard isSound, !overflow else { throw failure(.limit, "the shape \(entry.shape) is too large") }
      // There two values make a byte, here a byte is one element.
      if entry.dtype == .float4E2M1FNx2 {
        guard let last = shape.last, last <= Int.max / 2 else {
          throw failure(.unsupported, "safetensors holds no single pair of 4-bit values")
        }
        shape[shape.count - 1] = 2 * last
      }
      let sizes = shape.map(String.init).joined(separator: ",")
      members.append(
        "\(quoted(entry.name)):{\"dtype\":\"\(dtype)\",\"shape\":[\(sizes)],\"data_offsets\":[\(end),\(next)]}")
      end = next
    }
    var text = Array("{\(members.joined(separator: ","))}".utf8)
    text += repeatElement(UInt8(ascii: " "), count: (8 - text.count % 8) % 8)
    guard text.count <= headerLimit else {
      throw DumpError(
        code: .limit, file: file,
        message:
          "the header would take \(text.count) bytes; readers take \(headerLimit) at most, so write fewer tensors")
    }
    let length = UInt64(text.count)
    return ((0..<8).map { UInt8(truncatingIfNeeded: length >> UInt64(8 * $0)) } + text, end)
  }

  /// A JSON string.
  private static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"", "\\": result += "\\\(scalar)"
      case "\u{0}"..<"\u{20}":
        let hex = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}

extension [UInt8] {
  /// `withUnsafeBytes` with a typed error.
  fileprivate func withContiguousBytes(
    _ body: (UnsafeRawBufferPointer) throws(DumpError) -> Void
  ) throws(DumpError) {
    var failure: DumpError?
    withUnsafeBytes { bytes in
      do throws(DumpError) { try body(bytes) } catch { failure = error }
    }
    if let failure { throw failure }
  }
}
