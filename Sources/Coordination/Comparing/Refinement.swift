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
          divergence: report.firstDivergence.map { (layer: $0.layer, stage: $0.stage) })
      })
    return zip(reports, refined).map { original, refined in
      var report = original.report
      report.findings = refined.findings
      return (original.worldSize, report)
    }
  }
}
