import Foundation

/// Runs a short Python program with a document on its standard input and gives what it printed.
enum Python {
  struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  static func run(_ program: String, on document: String) throws -> String {
    let scratch = FileManager.default.temporaryDirectory.appendingPathComponent("rollcall-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: scratch, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: scratch) }
    let script = scratch.appendingPathComponent("check.py")
    let input = scratch.appendingPathComponent("document")
    let output = scratch.appendingPathComponent("output")
    try program.write(to: script, atomically: true, encoding: .utf8)
    try document.write(to: input, atomically: true, encoding: .utf8)
    try Data().write(to: output)
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [ProcessInfo.processInfo.environment["ROLLCALL_TEST_PYTHON"] ?? "python3", script.path]
    process.standardInput = try FileHandle(forReadingFrom: input)
    process.standardOutput = try FileHandle(forWritingTo: output)
    process.standardError = process.standardOutput
    try process.run()
    process.waitUntilExit()
    let text = try String(contentsOf: output, encoding: .utf8)
    guard process.terminationStatus == 0 else { throw Failure(description: text) }
    return text.trimmingCharacters(in: .whitespacesAndNewlines)
  }
}
