import Alignment
import Comparison

/// A cause that was looked for and not named, with the figures that speak against it.
public struct Considered: Sendable, Hashable, Codable {
  /// An id of the signature table.
  public var cause: String
  public var why: String

  public init(cause: String, why: String) {
    self.cause = cause
    self.why = why
  }
}

extension Diagnostician {
  /// What was looked for beside `findings`, the nearest first: of each cause the distance that is left when the target
  /// is explained by it.
  ///
  /// Distances over the reference are to be compared with ``RowEvidence/tolerance``, those over the difference with what
  /// noise leaves of it.
  public static func considered(_ evidence: RowEvidence, beside findings: [Finding]) -> [Considered] {
    let named = Set(findings.map(\.cause))
    var all: [(distance: Double, entry: Considered)] = []
    func add(_ causes: [String], _ distance: Double?, _ why: String) {
      guard named.isDisjoint(with: causes) else { return }
      let rest = distance.flatMap { $0.isFinite ? $0 : nil }
      all.append((rest ?? .infinity, Considered(cause: causes.joined(separator: ", "), why: why)))
    }
    let measures = evidence.measures
    let (own, difference) = (figure(evidence.tolerance), figure(evidence.differenceTolerance))
    add(
      ["double-reduce", "average-reduce", "repeated-scale", "missing-scale"], measures.residual,
      "the nearest factor, \(figure(measures.alpha)), leaves \(figure(measures.residual)) (noise would leave \(own))")
    if let sum = evidence.sumOfRanks {
      add(
        ["missing-reduce"], sum.distance,
        "the ranks' sum is \(figure(sum.distance)) away from the reference (noise would leave \(own))")
    }
    if evidence.worldSize > 1, evidence.divergentRanks.isEmpty, evidence.plan.kind == .replicated {
      add(["replica-divergence"], nil, "all \(evidence.worldSize) ranks hold the same bytes")
    }
    if let subset = evidence.subsets.min(by: { $0.residual < $1.residual }) {
      add(
        ["rank-absent"], subset.residual,
        "without rank \(listed(subset.absentRanks)) the partials of \(subset.stage) leave \(figure(subset.residual)) "
          + "(noise would leave \(own))")
    }
    if let order = evidence.plan.rankOrder, !order.isIdentity {
      add(
        ["rank-order"], order.residual,
        "the ranks in the order \(listed(order.sources)) leave \(figure(order.residual))")
    } else if let match = evidence.blockMatches.filter({ !$0.isIdentity }).min(by: { $0.residual < $1.residual }) {
      add(
        ["rank-order"], match.residual,
        "\(match.sources.count) blocks of axis \(match.axis) put in the nearest order leave \(figure(match.residual))")
    }
    if let (shift, residual) = evidence.rowShifts.min(by: { ($0.value, $0.key) < ($1.value, $1.key) }) {
      add(["row-shift"], residual, "rows moved by \(shift), the nearest, leave \(figure(residual))")
    }
    let tokens = measures.tokenRelL2
    if tokens.count > 1 {
      let off = tokens.count { !($0 <= evidence.tolerance) }
      add(["token-corruption"], nil, "\(off) of \(tokens.count) token rows are beyond noise (\(own))")
    }
    if let rest = evidence.tokenConstantResidual {
      add(
        ["bias-repeated"], rest,
        "one vector added to every token leaves \(figure(rest)) of the difference (noise \(difference))")
    }
    if let rest = evidence.tokenScaleResidual {
      add(["shard-local-statistics"], rest, "a factor for each token leaves \(figure(rest)) (noise would leave \(own))")
    }
    if let rest = evidence.columnScaleResidual {
      add(
        ["norm-weight-offset", "missing-weight"], rest,
        "a factor for each column leaves \(figure(rest)) (noise would leave \(own))")
    }
    if let projection = (evidence.projections + evidence.sumProjections).min(by: { $0.residual < $1.residual }) {
      add(
        ["branch-missing-reduce", "branch-repeated", "residual-repeated"], projection.residual,
        "\(figure(projection.coefficient)) × \(projection.source), the dumped tensor nearest to the "
          + "difference, leaves \(figure(projection.residual)) of it (noise \(difference))")
    }
    if measures.nonfiniteTarget == 0 { add(["non-finite"], nil, "every value of the target is finite") }
    if let jump = evidence.judgement.jump {
      add(["drift"], nil, "the distance is \(figure(jump)) times the largest before it; drift stays below 2.5")
    }
    return all.enumerated().sorted { ($0.element.distance, $0.offset) < ($1.element.distance, $1.offset) }
      .map(\.element.entry)
  }
}
