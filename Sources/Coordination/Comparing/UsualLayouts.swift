import Alignment

/// Which layout the ranks have for each stage and tensor in most layers, from one pass over all places.
struct UsualLayouts: Sendable {
  private struct Tensor: Hashable {
    var stage: String
    var tensor: String

    init(_ key: CaptureKey) {
      stage = key.stage
      tensor = key.tensor
    }
  }

  /// What `ShardLayout.isLike` compares.
  private struct Kind: Hashable {
    var kind: ShardKind
    var axis: Int?
    var order: ShardLayout.Order
    var detail: String?

    init(_ layout: ShardLayout) {
      kind = layout.kind
      axis = layout.axis
      order = layout.order
      detail = layout.detail
    }
  }

  private struct Group {
    /// Places, whatever became of them.
    var count = 0
    /// Places where a layout fits, in order, by the layout.
    var votes: [Kind: [(place: Int, layout: ShardLayout)]] = [:]
  }

  private let groups: [Tensor: Group]
  private let keys: [CaptureKey]

  init(_ outcomes: [PairOutcome]) {
    var groups: [Tensor: Group] = [:]
    for (place, outcome) in outcomes.enumerated() {
      groups[Tensor(outcome.key), default: Group()].count += 1
      guard let decision = outcome.decision, decision.plan.kind != .ambiguous, let residual = decision.plan.residual,
        residual <= 0.25
      else { continue }
      let layout = decision.target.layout
      groups[Tensor(outcome.key)]?.votes[Kind(layout), default: []].append((place, layout))
    }
    self.groups = groups
    keys = outcomes.map(\.key)
  }

  /// The layout of most other layers of the same stage and tensor where one fits; of two with as many, the one that
  /// comes first.
  subscript(place: Int) -> ShardLayout? {
    var best: (count: Int, first: Int, layout: ShardLayout)?
    for votes in groups[Tensor(keys[place])]?.votes.values ?? [:].values {
      // The first two places are enough to leave one out.
      guard let first = votes.prefix(2).first(where: { $0.place != place }) else { continue }
      let isOwn = Self.holds(votes, place)
      let count = votes.count - (isOwn ? 1 : 0)
      if best.map({ (count, -first.place) > ($0.count, -$0.first) }) ?? true {
        best = (count, first.place, first.layout)
      }
    }
    return best?.layout
  }

  /// Whether other layers have the same stage and tensor.
  func hasSiblings(_ place: Int) -> Bool { groups[Tensor(keys[place])].map { $0.count > 1 } ?? false }

  /// Whether `place` is among `votes`, which are in order.
  private static func holds(_ votes: [(place: Int, layout: ShardLayout)], _ place: Int) -> Bool {
    var range = votes.indices
    while !range.isEmpty {
      let middle = range.lowerBound + range.count / 2
      if votes[middle].place == place { return true }
      range = votes[middle].place < place ? (middle + 1)..<range.upperBound : range.lowerBound..<middle
    }
    return false
  }
}
