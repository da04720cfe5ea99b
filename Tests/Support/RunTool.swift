import Foundation
import Transports

/// What a tool that a test started has printed, and how it ended.
public struct ToolResult: Sendable {
  public var status: Int
  public var output: String
  public var errorOutput: String
}

/// A tool that a test needs ended with an error.
public struct ToolFailure: Error, CustomStringConvertible {
  public var description: String

  public init(description: String) {
    self.description = description
  }
}

/// Runs a program to its end, without blocking a thread: a test that waits in Foundation's `Process` holds one of the
/// few that all tests share.
///
/// - Parameter input: Its standard input.
/// - Throws: `ToolFailure` where it ends with another status than 0 and `mustSucceed`; `TransportError` after
///   `timeout`.
@discardableResult
public func runTool(
  _ program: String, _ arguments: [String], environment: [String: String] = [:], directory: String? = nil,
  input: String = "", timeout: Duration = .seconds(300), mustSucceed: Bool = true
) async throws -> ToolResult {
  var words = ["exec", "env"]
  words += environment.sorted { $0.key < $1.key }.map { shellQuote("\($0.key)=\($0.value)") }
  words += ([program] + arguments).map(shellQuote)
  let change = directory.map { "cd \(shellQuote($0)) && " } ?? ""
  let result = try await LocalTransport().run(
    change + words.joined(separator: " "), input: Array(input.utf8), limit: 256 << 20, timeout: timeout)
  let tool = ToolResult(
    status: result.status, output: String(decoding: result.output, as: UTF8.self),
    errorOutput: String(decoding: result.errorOutput, as: UTF8.self))
  if mustSucceed, tool.status != 0 {
    throw ToolFailure(
      description: "\(program) \(arguments.joined(separator: " ")) ended with \(tool.status): \(tool.errorOutput)")
  }
  return tool
}

/// Runs a Python program text with the interpreter that `ROLLCALL_TEST_PYTHON` names, else `python3`.
@discardableResult
public func runPython(
  _ text: String, _ arguments: [String] = [], directory: String? = nil, input: String = "",
  timeout: Duration = .seconds(300)
) async throws -> ToolResult {
  try await Scratch.with { scratch in
    let file = try scratch.write("program.py", text)
    return try await runTool(warmPython, [file] + arguments, directory: directory, input: input, timeout: timeout)
  }
}

/// The Python interpreter of the tests.
public let testPython = ProcessInfo.processInfo.environment["ROLLCALL_TEST_PYTHON"] ?? "python3"

/// The same with torch imported already, where `Deploy/warm-python` is at hand: for programs that write and read files.
public let warmPython = ProcessInfo.processInfo.environment["ROLLCALL_TEST_WARM_PYTHON"] ?? testPython
