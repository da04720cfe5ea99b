/// The findings of one world size.
public struct WorldSizeFindings: Sendable, Hashable {
  public var worldSize: Int
  public var findings: [Finding]

  public init(worldSize: Int, findings: [Finding]) {
    self.worldSize = worldSize
    self.findings = findings
  }
}

/// What the trend over world sizes says: a reduce follows the world size, a factor does not.
///
/// One world size is ambiguous (at 2, a double reduce and a factor of 2 look alike); two decide.
public enum Trend {
  private static let scales: Set<String> = ["double-reduce", "average-reduce", "repeated-scale", "missing-scale"]

  /// - Parameter results: the findings at each world size against the same reference.
  /// - Returns: the same, with causes and confidences corrected where the trend decides.
  public static func refined(_ results: [WorldSizeFindings]) -> [WorldSizeFindings] {
    var points: [(size: Double, alpha: Double)] = []
    for result in results {
      guard let finding = result.findings.first(where: { scales.contains($0.cause) }),
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
    return results.map { result in
      var result = result
      result.findings.removeAll {
        scales.contains($0.cause) && $0.cause != cause && $0.confidence == .possible
      }
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
