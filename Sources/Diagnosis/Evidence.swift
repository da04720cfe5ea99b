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
  /// The layer whose output it is, where that is the stream that the next one adds to; nil for a tensor of the layer.
  public var streamLayer: Int?

  /// What a branch's output is added to.
  var isResidual: Bool {
    tensor.hasPrefix("input") || tensor == "residual" || tensor == "stream" || stage.lowercased().contains("resid")
  }

  /// In words.
  var source: String {
    guard tensor == "stream" else { return "\(stage).\(tensor)" }
    return streamLayer.map { "\(stage) of layer \($0)" } ?? stage
  }

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

/// A linear sketch of a tensor: inner products and norms of sketches are those of the tensors, to some percent, and
/// exactly collinear tensors have exactly collinear sketches. Small enough to be kept with a report, so that the
/// differences at several world sizes can be compared without the tensors.
public struct TensorSketch: Sendable, Hashable, Codable {
  public var values: [Double]

  public static let size = 256

  /// - Parameter tensor: values in row-major order of the logical tensor, the same places for every sketch.
  public init(_ tensor: [Double]) {
    var values = Array(repeating: 0.0, count: Self.size)
    var state: UInt64 = 0x9E37_79B9_7F4A_7C15
    for value in tensor {
      // SplitMix64: a fixed bucket and sign for every place.
      state &+= 0x9E37_79B9_7F4A_7C15
      var mixed = state
      mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
      mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
      mixed ^= mixed >> 31
      values[Int(mixed % UInt64(Self.size))] += mixed >> 63 == 0 ? value : -value
    }
    self.values = values
  }

  public func dot(_ other: TensorSketch) -> Double { zip(values, other.values).reduce(0) { $0 + $1.0 * $1.1 } }
  public var norm: Double { dot(self).squareRoot() }
}

/// What the comparison of world sizes needs of one divergence.
public struct DivergenceEvidence: Sendable, Hashable, Codable {
  public var layer: Int?
  public var stage: String
  public var tensor: String
  public var worldSize: Int
  /// Of a - b.
  public var difference: TensorSketch
  /// |a - b| / |b|, <a,b>/<b,b>, |a|/|b|
  public var relL2: Double
  public var alpha: Double
  public var normRatio: Double
  public var noise: Double
  /// Whether the stage holds other stages (a block).
  public var isContainer: Bool

  public init(
    layer: Int?, stage: String, tensor: String, worldSize: Int, difference: TensorSketch, relL2: Double,
    alpha: Double, normRatio: Double, noise: Double, isContainer: Bool
  ) {
    self.layer = layer
    self.stage = stage
    self.tensor = tensor
    self.worldSize = worldSize
    self.difference = difference
    self.relL2 = relL2
    self.alpha = alpha
    self.normRatio = normRatio
    self.noise = noise
    self.isContainer = isContainer
  }
}

/// Tokens that chose other experts than in the reference.
public struct RoutingFlips: Sendable, Hashable, Codable {
  public var layer: Int?
  public var stage: String
  /// Token rows of the router.
  public var rows: Int
  public var tokens: [Int] = []
  /// Largest difference of the weights of an expert that was left and the one taken for it, over the largest weight.
  public var worstMargin = 0.0
  /// What rounding makes of a tie.
  public var tie = 0.0
  /// Tokens whose scores were no near-tie.
  public var beyondTie: [Int] = []
  /// The router gave the scores of all experts, not the weights of the chosen alone.
  public var areAllScores = false

  public init(layer: Int?, stage: String, rows: Int) {
    self.layer = layer
    self.stage = stage
    self.rows = rows
  }

  /// Few tokens, all at near-ties. Where the scores of all experts are known these are judged themselves.
  public var isRounding: Bool { beyondTie.isEmpty && tokens.count * (areAllScores ? 2 : 5) <= rows }
}

/// A rank's slice that is a slice of another stage in the reference.
public struct ForeignSlice: Sendable, Hashable, Codable {
  public var rank: Int
  /// The stage that it belongs to, and which slice of it.
  public var stage: String
  public var slice: Int
  public var residual: Double

  public init(rank: Int, stage: String, slice: Int, residual: Double) {
    self.rank = rank
    self.stage = stage
    self.slice = slice
    self.residual = residual
  }
}

/// The rows of one call inside a joined prefill: how far they are off.
public struct CallDistance: Sendable, Hashable, Codable {
  public var call: Int
  public var relL2: Double

  public init(call: Int, relL2: Double) {
    self.call = call
    self.relL2 = relL2
  }
}

/// Token rows, not all, that are the reference's a few rows on, or those of some ranks alone.
public struct RowMove: Sendable, Hashable, Codable {
  /// Row i of the target is row i + shift of the reference.
  public var shift: Int
  public var rows: [Int]
  /// Ranks whose own slices or copies moved; empty where the whole did.
  public var ranks: [Int]

  public init(shift: Int, rows: [Int], ranks: [Int] = []) {
    self.shift = shift
    self.rows = rows
    self.ranks = ranks
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
  /// It is loaded, not computed: no family of activations has a say.
  public var isParameter = false
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
  /// How many changed, and how the others agree.
  public var changedCount: Int?
  public var unchanged: Agreement?
  /// Largest |(|a_t| / |b_t|) - 1| over the tokens: small where only directions changed.
  public var tokenNormDeviation: Double?
  /// The ranks differ and are reduced later, so what was compared is their sum, not one of them.
  public var isSumOfPartials = false
  /// Relative L2 of the first token of each sequence (attention sees itself alone there), the worst; nil where the
  /// sequences are not known.
  public var firstTokensRelL2: Double?
  /// Of all other tokens, the median.
  public var laterTokensRelL2: Double?
  /// For each token row of the target the row of the reference that it is; nil where none agrees. Empty where rows
  /// were not looked for.
  public var rowSources: [Int?] = []
  /// A part of the rows, or those of some ranks, that moved by a few places.
  public var rowMove: RowMove?
  /// By call, where chunks of a prefill were joined.
  public var callDistances: [CallDistance] = []
  /// First token row that is padding, where rows beyond the batch's tokens are there and only these differ.
  public var paddingRow: Int?
  /// Ranks that hold what belongs to another stage.
  public var foreignSlices: [ForeignSlice] = []
  /// A stage before, twice as wide, whose ranks are plain slices of the whole.
  public var wholeFusedStage: String?
  /// The same fit with the mean token row taken out of both: what a bias, added apart, does not touch.
  public var varyingPart: Agreement?
  /// a - b, sketched.
  public var difference: TensorSketch?
  /// The grids that both sides' values lie on; nil where they were not looked at.
  public var grids: SideGrids?
  /// Of positions: by how much they are off at every token, or on each of three axes; nil for anything else.
  public var positionOffsets: [Int]?
  /// How the codes of 8-bit floats belong together; nil for other types.
  public var codes: CodeRelation?
  /// What most values are times the reference's; nil where it was not asked for.
  public var usualRatio: Double?
  /// Whether q and k agree after the rotary embedding in this layer; nil where they were not dumped.
  public var rotatedAgree: Bool?

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

  /// A stage that holds other stages: a block, a decoder layer.
  public var isContainer: Bool { StageOrder.heuristic(key.stage) == 90 }
  var isAttention: Bool {
    let name = key.stage.lowercased()
    return name.contains("attn") || name.contains("attention")
  }
  var isFeedForward: Bool {
    let name = key.stage.lowercased()
    return ["mlp", "moe", "ffn", "feedforward", "expert"].contains { name.contains($0) }
  }

  /// What the comparison of world sizes needs; nil where nothing was sketched.
  public var divergence: DivergenceEvidence? {
    difference.map {
      DivergenceEvidence(
        layer: key.layer, stage: key.stage, tensor: key.tensor, worldSize: worldSize, difference: $0,
        relL2: measures.relL2, alpha: measures.alpha,
        normRatio: measures.normRatio, noise: noise, isContainer: isContainer)
    }
  }

  /// What counts as nothing left: a few times the noise.
  public var tolerance: Double { max(3 * noise, 1e-6) }

  /// What counts as nothing left of the difference a - b: it carries the noise of both, and a term that it repeats
  /// comes from the target, where it has noise of its own.
  var differenceTolerance: Double {
    min(0.3, max(0.02, 2 * noise, 3 * noise / max(measures.relL2, 1e-12)))
  }

  /// A norm multiplies by a weight of its own and by nothing else.
  var isNorm: Bool {
    let name = key.stage.lowercased()
    return name.contains("norm") || name.contains("rms") || name.hasPrefix("ln")
  }

  /// A product inside an attention that q, k and v are made by, or their rotation.
  var isProjection: Bool {
    guard isAttention, !isNorm, let dot = key.stage.lastIndex(of: ".") else { return false }
    let last = key.stage[key.stage.index(after: dot)...].lowercased()
    return last.contains("_a_proj") || last.contains("_b_proj") || [20, 25].contains(StageOrder.heuristic(last))
  }

  /// Nothing turns before the first layer, behind the last, or in a norm or a feed-forward.
  var mayRotate: Bool {
    !isNorm && !isFeedForward && key.layer != nil && ![0, 99, 100].contains(StageOrder.heuristic(key.stage))
  }

  /// What a norm gives: its output, or the input of a branch, which no block that holds the norm itself takes.
  var isNormed: Bool {
    guard key.tensor.hasPrefix("input") else { return isNorm }
    return !isNorm && [20, 40, 55, 58, 60, 80].contains(StageOrder.heuristic(key.stage))
  }

  func near(_ value: Double, _ wanted: Double) -> Bool {
    abs(value - wanted) <= max(0.02, 3 * noise) * max(abs(wanted), 0.05)
  }

  var place: String { key.layer.map { "\(key.stage) of layer \($0)" } ?? key.stage }
}
