import Dumps
import Glibc
import Planning

/// What is read from outside, each by the function that callers use. An error of the module's own is an answer; a
/// trap, a hang, memory beyond libFuzzer's limit or another error is a finding.
enum Target: String, CaseIterable {
  case pickle
  case zip
  case safetensors
  case npy
  case job
  case names

  func read(_ bytes: UnsafeRawBufferPointer) {
    switch self {
    case .pickle: Self.readDump(HonestZip.file(pickle: bytes))
    case .zip, .safetensors, .npy: Self.readDump(bytes)
    case .job:
      guard let text = String(validating: bytes.bindMemory(to: UInt8.self), as: UTF8.self) else { return }
      do {
        _ = try Planner.plan(text: text, path: "/nowhere/job.yaml")
      } catch let error {
        guard !error.problems.isEmpty else { fatalError("an error without a problem") }
      }
    case .names: Self.readNames(bytes)
    }
  }

  /// A file without a disk; the reader opens it by its path.
  private static let file = unlinked()

  private static func unlinked() -> CInt {
    let name = "/rollcall-fuzz-\(getpid())"
    let file = shm_open(name, O_RDWR | O_CREAT | O_TRUNC, 0o600)
    shm_unlink(name)
    return file
  }

  private static func readDump(_ bytes: some Collection<UInt8>) {
    let written = bytes.withContiguousStorageIfAvailable { pwrite(file, $0.baseAddress, $0.count, 0) } ?? -1
    guard written == bytes.count, ftruncate(file, off_t(bytes.count)) == 0 else { fatalError("cannot write the input") }
    do throws(DumpError) {
      let dump = try DumpFileReader.read(path: "/proc/self/fd/\(file)")
      guard Set(dump.tensors.map { $0.name }).count == dump.tensors.count else {
        fatalError("two tensors have one name")
      }
      for tensor in dump.tensors.prefix(64) { try read(tensor) }
    } catch {}
  }

  /// The first and the last elements.
  private static func read(_ tensor: Tensor) throws(DumpError) {
    let reader = try TensorReader(tensor)
    let last = min(reader.elementCount, 1 << 12)
    for range in [0..<last, (reader.elementCount - last)..<reader.elementCount] {
      var bytes: [UInt8] = []
      try reader.read(range, into: &bytes)
      var values: [Double] = []
      try reader.readDoubles(range, into: &values)
      guard bytes.count == range.count * tensor.dtype.byteCount,
        values.count == range.count * tensor.dtype.valuesPerElement
      else { fatalError("fewer elements than asked for") }
    }
  }

  /// Lines are names of files in a directory, all with the same good content.
  private static func readNames(_ bytes: UnsafeRawBufferPointer) {
    let directory = Directory.shared
    var names: Set<[UInt8]> = []
    for line in bytes.split(separator: UInt8(ascii: "\n")).prefix(6) {
      let name = line.filter { $0 != 0 && $0 != UInt8(ascii: "/") }.prefix(250)
      if !name.isEmpty, name != [UInt8(ascii: ".")], name != [UInt8(ascii: "."), UInt8(ascii: ".")] {
        names.insert(Array(name))
      }
    }
    let made = names.filter(directory.add)
    do throws(DumpError) {
      let set = try DumpSetLoader.load(directory: directory.path, layout: .sglang)
      let named = set.captures.map(\.file) + set.unreadable.map(\.file) + set.unrecognised + set.plain.map(\.file)
      guard Set(named).count >= made.count else { fatalError("a file is not accounted for") }
    } catch {}
    for name in made { directory.remove(name) }
  }
}
