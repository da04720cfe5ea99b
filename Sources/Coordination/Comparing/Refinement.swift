import Comparison
import Diagnosis
public import Reporting

extension DumpComparer {
  /// Corrects the findings of comparisons against one reference at several world sizes by their trend.
  ///
  /// - Returns: the reports in the same order; only findings change.
  public static func refine(
    _ reports: [(worldSize: Int, report: ComparisonReport)]
  ) -> [(worldSize: Int, report: ComparisonReport)] {
    let refined = Trend.refined(
      reports.map { size, report in
        WorldSizeFindings(
          worldSize: size, findings: report.findings,
          divergence: report.firstDivergence.map { (layer: $0.layer, stage: $0.stage) }, evidence: report.evidence)
      })
    return zip(reports, refined).map { original, refined in
      var report = original.report
      report.findings = refined.findings
      return (original.worldSize, report)
    }
  }

  /// Adds what the other axes of a sweep say: one strategy or backend fails and the others pass.
  ///
  /// - Parameter reports: the comparisons of one sweep against one reference, with their cells' axes (world size left
  ///   out).
  /// - Returns: the reports in the same order; only findings change.
  public static func refine(
    axes reports: [(worldSize: Int, values: [String: String], report: ComparisonReport)]
  ) -> [ComparisonReport] {
    let refined = AxisTrend.refined(
      reports.map { size, values, report in
        CellFindings(
          worldSize: size, values: values, findings: report.findings, isFailed: report.verdict == .fail,
          layer: report.firstDivergence?.layer, stage: report.firstDivergence?.stage)
      })
    return zip(reports, refined).map { original, refined in
      var report = original.report
      report.findings = refined.findings
      return report
    }
  }
}
