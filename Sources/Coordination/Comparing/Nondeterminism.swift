import Alignment
public import Comparison
import Diagnosis
import Dumps
public import Reporting

extension DumpComparer {
  /// Names what the repeats of either side showed: a side whose repeats are not the same bytes is not deterministic.
  ///
  /// Within noise that is a finding only. Beyond it, a target FAILs (what it computes changes from run to run) and a
  /// doubtful reference makes the comparison INCONCLUSIVE: noise of that size would excuse any bug.
  public static func noteRepeats(
    _ report: ComparisonReport, reference: NoiseFloors, target: NoiseFloors
  ) -> ComparisonReport {
    var report = report
    apply(target, side: "target", beyond: .fail, &report)
    apply(reference, side: "reference", beyond: .inconclusive, &report)
    return report
  }

  private static func apply(
    _ floors: NoiseFloors, side: String, beyond: Verdict, _ report: inout ComparisonReport
  ) {
    let differing = Set(floors.nondeterministic)
    guard !differing.isEmpty else { return }
    let unmeasured = Set(floors.unmeasured)
    func key(_ row: ComparisonReport.Row) -> CaptureKey {
      CaptureKey(layer: row.layer, stage: row.stage, tensor: row.tensor)
    }
    func spread(_ row: ComparisonReport.Row) -> Double { floors.relL2[key(row)] ?? 0 }
    func isBeyondMeasure(_ row: ComparisonReport.Row) -> Bool { unmeasured.contains(key(row)) }
    // Rows stand in execution order.
    let rows = report.rows.indices.filter { differing.contains(key(report.rows[$0])) }
    let wild = rows.filter { index in
      let row = report.rows[index]
      return isBeyondMeasure(row) || spread(row) > Judge.repeatCeiling(row.dtype)
    }
    guard let first = (wild.first ?? rows.first).map({ report.rows[$0] }) else { return }
    for index in wild where report.rows[index].verdict != .fail {
      report.rows[index].verdict = beyond
      report.rows[index].why =
        isBeyondMeasure(report.rows[index])
        ? "repeats of the \(side) differ by more than can be measured: values that are not finite, zeros on one side, or "
          + "another shape"
        : "repeats of the \(side) differ by \(Float(spread(report.rows[index]))): more than rounding explains"
    }
    var evidence = ["captures": Double(rows.count), "spread": rows.map { spread(report.rows[$0]) }.max() ?? 0]
    let beyondCount = rows.count { isBeyondMeasure(report.rows[$0]) }
    if beyondCount > 0 { evidence["not_measured"] = Double(beyondCount) }
    let place = first.layer.map { "layer \($0) \(first.stage)" } ?? first.stage
    let finding = Finding(
      cause: "nondeterminism", layer: first.layer, stage: first.stage, confidence: .certain,
      evidence: evidence,
      summary: "Repeats of the \(side) are not the same bytes, first at \(place)"
        + (wild.isEmpty ? "; they differ within noise." : ", and differ by more than rounding explains."),
      next: "Run the cell twice with one all-reduce strategy after the other, and with atomics off: what makes the "
        + "repeats equal is the source.")
    if wild.isEmpty {
      report.findings.append(finding)
    } else {
      report.findings.insert(finding, at: 0)
      report.verdict = Verdict.combined([report.verdict, beyond])
      if report.firstDivergence == nil, beyond == .fail {
        report.firstDivergence = ComparisonReport.Divergence(layer: first.layer, stage: first.stage)
      }
    }
  }
}
