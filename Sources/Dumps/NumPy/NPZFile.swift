/// A NumPy `.npz` file: a zip of `.npy` records, as `numpy.savez` writes it or, compressed, `numpy.savez_compressed`.
enum NPZFile {
  static func holds(_ zip: ZipDirectory) -> Bool {
    !zip.names.isEmpty && zip.names.allSatisfy { $0.hasSuffix(".npy") }
  }

  /// The arrays in the order of their names, without `.npy`. A record that cannot be read costs only itself.
  static func read(_ file: FileHandle, _ zip: ZipDirectory) -> DumpFile {
    var dump = DumpFile()
    var unpacked = 0
    for recordName in zip.names.sorted(by: { $0.utf8.lexicographicallyPrecedes($1.utf8) }) {
      let name = String(recordName.dropLast(".npy".count))
      do throws(DumpError) {
        if let packed = zip.packedRecord(recordName), packed.method == 8 {
          dump.tensors.append(try tensor(name, packed, in: file, unpacked: &unpacked))
          continue
        }
        guard let record = try zip.record(recordName, orElse: "save the arrays with numpy.savez") else { continue }
        let tensor = try NPYFile.tensor(
          name, in: file, offset: record.offset, byteCount: record.byteCount, checksum: record.checksum)
        // An array whose header is no whole number of its elements has a storage without the checksum of both.
        if let recorded = record.checksum, tensor.storage.checksum == nil {
          let found = try file.checksum(offset: record.offset, byteCount: record.byteCount)
          guard found == recorded else {
            throw DumpError.checksumMismatch(
              file: file.path, offset: record.offset, recorded: recorded, found: found)
          }
        }
        dump.tensors.append(tensor)
      } catch {
        // A key would only repeat the name.
        var why = error.reason
        if case .key = error.place { why = error.message }
        dump.skipped.append(SkippedValue(name: name, why: why, isDamaged: error.code != .unsupported))
      }
    }
    return dump
  }

  /// Unpacked bytes of one file's arrays at most: each is unpacked once when the file is opened.
  private static let limit = 4 << 30

  /// - Parameter unpacked: bytes of the arrays before, and afterwards with this one.
  private static func tensor(
    _ name: String, _ record: ZipDirectory.Record, in file: FileHandle, unpacked: inout Int
  ) throws(DumpError) -> Tensor {
    let packing = Packing(method: .deflate, byteCount: record.byteCount, checksum: record.checksum)
    let (sum, overflow) = unpacked.addingReportingOverflow(record.size)
    guard !overflow, sum <= limit else {
      throw DumpError(
        code: .limit, file: file.path, at: .key(name.clipped),
        message: "the compressed arrays unpack to more than \(limit) bytes; save them with numpy.savez")
    }
    let bytes = try packing.unpack(file, offset: record.offset, byteCount: record.size)
    unpacked = sum
    var tensor = try NPYFile.tensor(
      name, in: FileHandle(path: file.path, contents: bytes), offset: 0, byteCount: bytes.count,
      checksum: record.checksum ?? 0)
    guard tensor.storage.offset == 0 else {
      throw DumpError(
        code: .unsupported, file: file.path, at: .key(name.clipped),
        message: "the array's header is not as long as a whole number of its elements; save it with numpy.savez")
    }
    tensor.storage = StorageRegion(
      path: file.path, offset: record.offset, byteCount: record.size, packing: packing)
    return tensor
  }
}
