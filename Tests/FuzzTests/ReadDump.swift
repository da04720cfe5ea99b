import Dumps
import Foundation

/// Everything a caller would read of a file; what comes back without an error must be whole.
///
/// - Returns: false where the file was refused with the module's own error.
func readDump(_ path: String) throws -> Bool {
  do {
    for verify in [true, false] {
      let dump = try DumpFileReader.read(path: path, verifyChecksums: verify)
      guard Set(dump.tensors.map(\.name)).count == dump.tensors.count else {
        throw BrokenPromise(description: "two tensors have one name")
      }
      for tensor in dump.tensors.prefix(64) { try readTensor(tensor) }
    }
    return true
  } catch is DumpError {
    return false
  }
}

/// Reads the first and last elements.
func readTensor(_ tensor: Tensor) throws {
  let reader = try TensorReader(tensor)
  let last = min(reader.elementCount, 1 << 12)
  for range in [0..<last, (reader.elementCount - last)..<reader.elementCount] {
    var bytes: [UInt8] = []
    try reader.read(range, into: &bytes)
    var values: [Double] = []
    try reader.readDoubles(range, into: &values)
    guard bytes.count == range.count * tensor.dtype.byteCount,
      values.count == range.count * tensor.dtype.valuesPerElement
    else { throw BrokenPromise(description: "\(tensor.name): fewer elements than asked for") }
  }
}

/// Loads a directory and expects that every file of it is accounted for, and every capture stands once.
///
/// - Returns: how many captures there are; nil where the directory was refused with the module's own error.
func loadDirectory(_ path: String, _ layout: DumpLayout, besides: Set<String> = []) throws -> Int? {
  do {
    let set = try DumpSetLoader.load(directory: path, layout: layout)
    var named = Set(set.captures.map(\.file)).union(set.unrecognised).union(besides)
    named.formUnion(set.unreadable.map(\.file))
    named.formUnion(set.plain.map(\.file))
    named.formUnion(set.statistics.map(\.file))
    let root = URL(fileURLWithPath: path)
    for file in try FileManager.default.subpathsOfDirectory(atPath: path) where !named.contains(file) {
      var isDirectory: ObjCBool = false
      _ = FileManager.default.fileExists(atPath: root.appending(path: file).path, isDirectory: &isDirectory)
      guard isDirectory.boolValue || named.contains(where: { $0.hasPrefix("\(file) (") || file.hasPrefix("\($0)/") })
      else { throw BrokenPromise(description: "\(file) is not accounted for") }
    }
    struct Place: Hashable {
      var rank: Int
      var layer: Int?
      var stage: String
      var call: Int?
      var tensor: String
    }
    let places = set.captures.map {
      Place(rank: $0.rank, layer: $0.layer, stage: $0.stage, call: $0.call, tensor: $0.tensor.name)
    }
    guard Set(places).count == places.count else { throw BrokenPromise(description: "a capture stands twice") }
    for capture in set.captures.prefix(64) {
      do { try readTensor(capture.tensor) } catch is DumpError {}
    }
    return set.captures.count
  } catch is DumpError {
    return nil
  }
}
