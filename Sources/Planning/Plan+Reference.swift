import OrderedCollections

extension Plan {
  /// The axes, then the keys that `include` added, in the order of their first cell.
  public var columns: [String] {
    var names = OrderedSet(axes)
    for cell in cells { names.append(contentsOf: cell.values.keys) }
    return names.elements
  }

  /// The cell that `cell` is compared with under `reference: {axis: value}`: it has these values, and all other axes
  /// are equal. A reference cell is its own. nil where there is no such cell, more than one, or another kind of
  /// reference.
  public func referenceCell(for cell: Cell) -> Cell? {
    guard compare.mode == .reference, case .cell(let reference) = compare.reference else { return nil }
    var names = OrderedSet(axes)
    names.append(contentsOf: reference.keys)
    let candidates = cells.filter { candidate in
      names.allSatisfy { candidate.values[$0] == reference[$0] ?? cell.values[$0] }
    }
    if candidates.contains(where: { $0.id == cell.id }) { return cell }
    if candidates.count < 2 { return candidates.first }
    // Keys that `include` added decide only where the axes do not.
    let added = cell.values.keys.filter { !names.contains($0) }
    let nearest = candidates.filter { candidate in added.allSatisfy { candidate.values[$0] == cell.values[$0] } }
    return nearest.count == 1 ? nearest[0] : nil
  }

  /// True where `cell` is a reference that others are compared with.
  public func isReference(_ cell: Cell) -> Bool { referenceCell(for: cell)?.id == cell.id }
}
