import Alignment
import Dumps

/// Sequences and tokens of a batch that lie in two dimensions: `[B, T, hidden]` holds B·T token rows.
///
/// Its shape alone does not tell such a tensor from `[tokens, heads, head_dim]`, so the token ids or positions have to:
/// they are `[B, T]` on every rank of both sides, and belong to no layer or, ids, to the first. What has the same two
/// extents first is by token then; what a rank holds a share of is not.
struct BatchExtents: Sendable, Hashable {
  var sequences: Int
  var tokens: Int

  /// Nil where nothing says it, where the ids contradict each other, and for one sequence or one token, whose rows need
  /// no help. Positions say it only where there are no ids: of an image's tokens they are `[3, tokens]`.
  init?(_ pairs: [CaptureMatching.Pair]) {
    let lowest = pairs.compactMap(\.key.layer).min()
    func shapes(_ belongs: (CaptureKey) -> Bool) -> Set<[Int]> {
      var shapes: Set<[Int]> = []
      for pair in pairs where belongs(pair.key) {
        let tensors = (Array(pair.reference.values) + Array(pair.target.values)).map(\.tensor)
        guard tensors.allSatisfy({ !$0.dtype.isFloatingPoint }) else { continue }
        shapes.formUnion(tensors.map(\.shape))
      }
      return shapes
    }
    // Layouts whose names always have a layer keep the ids in the first.
    let named = shapes { ($0.layer == nil || $0.layer == lowest) && Self.name($0).contains("input_ids") }
    guard named.allSatisfy({ $0.count == 2 }) else { return nil }
    let ids = named.union(shapes { ($0.layer == nil || $0.layer == lowest) && Self.isFirstInput($0) })
    var extents = ids.filter { $0.count == 2 }
    if ids.isEmpty {
      // They may be those of one sequence, which hold for all.
      extents = shapes { $0.layer == nil && PositionProbe.isPosition($0) }.filter { $0.count == 2 && $0[0] != 1 }
    }
    guard extents.count == 1, let shape = extents.first, shape[0] > 1, shape[1] > 1 else { return nil }
    (sequences, tokens) = (shape[0], shape[1])
  }

  private static func name(_ key: CaptureKey) -> String { "\(key.stage).\(key.tensor)".lowercased() }

  /// Token ids by their name or place; `lowest` is the first layer that has captures.
  static func areTokenIds(_ key: CaptureKey, lowest: Int?) -> Bool {
    (key.layer == nil || key.layer == lowest) && (name(key).contains("input_ids") || isFirstInput(key))
  }

  private static func isFirstInput(_ key: CaptureKey) -> Bool {
    key.role == .input && StageOrder.heuristic(key.stage) == 0 && !PositionProbe.isPosition(key)
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

extension NameJoin {
  /// Names as they are; where one side keeps a batch in two dimensions (`[B, T, hidden]`) and the other strings its
  /// sequences together (`[B·T, hidden]`), the first is read as the second.
  ///
  /// The token ids of both sides have to say so: shapes alone would take `[tokens, heads, head_dim]` for a batch.
  static func stringingBatches(_ reference: [Capture], _ target: [Capture]) -> NameJoin {
    var join = NameJoin.none
    let sides = [reference, target].map { captures in
      captures.reduce(into: [CaptureKey: (shapes: Set<[Int]>, areFloating: Bool)]()) { shapes, capture in
        guard capture.metadata?.dims == nil else { return }
        let key = CaptureKey(capture)
        shapes[key, default: ([], false)].shapes.insert(capture.tensor.shape)
        if capture.tensor.dtype.isFloatingPoint { shapes[key]?.areFloating = true }
      }
    }
    let lowest = sides.flatMap(\.keys).compactMap(\.layer).min()
    func flattened(_ own: Int) -> Set<CaptureKey> {
      let other = sides[1 - own]
      // A batch of one needs no help: its tokens are told by the number that both sides have.
      let keys = sides[own].keys.filter { key in
        guard let strung = other[key]?.shapes, let shapes = sides[own][key]?.shapes else { return false }
        return shapes.contains { shape in
          guard shape.count >= 2, shape[0] > 1 else { return false }
          let (rows, overflow) = shape[0].multipliedReportingOverflow(by: shape[1])
          // What follows may be a rank's share.
          return !overflow && strung.contains { $0.first == rows }
        } && strung.allSatisfy { other in shapes.allSatisfy { $0.count == other.count + 1 } }
      }
      let isTold = keys.contains {
        BatchExtents.areTokenIds($0, lowest: lowest)
          && ![sides[own][$0], other[$0]].contains { $0?.areFloating ?? true }
      }
      return isTold ? Set(keys) : []
    }
    join.reference.flattened = flattened(0)
    join.target.flattened = flattened(1)
    return join
  }

  /// Which side is read so; nil where none is.
  var batchNote: String? {
    let sides = [("reference", reference), ("target", target)].filter { !$0.1.flattened.isEmpty }
    return sides.first.map {
      "the \($0.0)'s batches are read as one sequence after the other, as the other side has them, by the token ids"
    }
  }
}

extension CaptureMatching.Pair {
  /// With `[1, tokens, hidden]` of one side, or its ranks' shares of that, as `[tokens, hidden]` where the other has
  /// that, and with a number that one side keeps as `[1]` as the other's `[]`; else as it is.
  ///
  /// - Parameter tokens: of the chosen calls; nil where the layouts have no calls, and the other side's rows say it.
  func withoutBatchOfOne(tokens: Int?) -> CaptureMatching.Pair {
    func dimensions(_ captures: [Int: Capture]) -> Int? {
      let counts = Set(captures.values.map { $0.metadata?.dims == nil ? $0.tensor.shape.count : -1 })
      return counts.count == 1 ? counts.first : nil
    }
    guard let left = dimensions(reference), let right = dimensions(target), abs(left - right) == 1 else { return self }
    let side = left > right ? \CaptureMatching.Pair.reference : \.target
    let shapes = self[keyPath: side].values.map(\.tensor.shape)
    if max(left, right) == 1, shapes.allSatisfy({ $0 == [1] }) {
      var pair = self
      for rank in self[keyPath: side].keys {
        pair[keyPath: side][rank]?.tensor.shape = []
        pair[keyPath: side][rank]?.tensor.strides = []
      }
      return pair
    }
    guard max(left, right) > 2 else { return self }
    let rows = Set((left > right ? target : reference).values.map { $0.tensor.shape[0] })
    let total = shapes.reduce(0) { $0.addingReportingOverflow($1[1]).partialValue }
    guard let tokens = tokens ?? (rows.count == 1 ? rows.first : nil), shapes.allSatisfy({ $0[0] == 1 }),
      total == tokens || shapes.allSatisfy({ $0[1] == tokens })
    else { return self }
    var pair = self
    for (rank, capture) in self[keyPath: side] {
      guard let flat = capture.tensor.flattened else { return self }
      pair[keyPath: side][rank]?.tensor = flat
    }
    return pair
  }
}
