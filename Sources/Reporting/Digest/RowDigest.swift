import Comparison

/// The rows worth showing: every one that is not PASS, and of each stage's passing ones the worst.
struct RowDigest {
  struct Rest {
    var stage: String
    var count: Int
  }

  /// In execution order.
  var rows: [ComparisonReport.Row]
  /// Passing rows left out, by stage.
  var rest: [Rest]
  /// Rows that are not PASS and were left out because there are more than `limit`.
  var hiddenProblems: Int

  init(_ report: ComparisonReport, verbose: Bool = false, limit: Int = .max) {
    var worst: [String: Int] = [:]
    var counts: [String: Int] = [:]
    var stages: [String] = []
    var chosen: [Int] = []
    hiddenProblems = 0
    for (index, row) in report.rows.enumerated() {
      if verbose {
        chosen.append(index)
      } else if row.verdict == .pass {
        if counts[row.stage] == nil { stages.append(row.stage) }
        counts[row.stage, default: 0] += 1
        if let best = worst[row.stage], report.rows[best].severity >= row.severity { continue }
        worst[row.stage] = index
      } else if chosen.count < limit {
        chosen.append(index)
      } else {
        hiddenProblems += 1
      }
    }
    // A model with hundreds of stages keeps to the limit as well; the count below covers what is left out.
    let passing = stages.compactMap { worst[$0] }.prefix(max(0, limit - chosen.count))
    chosen += passing
    rows = chosen.sorted().map { report.rows[$0] }
    let kept = Set(passing.map { report.rows[$0].stage })
    rest = stages.compactMap { stage in
      let count = (counts[stage] ?? 0) - (kept.contains(stage) ? 1 : 0)
      return count > 0 ? Rest(stage: stage, count: count) : nil
    }
  }

  /// `31 more passing rows: Block 15, MoE 16`, or nil where none is left out.
  var restText: String? {
    guard !rest.isEmpty else { return nil }
    let stages = rest.prefix(12).map { "\($0.stage) \($0.count)" }.joined(separator: ", ")
    let more = rest.count > 12 ? ", …" : ""
    return "\(Figures.count(rest.map(\.count).saturatingSum, "more passing row")): \(stages)\(more)"
  }

  var hiddenText: String? {
    guard hiddenProblems > 0 else { return nil }
    return "\(Figures.count(hiddenProblems, "more row")) that did not pass; the JSON record lists every row"
  }
}
