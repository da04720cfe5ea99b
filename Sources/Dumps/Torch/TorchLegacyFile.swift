/// A `.pt` file as `torch.save` wrote it before 1.6, and writes with `_use_new_zipfile_serialization=False`.
///
/// Five pickles follow each other (magic number, protocol 1001, facts of the system, the object, the storages' keys),
/// then for each key the number of elements (64 bits) and the bytes. No checksum is recorded.
enum TorchLegacyFile {
  /// As for the zip container.
  private static let pickleLimit = 64 << 20
  private static let magicNumber: [UInt8] = [
    0x8A, 0x0A, 0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19, 0x2E,
  ]

  /// True where the file begins with the magic number as a pickle of protocol 2 to 5.
  static func isMagic(_ bytes: [UInt8]) -> Bool {
    guard bytes.count >= 2, bytes[0] == 0x80, (2...5).contains(bytes[1]) else { return false }
    let isFramed = bytes.count >= 11 && bytes[2] == 0x95
    return bytes[(isFramed ? 11 : 2)...].starts(with: magicNumber)
  }

  static func read(_ file: FileHandle) throws(DumpError) -> DumpFile {
    var pickles = Pickles(file: file)
    _ = try pickles.next()
    guard case .int(1001) = try pickles.next().root else {
      throw DumpError(
        code: .unsupported, file: file.path, at: .byte(pickles.position),
        message: "this torch.save file is not of protocol 1001; load it with torch and save it again")
    }
    try checkByteOrder(try pickles.next(), in: file)
    let start = pickles.position
    var contents = try pickles.next()
    let keys = try pickles.next()
    contents.budget = pickles.budget
    // Storages are looked up by their keys.
    contents.budget.take(contents.storages.count * 3 * Unpickler.entryCost)
    guard !contents.budget.isSpent else {
      throw DumpError(code: .limit, file: file.path, at: .byte(start), message: PickleBudget.refusal)
    }
    let regions = try regions(of: keys, contents: contents, from: pickles.position, in: file)

    var flattening = TorchFlattening(contents: contents, path: file.path, base: start) {
      (storage, name) throws(DumpError) in
      guard var region = regions[storage.key] else {
        throw DumpError(
          code: .malformed, file: file.path, at: .key(name),
          message: "storage \(storage.key.clipped), which holds its bytes, is not in the list of the file's storages")
      }
      guard let view = storage.view else { return region }
      // A storage that is a part of another, as torch 0.3 had them.
      let size = storage.elementBytes
      let (start, startOverflow) = view.lowerBound.multipliedReportingOverflow(by: size)
      let (count, countOverflow) = view.count.multipliedReportingOverflow(by: size)
      guard !startOverflow, !countOverflow, start <= region.byteCount, count <= region.byteCount - start else {
        throw DumpError(
          code: .malformed, file: file.path, at: .key(name), message: "its part of the storage is not in the storage")
      }
      region.offset += start
      region.byteCount = count
      return region
    }
    try flattening.run()
    return flattening.dump
  }

  /// Pickles one behind the other.
  private struct Pickles {
    let file: FileHandle
    var position = 0
    /// One for all of them.
    var budget = PickleBudget()

    /// Reads as much as the pickle proves to need: a window that grows until the pickle ends in it.
    mutating func next() throws(DumpError) -> PickleContents {
      let available = min(file.size - position, pickleLimit)
      var window = min(available, 64 << 10)
      while true {
        let bytes = try file.bytes(at: position, count: window)
        if let (contents, byteCount) = try Unpickler.prefix(
          of: bytes, file: file.path, base: position, budget: budget)
        {
          budget = contents.budget
          position += byteCount
          return contents
        }
        guard window < available else {
          let isCut = available < pickleLimit
          throw DumpError(
            code: isCut ? .truncated : .limit, file: file.path, at: .byte(position + window),
            message: isCut
              ? "the file ends in a pickle; copy or dump it again"
              : "a pickle is larger than the \(pickleLimit) bytes that are read")
        }
        window = min(available, window * 2)
      }
    }
  }

  private static func checkByteOrder(_ system: PickleContents, in file: FileHandle) throws(DumpError) {
    guard case .dictionary(let index) = system.root else {
      throw DumpError(
        code: .malformed, file: file.path, message: "the third pickle of the file does not describe a system")
    }
    for (key, value) in system.dictionaries[index] {
      if case .string("little_endian", _) = key, case .bool(let isLittle) = value {
        guard !isLittle else { return }
        throw DumpError(
          code: .unsupported, file: file.path,
          message: "the byte order is big, and only little is read; load the file and save it on another machine")
      }
    }
    throw DumpError(code: .malformed, file: file.path, message: "the file does not say its byte order")
  }

  private static func regions(
    of list: PickleContents, contents: PickleContents, from start: Int, in file: FileHandle
  ) throws(DumpError) -> [String: StorageRegion] {
    guard case .list(let index) = list.root else {
      throw DumpError(
        code: .malformed, file: file.path, at: .byte(start), message: "the fifth pickle of the file is no list of keys")
    }
    var elementBytes: [String: Int] = [:]
    var elementCounts: [String: Int] = [:]
    for storage in contents.storages {
      guard
        elementBytes.updateValue(storage.elementBytes, forKey: storage.key) ?? storage.elementBytes
          == storage.elementBytes,
        elementCounts.updateValue(storage.elementCount, forKey: storage.key) ?? storage.elementCount
          == storage.elementCount
      else {
        throw DumpError(
          code: .malformed, file: file.path, at: .key(storage.key.clipped),
          message: "the storage is described in two ways")
      }
    }
    var regions: [String: StorageRegion] = [:]
    var position = start
    for item in list.sequences[index] {
      guard case .string(let key, _) = item, let size = elementBytes[key], regions[key] == nil else {
        throw DumpError(
          code: .malformed, file: file.path, at: .byte(position),
          message:
            "a key in the list of storages is unknown, stands twice or is no text; where a storage ends, and the "
            + "next begins, cannot be known")
      }
      let count = try file.bytes(at: position, count: 8).littleEndian(0, Int64.self)
      position += 8
      let (byteCount, overflow) = Int(count).multipliedReportingOverflow(by: size)
      guard count >= 0, !overflow, Int(count) == elementCounts[key] else {
        throw DumpError(
          code: .malformed, file: file.path, at: .byte(position - 8),
          message: "storage \(key.clipped) has \(count) elements here, and \(elementCounts[key] ?? 0) in the pickle")
      }
      guard byteCount <= file.size - position else {
        throw DumpError(
          code: .truncated, file: file.path, at: .byte(file.size),
          message: "the file ends here, in storage \(key.clipped) of \(byteCount) bytes; copy or dump it again")
      }
      regions[key] = StorageRegion(path: file.path, offset: position, byteCount: byteCount)
      position += byteCount
    }
    guard position == file.size else {
      throw DumpError(
        code: .malformed, file: file.path, at: .byte(position),
        message: "\(file.size - position) bytes follow the last storage")
    }
    return regions
  }
}
