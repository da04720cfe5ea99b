import Alignment
import Comparison

/// Columns: padding that should be nothing, and a scale for each channel.
enum ColumnFamily {
  static func findings(_ evidence: RowEvidence) -> [Finding] {
    if let start = evidence.paddingStart {
      return [
        evidence.finding(
          "vocabulary-padding", .likely, evidence: ["first_column": Double(start)],
          summary: "\(evidence.place): only the columns from \(start) on differ, and the reference has nothing there: "
            + "the padding holds values that can win the argmax.",
          next: "Zero the padded rows of the output weight, or cut the logits to the vocabulary before the argmax.")
      ]
    }
    guard let residual = evidence.columnScaleResidual, let scales = evidence.columnScales,
      residual <= evidence.tolerance, evidence.measures.residual > 2 * residual,
      scales.upperBound - scales.lowerBound > 3 * evidence.tolerance
    else { return [] }
    let numbers = [
      "column_scale_residual": residual, "least_scale": scales.lowerBound, "largest_scale": scales.upperBound,
    ]
    guard evidence.isNormed else {
      return [
        evidence.finding(
          scales.upperBound - 1 > 1 - scales.lowerBound ? "repeated-scale" : "missing-scale", .possible,
          evidence: numbers,
          summary: "\(evidence.place): each channel has a scale of its own (\(figure(scales.lowerBound)) to "
            + "\(figure(scales.upperBound))), the same for every token, and this is no norm: scales of the weight, one "
            + "a channel.",
          next: "Compare the weight of \(evidence.place) and its scales, channel by channel, with the checkpoint's.")
      ]
    }
    return [
      evidence.finding(
        "norm-weight-offset", .likely, evidence: numbers,
        summary: "\(evidence.place): each channel has a scale of its own (\(figure(scales.lowerBound)) to "
          + "\(figure(scales.upperBound))), the same for every token: another norm weight.",
        next: "Check whether the norm multiplies by w or by 1 + w, and which weight it loads.")
    ]
  }
}
