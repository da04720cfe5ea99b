import Foundation
import Synchronization
import TestSupport

/// A folder that a script of `Python/` fills: once, for all tests to read and for none to change. It goes when the
/// process ends.
enum ScriptFolder {
  /// A task of its own: the first test that asks starts it, all wait for it, and none may cancel it for the others.
  static func filled(by script: String) -> Task<String, any Error> {
    Task {
      let scratch = try Scratch()
      keep(scratch)
      let path = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Python/\(script)").path
      try await runTool(warmPython, ["-B", "-W", "ignore", path, scratch.path])
      return scratch.path
    }
  }

  private static let kept = Mutex<[Scratch]>([])

  private static func keep(_ scratch: Scratch) {
    let isFirst = kept.withLock { kept in
      kept.append(scratch)
      return kept.count == 1
    }
    if isFirst { atexit { ScriptFolder.removeAll() } }
  }

  private static func removeAll() {
    kept.withLock { kept in
      for scratch in kept { scratch.remove() }
    }
  }
}
