import OrderedCollections

extension Plan {
  /// The axes, then the keys that `include` added, in the order of their first cell.
  public var columns: [String] {
    var names = OrderedSet(axes)
    for cell in cells { names.append(contentsOf: cell.values.keys) }
    return names.elements
  }

  /// Cell id → the cell that it is compared with under `reference: {axis: value}`: that one has these values, and all
  /// other axes are equal. A reference cell is its own. Without entry: cells for which there is no such cell or more
  /// than one, and all cells under another kind of reference.
  public func referenceCells() -> [String: Cell] {
    guard compare.mode == .reference, case .cell(let reference) = compare.reference else { return [:] }
    var names = OrderedSet(axes)
    names.append(contentsOf: reference.keys)
    func key(_ cell: Cell, _ isReference: Bool) -> [AxisValue?] {
      names.map { isReference ? reference[$0] ?? cell.values[$0] : cell.values[$0] }
    }
    let byValues = Dictionary(grouping: cells) { key($0, false) }
    var partners: [String: Cell] = [:]
    for cell in cells {
      let candidates = byValues[key(cell, true)] ?? []
      if candidates.contains(where: { $0.id == cell.id }) {
        partners[cell.id] = cell
      } else if candidates.count == 1 {
        partners[cell.id] = candidates[0]
      } else {
        // Keys that `include` added decide only where the axes do not.
        let added = cell.values.keys.filter { !names.contains($0) }
        let nearest = candidates.filter { candidate in added.allSatisfy { candidate.values[$0] == cell.values[$0] } }
        if nearest.count == 1 { partners[cell.id] = nearest[0] }
      }
    }
    return partners
  }

  /// The entry of `referenceCells()` for one cell.
  public func referenceCell(for cell: Cell) -> Cell? { referenceCells()[cell.id] }
}
