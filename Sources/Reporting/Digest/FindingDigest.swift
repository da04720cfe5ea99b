import Diagnosis

/// One cause at one place, with every pair in which it was found.
struct FindingDigest {
  var finding: Finding
  /// Titles of the pairs.
  var pairs: [String]

  private struct Key: Hashable {
    var cause: String
    var layer: Int?
    var stage: String?
  }

  /// Findings of all pairs, each cause and place once: the surest first, then in order of the pairs.
  static func collect(_ report: SweepReport) -> [FindingDigest] {
    var positions: [Key: Int] = [:]
    var digests: [FindingDigest] = []
    for pair in report.pairs {
      let title = report.shortTitle(pair)
      for finding in pair.comparison.findings {
        let key = Key(cause: finding.cause, layer: finding.layer, stage: finding.stage)
        guard let position = positions[key] else {
          positions[key] = digests.count
          digests.append(FindingDigest(finding: finding, pairs: [title]))
          continue
        }
        if !digests[position].pairs.contains(title) { digests[position].pairs.append(title) }
        if finding.confidence.order < digests[position].finding.confidence.order {
          digests[position].finding = finding
        }
      }
    }
    return digests.enumerated()
      .sorted {
        ($0.element.finding.confidence.order, $0.offset) < ($1.element.finding.confidence.order, $1.offset)
      }
      .map(\.element)
  }

  /// `world_size=8 backend=eager; world_size=8 backend=compile; and 3 other pairs`
  var seenIn: String {
    let others = pairs.count - 2
    let shown = pairs.prefix(2).joined(separator: "; ")
    return others > 0 ? "\(shown); and \(Figures.count(others, "other pair"))" : shown
  }
}

extension Finding.Confidence {
  fileprivate var order: Int {
    switch self {
    case .certain: 0
    case .likely: 1
    case .possible: 2
    }
  }
}
