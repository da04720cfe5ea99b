public import Alignment
public import Comparison

/// One rank alone against the logical reference, or against its slice of it.
public struct RankEvidence: Sendable, Hashable, Codable {
  public var rank: Int
  public var agreement: Agreement
  public var nonfinite: Int

  public init(rank: Int, agreement: Agreement, nonfinite: Int = 0) {
    self.rank = rank
    self.agreement = agreement
    self.nonfinite = nonfinite
  }
}

/// The difference a - b explained by another dumped tensor s: a - b = coefficient · s, and what is left of it.
public struct Projection: Sendable, Hashable, Codable {
  public var stage: String
  public var tensor: String
  public var coefficient: Double
  /// |a - b - coefficient · s| / |a - b|
  public var residual: Double

  public init(stage: String, tensor: String, coefficient: Double, residual: Double) {
    self.stage = stage
    self.tensor = tensor
    self.coefficient = coefficient
    self.residual = residual
  }
}

/// Equal blocks of an axis of the target, each matched with the block of the reference that it is nearest to.
public struct BlockMatch: Sendable, Hashable, Codable {
  public var axis: Int
  /// For each block of the target the block of the reference.
  public var sources: [Int]
  /// Relative L2 of the target against the reference rearranged so.
  public var residual: Double
  /// True where the blocks are the ranks' slices.
  public var isByRank: Bool

  public init(axis: Int, sources: [Int], residual: Double, isByRank: Bool) {
    self.axis = axis
    self.sources = sources
    self.residual = residual
    self.isByRank = isByRank
  }

  public var isIdentity: Bool { sources == Array(sources.indices) }
  public var isPermutation: Bool { sources.sorted() == Array(sources.indices) }
}

/// A sum of some of the ranks' partials of an earlier stage that gives the target.
public struct SubsetMatch: Sendable, Hashable, Codable {
  public var stage: String
  public var absentRanks: [Int]
  public var residual: Double

  public init(stage: String, absentRanks: [Int], residual: Double) {
    self.stage = stage
    self.absentRanks = absentRanks
    self.residual = residual
  }
}

/// Everything known about one row that may have a cause: measured numbers only, no files.
public struct RowEvidence: Sendable, Hashable, Codable {
  /// Whether the stages that follow agree with the reference.
  public enum Aftermath: String, Sendable, Hashable, Codable {
    case agrees
    case disagrees
    case unknown
  }

  public var key: CaptureKey
  public var measures: Measures
  public var plan: ShardPlan
  public var judgement: Judgement
  /// Ranks of the target.
  public var worldSize: Int
  public var referenceWorldSize: Int
  /// What honest noise gives here: the row's floor or the worst stage before, whichever is larger.
  public var noise: Double
  /// The layout that this stage and tensor has in most other layers; nil where there are none.
  public var usualKind: ShardKind?
  public var aftermath: Aftermath = .unknown
  /// Inputs of the same stage agree with the reference; nil where they were not dumped.
  public var inputsAgree: Bool?
  /// Ranks of a replicated stage that differ from the first.
  public var divergentRanks: [Int] = []
  public var ranks: [RankEvidence] = []
  /// The sum of all ranks against the reference, where ranks have the logical shape.
  public var sumOfRanks: Agreement?
  public var projections: [Projection] = []
  /// The same for (sum of the ranks) - b, where ranks that should be replicas differ: what every rank holds whole.
  public var sumProjections: [Projection] = []
  public var blockMatches: [BlockMatch] = []
  public var subsets: [SubsetMatch] = []
  /// Relative L2 of row i of the target against row i + shift of the reference, by shift.
  public var rowShifts: [Int: Double] = [:]
  /// |a - b - its mean token row| / |a - b|: small where every token is off by the same vector.
  public var tokenConstantResidual: Double?
  /// |a_t - alpha_t b_t| / |a|, each token with its own scale; small where only scales differ.
  public var tokenScaleResidual: Double?
  /// Largest and smallest of those scales.
  public var tokenScales: ClosedRange<Double>?

  /// |a_c - alpha_c b_c| / |a|, each column (last dimension) with its own scale.
  public var columnScaleResidual: Double?
  /// Largest and smallest of those scales.
  public var columnScales: ClosedRange<Double>?
  /// Columns before this one agree, those from it on do not and are 0 (or not finite) in the reference.
  public var paddingStart: Int?
  /// Share of values that changed beyond noise, and share of these whose magnitude grew.
  public var changedShare: Double?
  public var grownShare: Double?
  /// Largest |(|a_t| / |b_t|) - 1| over the tokens: small where only directions changed.
  public var tokenNormDeviation: Double?

  public init(
    key: CaptureKey, measures: Measures, plan: ShardPlan, judgement: Judgement, worldSize: Int,
    referenceWorldSize: Int, noise: Double
  ) {
    self.key = key
    self.measures = measures
    self.plan = plan
    self.judgement = judgement
    self.worldSize = worldSize
    self.referenceWorldSize = referenceWorldSize
    self.noise = noise
  }

  /// What counts as nothing left: a few times the noise.
  var tolerance: Double { max(3 * noise, 1e-6) }

  /// What counts as nothing left of the difference a - b, which carries the noise of both.
  var differenceTolerance: Double {
    min(0.3, max(0.02, 3 * noise / max(measures.relL2, 1e-12)))
  }

  func near(_ value: Double, _ wanted: Double) -> Bool {
    abs(value - wanted) <= max(0.02, 3 * noise) * max(abs(wanted), 0.05)
  }

  var place: String { key.layer.map { "\(key.stage) of layer \($0)" } ?? key.stage }
}
