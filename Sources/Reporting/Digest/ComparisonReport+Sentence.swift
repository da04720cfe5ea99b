import Comparison
import Diagnosis
import Dumps

extension ComparisonReport {
  /// The answer in one sentence, without the verdict's word.
  public var sentence: String {
    switch verdict {
    case .pass: passSentence
    case .fail: failSentence
    case .inconclusive: inconclusiveSentence
    }
  }

  private var passSentence: String {
    if coverage.compared == 0 { return nothingCompared }
    let equal = rows.count { $0.measures?.byteEqual == 1 }
    let bytes =
      equal == 0 ? "" : equal == rows.count ? ", byte for byte" : ", \(equal) of them byte for byte"
    if coverage.compared == 1, coverage.expected == 1 { return "The only tensor agrees\(bytes)." }
    let share = coverage.compared == coverage.expected ? "All \(coverage.compared)" : comparedOfExpected
    return "\(share) tensors agree\(bytes)."
  }

  private var failSentence: String {
    let failing = rows.count { $0.verdict == .fail }
    let share = "\(failing) of \(Figures.count(rows.count, "tensor")) \(failing == 1 ? "fails" : "fail")"
    let cause = findings.first.map { "; \($0.cause), \($0.confidence.rawValue)" } ?? ""
    if let firstDivergence {
      let place = firstDivergence.text
      return "\(place.prefix(1).uppercased() + place.dropFirst()) is the first to differ (\(share)\(cause))."
    }
    return "\(share)\(cause)."
  }

  private var inconclusiveSentence: String {
    if let note = notes.first { return note }
    if coverage.compared == 0 { return nothingCompared }
    if let row = rows.first(where: { $0.verdict == .inconclusive }) {
      let why = row.why.map { ": \($0)" } ?? ""
      return "\(Names.place(layer: row.layer, stage: row.stage)) \(row.tensor) could not be judged\(why)"
    }
    return "\(comparedOfExpected) tensors were compared."
  }

  private var nothingCompared: String { "Nothing was compared (\(coverage.expected) tensors were expected)." }

  private var comparedOfExpected: String { "\(coverage.compared) of \(coverage.expected)" }

  /// What was compared and everything that was not, a line each; the first line counts.
  var coverageLines: [String] {
    var lines = ["\(comparedOfExpected) expected tensors compared"]
    if coverage.otherCalls > 0 { lines[0] += ", \(Figures.count(coverage.otherCalls, "capture")) of other calls" }
    if let ledger = coverage.ledger {
      lines.append("reference: " + ledger.reference.sentence(naming: 3))
      lines.append("target: " + ledger.target.sentence(naming: 3))
    }
    lines += coverage.unmatched.map { "unmatched: \($0)" }
    lines += coverage.unreadable.map { "unreadable: \($0.file): \($0.why)" }
    return lines
  }
}
