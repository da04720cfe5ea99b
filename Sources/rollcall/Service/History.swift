import Comparison
import Ledger
import Reporting

/// What of a report is kept for later nights.
enum History {
  /// One record for each pair and stage; of several tensors of a stage, or several slots, the worst of each layer.
  static func series(_ report: SweepReport, created: Double) -> [SeriesRecord] {
    let labels = Dictionary(
      report.cells.map { cell in (cell.id, cell.values.map { "\($0.axis)=\($0.value)" }.joined(separator: " ")) }
    ) { first, _ in first }
    var records: [[String]: SeriesRecord] = [:]
    for pair in report.pairs where pair.kind != "repeat" {
      let target = labels[pair.targetCell] ?? pair.targetCell
      let reference = labels[pair.referenceCell] ?? pair.referenceCell
      let name = pair.kind == "slots" ? "\(target), slots" : "\(target) against \(reference)"
      for row in pair.comparison.rows {
        guard let measures = row.measures else { continue }
        let empty = SeriesRecord(sweep: report.id, job: report.job, created: created, pair: name, stage: row.stage)
        records[[name, row.stage], default: empty].take(SeriesRecord.Point(row, measures))
      }
    }
    return records.values.sorted { ($0.pair, $0.stage) < ($1.pair, $1.stage) }
  }
}

extension SeriesRecord {
  /// Keeps the worse of a layer's figures, and the worse of its verdicts.
  fileprivate mutating func take(_ point: Point) {
    guard let known = points.firstIndex(where: { $0.layer == point.layer }) else {
      points.append(point)
      return
    }
    let verdict = max(points[known].verdict, point.verdict)
    // A number that is not finite is the worst of all.
    if !points[known].relL2.isNaN, !(point.relL2 <= points[known].relL2) { points[known] = point }
    points[known].verdict = verdict
  }
}

extension SeriesRecord.Point {
  fileprivate init(_ row: ComparisonReport.Row, _ measures: Measures) {
    let verdict: Verdict =
      switch row.verdict {
      case .pass: .pass
      case .inconclusive: .inconclusive
      case .fail: .fail
      }
    self.init(
      layer: Int32(clamping: row.layer ?? -1), verdict: verdict, cos: Float(measures.cos), rel: Float(measures.rel),
      relL2: Float(measures.relL2), alpha: Float(measures.alpha), floor: row.floor.map { Float($0) } ?? .nan)
  }
}
