import Foundation
import Planning
import Testing

/// A directory of its own for one test, removed at the end.
struct Scratch: ~Copyable {
  let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory.appendingPathComponent("rollcall-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// Writes `text` and returns the path.
  @discardableResult
  func write(_ name: String, _ text: String) throws -> String {
    let file = path + "/" + name
    try FileManager.default.createDirectory(
      atPath: (file as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
    try Data(text.utf8).write(to: URL(fileURLWithPath: file))
    return file
  }
}

/// The problems of a job text, one `line:column: message` each, with the suggestion in brackets.
func problems(_ text: String, cellLimit: Int = Planner.defaultCellLimit) -> [String] {
  do {
    _ = try Planner.plan(text: text, path: "job.yaml", cellLimit: cellLimit)
    return []
  } catch {
    return error.problems.map { problem in
      "\(problem.line):\(problem.column): \(problem.message)" + (problem.suggestion.map { " [\($0)]" } ?? "")
    }
  }
}

/// A plan whose job file has this matrix and a plain command.
func plan(matrix: String, rest: String = "") throws -> Plan {
  try Planner.plan(
    text: "name: t\nmatrix: \(matrix)\nrun: {command: echo}\n\(rest)", path: "job.yaml")
}

struct ToolResult {
  var status: Int32
  var output: String
  var errors: String
}

/// Runs a program to its end.
func runTool(
  _ arguments: [String], environment: [String: String]? = nil, directory: String? = nil
) throws -> ToolResult {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  process.arguments = arguments
  if let environment { process.environment = environment }
  if let directory { process.currentDirectoryURL = URL(fileURLWithPath: directory) }
  let output = Pipe()
  let errors = Pipe()
  process.standardOutput = output
  process.standardError = errors
  process.standardInput = FileHandle.nullDevice
  try process.run()
  let outputData = output.fileHandleForReading.readDataToEndOfFile()
  let errorData = errors.fileHandleForReading.readDataToEndOfFile()
  process.waitUntilExit()
  return ToolResult(
    status: process.terminationStatus, output: String(decoding: outputData, as: UTF8.self),
    errors: String(decoding: errorData, as: UTF8.self))
}
