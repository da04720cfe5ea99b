import Foundation

/// The system's time zone database.
enum ZoneInfo {
  enum Answer {
    case known
    case unknown(nearest: String?)
    case noDatabase
  }

  static let directory = ProcessInfo.processInfo.environment["TZDIR"] ?? "/usr/share/zoneinfo"

  static func find(_ name: String) -> Answer {
    if name == "UTC" { return .known }
    guard FileManager.default.fileExists(atPath: directory) else { return .noDatabase }
    let isName = name.utf8.allSatisfy { byte in
      (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
        || "_+-/".utf8.contains(byte)
    }
    let isPath = name.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { !$0.isEmpty }
    if isName, isPath, holdsZone(name) { return .known }
    let names = FileManager.default.subpaths(atPath: directory) ?? []
    let zones = names.filter { $0.first?.isUppercase == true && !$0.contains(".") }.sorted()
    return .unknown(nearest: Spelling.nearest(to: name, in: zones))
  }

  private static func holdsZone(_ name: String) -> Bool {
    guard let file = FileHandle(forReadingAtPath: directory + "/" + name) else { return false }
    defer { try? file.close() }
    return (try? file.read(upToCount: 4)) == Data("TZif".utf8)
  }
}
