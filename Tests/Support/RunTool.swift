public import Foundation

/// What a tool that a test started has printed, and how it ended.
public struct ToolResult: Sendable {
  public var status: Int32
  public var output: String
  public var errorOutput: String
}

/// A tool that a test needs ended with an error.
public struct ToolFailure: Error, CustomStringConvertible {
  public var description: String
}

/// Runs a program to its end. Output goes through files, so no pipe can fill.
///
/// - Throws: `ToolFailure` where the program cannot be started, or ends with another status than 0 and `mustSucceed`.
@discardableResult
public func runTool(
  _ program: String, _ arguments: [String], environment: [String: String] = [:], directory: String? = nil,
  mustSucceed: Bool = true
) throws -> ToolResult {
  let scratch = try Scratch()
  defer { scratch.remove() }
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  process.arguments = [program] + arguments
  process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
  if let directory { process.currentDirectoryURL = URL(fileURLWithPath: directory) }
  try scratch.write("out", "")
  try scratch.write("err", "")
  let output = try FileHandle(forWritingTo: URL(fileURLWithPath: scratch.path("out")))
  let errors = try FileHandle(forWritingTo: URL(fileURLWithPath: scratch.path("err")))
  process.standardInput = FileHandle.nullDevice
  process.standardOutput = output
  process.standardError = errors
  try process.run()
  process.waitUntilExit()
  let result = ToolResult(
    status: process.terminationStatus, output: scratch.text("out") ?? "", errorOutput: scratch.text("err") ?? "")
  if mustSucceed, result.status != 0 {
    throw ToolFailure(
      description: "\(program) \(arguments.joined(separator: " ")) ended with \(result.status): \(result.errorOutput)")
  }
  return result
}

/// Runs a Python program text with the interpreter that `ROLLCALL_TEST_PYTHON` names, else `python3`.
@discardableResult
public func runPython(_ text: String, _ arguments: [String] = [], directory: String? = nil) throws -> ToolResult {
  let scratch = try Scratch()
  defer { scratch.remove() }
  let file = try scratch.write("program.py", text)
  return try runTool(testPython, [file] + arguments, directory: directory)
}

/// The Python interpreter of the tests.
public let testPython = ProcessInfo.processInfo.environment["ROLLCALL_TEST_PYTHON"] ?? "python3"
