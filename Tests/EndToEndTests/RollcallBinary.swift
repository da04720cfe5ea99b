import Foundation
import Subprocess
import Testing

/// The built `rollcall`, run as a person runs it.
struct RollcallBinary {
  struct Outcome {
    var status: Int
    var output: String
    var errorOutput: String

    /// The one JSON document on standard output.
    func json() throws -> [String: Any] {
      let object = try JSONSerialization.jsonObject(with: Data(output.utf8))
      return try #require(object as? [String: Any], "standard output is not one JSON object: \(output.prefix(400))")
    }
  }

  /// Beside the test bundle in the build folder.
  static var path: String {
    get throws {
      let folder = URL(fileURLWithPath: CommandLine.arguments[0]).resolvingSymlinksInPath().deletingLastPathComponent()
      let path = folder.appendingPathComponent("rollcall").path
      try #require(FileManager.default.isExecutableFile(atPath: path), "no rollcall beside the tests at \(path)")
      return path
    }
  }

  /// The repository's root, from this file's place.
  static let repository = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path

  /// The interpreter with PyTorch that `Deploy/test` found.
  static var python: String {
    let environment = ProcessInfo.processInfo.environment
    return environment["ROLLCALL_TEST_PYTHON"].flatMap { $0.isEmpty ? nil : $0 } ?? "python3"
  }

  var store: String
  var directory: String
  var environment: [String: String] = [:]

  func callAsFunction(_ arguments: String...) async throws -> Outcome { try await run(arguments) }

  func run(_ arguments: [String]) async throws -> Outcome {
    var overrides: [Environment.Key: String?] = [
      "ROLLCALL_STORE": store, "ROLLCALL_PYTHON": Self.python, "NO_COLOR": "1",
    ]
    for (name, value) in environment { overrides[Environment.Key(stringLiteral: name)] = value }
    let result = try await Subprocess.run(
      .path(FilePath(try Self.path)), arguments: Arguments(arguments), environment: .inherit.updating(overrides),
      workingDirectory: FilePath(directory), output: .string(limit: 64 << 20), error: .string(limit: 64 << 20))
    let status: Int =
      switch result.terminationStatus {
      case .exited(let code): Int(code)
      case .signaled(let signal): 128 + Int(signal)
      }
    return Outcome(status: status, output: result.standardOutput ?? "", errorOutput: result.standardError ?? "")
  }
}
