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
        var record =
          records[[name, row.stage]]
          ?? SeriesRecord(
            sweep: report.id, job: report.job, created: created, pair: name, stage: row.stage,
            verdict: pair.comparison.verdict.rawValue)
        record.add(Int32(clamping: row.layer ?? -1), measures, floor: row.floor)
        records[[name, row.stage]] = record
      }
    }
    return records.values.sorted { ($0.pair, $0.stage) < ($1.pair, $1.stage) }
  }
}

extension SeriesRecord {
  fileprivate mutating func add(_ layer: Int32, _ measures: Measures, floor: Double?) {
    let relL2 = Float(measures.relL2)
    let floor = floor.map { Float($0) } ?? .nan
    guard let known = layers.firstIndex(of: layer) else {
      layers.append(layer)
      cos.append(Float(measures.cos))
      rel.append(Float(measures.rel))
      self.relL2.append(relL2)
      alpha.append(Float(measures.alpha))
      self.floor.append(floor)
      return
    }
    // A number that is not finite is the worst of all.
    guard !self.relL2[known].isNaN, !(relL2 <= self.relL2[known]) else { return }
    cos[known] = Float(measures.cos)
    rel[known] = Float(measures.rel)
    self.relL2[known] = relL2
    alpha[known] = Float(measures.alpha)
    self.floor[known] = floor
  }
}
