import Alignment
import Comparison

/// Each token (and rank) off by a scale of its own: a norm whose statistics saw only the local shard.
enum StatisticsFamily {
  static func findings(_ evidence: RowEvidence) -> [Finding] {
    guard let residual = evidence.tokenScaleResidual, let scales = evidence.tokenScales,
      residual <= evidence.tolerance, evidence.measures.residual > 2 * residual,
      scales.upperBound - scales.lowerBound > 3 * evidence.tolerance
    else { return [] }
    return [
      evidence.finding(
        "shard-local-statistics", evidence.worldSize > 1 && evidence.plan.kind == .concat ? .likely : .possible,
        evidence: [
          "token_scale_residual": residual, "least_scale": scales.lowerBound, "largest_scale": scales.upperBound,
        ],
        summary: "\(evidence.place): every token of every rank has the right direction and a scale of its own "
          + "(\(figure(scales.lowerBound)) to \(figure(scales.upperBound))), as from a norm over the local shard.",
        next: "Compute the norm's statistics over the whole hidden dimension: reduce the sum of squares over ranks.")
    ]
  }
}
