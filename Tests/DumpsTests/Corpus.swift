import Dumps
import Foundation
import Synchronization
import TestSupport

/// The dumps that `Python/write_dumps.py` makes: written once, for all tests to read and for none to change.
struct Corpus {
  /// One folder of it.
  let path: String

  init(_ kind: String) async throws { path = "\(try await Self.root.value)/\(kind)" }

  func file(_ name: String) -> String { "\(path)/\(name)" }

  func contents(_ name: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(filePath: file(name)))) }

  /// A task of its own: the first test that asks starts it, all wait for it, and none may cancel it for the others.
  private static let root = Task {
    let scratch = try Scratch()
    keeper.withLock { $0 = scratch }
    atexit { Corpus.remove() }
    let script = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Python/write_dumps.py").path
    try await runTool(testPython, ["-W", "ignore", script, scratch.path])
    return scratch.path
  }

  /// The folder that goes when the process ends.
  private static let keeper = Mutex<Scratch?>(nil)

  private static func remove() { keeper.withLock { $0?.remove() } }
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
