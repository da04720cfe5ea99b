import Alignment
import Dumps

/// Sequences and tokens of a batch that lie in two dimensions: `[B, T, hidden]` holds B·T token rows.
///
/// Its shape alone does not tell such a tensor from `[tokens, heads, head_dim]`, so the token ids or positions have to:
/// they are `[B, T]` on every rank of both sides, and belong to no layer. What has the same two extents first is by
/// token then; what a rank holds a share of is not.
struct BatchExtents: Sendable, Hashable {
  var sequences: Int
  var tokens: Int

  /// Nil where nothing says it, where the ids contradict each other, and for one sequence or one token, whose rows need
  /// no help.
  init?(_ pairs: [CaptureMatching.Pair]) {
    var shapes: Set<[Int]> = []
    for pair in pairs where pair.key.layer == nil && Self.isByToken(pair.key) {
      let tensors = (Array(pair.reference.values) + Array(pair.target.values)).map(\.tensor)
      guard tensors.allSatisfy({ !$0.dtype.isFloatingPoint && $0.shape.count == 2 }) else { continue }
      shapes.formUnion(tensors.map(\.shape))
    }
    // Positions may be those of one sequence, which hold for all.
    shapes = shapes.filter { $0[0] != 1 }
    guard shapes.count == 1, let shape = shapes.first, shape[0] > 1, shape[1] > 1 else { return nil }
    (sequences, tokens) = (shape[0], shape[1])
  }

  private static func isByToken(_ key: CaptureKey) -> Bool {
    let name = "\(key.stage).\(key.tensor)".lowercased()
    return name.contains("input_ids") || name.contains("position")
      || key.role == .input && StageOrder.heuristic(key.stage) == 0
  }

  /// The pair with its batch's two dimensions as one; nil where it has no such.
  func flattened(_ pair: CaptureMatching.Pair) -> CaptureMatching.Pair? {
    var pair = pair
    func flatten(_ captures: inout [Int: Capture]) -> Bool {
      for (rank, capture) in captures {
        guard capture.tensor.shape.count >= 3, capture.tensor.shape.prefix(2) == [sequences, tokens],
          capture.metadata?.dims == nil, let flat = capture.tensor.flattened
        else { return false }
        captures[rank]?.tensor = flat
      }
      return true
    }
    return flatten(&pair.reference) && flatten(&pair.target) ? pair : nil
  }

  /// How a reader finds a token again.
  var note: String {
    "the batch is \(sequences) sequences of \(tokens) tokens, by its token ids: token i of a row is token i mod "
      + "\(tokens) of sequence i / \(tokens)"
  }
}
