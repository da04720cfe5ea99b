import Alignment
import Comparison

/// Single token rows, and rows that moved.
enum TokenFamily {
  /// Rows of some sequences, or of some ranks, that moved.
  static func moved(_ evidence: RowEvidence) -> [Finding] {
    guard let move = evidence.rowMove, let first = move.rows.first, let last = move.rows.last else { return [] }
    let onRanks = move.ranks.isEmpty ? "" : " of rank \(listed(move.ranks))"
    let shift = "\(move.shift > 0 ? "+" : "")\(move.shift)"
    let rows =
      move.rows.count == last - first + 1
      ? "\(move.rows.count) token rows, \(first) to \(last)" : "\(move.rows.count) token rows (\(listed(move.rows)))"
    return [
      evidence.finding(
        "row-shift", .likely, ranks: move.ranks, tokens: Array(move.rows.prefix(64)),
        evidence: ["shift": Double(move.shift), "moved_rows": Double(move.rows.count)],
        summary: "\(evidence.place): \(rows)\(onRanks): row i of the target is row i\(shift) of the reference"
          + (move.ranks.isEmpty ? "; the other rows agree." : "; the other ranks agree."),
        next: "Check the gather of token ids and positions\(onRanks): offsets of single sequences, padding rows, "
          + "cu_seqlens.")
    ]
  }

  static func findings(_ evidence: RowEvidence) -> [Finding] {
    if let (shift, residual) = evidence.rowShifts.min(by: { ($0.value, $0.key) < ($1.value, $1.key) }),
      residual <= max(evidence.tolerance, 0.02), residual < evidence.measures.relL2 / 4
    {
      return [
        evidence.finding(
          "row-shift", .certain, evidence: ["shift": Double(shift), "residual": residual],
          summary: "\(evidence.place): token row i of the target is row i\(shift > 0 ? "+" : "")\(shift) of the "
            + "reference.",
          next: "Check the gather of token ids and positions: offsets, padding rows, cu_seqlens.")
      ]
    }
    let tokens = evidence.judgement.tokens
    let count = evidence.measures.tokenRelL2.count
    guard !tokens.isEmpty, count > 1, tokens.count <= max(1, count / 8) else { return [] }
    // Without these rows nothing may be left.
    let rest = evidence.measures.tokenRelL2.indices.filter { !tokens.contains($0) }
      .map { evidence.measures.tokenRelL2[$0] }.sorted()
    guard let usual = rest.isEmpty ? nil : rest[rest.count / 2], usual <= evidence.tolerance else { return [] }
    return [
      evidence.finding(
        "token-corruption", .certain, tokens: tokens.sorted(),
        evidence: [
          "token_rel_l2": evidence.measures.tokenRelL2[tokens[0]], "other_tokens_rel_l2": usual,
          "tokens": Double(tokens.count), "of": Double(count), "cos": evidence.measures.cos,
        ],
        summary: "\(evidence.place): token \(listed(tokens.sorted())) of \(count) is wrong while the others agree "
          + "(cos of the whole tensor \(figure(evidence.measures.cos))).",
        next: "Look at what is special about these rows: last row of a tile, padding, slot boundary, an index "
          + "out of order.")
    ]
  }
}
