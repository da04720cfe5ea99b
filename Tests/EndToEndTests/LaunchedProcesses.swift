import Foundation

/// Processes that bear the mark of an attempt below a directory.
func launchedProcesses(below directory: String) throws -> [String] {
  try FileManager.default.contentsOfDirectory(atPath: "/proc").filter { entry in
    guard entry.allSatisfy(\.isNumber),
      let data = FileManager.default.contents(atPath: "/proc/\(entry)/environ")
    else { return false }
    return data.split(separator: 0).contains { word in
      let text = String(decoding: word, as: UTF8.self)
      return text.hasPrefix("ROLLCALL_LAUNCH=") && text.contains(directory)
    }
  }
}
