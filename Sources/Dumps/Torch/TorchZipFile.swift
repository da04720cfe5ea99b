import TensorKernels

/// A `.pt` file as `torch.save` writes it since 1.6: a zip of one pickle and one record a storage.
enum TorchZipFile {
  /// A state dictionary of 100,000 tensors takes some 20 MB.
  private static let pickleLimit = 64 << 20

  static func read(_ reads: inout SmallReads, _ zip: ZipDirectory) throws(DumpError) -> DumpFile {
    let file = reads.file
    let pickles = zip.names.filter { $0.hasSuffix("/data.pkl") }
    guard pickles.count == 1, let name = pickles.first else {
      throw DumpError(code: .unsupported, file: file.path, message: refusal(zip, pickleCount: pickles.count))
    }
    let prefix = String(name.dropLast("data.pkl".count))
    guard !zip.names.contains(prefix + "constants.pkl"), let record = try zip.record(name) else {
      throw DumpError(
        code: .unsupported, file: file.path,
        message: "this is a TorchScript program, not a dump; save its state_dict() with torch.save")
    }
    try checkByteOrder(try zip.record(prefix + "byteorder"), in: &reads)

    guard record.byteCount <= pickleLimit else {
      throw DumpError(
        code: .limit, file: file.path, at: .key(record.name),
        message: "a pickle of \(record.byteCount) bytes is larger than the \(pickleLimit) that are read")
    }
    let bytes = try reads.bytes(at: record.offset, count: record.byteCount)
    if let recorded = record.checksum {
      let found = bytes.withUnsafeBytes { Kernels.crc32($0) }
      guard found == recorded else {
        throw .checksumMismatch(file: file.path, offset: record.offset, recorded: recorded, found: found)
      }
    }
    let contents = try Unpickler.contents(of: bytes, file: file.path, base: record.offset)
    var flattening = TorchFlattening(contents: contents, path: file.path, base: record.offset) {
      (storage, name) throws(DumpError) in
      try region(of: storage, for: name, recordName: "\(prefix)data/\(storage.key)", zip, in: file)
    }
    try flattening.run()
    return flattening.dump
  }

  private static func region(
    of storage: TorchStorage, for name: String, recordName: String, _ zip: ZipDirectory, in file: FileHandle
  ) throws(DumpError) -> StorageRegion {
    guard let record = try zip.record(recordName) else {
      throw DumpError(
        code: .malformed, file: file.path, at: .key(recordName),
        message: "the record that holds the bytes of \(name) is missing")
    }
    let (byteCount, overflow) = storage.elementCount.multipliedReportingOverflow(by: storage.elementBytes)
    guard !overflow, byteCount == record.byteCount else {
      throw DumpError(
        code: .malformed, file: file.path, at: .key(recordName),
        message: "the record has \(record.byteCount) bytes, but the pickle counts \(storage.elementCount) "
          + "\(storage.dtype?.rawValue ?? "byte") elements; copy or dump the file again")
    }
    return StorageRegion(
      path: file.path, offset: record.offset, byteCount: record.byteCount, checksum: record.checksum)
  }

  private static func refusal(_ zip: ZipDirectory, pickleCount: Int) -> String {
    if pickleCount > 1 { return "the zip file holds \(pickleCount) records data.pkl, and one is expected" }
    return "the zip file has no record data.pkl, so torch.save did not write it, and numpy.savez neither"
  }

  private static func checkByteOrder(_ record: ZipDirectory.Record?, in reads: inout SmallReads) throws(DumpError) {
    guard let record else { return }
    let text = record.byteCount > 16 ? [] : try reads.bytes(at: record.offset, count: record.byteCount)
    guard !text.elementsEqual("little".utf8) else { return }
    throw DumpError(
      code: text.elementsEqual("big".utf8) ? .unsupported : .malformed, file: reads.file.path, at: .key(record.name),
      message: "the byte order is \(String(decoding: text, as: UTF8.self)), and only little is read; load the file "
        + "on such a machine and save it with torch.serialization.set_default_load_endianness little")
  }
}
