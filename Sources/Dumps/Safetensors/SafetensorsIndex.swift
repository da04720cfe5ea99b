/// `*.safetensors.index.json`: which shard beside it holds which tensor.
struct SafetensorsIndex: Equatable {
  static let suffix = ".safetensors.index.json"
  private static let byteLimit = SafetensorsFile.headerLimit

  /// Absolute path of the index.
  let path: String
  /// Tensors by shard, a plain file name.
  private(set) var shards: [String: Set<String>] = [:]

  /// Reads `weight_map`. A shard that is not a file name, and so might lead elsewhere, is refused.
  init(_ file: FileHandle) throws(DumpError) {
    path = file.path
    guard file.size <= Self.byteLimit else {
      throw DumpError(
        code: .limit, file: file.path,
        message: "an index of \(file.size) bytes is larger than the \(Self.byteLimit) that are read")
    }
    var shards: [String: Set<String>] = [:]
    var hasMap = false
    var reader = JSONReader(try file.bytes(at: 0, count: file.size), file: file.path)
    try reader.object { (reader, key) throws(DumpError) in
      guard key == "weight_map" else { return try reader.skip() }
      hasMap = true
      try reader.object { (reader, tensor) throws(DumpError) in
        let shard = try reader.string()
        guard !shard.isEmpty, shard != ".", shard != "..", !shard.utf8.contains(0), !shard.utf8.contains(0x2F) else {
          throw reader.malformed("the shard \(shard.clipped) of \(tensor.clipped) is no file name beside the index")
        }
        shards[shard, default: []].insert(tensor)
      }
    }
    try reader.end()
    guard hasMap else {
      throw DumpError(
        code: .malformed, file: file.path, at: .key("weight_map"), message: "a safetensors index must have this key")
    }
    self.shards = shards
  }

  /// The shards' names, in order.
  var names: [String] { shards.keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) } }

  /// Reads one shard, and says where it and the index contradict each other.
  func read(_ shard: String) throws(DumpError) -> DumpFile {
    let slash = path.utf8.lastIndex(of: UInt8(ascii: "/"))
    let folder = slash.map { String(path[...$0]) } ?? ""
    var dump = try SafetensorsFile.read(FileHandle(path: folder + shard))
    var missing = shards[shard] ?? []
    for value in dump.skipped { missing.remove(value.name) }
    dump.tensors.removeAll { tensor in
      guard missing.remove(tensor.name) == nil else { return false }
      dump.skipped.append(
        SkippedValue(name: tensor.name, why: "stands in \(shard), where the index does not name it", isDamaged: true))
      return true
    }
    for name in missing.sorted() {
      dump.skipped.append(
        SkippedValue(name: name, why: "should stand in \(shard), and does not; copy the shard again", isDamaged: true))
    }
    return dump
  }

  /// All shards as one file. A shard that is missing or broken costs its own tensors, by name.
  func read() throws(DumpError) -> DumpFile {
    var whole = DumpFile()
    for shard in names {
      do throws(DumpError) {
        let part = try read(shard)
        whole.tensors += part.tensors
        whole.scalars += part.scalars.map { NamedScalar(name: "\(shard).\($0.name)", value: $0.value) }
        whole.skipped += part.skipped
      } catch {
        for name in (shards[shard] ?? []).sorted() {
          whole.skipped.append(SkippedValue(name: name, why: "shard \(shard): \(error.reason)", isDamaged: true))
        }
      }
    }
    return whole
  }
}
