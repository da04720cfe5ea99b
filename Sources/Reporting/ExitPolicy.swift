public import Comparison

/// What a finished command says to the shell about its report.
///
/// 0 PASS, 1 FAIL, 2 INCONCLUSIVE, 3 a run failed (its command or its host). Where several hold, the first of
/// 1, 3, 2, 0.
public enum ExitPolicy {
  public static func code(for report: SweepReport) -> Int32 {
    code(verdict: report.verdict, hasFailedRuns: report.hasFailedRuns || !report.failedRuns.isEmpty)
  }

  public static func code(for report: ComparisonReport) -> Int32 {
    code(verdict: report.verdict, hasFailedRuns: false)
  }

  public static func code(verdict: Verdict, hasFailedRuns: Bool) -> Int32 {
    switch (verdict, hasFailedRuns) {
    case (.fail, _): 1
    case (_, true): 3
    case (.inconclusive, false): 2
    case (.pass, false): 0
    }
  }
}
