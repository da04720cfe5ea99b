import Alignment
import Comparison
import Diagnosis
import OrderedCollections
public import Planning
public import Playbooks
public import Reporting

extension Outcome {
  /// What playbooks look at in a sweep's report. Figures that are not finite are left out: JSON has none.
  public init(_ report: SweepReport, plan: Plan) {
    let values = Dictionary(uniqueKeysWithValues: plan.cells.map { ($0.id, $0.values) })
    let runs = report.cells.flatMap(\.runs)
    self.init(
      sweep: report.id, verdict: report.verdict, sentence: report.sentence, runCount: runs.count,
      failedRuns: runs.filter { $0.state != "succeeded" }.map { run in
        let why = run.attempts.last?.why ?? run.attempts.last?.exitCode.map { "exit code \($0)" }
        return "run \(run.id) \(run.state)" + (why.map { ": \($0)" } ?? "")
      },
      pairs: report.pairs.map { pair in
        Pair(
          kind: pair.kind, reference: values[pair.referenceCell] ?? [:], target: values[pair.targetCell] ?? [:],
          verdict: pair.comparison.verdict,
          findings: pair.comparison.findings.map { finding in
            var finding = finding
            finding.evidence = finding.evidence.filter(\.value.isFinite)
            return finding
          },
          rows: pair.comparison.rows.map(Row.init), unmatched: pair.comparison.coverage.unmatched)
      },
      notes: report.notes + report.pairs.flatMap(\.comparison.notes))
  }
}

extension Outcome.Row {
  init(_ row: ComparisonReport.Row) {
    func finite(_ value: Double?) -> Double? { value.flatMap { $0.isFinite ? $0 : nil } }
    self.init(
      layer: row.layer, stage: row.stage, tensor: row.tensor, slot: row.slot, verdict: row.verdict,
      cos: finite(row.measures?.cos), relL2: finite(row.measures?.relL2), alpha: finite(row.measures?.alpha),
      isByteEqual: row.measures.map { $0.byteEqual == 1 },
      loop: row.call.loop.flatMap { Outcome.SequenceLoop(rawValue: $0.rawValue) })
  }
}
