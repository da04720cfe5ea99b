import Comparison
import Dumps

/// The noise floors as a report's notes show them.
enum NoiseTable {
  static func lines(_ floors: NoiseFloors) -> [String] {
    let rows = floors.table.filter { $0.relL2 > 0 }.sorted {
      ($0.stage, $0.tensor, $0.dtype.rawValue, $0.worldSize ?? 0) < (
        $1.stage, $1.tensor, $1.dtype.rawValue, $1.worldSize ?? 0
      )
    }
    guard !rows.isEmpty else { return [] }
    let words = rows.prefix(24).map { floor in
      let size = floor.worldSize.map { " world size \($0)" } ?? ""
      return
        "\(floor.stage).\(floor.tensor) \(floor.dtype.rawValue)\(size) \(Float(floor.relL2)) (\(floor.source.rawValue), "
        + "\(floor.captures) captures)"
    }
    return ["noise floors, relative L2: " + words.joined(separator: "; ") + (rows.count > 24 ? "; …" : "")]
  }
}
