import Foundation
import TestSupport
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

  var store: String
  var directory: String
  var environment: [String: String] = [:]

  /// For tests of what runs say and not of their processes: Python there has torch imported already.
  static func warm(in scratch: Scratch) -> RollcallBinary {
    RollcallBinary(
      store: scratch.path("store"), directory: scratch.path, environment: ["ROLLCALL_PYTHON": warmPython])
  }

  func callAsFunction(_ arguments: String...) async throws -> Outcome { try await run(arguments) }

  /// What it sees beside the tests' own environment.
  var variables: [String: String] {
    ["ROLLCALL_STORE": store, "ROLLCALL_PYTHON": testPython, "NO_COLOR": "1"].merging(environment) { $1 }
  }

  func run(_ arguments: [String]) async throws -> Outcome {
    let result = try await runTool(
      try Self.path, arguments, environment: variables, directory: directory, timeout: .seconds(900),
      mustSucceed: false)
    return Outcome(status: result.status, output: result.output, errorOutput: result.errorOutput)
  }
}
