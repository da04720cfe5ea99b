import Alignment
import Comparison

/// Names causes from evidence. Families run from the specific to the general; the first that is sure ends it.
public enum Diagnostician {
  /// The findings for a divergence, the best first.
  public static func findings(_ evidence: RowEvidence) -> [Finding] {
    if evidence.isParameter { return ofParameter(evidence) }
    var result: [Finding] = []
    for family in [
      PaddingFamily.findings, PositionFamily.findings, CodeFamily.findings, NonFiniteFamily.findings,
      SubsetFamily.silent, QuantisationFamily.sure, PartialFamily.findings, TokenFamily.moved,
      ReplicaFamily.findings,
      ScaleFamily.findings, OrderFamily.findings, ChunkFamily.findings, TokenFamily.findings, ColumnFamily.findings,
      ClampFamily.findings, SubsetFamily.sure, RepetitionFamily.findings, StatisticsFamily.findings,
      RotationFamily.findings, ScaleFamily.besideBias,
      SubsetFamily.possible, WeightFamily.findings, QuantisationFamily.findings,
      { result.contains { $0.cause == "quantisation-rounding" } ? [] : InsideFamily.findings($0) },
      DriftFamily.findings,
    ] as [(RowEvidence) -> [Finding]] {
      // What is only possible and was said by a more specific family is not said again.
      result += family(evidence).filter { new in !result.contains { $0.cause == new.cause } }
      if result.contains(where: { $0.confidence != .possible }) { break }
    }
    return result
  }

  /// Nothing was reduced, clamped or turned yet.
  private static func ofParameter(_ evidence: RowEvidence) -> [Finding] {
    var result: [Finding] = []
    for family in [
      CodeFamily.findings, NonFiniteFamily.findings, SubsetFamily.silent, QuantisationFamily.sure,
      ReplicaFamily.findings, OrderFamily.findings, SubsetFamily.sure, SubsetFamily.possible, WeightFamily.differing,
    ] as [(RowEvidence) -> [Finding]] where !result.contains(where: { $0.confidence != .possible }) {
      result += family(evidence)
    }
    return result
  }
}

extension RowEvidence {
  func finding(
    _ cause: String, _ confidence: Finding.Confidence, ranks: [Int] = [], tokens: [Int] = [],
    evidence: [String: Double] = [:], summary: String, next: String
  ) -> Finding {
    var numbers = evidence.filter { $0.value.isFinite }
    numbers["world_size"] = Double(worldSize)
    if measures.relL2.isFinite { numbers["rel_l2"] = measures.relL2 }
    if let jump = judgement.jump, jump.isFinite { numbers["jump"] = jump }
    return Finding(
      cause: cause, layer: key.layer, stage: key.stage, ranks: ranks, tokens: tokens, confidence: confidence,
      evidence: numbers, summary: summary, next: next)
  }
}

/// A figure with three significant digits, for sentences.
func figure(_ value: Double) -> String {
  guard value.isFinite, value != 0 else { return "\(value)" }
  var scale = 1.0
  while abs(value) * scale < 100, scale < 1e9 { scale *= 10 }
  let rounded = (value * scale).rounded() / scale
  return rounded == rounded.rounded() && abs(rounded) < 1e6 ? "\(Int(rounded))" : "\(rounded)"
}

/// A factor: one that is near 1 shows by how much it is not.
func factor(_ value: Double) -> String {
  let off = abs(value - 1)
  guard off > 1e-9, off < 0.05 else { return figure(value) }
  var scale = 10.0
  while off * scale < 10 { scale *= 10 }
  return "\((value * scale).rounded() / scale)"
}

func listed(_ numbers: [Int]) -> String {
  numbers.count <= 8
    ? numbers.map(String.init).joined(separator: ", ")
    : numbers.prefix(8).map(String.init).joined(separator: ", ") + ", … (\(numbers.count) in all)"
}
