/// The findings of one world size.
public struct WorldSizeFindings: Sendable, Hashable {
  public var worldSize: Int
  public var findings: [Finding]
  /// Where it diverged; nil where it passed.
  public var divergence: (layer: Int?, stage: String)? {
    isFailed ? (layer, stage) : nil
  }
  public var isFailed: Bool
  /// The difference itself, sketched; nil where it was not.
  public var evidence: DivergenceEvidence?
  var layer: Int?
  var stage: String

  public init(
    worldSize: Int, findings: [Finding], divergence: (layer: Int?, stage: String)? = nil,
    evidence: DivergenceEvidence? = nil
  ) {
    self.worldSize = worldSize
    self.findings = findings
    self.evidence = evidence
    isFailed = divergence != nil
    layer = divergence?.layer
    stage = divergence?.stage ?? ""
  }
}

/// What the trend over world sizes says: a reduce follows the world size, a factor does not.
///
/// One world size is ambiguous (at 2, a double reduce and a factor of 2 look alike); two decide.
public enum Trend {
  private static let scales: Set<String> = ["double-reduce", "average-reduce", "repeated-scale", "missing-scale"]

  private static let float8 = "float8-variant"

  /// A factor of two at every world size is no reduce: the float8 variant before a scale.
  private static func exactlyTwo(_ result: WorldSizeFindings, cause: String, sizes: Int) -> WorldSizeFindings {
    var result = result
    guard var first = result.findings.first(where: { scales.contains($0.cause) || $0.cause == float8 }) else {
      return result
    }
    result.findings.removeAll { scales.contains($0.cause) || $0.cause == float8 }
    first.evidence["world_sizes"] = Double(sizes)
    first.cause = float8
    first.confidence = .likely
    first.summary =
      "A factor of exactly two, the same at \(sizes) world sizes, so no reduce: as when e4m3fnuz bytes are read as "
      + "e4m3fn, or a scale is doubled."
    first.next = "Compare the weight bytes, their float8 type and their scales with the checkpoint's."
    var second = first
    second.cause = cause
    second.confidence = .possible
    second.summary = "A factor of two \(cause == "missing-scale" ? "left out" : "applied twice") would look the same."
    result.findings.insert(contentsOf: [first, second], at: 0)
    return result
  }

  /// - Parameter results: the findings at each world size against the same reference.
  /// - Returns: the same, with causes and confidences corrected where the trend decides.
  public static func refined(_ results: [WorldSizeFindings]) -> [WorldSizeFindings] {
    withDivisibility(explainingAll(DifferenceTrend.refined(byScale(results))))
  }

  /// One fault shows at all world sizes: of the causes that are only possible, those that every failing size leaves
  /// stand before those that one of them alone suggests.
  private static func explainingAll(_ results: [WorldSizeFindings]) -> [WorldSizeFindings] {
    let failed = results.filter { $0.isFailed && $0.worldSize > 1 }
    guard let first = failed.first, Set(failed.map(\.worldSize)).count > 1,
      failed.allSatisfy({ $0.layer == first.layer && $0.stage == first.stage })
    else { return results }
    let common = failed.dropFirst().reduce(Set(first.findings.map(\.cause))) {
      $0.intersection($1.findings.map(\.cause))
    }
    return results.map { result in
      guard result.isFailed, result.worldSize > 1 else { return result }
      var result = result
      let isLess = { (finding: Finding) in finding.confidence == .possible && !common.contains(finding.cause) }
      result.findings = result.findings.filter { !isLess($0) } + result.findings.filter(isLess)
      return result
    }
  }

  /// Small world sizes pass, larger ones fail, and nothing else explains it: a width that they do not divide.
  private static func withDivisibility(_ results: [WorldSizeFindings]) -> [WorldSizeFindings] {
    let failed = results.filter(\.isFailed)
    let passed = results.filter { !$0.isFailed && $0.worldSize > 1 }
    guard let least = failed.map(\.worldSize).min(), let most = passed.map(\.worldSize).max(), most < least else {
      return results
    }
    return results.map { result in
      guard result.isFailed, !result.findings.contains(where: { $0.confidence != .possible }) else { return result }
      var result = result
      result.findings.insert(
        Finding(
          cause: "divisibility", layer: result.layer, stage: result.stage, confidence: .possible,
          evidence: ["world_size": Double(result.worldSize), "largest_that_passes": Double(most)],
          summary: "World size \(most) passes and \(least) fails with no other cause in sight: a width that "
            + "\(least) ranks do not divide evenly.",
          next: "Check that heads, experts, vocabulary and tile sizes are divisible by the world size."), at: 0)
      return result
    }
  }

  private static func byScale(_ results: [WorldSizeFindings]) -> [WorldSizeFindings] {
    var points: [(size: Double, alpha: Double)] = []
    for result in results {
      // Only a target that is the reference times a number; a guess about one of several terms has no such residual.
      guard
        let finding = result.findings.first(where: { scales.contains($0.cause) && $0.evidence["residual"] != nil }),
        let alpha = finding.evidence["alpha"]
      else { continue }
      points.append((Double(result.worldSize), alpha))
    }
    guard Set(points.map(\.size)).count > 1 else { return results }
    let near = { (value: Double, wanted: Double) in abs(value - wanted) <= 0.03 * abs(wanted) }
    let cause: String
    if points.allSatisfy({ near($0.alpha, $0.size) }) {
      cause = "double-reduce"
    } else if points.allSatisfy({ near($0.alpha, 1 / $0.size) }) {
      cause = "average-reduce"
    } else if let first = points.first?.alpha, points.allSatisfy({ near($0.alpha, first) }) {
      cause = first < 1 ? "missing-scale" : "repeated-scale"
    } else {
      return results
    }
    let followsSize = cause.hasSuffix("reduce")
    if !followsSize, let alpha = points.first?.alpha, near(alpha, 2) || near(alpha, 0.5) {
      return results.map { exactlyTwo($0, cause: cause, sizes: points.count) }
    }
    return results.map { result in
      var result = result
      // One finding a scale stays, and becomes the cause.
      let kept = result.findings.firstIndex { scales.contains($0.cause) }
      result.findings = result.findings.indices.filter { index in
        index == kept || !(scales.contains(result.findings[index].cause) || result.findings[index].cause == float8)
      }.map { result.findings[$0] }
      for index in result.findings.indices where scales.contains(result.findings[index].cause) {
        result.findings[index].cause = cause
        result.findings[index].confidence = .certain
        result.findings[index].evidence["world_sizes"] = Double(points.count)
        result.findings[index].summary +=
          followsSize
          ? " The factor follows the world size over \(points.count) of them."
          : " The factor is the same at \(points.count) world sizes, so it is no reduce."
      }
      return result
    }
  }
}
