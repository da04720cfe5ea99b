import Alignment
import Comparison

/// A target that is the reference times one number.
enum ScaleFamily {
  static func findings(_ evidence: RowEvidence) -> [Finding] {
    let measures = evidence.measures
    let alpha = measures.alpha
    // What the factor leaves here says how exactly it is known; a small one is known by what most values say.
    let isExact = abs(alpha - 1) > 3 * max(measures.residual, evidence.noise, 1e-6)
    let isUsual =
      evidence.usualRatio.map {
        UsualRatio.isFactor($0, measures: measures, floor: evidence.judgement.floor ?? evidence.noise)
      } ?? false
    // One number is always another one's multiple.
    guard alpha.isFinite, measures.elementCount > 1, measures.residual <= evidence.tolerance, isExact || isUsual,
      evidence.divergentRanks.isEmpty
    else { return [] }
    let numbers = ["alpha": alpha, "residual": measures.residual, "cos": measures.cos]
    if evidence.isNorm { return [ofNorm(evidence, numbers)] }
    let seen =
      "\(evidence.place) is \(factor(alpha)) times the reference (residual \(figure(measures.residual)))"
    let reduced = reduces(evidence, alpha: alpha, numbers, seen: seen)
    if !reduced.isEmpty { return reduced }
    if evidence.near(alpha, 2) || evidence.near(alpha, 0.5) {
      return [
        evidence.finding(
          "float8-variant", .likely, evidence: numbers,
          summary: "A factor of exactly two: \(seen), as when e4m3fnuz bytes are read as e4m3fn or a scale is doubled.",
          next: "Compare the weight bytes, their float8 type and their scales with the checkpoint's."),
        evidence.finding(
          alpha < 1 ? "missing-scale" : "repeated-scale", .possible, evidence: numbers,
          summary: "A factor of two \(alpha < 1 ? "missing" : "applied twice") would look the same.",
          next: "Run another world size and compare the weights: what stays constant is no reduce."),
      ]
    }
    if alpha < 0 {
      return [
        evidence.finding(
          "missing-scale", .possible, evidence: numbers, summary: "The sign is turned: \(seen).",
          next: "Look for a subtraction in the place of an addition, a negated weight, or a rotation the other way.")
      ]
    }
    let cause = alpha < 1 ? "missing-scale" : "repeated-scale"
    let words = alpha < 1 ? "A scale is missing" : "A scale is applied once too often"
    return [
      evidence.finding(
        cause, .likely, evidence: numbers,
        summary: "\(words): \(seen), and that is no multiple of the world size.",
        next: "Look for a factor of \(factor(alpha < 1 ? 1 / alpha : alpha)) in \(evidence.place) "
          + "(routed_scaling_factor, attention scale, quantisation scale), and whether only one class of layers is off."
      )
    ]
  }

  /// A factor of the world size, or of one over it, on what all ranks hold alike. At world size 2 one pair cannot tell
  /// it from another factor.
  private static func reduces(
    _ evidence: RowEvidence, alpha: Double, _ numbers: [String: Double], seen: String
  ) -> [Finding] {
    let size = Double(evidence.worldSize)
    // A sharded output is written before any reduce of its own.
    guard evidence.worldSize > 1, [.replicated, .ambiguous].contains(evidence.plan.kind) else { return [] }
    let confidence = evidence.worldSize > 2 ? Finding.Confidence.certain : .possible
    if evidence.near(alpha, size) {
      return [
        evidence.finding(
          "double-reduce", confidence, evidence: numbers,
          summary: "Reduced twice: \(seen), the world size, on every rank alike.",
          next: "Look for a second all-reduce after \(evidence.place): reduce_results=True in the row-parallel layer "
            + "and a reduce in the caller.")
      ] + alternatives(evidence, alpha: alpha, numbers)
    }
    guard evidence.near(alpha, 1 / size) else { return [] }
    return [
      evidence.finding(
        "average-reduce", confidence, evidence: numbers,
        summary: "Averaged instead of summed: \(seen), one over the world size.",
        next: "Look at the reduce operation of the all-reduce after \(evidence.place): AVG instead of SUM, or a "
          + "division by the world size.")
    ] + alternatives(evidence, alpha: alpha, numbers)
  }

  /// A factor on the product beside a bias without one: what varies between the tokens is the reference's times one
  /// number, and the whole is not.
  static func besideBias(_ evidence: RowEvidence) -> [Finding] {
    guard let varying = evidence.varyingPart, varying.alpha.isFinite, varying.residual.isFinite,
      varying.residual <= evidence.tolerance, varying.residual * 2 < evidence.measures.residual,
      abs(varying.alpha - 1) > 3 * evidence.tolerance, evidence.divergentRanks.isEmpty
    else { return [] }
    let numbers = ["alpha": varying.alpha, "residual": varying.residual]
    let reduced = reduces(
      evidence, alpha: varying.alpha, numbers,
      seen: "what varies between the tokens of \(evidence.place) is \(factor(varying.alpha)) times the reference's "
        + "(residual \(figure(varying.residual))) beside a bias that is right")
    if !reduced.isEmpty { return reduced }
    let isTwo = evidence.near(varying.alpha, 2) || evidence.near(varying.alpha, 0.5)
    return [
      evidence.finding(
        isTwo ? "float8-variant" : varying.alpha < 1 ? "missing-scale" : "repeated-scale", .likely,
        evidence: numbers,
        summary: "\(evidence.place): what varies between the tokens is \(factor(varying.alpha)) times the reference's "
          + "(residual \(figure(varying.residual))) beside a bias that is right: the weight has a factor.",
        next: "Compare the weight bytes, their float8 type and their scales with the checkpoint's.")
    ]
  }

  /// Weights near one make 1 + w nearly twice w: a norm has neither a reduce nor float8 weights.
  private static func ofNorm(_ evidence: RowEvidence, _ numbers: [String: Double]) -> Finding {
    let alpha = evidence.measures.alpha
    let isOffset = abs(alpha - 2) < 0.35 || abs(alpha - 0.5) < 0.15
    return evidence.finding(
      isOffset ? "norm-weight-offset" : alpha < 1 ? "missing-scale" : "repeated-scale", .likely, evidence: numbers,
      summary: "\(evidence.place) is \(factor(alpha)) times the reference (residual "
        + "\(figure(evidence.measures.residual)))\(isOffset ? ", as where 1 + w stands for w near one" : "").",
      next: "Check whether the norm multiplies by w or by 1 + w, and which weight it loads.")
  }

  /// What else looks so at world size 2, where one pair cannot tell a reduce from a factor.
  private static func alternatives(
    _ evidence: RowEvidence, alpha: Double, _ numbers: [String: Double]
  ) -> [Finding] {
    guard evidence.worldSize == 2 else { return [] }
    let isLess = alpha < 1
    return [
      evidence.finding(
        isLess ? "missing-scale" : "repeated-scale", .possible, evidence: numbers,
        summary: "A factor of 2 \(isLess ? "left out" : "applied twice") would look the same at world size 2.",
        next: "Run another world size: a reduce follows it, a factor does not."),
      evidence.finding(
        "float8-variant", .possible, evidence: numbers,
        summary: "So would float8 weights that are read as the other variant (e4m3fn, e4m3fnuz).",
        next: "Compare the weight bytes, their float8 type and their scales with the checkpoint's."),
    ]
  }
}
