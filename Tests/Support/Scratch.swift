import Foundation

/// A directory of one test, removed when the closure ends; `ROLLCALL_KEEP_SCRATCH=1` keeps it.
public struct Scratch: Sendable {
  /// Absolute, no trailing slash.
  public let path: String

  /// Makes the directory, runs `body`, removes the directory, whatever `body` does.
  public static func with<Value>(_ body: (Scratch) async throws -> Value) async throws -> Value {
    let scratch = try Scratch()
    defer { scratch.remove() }
    return try await body(scratch)
  }

  /// Makes a directory that the caller must `remove()`.
  public init() throws {
    path = FileManager.default.temporaryDirectory.path + "/rollcall-test-" + UUID().uuidString.lowercased()
    // Readable by all: sshd insists on nobody else being able to write, no more.
    try FileManager.default.createDirectory(
      atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
  }

  public func remove() {
    if ProcessInfo.processInfo.environment["ROLLCALL_KEEP_SCRATCH"] == nil {
      try? FileManager.default.removeItem(atPath: path)
    }
  }

  /// An absolute path inside.
  public func path(_ name: String) -> String { path + "/" + name }

  /// Makes a directory inside and gives its absolute path.
  @discardableResult
  public func directory(_ name: String) throws -> String {
    try FileManager.default.createDirectory(atPath: path(name), withIntermediateDirectories: true)
    return path(name)
  }

  /// Writes a text file inside and gives its absolute path.
  @discardableResult
  public func write(_ name: String, _ text: String, permissions: Int = 0o644) throws -> String {
    try write(name, Array(text.utf8), permissions: permissions)
  }

  /// Writes a file of bytes inside and gives its absolute path.
  @discardableResult
  public func write(_ name: String, _ bytes: [UInt8], permissions: Int = 0o644) throws -> String {
    let file = path(name)
    try FileManager.default.createDirectory(
      atPath: (file as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
    try Data(bytes).write(to: URL(fileURLWithPath: file))
    try FileManager.default.setAttributes([.posixPermissions: permissions], ofItemAtPath: file)
    return file
  }

  /// The text of a file inside, nil where there is none.
  public func text(_ name: String) -> String? {
    (try? Data(contentsOf: URL(fileURLWithPath: path(name)))).map { String(decoding: $0, as: UTF8.self) }
  }
}
