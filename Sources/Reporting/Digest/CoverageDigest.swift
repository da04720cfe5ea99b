import Dumps
import OrderedCollections

/// What the comparisons of a sweep left out, gathered over all of them: a line a reason, the gravest first.
struct CoverageDigest {
  private struct Gap {
    var count = 0
    /// Titles of the comparisons, in their order.
    var titles: [String] = []
    var comparisons = 0
    var files: [String] = []
  }

  private var gaps: [CoverageLedger.Reason: Gap] = [:]
  /// Line → how many comparisons have it: repeats of a cell have the same title.
  private var others: OrderedDictionary<String, Int> = [:]
  private var comparisons = 0
  private var compared = 0
  private var captures = 0

  init(_ report: SweepReport) {
    for pair in report.pairs {
      let title = report.title(pair)
      let coverage = pair.comparison.coverage
      comparisons += 1
      for side in [coverage.ledger?.reference, coverage.ledger?.target].compactMap({ $0 }) {
        captures = captures.addingReportingOverflow(side.captures).partialValue
        compared = compared.addingReportingOverflow(side.compared).partialValue
      }
      for reason in CoverageLedger.Reason.allCases { take(reason, of: coverage, title) }
      let lines =
        coverage.unmatched.map { "unmatched: \($0)" }
        + coverage.unreadable.map { "unreadable: \($0.file): \($0.why)" }
      for line in lines { others["\(title): \(line)", default: 0] += 1 }
    }
  }

  private mutating func take(_ reason: CoverageLedger.Reason, of coverage: ComparisonReport.Coverage, _ title: String) {
    let sides = [coverage.ledger?.reference, coverage.ledger?.target].compactMap { $0 }
    let count = sides.reduce(0) { $0.addingReportingOverflow($1.counts[reason] ?? 0).partialValue }
    guard count > 0 else { return }
    var gap = gaps[reason] ?? Gap()
    gap.count = gap.count.addingReportingOverflow(count).partialValue
    gap.comparisons += 1
    if !gap.titles.contains(title) { gap.titles.append(title) }
    if gap.files.count < 3 {
      gap.files += sides.flatMap(\.entries).lazy.filter { $0.reason == reason }.map(\.file).prefix(3)
      gap.files = gap.files.unique()
    }
    gaps[reason] = gap
  }

  /// Empty where all was compared.
  var lines: [String] {
    var lines = others.map { $0.value > 1 ? "\($0.key) (in \($0.value) comparisons)" : $0.key }
    for reason in CoverageLedger.Reason.allCases {
      guard let gap = gaps[reason] else { continue }
      var line = "\(reason.rawValue), \(reason.words): \(gap.count)"
      line += gap.comparisons == 1 ? "" : " in \(gap.comparisons) of \(comparisons) comparisons"
      if reason.isGap {
        line += " (\(gap.titles.prefix(3).joined(separator: "; "))\(gap.titles.count > 3 ? "; …" : ""))"
      }
      if !gap.files.isEmpty { line += ", for instance \(gap.files.prefix(3).joined(separator: ", "))" }
      lines.append(line)
    }
    guard !lines.isEmpty else { return [] }
    return [
      "\(compared) of \(Figures.count(captures, "capture")) compared; `rollcall report` has the account of each comparison"
    ] + lines
  }
}

extension CoverageLedger.Reason {
  fileprivate var words: String {
    switch self {
    case .unreadable: "files and values that cannot be read"
    case .unrecognised: "files whose names the layout does not know"
    case .plain: "values that are no tensors"
    case .stale: "older than the attempt"
    case .duplicate: "second captures of one place"
    case .noPartner: "nothing like it on the other side"
    case .noRule: "no name rule joins them"
    case .undecidedCall: "no call could be chosen"
    case .notMeasured: "could not be joined or read"
    case .otherRank: "ranks that were not asked for"
    case .otherCall: "calls that were not chosen"
    case .index: "files that say what others hold"
    }
  }

  /// Something was to be compared and was not, rather than not asked for.
  fileprivate var isGap: Bool {
    switch self {
    case .plain, .otherRank, .otherCall, .index: false
    default: true
    }
  }
}
