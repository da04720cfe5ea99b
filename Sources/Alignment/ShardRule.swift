/// How a stage's ranks are to be joined.
public enum ShardRule: Sendable, Hashable, Codable {
  /// Found from the shapes, and from the data where shapes allow several.
  case auto
  /// Consecutive slices of an axis; a negative axis counts from the last.
  case concat(axis: Int)
  case partial
  case replicated
  /// Ranks hold a slice of each fused block (qkv, gate_up) of the axis. The sizes are those of the whole tensor's
  /// blocks, in any unit: `[4096, 1024, 1024]` and `[4, 1, 1]` say the same.
  case blocks(sizes: [Int], axis: Int)
  /// Grouped-query heads, some of them on several ranks.
  case heads(HeadRule)
  /// SGLang's text for the dimensions.
  case dims(DimsText)
  /// A rule of the job file that this version cannot apply; the text is the rule as written.
  case unsupported(String)
}

/// The heads of a tensor: queries alone, keys (or values) alone, or q, k and v fused.
public struct HeadRule: Sendable, Hashable, Codable {
  /// Query heads of the whole model; nil where the tensor holds none.
  public var query: Int?
  /// Key/value heads of the whole model; nil where the tensor holds none.
  public var keyValue: Int?
  /// A negative axis counts from the last.
  public var axis: Int

  public init(query: Int? = nil, keyValue: Int? = nil, axis: Int = -1) {
    self.query = query
    self.keyValue = keyValue
    self.axis = axis
  }
}

extension ShardRule {
  /// The rule as a person would write it; nil for `auto`.
  public var text: String? {
    switch self {
    case .auto: nil
    case .concat(let axis): "concat on axis \(axis)"
    case .partial: "partial"
    case .replicated: "replicated"
    case .blocks(let sizes, let axis): "blocks \(sizes) on axis \(axis)"
    case .heads(let heads):
      [heads.query.map { "q \($0)" }, heads.keyValue.map { "kv \($0)" }].compactMap { $0 }.joined(separator: ", ")
        + " heads on axis \(heads.axis)"
    case .dims(let dims): "dims “\(dims.text)”"
    case .unsupported(let text): text
    }
  }

  /// The layout that the rule gives for ranks of these shapes, in rank order.
  ///
  /// - Parameters:
  ///   - shapes: two at least.
  /// - Returns: nil for `auto`, which needs data, and for `dims`, which needs the ranks' places.
  /// - Throws: `AlignmentError` with `rule-mismatch` where the shapes contradict the rule.
  public func layout(_ shapes: [[Int]], place: String) throws(AlignmentError) -> ShardLayout? {
    func mismatch(_ why: String? = nil) -> AlignmentError {
      let seen = shapes.map { "\($0)" }.joined(separator: ", ")
      return AlignmentError(
        code: .ruleMismatch, place: place,
        message: "the rule says \(text ?? "auto") and the ranks' shapes do not allow it: "
          + (why.map { "\($0) (\(seen))" } ?? seen))
    }
    guard let first = shapes.first else { throw mismatch("there are none") }
    let areEqual = shapes.allSatisfy { $0 == first }
    func resolved(_ axis: Int) throws(AlignmentError) -> Int {
      let result = axis < 0 ? axis + first.count : axis
      guard first.indices.contains(result) else { throw mismatch("there is no axis \(axis)") }
      return result
    }
    switch self {
    case .auto, .dims: return nil
    case .unsupported(let text):
      throw AlignmentError(
        code: .unsupportedRule, place: place,
        message: "the shard rule “\(text)” is not supported; use auto, an axis, partial, replicated, blocks, heads or "
          + "dims text")
    case .replicated, .partial:
      guard areEqual else { throw mismatch("they differ") }
      return self == .partial ? .sum(first, ranks: shapes.count) : .replicated(first, ranks: shapes.count)
    case .concat(let axis):
      guard let layout = ShardLayout.concat(shapes, axis: try resolved(axis)) else { throw mismatch() }
      return layout
    case .blocks(let sizes, let axis):
      let axis = try resolved(axis)
      let ranks = shapes.count
      let whole = first[axis].multipliedReportingOverflow(by: ranks)
      guard areEqual, !whole.overflow else { throw mismatch("they differ") }
      guard let sum = Self.sum(sizes), sum > 0, whole.partialValue % sum == 0 else {
        throw mismatch("the blocks do not divide the \(first[axis]) × \(ranks) of axis \(axis)")
      }
      let unit = whole.partialValue / sum
      // A block of the whole tensor is cut evenly over the ranks.
      let widths = sizes.map { $0 * unit }
      if let odd = widths.first(where: { $0 % ranks != 0 }) {
        throw mismatch("a block of \(odd) does not divide over \(ranks) ranks; use heads where ranks hold copies")
      }
      guard var layout = ShardLayout.blocks(shapes, axis: axis, weights: widths.map { $0 / ranks }) else {
        throw mismatch()
      }
      layout.detail = "blocks in the ratio " + sizes.reduced.map(String.init).joined(separator: ":")
      return layout
    case .heads(let heads):
      guard areEqual else { throw mismatch("they differ") }
      return try headLayout(heads, shapes, axis: try resolved(heads.axis), mismatch: { mismatch($0) })
    }
  }

  private func headLayout(
    _ heads: HeadRule, _ shapes: [[Int]], axis: Int, mismatch: (String?) -> AlignmentError
  ) throws(AlignmentError) -> ShardLayout {
    let ranks = shapes.count
    let width = shapes[0][axis]
    func share(_ count: Int, _ name: String, canRepeat: Bool) throws(AlignmentError) -> (local: Int, copies: Int) {
      if count > 0, count % ranks == 0 { return (count / ranks, 1) }
      if canRepeat, count > 0, ranks % count == 0 { return (1, ranks / count) }
      throw mismatch("\(count) \(name) heads do not divide over \(ranks) ranks")
    }
    switch (heads.query, heads.keyValue) {
    case (nil, nil): throw mismatch("it names no heads")
    case (let query?, nil):
      let local = try share(query, "query", canRepeat: false).local
      guard width % local == 0, let layout = ShardLayout.concat(shapes, axis: axis) else {
        throw mismatch("axis \(axis) does not divide into \(local) heads a rank")
      }
      return layout
    case (nil, let keyValue?):
      let (local, copies) = try share(keyValue, "key/value", canRepeat: true)
      let layout =
        copies == 1
        ? ShardLayout.concat(shapes, axis: axis)
        : ShardLayout.replicatedSlices(shapes, axis: axis, copies: copies)
      guard width % local == 0, let layout else {
        throw mismatch("axis \(axis) does not divide into \(local) heads a rank")
      }
      return layout
    case (let query?, let keyValue?):
      let queries = try share(query, "query", canRepeat: false).local
      let (local, copies) = try share(keyValue, "key/value", canRepeat: true)
      let weights = [queries, local, local]
      let layout =
        copies == 1
        ? ShardLayout.blocks(shapes, axis: axis, weights: weights)
        : ShardLayout.fusedCopies(
          shapes, axis: axis, blocks: [(queries, 1), (local, copies), (local, copies)])
      guard let layout else {
        throw mismatch("axis \(axis) does not divide into \(queries) + 2 · \(local) heads a rank")
      }
      return layout
    }
  }

  private static func sum(_ sizes: [Int]) -> Int? {
    var total = 0
    for size in sizes {
      let (sum, overflow) = total.addingReportingOverflow(size)
      guard size > 0, !overflow else { return nil }
      total = sum
    }
    return total
  }
}

extension [Int] {
  /// Divided by their greatest common divisor.
  var reduced: [Int] {
    var divisor = 0
    for var value in self {
      while value != 0 { (divisor, value) = (value, divisor % value) }
    }
    return divisor > 1 ? map { $0 / divisor } : self
  }
}
