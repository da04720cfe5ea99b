/// How a logical tensor lies over tensor-parallel ranks.
public enum ShardKind: String, Sendable, Hashable, Codable, CaseIterable {
  /// Ranks hold consecutive slices of `axis`.
  case concat
  /// Ranks hold a slice of each fused block (qkv, gate_up) of `axis`.
  case blocks
  /// Grouped-query heads, some replicated.
  case heads
  /// Ranks hold partial sums; the logical tensor is their sum.
  case partial
  /// Every rank holds the whole tensor.
  case replicated
  /// One rank only.
  case single
  /// More than one layout explains the shapes and the data do not decide.
  case ambiguous
}

/// The layout chosen for one stage and tensor of one side, with the evidence for it.
public struct ShardPlan: Sendable, Hashable, Codable {
  /// Where the layout comes from.
  public enum Source: String, Sendable, Hashable, Codable {
    /// One rank, or a rule of the job file.
    case given
    /// Dims text in the dump's own metadata.
    case metadata
    /// The shapes allow nothing else, or the sampled data decided.
    case inferred
  }

  public var kind: ShardKind
  /// Dimension that is concatenated; nil where none is.
  public var axis: Int?
  /// Ranks that take part.
  public var ranks: Int
  /// Relative L2 against the reference under this layout, on the sample that decided; nil where no data were needed.
  public var residual: Double?
  /// 1 - best residual / second-best residual: 0 a tie, 1 clear; nil without a second candidate.
  public var margin: Double?
  /// In words: rule given, shapes, or data.
  public var why: String
  public var source: Source?
  /// How slices follow each other, where not rank after rank.
  public var order: ShardLayout.Order?
  /// The slices are right and stand on the wrong ranks: what would have to be done to make the layout fit. It is
  /// never done: the measures are those of the ranks as they stand.
  public var rankOrder: RankOrder?
  /// Where a rule or metadata gave the layout: what the data say.
  public var alternative: ShardAlternative?
  /// What the target's ranks hold beyond the logical shape.
  public var padding: ShardPadding?
  /// The same of the reference's ranks.
  public var referencePadding: ShardPadding?

  /// As records spell them.
  public enum CodingKeys: String, CodingKey {
    case kind
    case axis
    case ranks
    case residual
    case margin
    case why
    case source
    case order
    case rankOrder = "rank_order"
    case alternative
    case padding
    case referencePadding = "reference_padding"
  }

  public init(
    kind: ShardKind, axis: Int?, ranks: Int, residual: Double?, margin: Double?, why: String, source: Source? = nil,
    order: ShardLayout.Order? = nil, rankOrder: RankOrder? = nil, alternative: ShardAlternative? = nil,
    padding: ShardPadding? = nil, referencePadding: ShardPadding? = nil
  ) {
    self.kind = kind
    self.axis = axis
    self.ranks = ranks
    self.residual = residual
    self.margin = margin
    self.why = why
    self.source = source
    self.order = order
    self.rankOrder = rankOrder
    self.alternative = alternative
    self.padding = padding
    self.referencePadding = referencePadding
  }

  /// True where another layout comes a hundred times nearer to the reference than the one that was declared.
  public var isContradicted: Bool {
    guard let residual, let alternative, alternative.residual <= ShardPlanner.fitLimit else { return false }
    return residual > 100 * max(alternative.residual, 1e-12)
  }
}

/// For each place of a layout the rank position whose slice belongs there.
public struct RankOrder: Sendable, Hashable, Codable {
  /// `sources[i]` is the position, among the ranks that the layout reads, of the slice that fits at place i.
  public var sources: [Int]
  /// Relative L2 against the reference with the slices put so.
  public var residual: Double

  public init(sources: [Int], residual: Double) {
    self.sources = sources
    self.residual = residual
  }

  /// False where a slice fits several places (a shard loaded twice).
  public var isPermutation: Bool { sources.sorted() == Array(sources.indices) }
  public var isIdentity: Bool { sources == Array(sources.indices) }
}

/// A layout that was not taken, with its distance.
public struct ShardAlternative: Sendable, Hashable, Codable {
  public var kind: ShardKind
  public var axis: Int?
  public var order: ShardLayout.Order?
  public var detail: String?
  /// Relative L2 against the reference on the sample.
  public var residual: Double

  public init(kind: ShardKind, axis: Int?, order: ShardLayout.Order?, detail: String?, residual: Double) {
    self.kind = kind
    self.axis = axis
    self.order = order
    self.detail = detail
    self.residual = residual
  }
}

/// The part of the ranks' slices that the logical tensor does not have: a padded vocabulary, padded tokens.
public struct ShardPadding: Sendable, Hashable, Codable {
  public var axis: Int
  /// Indices along the axis.
  public var count: Int
  /// Every value is 0 or -inf.
  public var isEmpty: Bool
  /// Largest value; -inf where all are; NaN where there is a NaN.
  public var largest: Double
  /// Sampled rows whose largest value stands in the padding, and sampled rows; 0 of 0 where the axis is not the last.
  public var rowsWon: Int
  public var rows: Int

  public enum CodingKeys: String, CodingKey {
    case axis
    case count
    case isEmpty = "is_empty"
    case largest
    case rowsWon = "rows_won"
    case rows
  }

  public init(axis: Int, count: Int, isEmpty: Bool, largest: Double, rowsWon: Int, rows: Int) {
    self.axis = axis
    self.count = count
    self.isEmpty = isEmpty
    self.largest = largest
    self.rowsWon = rowsWon
    self.rows = rows
  }
}
