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

  public init(kind: ShardKind, axis: Int?, ranks: Int, residual: Double?, margin: Double?, why: String) {
    self.kind = kind
    self.axis = axis
    self.ranks = ranks
    self.residual = residual
    self.margin = margin
    self.why = why
  }
}
