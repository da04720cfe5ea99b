public import Comparison
import Foundation
import Reporting

/// Floors from stored reports of comparisons that are known to be right.
public enum KnownGood {
  private static let byteLimit = 1 << 30

  /// - Parameter paths: files with one `rollcall.comparison/1` or `rollcall.sweep/1` document each. Of a sweep the
  ///   comparisons with a reference count; those that did not pass are named and give no floor.
  /// - Throws: `ReportError` for a file that is no such report.
  public static func floors(_ paths: [String]) throws -> NoiseFloors {
    var floors = NoiseFloors()
    for path in paths {
      let found = DumpComparer.floors(knownGood: try reports(path))
      if found.table.isEmpty, found.notes.isEmpty { floors.notes.append("\(path) holds no comparison") }
      floors.merge(found)
    }
    return floors
  }

  private static func reports(_ path: String) throws -> [ComparisonReport] {
    func failure(_ message: String) -> ReportError {
      ReportError(code: .wrongValue, place: path, message: message)
    }
    var isDirectory: ObjCBool = false
    if FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory), isDirectory.boolValue {
      throw failure("is a directory; name a report's file")
    }
    guard let handle = Foundation.FileHandle(forReadingAtPath: path) else {
      throw failure("there is no such file; write one with compare --json or report --format json")
    }
    defer { try? handle.close() }
    guard try handle.seekToEnd() <= UInt64(byteLimit) else { throw failure("is larger than \(byteLimit) bytes") }
    try handle.seek(toOffset: 0)
    guard let text = String(validating: try handle.readToEnd() ?? Data(), as: UTF8.self) else {
      throw failure("is not UTF-8")
    }
    if let one = try? ComparisonReport(json: text) { return [one] }
    do {
      return try SweepReport(json: text).pairs.filter { $0.kind == "reference" }.map(\.comparison)
    } catch {
      throw failure("is neither a comparison's report nor a sweep's: \(error)")
    }
  }
}
