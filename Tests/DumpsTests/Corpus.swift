import Dumps
import Foundation

/// The dumps that `Python/write_dumps.py` makes: written once, for all tests to read and for none to change.
struct Corpus {
  /// One folder of it.
  let path: String

  init(_ kind: String) async throws { path = "\(try await Self.root.value)/\(kind)" }

  func file(_ name: String) -> String { "\(path)/\(name)" }

  func contents(_ name: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(filePath: file(name)))) }

  private static let root = ScriptFolder.filled(by: "write_dumps.py")
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
