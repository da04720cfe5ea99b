import Crypto
import Foundation
public import OrderedCollections

/// Turns a job file into a checked, expanded `Plan`.
public enum Planner {
  public static let defaultCellLimit = 10_000

  /// Reads and plans the job file at `path`.
  ///
  /// - Throws: `PlanningError` with every problem that was found.
  public static func plan(
    jobFile path: String, cellLimit: Int = defaultCellLimit
  ) throws(PlanningError) -> Plan {
    try plan(text: YAMLFile.read(path), path: path, cellLimit: cellLimit)
  }

  /// Plans the text of a job file; `path` is for messages, and its directory is where `files` start.
  ///
  /// - Parameter cells: axis values in the place of the job's matrix.
  /// - Throws: `PlanningError` with every problem that was found.
  public static func plan(
    text: String, path: String, cells: [OrderedDictionary<String, AxisValue>]? = nil,
    cellLimit: Int = defaultCellLimit
  ) throws(PlanningError) -> Plan {
    let file = try YAMLFile(text: text, name: path)
    var reading = Reading()
    guard let job = JobKeys.shape.read(file.root, &reading) else {
      try reading.throwIfAny(file: path)
      throw PlanningError(
        code: .invalid, file: path, problems: [.init(line: 1, column: 1, path: "", message: "is not a job file")])
    }
    var expansion = Expansion(file: file, job: job, baseDirectory: baseDirectory(of: path), reading: reading)
    let plan = expansion.plan(cellLimit: cellLimit, given: cells)
    try expansion.reading.throwIfAny(file: path)
    guard let plan else {
      throw PlanningError(
        code: .invalid, file: path, problems: [.init(line: 1, column: 1, path: "", message: "cannot be planned")])
    }
    return plan
  }

  static func baseDirectory(of path: String) -> String {
    URL(fileURLWithPath: path).deletingLastPathComponent().standardizedFileURL.path
  }
}

extension Cell {
  /// First 12 hex digits of SHA-256 over the JSON of `values` with sorted keys and no spaces.
  public static func id(of values: OrderedDictionary<String, AxisValue>) -> String {
    let members = values.sorted { $0.key < $1.key }.map { (key: $0.key, value: $0.value.json) }
    let digest = SHA256.hash(data: Data(JSONText.object(members).text().utf8))
    return digest.prefix(6).map { byte in
      let hex = String(byte, radix: 16)
      return hex.count == 1 ? "0" + hex : hex
    }.joined()
  }
}
