import Alignment
import Comparison
import Diagnosis
import Reporting

extension ReportBuilder {
  /// Logits whose ranks together have more columns than the other side, and values in them: nothing was measured, and
  /// the layout alone says what it is.
  func vocabularyFindings(_ lines: [Line]) -> [Finding] {
    let found = lines.compactMap { line -> Finding? in
      let (outcome, key) = (line.outcome, line.outcome.key)
      guard line.judgement.verdict == .fail, outcome.measures == nil, let decision = outcome.decision,
        isOfVocabulary("\(key.stage).\(key.tensor)")
      else { return nil }
      let paddings = [(decision.plan.padding, "target"), (decision.plan.referencePadding, "reference")]
      guard
        case (let padding?, let name)? = paddings.first(where: { padding, _ in
          padding.map { $0.axis == outcome.shape.count - 1 && (!$0.isEmpty || $0.rowsWon > 0) } ?? false
        })
      else { return nil }
      let column = outcome.shape[padding.axis]
      return Finding(
        cause: "vocabulary-padding", layer: key.layer, stage: key.stage, confidence: .likely,
        evidence: [
          "first_column": Double(column), "columns": Double(padding.count), "rows_won": Double(padding.rowsWon),
        ],
        summary: "\(key): the \(name)'s ranks hold \(padding.count) columns beyond the vocabulary of \(column), and "
          + "they are not empty"
          + (padding.rowsWon > 0 ? ": the largest of \(padding.rowsWon) rows stands there." : "."),
        next: "Zero the padded rows of the output weight, or cut the logits to the vocabulary before the argmax.")
    }
    return Array(found.prefix(1))
  }

  private func isOfVocabulary(_ name: String) -> Bool {
    let name = name.lowercased()
    return ["logit", "lm_head", "lmhead", "vocab", "output_layer"].contains { name.contains($0) }
  }
}
