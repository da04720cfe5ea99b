/// The records of a zip file that stores without compression, as `torch.save` writes it.
///
/// The central directory is the truth (local headers hold no sizes); the local header is read only to find where
/// the data begins. Every range is checked against the file before it is used, and records may not overlap.
struct ZipDirectory {
  struct Record {
    var name: String
    /// Where its data stands.
    var offset: Int
    /// Of the data as it stands.
    var byteCount: Int
    /// Of the data, unpacked.
    var size: Int
    /// Compression method; 0 where the data stands as it is.
    var method: UInt16
    /// CRC-32 of the data; nil where the writer recorded none (0).
    var checksum: UInt32?
  }

  private let path: String
  private var records: [String: Record] = [:]

  var names: Dictionary<String, Record>.Keys { records.keys }

  /// The record of this name, nil where there is none; a compressed one is an error, and `remedy` says how to mend it.
  func record(
    _ name: String, orElse remedy: String = "torch.save does not; load the file with torch and save it again"
  ) throws(DumpError) -> Record? {
    guard let record = records[name], record.method != 0 else { return records[name] }
    throw DumpError(
      code: .unsupported, file: path, at: .key(name),
      message: "the record is compressed (method \(record.method)), and only records that stand as they are can be "
        + "read: \(remedy)")
  }

  /// The record of this name, compressed or not.
  func packedRecord(_ name: String) -> Record? { records[name] }

  private static let endBytes = 22
  private static let locatorBytes = 20
  private static let end64Bytes = 56
  private static let entryBytes = 46
  private static let localBytes = 30
  /// A directory of a million records takes less.
  private static let directoryLimit = 128 << 20

  init(_ reads: inout SmallReads) throws(DumpError) {
    let file = reads.file
    func malformed(_ offset: Int, _ message: String) -> DumpError {
      DumpError(code: .malformed, file: file.path, at: .byte(offset), message: message)
    }

    path = file.path
    let end = try Self.findEnd(&reads)
    guard end.offset >= 0, end.byteCount >= 0, end.offset <= end.limit, end.byteCount <= end.limit - end.offset else {
      throw malformed(end.limit, "the zip directory (byte \(end.offset), \(end.byteCount) bytes) is not in the file")
    }
    guard end.byteCount <= Self.directoryLimit, end.count <= end.byteCount / Self.entryBytes else {
      throw DumpError(
        code: end.byteCount > Self.directoryLimit ? .limit : .malformed, file: file.path, at: .byte(end.offset),
        message: "a zip directory of \(end.byteCount) bytes for \(end.count) records is not believable")
    }

    let bytes = try reads.bytes(at: end.offset, count: end.byteCount)
    var entries: [(record: Record, header: Int)] = []
    entries.reserveCapacity(end.count)
    var at = 0
    for _ in 0..<end.count {
      let place = end.offset + at
      guard at + Self.entryBytes <= bytes.count, bytes.littleEndian(at, UInt32.self) == 0x0201_4B50 else {
        throw malformed(place, "a zip directory entry should stand here")
      }
      let flags = bytes.littleEndian(at + 8, UInt16.self)
      let method = bytes.littleEndian(at + 10, UInt16.self)
      let checksum = bytes.littleEndian(at + 16, UInt32.self)
      var stored = UInt64(bytes.littleEndian(at + 20, UInt32.self))
      var size = UInt64(bytes.littleEndian(at + 24, UInt32.self))
      let nameCount = Int(bytes.littleEndian(at + 28, UInt16.self))
      let extraCount = Int(bytes.littleEndian(at + 30, UInt16.self))
      let commentCount = Int(bytes.littleEndian(at + 32, UInt16.self))
      var header = UInt64(bytes.littleEndian(at + 42, UInt32.self))
      let nameStart = at + Self.entryBytes
      let next = nameStart + nameCount + extraCount + commentCount
      guard next <= bytes.count else { throw malformed(place, "this zip directory entry is longer than the directory") }
      guard let name = String(validating: bytes[nameStart..<(nameStart + nameCount)], as: UTF8.self) else {
        throw malformed(place, "the name of this record is not UTF-8")
      }
      try Self.widen(
        bytes[(nameStart + nameCount)..<(nameStart + nameCount + extraCount)], &size, &stored, &header,
        orThrow: malformed(place, "the 64-bit sizes of record \(name) are missing"))
      guard flags & 1 == 0 else {
        throw DumpError(code: .unsupported, file: file.path, at: .key(name), message: "the record is encrypted")
      }
      guard stored == size || method != 0, let byteCount = Int(exactly: stored), let start = Int(exactly: header),
        let unpacked = Int(exactly: size)
      else {
        throw malformed(place, "the sizes of record \(name) contradict each other")
      }
      entries.append(
        (
          Record(
            name: name, offset: 0, byteCount: byteCount, size: unpacked, method: method,
            checksum: checksum == 0 ? nil : checksum),
          start
        ))
      at = next
    }
    guard at == bytes.count else {
      throw malformed(end.offset + at, "the zip directory goes on after its last record")
    }

    entries.sort { $0.header < $1.header }
    var free = 0
    for (record, header) in entries {
      guard header >= free else { throw malformed(header, "record \(record.name) overlaps the one before it") }
      var record = record
      record.offset = try Self.dataStart(of: record, header: header, limit: end.offset, in: &reads)
      guard record.byteCount <= end.offset - record.offset else {
        throw malformed(header, "record \(record.name) reaches into the zip directory")
      }
      free = record.offset + record.byteCount
      guard records.updateValue(record, forKey: record.name) == nil else {
        throw malformed(header, "two records have the name \(record.name)")
      }
    }
  }

  /// Where the directory stands, how many records it has, and the first byte it may not reach.
  private struct End {
    var offset: Int
    var byteCount: Int
    var count: Int
    var limit: Int
  }

  /// The last directory end in `tail`, the end of the file.
  private static func end(in tail: [UInt8]) -> Int? {
    var at = tail.count - endBytes
    while at >= 0 {
      if tail.littleEndian(at, UInt32.self) == 0x0605_4B50,
        at + endBytes + Int(tail.littleEndian(at + 20, UInt16.self)) == tail.count
      {
        return at
      }
      at -= 1
    }
    return nil
  }

  private static func findEnd(_ reads: inout SmallReads) throws(DumpError) -> End {
    let file = reads.file
    // Few writers add a comment, which may have 65,535 bytes.
    var tailStart = max(0, file.size - SmallReads.blockBytes)
    var tail = try reads.bytes(at: tailStart, count: file.size - tailStart)
    var found = end(in: tail)
    if found ?? 0 < locatorBytes, tailStart > 0 {
      tailStart = max(0, file.size - (endBytes + locatorBytes + Int(UInt16.max)))
      tail = try file.bytes(at: tailStart, count: file.size - tailStart)
      found = end(in: tail)
    }
    guard let found else {
      throw DumpError(
        code: .truncated, file: file.path, at: .byte(file.size),
        message: "the zip directory that should stand at the end is missing: the file was cut or is still being "
          + "written; copy or dump it again")
    }
    let end = End(
      offset: Int(tail.littleEndian(found + 16, UInt32.self)),
      byteCount: Int(tail.littleEndian(found + 12, UInt32.self)),
      count: Int(tail.littleEndian(found + 10, UInt16.self)), limit: tailStart + found)
    let locator = found - locatorBytes
    guard locator >= 0, tail.littleEndian(locator, UInt32.self) == 0x0706_4B50 else { return end }

    func malformed(_ message: String) -> DumpError {
      DumpError(code: .malformed, file: file.path, at: .byte(tailStart + locator), message: message)
    }
    guard let wideOffset = Int(exactly: tail.littleEndian(locator + 8, UInt64.self)),
      wideOffset <= tailStart + locator - end64Bytes
    else { throw malformed("the zip64 locator points out of the file") }
    let record = try reads.bytes(at: wideOffset, count: end64Bytes)
    guard record.littleEndian(0, UInt32.self) == 0x0606_4B50,
      let count = Int(exactly: record.littleEndian(32, UInt64.self)),
      let byteCount = Int(exactly: record.littleEndian(40, UInt64.self)),
      let offset = Int(exactly: record.littleEndian(48, UInt64.self))
    else { throw malformed("the zip64 locator does not point to a directory end") }
    // The narrow record repeats the wide one, or is filled with ones. Two directories would be two files.
    guard end.offset == Int(UInt32.max) || end.offset == offset,
      end.byteCount == Int(UInt32.max) || end.byteCount == byteCount,
      end.count == Int(UInt16.max) || end.count == count
    else { throw malformed("the two directory ends of this zip file contradict each other") }
    return End(offset: offset, byteCount: byteCount, count: count, limit: wideOffset)
  }

  /// Replaces values that are all ones by those of the zip64 extra field (id 1).
  private static func widen(
    _ extra: ArraySlice<UInt8>, _ size: inout UInt64, _ stored: inout UInt64, _ header: inout UInt64,
    orThrow error: @autoclosure () -> DumpError
  ) throws(DumpError) {
    let ones = UInt64(UInt32.max)
    guard size == ones || stored == ones || header == ones else { return }
    let extra = Array(extra)
    var at = 0
    while at + 4 <= extra.count {
      let id = extra.littleEndian(at, UInt16.self)
      let end = at + 4 + Int(extra.littleEndian(at + 2, UInt16.self))
      guard end <= extra.count else { throw error() }
      if id == 1 {
        var value = at + 4
        func next() -> UInt64? {
          guard value + 8 <= end else { return nil }
          defer { value += 8 }
          return extra.littleEndian(value, UInt64.self)
        }
        if size == ones { if let wide = next() { size = wide } else { throw error() } }
        if stored == ones { if let wide = next() { stored = wide } else { throw error() } }
        if header == ones { if let wide = next() { header = wide } else { throw error() } }
        return
      }
      at = end
    }
    throw error()
  }

  private static func dataStart(
    of record: Record, header: Int, limit: Int, in reads: inout SmallReads
  ) throws(DumpError) -> Int {
    let file = reads.file
    let name = Array(record.name.utf8)
    let headCount = localBytes + name.count
    guard header <= limit - headCount else {
      throw DumpError(
        code: .malformed, file: file.path, at: .key(record.name),
        message: "the zip directory places the record at byte \(header), outside the data")
    }
    let head = try reads.bytes(at: header, count: headCount)
    guard head.littleEndian(0, UInt32.self) == 0x0403_4B50, head.littleEndian(8, UInt16.self) == record.method,
      Int(head.littleEndian(26, UInt16.self)) == name.count, head[localBytes...].elementsEqual(name)
    else {
      throw DumpError(
        code: .malformed, file: file.path, at: .byte(header),
        message: "the header of record \(record.name) should stand here")
    }
    let start = header + headCount + Int(head.littleEndian(28, UInt16.self))
    guard start <= limit else {
      throw DumpError(
        code: .malformed, file: file.path, at: .byte(header),
        message: "the header of record \(record.name) reaches into the zip directory")
    }
    return start
  }
}

extension [UInt8] {
  /// The number at `offset`, which the caller has checked.
  func littleEndian<Number: FixedWidthInteger>(_ offset: Int, _ type: Number.Type) -> Number {
    var value: Number = 0
    for i in (0..<MemoryLayout<Number>.size).reversed() {
      value = MemoryLayout<Number>.size == 1 ? Number(self[offset + i]) : (value << 8) | Number(self[offset + i])
    }
    return value
  }
}
