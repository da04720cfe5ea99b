import Alignment
import Comparison

/// Rows beyond the batch's tokens.
enum PaddingFamily {
  static func findings(_ evidence: RowEvidence) -> [Finding] {
    guard let first = evidence.paddingRow else { return [] }
    let rows = evidence.measures.tokenRelL2.count
    return [
      evidence.finding(
        "uninitialised-padding", .likely, tokens: Array((first..<max(rows, first + 1)).prefix(64)),
        evidence: ["first_padding_row": Double(first), "rows": Double(rows)],
        summary: "\(evidence.place): only rows from \(first) on differ, and the batch has \(first) tokens: padding "
          + "that nobody wrote.",
        next: "Not a bug of the model unless these rows are gathered or reduced: run the cell twice (their values "
          + "change), and cut the dump to the batch's tokens or zero the buffer.")
    ]
  }
}
