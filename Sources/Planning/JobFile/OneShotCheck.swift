import OrderedCollections

/// A one-shot dump of ATOM holds the warm-up call only: asking it for another call cannot give a verdict.
enum OneShotCheck {
  static let variable = "ATOM_FWD_DUMP_ONE_SHOT"

  static func warnings(_ plan: Plan) -> [String] {
    let cells = plan.cells.filter { cell in
      guard let dumps = cell.dumps, dumps.layout == "atom", dumps.select != .warmUp else { return false }
      // ATOM's own default is one-shot.
      return !["0", "false", "no", "off"].contains((cell.run.env[variable] ?? "1").lowercased())
    }
    guard let first = cells.first else { return [] }
    let isUnset = first.run.env[variable] == nil
    let more = cells.count > 1 ? " and \(cells.count - 1) more" : ""
    return [
      "\(first.label)\(more): \(variable) is \(isUnset ? "not set, and ATOM's default is one-shot" : "one-shot"): "
        + "the file holds the warm-up call; set `dumps.select: warm-up` for these cells (see `overrides`), "
        + "or \(variable): 0"
    ]
  }
}
