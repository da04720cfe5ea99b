public import Alignment
import Comparison
import Dumps

/// Two names whose tensors are alike: a rule that a person may take, never one that is used by itself.
public struct NameProposal: Sendable, Hashable {
  public var reference: NamePattern
  public var target: NamePattern
  /// The largest relative L2 over the layers looked at.
  public var relL2: Double
  /// The layers looked at; empty for what belongs to no layer.
  public var layers: [Int]
  /// The target's name that comes next, and its distance; nil where no other has the shape.
  public var nextBest: (target: NamePattern, relL2: Double)? {
    get { next.map { ($0.target, $0.relL2) } }
    set { next = newValue.map { Next(target: $0.target, relL2: $0.relL2) } }
  }

  private struct Next: Sendable, Hashable {
    var target: NamePattern
    var relL2: Double
  }

  private var next: Next?

  init(reference: NamePattern, target: NamePattern, relL2: Double, layers: [Int]) {
    (self.reference, self.target, self.relL2, self.layers) = (reference, target, relL2, layers)
  }
}

/// Looks for names that belong together by what their tensors hold.
///
/// Only names without a partner are looked at, in the first, the middle and the last layer that both sides have. Two
/// belong together where each is the other's nearest over these and the distance is below ``limit``.
struct NameProposer {
  /// A random tensor is 1.4 away, and honest noise over a deep model a few percent.
  static let limit = 0.3
  /// Token rows that are read of each tensor.
  private static let rows = 64
  /// Pairs of names that are read at most.
  private static let pairLimit = 20_000

  /// A name without its layer.
  private struct Name: Hashable, Comparable {
    var isInLayer: Bool
    var stage: String
    var tensor: String

    init(_ key: CaptureKey) { (isInLayer, stage, tensor) = (key.layer != nil, key.stage, key.tensor) }

    func pattern() throws(AlignmentError) -> NamePattern {
      try NamePattern((isInLayer ? "layer {n} " : "") + NamePattern.exactly("\(stage).\(tensor)"))
    }

    func key(_ layer: Int?) -> CaptureKey { CaptureKey(layer: layer, stage: stage, tensor: tensor) }

    static func < (left: Name, right: Name) -> Bool { (left.stage, left.tensor) < (right.stage, right.tensor) }
  }

  private struct Pair: Hashable, Comparable {
    var reference: Name
    var target: Name

    var length: Int { reference.stage.count + target.stage.count }

    static func < (left: Pair, right: Pair) -> Bool {
      (left.reference, left.target) < (right.reference, right.target)
    }
  }

  let reference: CaptureIndex
  let target: CaptureIndex
  private let calls: (reference: ResolvedCalls, target: ResolvedCalls)
  private let names: NameJoin

  init(_ request: ComparisonRequest, names: NameJoin) {
    self.names = names
    reference = CaptureIndex(request.reference, rank: request.rank)
    target = CaptureIndex(request.target, rank: request.rank)
    calls = CallResolver.resolve(reference: reference, target: target, request: request)
  }

  func proposals() async throws -> [NameProposal] {
    let left = open(reference, names.reference, other: target)
    let right = open(target, names.target, other: reference)
    var pairs: [(pair: Pair, layers: [Int?])] = []
    for (own, ownLayers) in left.sorted(by: { $0.key < $1.key }) {
      for (other, otherLayers) in right.sorted(by: { $0.key < $1.key }) {
        guard own.isInLayer == other.isInLayer, TensorRole(tensor: own.tensor) == TensorRole(tensor: other.tensor)
        else {
          continue
        }
        let common = ownLayers.intersection(otherLayers).sorted { ($0 ?? -1) < ($1 ?? -1) }
        guard let first = common.first, let last = common.last else { continue }
        pairs.append(
          (
            Pair(reference: own, target: other),
            Set([first, common[common.count / 2], last]).sorted { ($0 ?? -1) < ($1 ?? -1) }
          ))
      }
    }
    guard pairs.count <= Self.pairLimit else {
      throw AlignmentError(
        code: .unsupportedRule, place: "--propose-names",
        message: "\(pairs.count) pairs of names could belong together, more than the \(Self.pairLimit) that are read; "
          + "join some by rules first")
    }
    let distances = try await Bounded.map(pairs) { item in
      var worst: Double?
      for layer in item.layers {
        guard let distance = await distance(item.pair, layer) else { return Double?.none }
        worst = max(worst ?? 0, distance)
      }
      return worst
    }
    var found: [Pair: (distance: Double, layers: [Int?])] = [:]
    for (item, distance) in zip(pairs, distances) {
      if let distance { found[item.pair] = (distance, item.layers) }
    }
    return try proposals(found)
  }

  private func proposals(_ found: [Pair: (distance: Double, layers: [Int?])]) throws -> [NameProposal] {
    // Of names that hold the same (a layer's input and that of its first norm) the shortest is the plainest.
    func ranked(_ name: KeyPath<Pair, Name>, _ wanted: Name) -> [(pair: Pair, distance: Double)] {
      found.filter { $0.key[keyPath: name] == wanted }.map { ($0.key, $0.value.distance) }
        .sorted { ($0.distance, $0.pair.length, $0.pair) < ($1.distance, $1.pair.length, $1.pair) }
    }
    var result: [NameProposal] = []
    for reference in Set(found.keys.map(\.reference)).sorted() {
      let candidates = ranked(\.reference, reference)
      guard let best = candidates.first, best.distance <= Self.limit,
        ranked(\.target, best.pair.target).first?.pair == best.pair, let layers = found[best.pair]?.layers
      else { continue }
      var proposal = NameProposal(
        reference: try reference.pattern(), target: try best.pair.target.pattern(), relL2: best.distance,
        layers: layers.compactMap { $0 })
      if candidates.count > 1 { proposal.nextBest = (try candidates[1].pair.target.pattern(), candidates[1].distance) }
      result.append(proposal)
    }
    return result
  }

  /// Names without a partner, with the layers that have them.
  private func open(_ index: CaptureIndex, _ side: NameJoin.Side, other: CaptureIndex) -> [Name: Set<Int?>] {
    var result: [Name: Set<Int?>] = [:]
    for key in index.captures.keys where side.renamed[key] == nil && other.captures[key] == nil {
      // A name that takes part under its own name is another's partner.
      guard !taken.contains(key) else { continue }
      result[Name(key), default: []].insert(key.layer)
    }
    return result
  }

  private var taken: Set<CaptureKey> { Set(names.reference.renamed.values).union(names.target.renamed.values) }

  /// Relative L2 of the first rows under the layout that fits best; nil where shapes or types do not allow one.
  private func distance(_ pair: Pair, _ layer: Int?) async -> Double? {
    var left = tensors(reference, calls.reference, pair.reference.key(layer))
    var right = tensors(target, calls.target, pair.target.key(layer))
    guard let a = left.first, let b = right.first, a.dtype.isFloatingPoint == b.dtype.isFloatingPoint else {
      return nil
    }
    if a.shape.count == b.shape.count + 1 { left = left.compactMap(\.flattened) }
    if b.shape.count == a.shape.count + 1 { right = right.compactMap(\.flattened) }
    let planner = ShardPlanner(rule: .auto, place: pair.target.stage)
    guard !left.isEmpty, !right.isEmpty, let decision = try? planner.plan(reference: left, target: right),
      var shape = Optional(decision.target.shape), shape.allSatisfy({ $0 > 0 })
    else { return nil }
    if shape.count > 1 { shape[0] = min(shape[0], Self.rows) }
    let measures = try? await PairMeasurer.measure(target: decision.target, reference: decision.reference, shape: shape)
    guard let measures, measures.relL2.isFinite, measures.nonfiniteTarget == 0, measures.nonfiniteReference == 0 else {
      return nil
    }
    // Constant tensors (masks, positions of nothing) are like each other and prove nothing.
    return measures.normRatio > 0 ? measures.relL2 : nil
  }

  private func tensors(_ index: CaptureIndex, _ calls: ResolvedCalls, _ key: CaptureKey) -> [Tensor] {
    guard case .success(let choice) = calls.choice(key), let byRank = index.captures[key]?[choice.call] else {
      return []
    }
    return byRank.sorted { $0.key < $1.key }.map(\.value.tensor)
  }
}

extension DumpComparer {
  /// Names that could belong together by what their tensors hold, for rules that a person decides on. Nothing is judged.
  ///
  /// - Parameter request: with both sides' captures; names that its rules or sameness join are left out.
  /// - Throws: `AlignmentError` where there are too many names, or a rule cannot be matched.
  public static func proposeNames(_ request: ComparisonRequest) async throws -> [NameProposal] {
    try await NameProposer(request, names: try names(request)).proposals()
  }
}
