import TensorKernels

/// Reads one dump file's header and directory, whatever its format.
public enum DumpFileReader {
  /// Reads what the file holds, and no tensor's bytes but for their checksums.
  ///
  /// - Parameter verifyChecksums: compares each storage with the CRC-32 recorded for it (one pass over the file);
  ///   a tensor whose bytes do not fit is among `skipped`, not among `tensors`. Storages without a recorded
  ///   checksum are taken as they are.
  public static func read(path: String, verifyChecksums: Bool = true) throws(DumpError) -> DumpFile {
    let file = try FileHandle(path: path)
    var reads = SmallReads(file)
    var dump: DumpFile
    switch FileFormat(firstBytes: try reads.bytes(at: 0, count: min(file.size, 32)), path: path) {
    case .zip:
      let zip = try ZipDirectory(&reads)
      dump = NPZFile.holds(zip) ? NPZFile.read(file, zip) : try TorchZipFile.read(&reads, zip)
    case .legacyTorch: dump = try TorchLegacyFile.read(file)
    case .npy: dump = try NPYFile.read(file)
    case .safetensors: dump = try SafetensorsFile.read(file)
    case .safetensorsIndex: dump = try SafetensorsIndex(file).read()
    case let other:
      throw DumpError(
        code: other == .empty ? .truncated : .unsupported, file: path,
        message: other.refusal)
    }
    if verifyChecksums { dump.dropDamaged(in: file) }
    return dump
  }
}

/// What a file is by its first bytes; only for safetensors, which has no signature, by its name too.
enum FileFormat {
  case zip
  case legacyTorch
  case npy
  case safetensors
  case safetensorsIndex
  case pickle
  case json
  case empty
  case unknown

  init(firstBytes bytes: [UInt8], path: String) {
    if bytes.isEmpty {
      self = .empty
    } else if path.hasSuffix(".safetensors") {
      self = .safetensors
    } else if path.hasSuffix(SafetensorsIndex.suffix) {
      self = .safetensorsIndex
    } else if bytes.starts(with: [0x50, 0x4B, 0x03, 0x04]) {
      self = .zip
    } else if TorchLegacyFile.isMagic(bytes) {
      self = .legacyTorch
    } else if bytes.starts(with: NPYFile.signature) {
      self = .npy
    } else if bytes.count >= 9, bytes[8] == UInt8(ascii: "{"),
      bytes.littleEndian(0, UInt64.self) <= UInt64(SafetensorsFile.headerLimit)
    {
      self = .safetensors
    } else if bytes.count >= 2, bytes[0] == 0x80, (2...5).contains(bytes[1]) {
      self = .pickle
    } else if bytes[0] == UInt8(ascii: "{") || bytes[0] == UInt8(ascii: "[") {
      self = .json
    } else {
      self = .unknown
    }
  }

  /// Why a file of this format is refused.
  var refusal: String {
    switch self {
    case .zip: "is a zip file"
    case .empty: "the file is empty; the producer died before it wrote, or is still writing; dump it again"
    case .legacyTorch: "is a legacy torch file"
    case .npy: "is a NumPy file"
    case .safetensors, .safetensorsIndex: "is a safetensors file"
    case .pickle: notYet("a bare pickle")
    case .json: notYet("JSON")
    case .unknown:
      "this is no dump file that Rollcall knows; it reads .pt files of torch.save, safetensors, .npy and .npz"
    }
  }

  private func notYet(_ what: String) -> String {
    "format not supported yet: this looks like \(what); load it and save it again with torch.save"
  }
}

extension DumpFile {
  /// Moves tensors whose storage does not fit its recorded CRC-32 to `skipped`.
  fileprivate mutating func dropDamaged(in file: FileHandle) {
    var results: [StorageRegion: String?] = [:]
    tensors.removeAll { tensor in
      let damage: String?
      if let known = results[tensor.storage] {
        damage = known
      } else {
        damage = tensor.storage.damage(in: file)
        results[tensor.storage] = .some(damage)
      }
      guard let damage else { return false }
      skipped.append(SkippedValue(name: tensor.name, why: damage, isDamaged: true))
      return true
    }
  }
}

extension StorageRegion {
  /// What is wrong with the bytes; nil where they fit the recorded checksum, or none is recorded.
  fileprivate func damage(in file: FileHandle) -> String? {
    guard let checksum else { return nil }
    do throws(DumpError) {
      let found = try file.checksum(offset: offset, byteCount: byteCount)
      return found == checksum
        ? nil : DumpError.checksumMismatch(file: path, offset: offset, recorded: checksum, found: found).reason
    } catch {
      return error.reason
    }
  }
}

extension DumpError {
  static func checksumMismatch(file: String, offset: Int, recorded: UInt32, found: UInt32) -> DumpError {
    DumpError(
      code: .checksum, file: file, at: .byte(offset),
      message: "the bytes have CRC-32 \(String(found, radix: 16)), recorded is \(String(recorded, radix: 16)): "
        + "the file is damaged; copy or dump it again")
  }
}

extension FileHandle {
  /// CRC-32 of a range, in blocks.
  func checksum(offset: Int, byteCount: Int) throws(DumpError) -> UInt32 {
    var crc: UInt32 = 0
    var done = 0
    var block: [UInt8] = []
    while done < byteCount {
      let count = min(TensorReader.blockBytes, byteCount - done)
      if block.count != count { block = [UInt8](repeating: 0, count: count) }
      try read(into: &block, at: offset + done)
      crc = block.withUnsafeBytes { Kernels.crc32($0, continuing: crc) }
      done += count
    }
    return crc
  }
}
