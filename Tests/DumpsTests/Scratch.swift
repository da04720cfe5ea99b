import Dumps
import Foundation
import Synchronization
import Testing

/// A directory of its own for one test, removed with the last reference.
final class Scratch: Sendable {
  let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory.appending(path: "rollcall-dumps-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String) -> String { "\(path)/\(name)" }

  func contents(_ name: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(filePath: file(name)))) }

  func write(_ bytes: [UInt8], to name: String) throws { try Data(bytes).write(to: URL(filePath: file(name))) }
}

/// The dumps that `Python/write_dumps.py` makes: written once, for all tests to read and for none to change.
struct Corpus {
  /// One folder of it.
  let path: String

  init(_ kind: String) throws { path = "\(try Self.root.get())/\(kind)" }

  func file(_ name: String) -> String { "\(path)/\(name)" }

  func contents(_ name: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(filePath: file(name)))) }

  private static let root = Result {
    let scratch = try Scratch()
    let script = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Python/write_dumps.py").path
    let python = ProcessInfo.processInfo.environment["ROLLCALL_TEST_PYTHON"] ?? "python3"
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = [python, "-W", "ignore", script, scratch.path]
    try process.run()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0, "write_dumps.py failed")
    keeper.withLock { $0 = scratch }
    atexit { Corpus.remove() }
    return scratch.path
  }

  /// Keeps the folder until the process ends.
  private static let keeper = Mutex<Scratch?>(nil)

  private static func remove() { keeper.withLock { $0 = nil } }
}

/// What PyTorch says of one tensor of a file.
struct ExpectedTensor: Decodable {
  var name: String
  var dtype: DType
  var shape: [Int]
  var stride: [Int]
  var offset: Int
  var numel: Int

  static func list(_ stem: String, in corpus: Corpus) throws -> [ExpectedTensor] {
    try JSONDecoder().decode([ExpectedTensor].self, from: Data(corpus.contents("\(stem).json")))
  }
}

/// Bit patterns, with one for every NaN.
func patterns(_ values: [Double]) -> [UInt64] { values.map { $0.isNaN ? Double.nan.bitPattern : $0.bitPattern } }

func doubles(_ bytes: [UInt8]) -> [Double] {
  stride(from: 0, to: bytes.count, by: 8).map { start in
    Double(bitPattern: (0..<8).reduce(UInt64(0)) { $0 | UInt64(bytes[start + $1]) << UInt64(8 * $1) })
  }
}

/// The same numbers in every run: SplitMix64.
struct Seeded: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
