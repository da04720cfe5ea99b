import Comparison

/// The rows of one comparison laid out by layer and stage, for the heat map and the curves.
struct LayerGrid {
  /// A column: a layer, or what stands before the first or after the last one (embedding, final norm).
  enum Column: Hashable {
    case before
    case layer(Int)
    case after

    var label: String {
      switch self {
      case .before: "pre"
      case .layer(let number): String(number)
      case .after: "post"
      }
    }

    fileprivate var order: (Int, Int) {
      switch self {
      case .before: (0, 0)
      case .layer(let number): (1, number)
      case .after: (2, 0)
      }
    }
  }

  /// The worst row of one layer and stage: a row that fails before one that passes, then by relative L2.
  struct Cell {
    var row: ComparisonReport.Row
    /// Rows (tensors, slots) it stands for.
    var count: Int
  }

  var columns: [Column]
  /// In order of first appearance.
  var stages: [String]
  /// By stage, then by column; nil where nothing was compared.
  var cells: [[Cell?]]

  init(_ report: ComparisonReport) {
    stages = report.rows.map(\.stage).unique()
    var found: Set<Column> = []
    var places: [Column] = []
    places.reserveCapacity(report.rows.count)
    var seenLayer = false
    for row in report.rows {
      let column: Column = row.layer.map { .layer($0) } ?? (seenLayer ? .after : .before)
      if row.layer != nil { seenLayer = true }
      places.append(column)
      found.insert(column)
    }
    columns = found.sorted { $0.order < $1.order }
    let stageIndex = Dictionary(uniqueKeysWithValues: stages.enumerated().map { ($1, $0) })
    let columnIndex = Dictionary(uniqueKeysWithValues: columns.enumerated().map { ($1, $0) })
    cells = Array(repeating: Array(repeating: nil, count: columns.count), count: stages.count)
    for (row, place) in zip(report.rows, places) {
      guard let stage = stageIndex[row.stage], let column = columnIndex[place] else { continue }
      guard let cell = cells[stage][column] else {
        cells[stage][column] = Cell(row: row, count: 1)
        continue
      }
      let worse = Self.rank(row) > Self.rank(cell.row)
      cells[stage][column] = Cell(row: worse ? row : cell.row, count: cell.count + 1)
    }
  }

  private static func rank(_ row: ComparisonReport.Row) -> (Int, Double) {
    switch row.verdict {
    case .pass: (0, row.severity)
    case .inconclusive: (1, row.severity)
    case .fail: (2, row.severity)
    }
  }

  /// Stages by their worst cell, the worst first.
  var stagesByWorst: [Int] {
    let worst = cells.map { line in
      line.compactMap { $0.map { Self.rank($0.row) } }.max { $0 < $1 } ?? (0, 0)
    }
    return stages.indices.sorted { worst[$1] < worst[$0] || (worst[$0] == worst[$1] && $0 < $1) }
  }
}
