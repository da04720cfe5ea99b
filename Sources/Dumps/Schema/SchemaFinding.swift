/// A named cause for weights that differ (`cause` is an id of the signature table), for all tensors that show it.
public struct SchemaFinding: Sendable, Hashable {
  public enum Confidence: String, Sendable, Hashable, Codable {
    case certain
    case likely
    /// It may be what the engine means to do.
    case possible
  }

  public var cause: String
  public var confidence: Confidence
  /// Names as in the report.
  public var tensors: [String]
  public var ranks: [Int]
  public var evidence: [String: Double]
  /// Whether it is the target that is shuffled; nil for other causes.
  public var isInTarget: Bool?
  /// One sentence: what was seen.
  public var summary: String
  /// One sentence: what to do next.
  public var next: String
}

/// What one pair of tensors, or one tensor and its slices, was seen to be.
enum SchemaObservation: Hashable {
  case inKnownOrder(KnownOrder, isTarget: Bool)
  case inKnownOrderTwice(KnownOrder, isTarget: Bool)
  case transposed
  case lines(LinePermutation.Axis, LinePermutation.Pattern)
  case otherOrder
  case cast(DType, DType)
  case rounded(DType, DType)
  case otherFloat8(DType, DType, isScaleEqual: Bool?)
  case otherType(DType, DType)
  case offsetByOne
  case zero
  case absent
  case ranksMissing
  case ranksLack
  case duplicateShard
  case headMap
  case rankOrder([Int])
  case contiguousFusion
  case replicasDiffer
  case nonfinite(reference: Bool, target: Bool)

  /// The finding without its tensors.
  private var text: (cause: String, confidence: SchemaFinding.Confidence, what: String, next: String) {
    let loader = "Check the order in which the weight loader fills this weight."
    switch self {
    case .inKnownOrder(let order, let isTarget):
      let side = isTarget ? "target" : "reference"
      return order.isScale
        ? (
          "weight-shuffle", .possible, "the \(side) holds these scales shuffled as \(order.name)",
          "Right only where the kernel reads shuffled scales, and the weight is prepared for the same kernel."
        )
        : (
          "weight-shuffle", .possible, "the \(side) holds these weights shuffled for layout \(order.name)",
          "Right only where the layer's GEMM reads preshuffled weights: check its quant type and its kernel."
        )
    case .inKnownOrderTwice(let order, let isTarget):
      return (
        "weight-shuffle", .certain,
        "the \(isTarget ? "target" : "reference") holds these \(order.isScale ? "scales" : "weights") shuffled twice "
          + "as \(order.name)", "Find the second call of the shuffle in the weight loader and take it out."
      )
    case .transposed:
      return ("weight-shuffle", .likely, "the target is the reference transposed", loader)
    case .lines(let axis, .halvesSwapped):
      return ("halves-swapped", .likely, "the halves of the \(axis.rawValue) changed places", loader)
    case .lines(let axis, .interleaved):
      return (
        "fused-shard-layout", .likely, "the \(axis.rawValue) of the two halves stand in turn on one side only", loader
      )
    case .lines(let axis, .interleavedInGroups(let size)):
      return (
        "rope-style", .likely,
        "in each \(size) \(axis.rawValue) the two halves stand in turn on one side only, as for the two styles of RoPE",
        "Check whether the engine's RoPE is of the style (neox or interleaved) that this order of rows is for."
      )
    case .lines(let axis, .blocks(let blocks)):
      return (
        "fused-shard-layout", .likely, "the \(axis.rawValue) stand in blocks of the order \(listed(blocks))", loader
      )
    case .lines(let axis, .other(let runs)):
      return ("weight-shuffle", .likely, "the \(axis.rawValue) stand in another order, in \(runs) runs", loader)
    case .otherOrder:
      return (
        "weight-shuffle", .likely, "the same elements stand in another order, which is none of whole rows or columns",
        loader
      )
    case .cast(let a, let b):
      return (
        "dtype-change", .possible, "equal values as \(a.rawValue) and \(b.rawValue)",
        "Nothing is lost; right where the engine keeps this weight in that type on purpose."
      )
    case .rounded(let a, let b):
      return (
        "dtype-change", .possible, "equal values as \(a.rawValue) and \(b.rawValue) but for rounding",
        "Right where the engine keeps this weight in that type on purpose."
      )
    case .otherFloat8(let a, let b, let isScaleEqual):
      let scale =
        isScaleEqual.map { $0 ? ", and their scales are equal" : ", and their scales are not equal" }
        ?? "; no scale was found beside them"
      return (
        "float8-variant", isScaleEqual == true ? .certain : .possible,
        "equal bytes are read as \(a.rawValue) and as \(b.rawValue)\(scale)",
        "The values differ by a factor of two: the scale must be doubled or halved with the type."
      )
    case .otherType(let a, let b):
      return (
        "dtype-change", .possible, "equal bytes are called \(a.rawValue) and \(b.rawValue)",
        "Check that whatever reads this weight takes it for the type that was meant."
      )
    case .offsetByOne:
      return (
        "norm-weight-offset", .likely, "the values differ by exactly one",
        "Check whether the norm multiplies with w or with 1 + w on each side."
      )
    case .zero:
      return (
        "missing-weight", .likely, "the target is all zero",
        "Check that the weight loader finds this name and fills it."
      )
    case .absent:
      return (
        "missing-weight", .likely, "the target does not have them",
        "Check the weight loader's prefixes and mappings: what it does not find, it does not fill."
      )
    case .ranksMissing:
      return (
        "incomplete-ranks", .certain, "ranks of its world are not there, or cannot be read",
        "Gather the files of these ranks, or find out why they did not write."
      )
    case .ranksLack:
      return (
        "incomplete-ranks", .likely, "ranks lack what others of their side hold",
        "Gather the files of these ranks again; where they are whole, the loader did not fill these names there."
      )
    case .duplicateShard:
      return (
        "duplicate-shard", .certain, "ranks hold a slice that belongs to another rank, and some slices are not held",
        "Check which rank number the weight loader slices by."
      )
    case .headMap:
      return (
        "head-map", .certain, "ranks hold the slice of another group of heads",
        "Check which key/value head each rank loads (rank // copies, or rank mod heads)."
      )
    case .rankOrder(let order):
      return (
        "rank-order", .certain, "the ranks hold each other's slices: \(listed(order))",
        "Check which rank number the weight loader slices by."
      )
    case .contiguousFusion:
      return (
        "fused-shard-layout", .likely, "a fused weight is sliced as a whole, and not block by block",
        "Slice gate and up (q, k and v) one by one: a rank needs its part of each."
      )
    case .replicasDiffer:
      return (
        "replica-divergence", .likely, "ranks hold copies that differ", "Compare what these ranks loaded, and when."
      )
    case .nonfinite(let reference, let target):
      let sides = reference && target ? "both sides hold" : "the \(target ? "target" : "reference") holds"
      return (
        "non-finite", .certain, "\(sides) NaN or infinity",
        "Look for them in the checkpoint first, then at what the loader does to these weights: casts, scales, memory "
          + "that nothing fills."
      )
    }
  }

  private var isInTarget: Bool? {
    switch self {
    case .inKnownOrder(_, let isTarget), .inKnownOrderTwice(_, let isTarget): isTarget
    default: nil
    }
  }

  /// One finding for all tensors and ranks that were seen so.
  func finding(_ tensors: [String], ranks: Set<Int>) -> SchemaFinding {
    let text = text
    let names = tensors.prefix(3).joined(separator: ", ")
    let more = tensors.count > 3 ? " and \(tensors.count - 3) more" : ""
    return SchemaFinding(
      cause: text.cause, confidence: text.confidence, tensors: tensors, ranks: ranks.sorted(),
      evidence: ["tensors": Double(tensors.count)], isInTarget: isInTarget, summary: "\(names)\(more): \(text.what).",
      next: text.next)
  }
}
