/// A NumPy `.npz` file as `numpy.savez` writes it: a zip of `.npy` records that are not compressed.
enum NPZFile {
  static func holds(_ zip: ZipDirectory) -> Bool {
    !zip.names.isEmpty && zip.names.allSatisfy { $0.hasSuffix(".npy") }
  }

  /// The arrays in the order of their names, without `.npy`. A record that cannot be read costs only itself.
  static func read(_ file: FileHandle, _ zip: ZipDirectory) -> DumpFile {
    var dump = DumpFile()
    for recordName in zip.names.sorted(by: { $0.utf8.lexicographicallyPrecedes($1.utf8) }) {
      let name = String(recordName.dropLast(".npy".count))
      do throws(DumpError) {
        guard let record = try zip.record(recordName, orElse: "numpy.savez_compressed did; use numpy.savez") else {
          continue
        }
        dump.tensors.append(
          try NPYFile.tensor(
            name, in: file, offset: record.offset, byteCount: record.byteCount, checksum: record.checksum))
      } catch {
        // A key would only repeat the name.
        var why = error.reason
        if case .key = error.place { why = error.message }
        dump.skipped.append(SkippedValue(name: name, why: why, isDamaged: error.code != .unsupported))
      }
    }
    return dump
  }
}
