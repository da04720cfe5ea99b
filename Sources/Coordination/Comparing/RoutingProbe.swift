import Alignment
import Comparison
import Diagnosis
import Dumps

/// Finds tokens whose experts differ between the sides, and whether rounding explains it.
///
/// It reads routers that dump, for each token, the weights of the chosen experts and 0 for the others.
enum RoutingProbe {
  /// Elements of a router's output that are looked at.
  private static let limit = 1 << 22

  static func isRouter(_ outcome: PairOutcome) -> Bool {
    let name = outcome.key.stage.lowercased()
    let isNamed = ["router", "routing", "topk", "gating"].contains { name.contains($0) } || name == "gate"
    return isNamed && outcome.key.role == .output && outcome.dtype.isFloatingPoint && outcome.shape.count == 2
  }

  /// nil where the output is no such router's, or all tokens chose the same experts.
  ///
  /// - Parameter excused: tokens whose own input is far off already, by a choice in a layer before.
  static func flips(_ outcome: PairOutcome, noise: Double, excused: Set<Int>) -> RoutingFlips? {
    guard isRouter(outcome), let decision = outcome.decision, decision.target.elementCount <= limit,
      decision.target.elementCount > 0, let experts = outcome.shape.last, experts > 1
    else { return nil }
    let sample = TensorSample(shape: outcome.shape, limit: limit)
    guard let target = try? sample.values(of: decision.target),
      let reference = try? sample.values(of: decision.reference),
      target.count == reference.count, target.allSatisfy(\.isFinite), reference.allSatisfy(\.isFinite)
    else { return nil }
    let rows = target.count / experts
    var chosen: Int?
    var flips = RoutingFlips(layer: outcome.key.layer, stage: outcome.key.stage, rows: rows)
    // What unflipped tokens differ by is what the scores' noise is.
    let distances = (outcome.measures?.tokenRelL2 ?? []).filter(\.isFinite).sorted()
    let usual = distances.isEmpty ? 0 : distances[distances.count / 2]
    let tie = max(8 * usual, 4 * noise, 0x1p-6)
    for row in 0..<rows {
      let a = target[(row * experts)..<((row + 1) * experts)].map { $0 }
      let b = reference[(row * experts)..<((row + 1) * experts)].map { $0 }
      let mine = a.indices.filter { a[$0] != 0 }
      let theirs = b.indices.filter { b[$0] != 0 }
      let count = chosen ?? theirs.count
      chosen = count
      guard mine.count == count, theirs.count == count, count > 0, count < experts else { return nil }
      guard mine != theirs else { continue }
      let lost = theirs.filter { !mine.contains($0) }.map { b[$0] }.sorted()
      let gained = mine.filter { !theirs.contains($0) }.map { a[$0] }.sorted()
      let kept = theirs.filter { mine.contains($0) }
      let size = b.map(abs).max() ?? 1
      var margin = zip(lost, gained).map { abs($0 - $1) / size }.max() ?? 1
      // Only the last of the chosen can lose its place, and the others keep their weights.
      if let most = lost.last, let least = kept.map({ b[$0] }).min(), most > least {
        margin = max(margin, (most - least) / size)
      }
      margin = kept.map { abs(a[$0] - b[$0]) / size }.reduce(margin, max)
      flips.tokens.append(row)
      guard !excused.contains(row) else { continue }
      flips.worstMargin = max(flips.worstMargin, margin)
      if margin > tie { flips.beyondTie.append(row) }
    }
    flips.tie = tie
    return flips.tokens.isEmpty ? nil : flips
  }
}

/// The flips met so far on the way through the stages.
struct RoutingWalk {
  private(set) var notes: [String] = []
  /// Sequences in the batch, where known.
  let slots: Int?
  private var flipped: Set<Int> = []
  private var rows = 0
  private var current: (layer: Int?, tokens: Set<Int>) = (nil, [])
  /// Token distances of the router's input.
  private var inputs: [Double] = []

  init(slots: Int?) { self.slots = slots }

  /// What is set aside of one row, given in execution order.
  mutating func setAside(_ outcome: PairOutcome, noise: Double) -> SetAside? {
    if outcome.key.layer != current.layer { current = (outcome.key.layer, []) }
    if outcome.key.tensor == "input" { inputs = outcome.measures?.tokenRelL2 ?? [] }
    if let flips = RoutingProbe.flips(outcome, noise: noise, excused: excused(noise: noise)) {
      note(flips, outcome.key)
    }
    guard let first = flipped.min(), let count = outcome.shape.first else { return nil }
    let why = "tokens took another expert at a near-tie of the router's scores"
    if count == rows {
      return SetAside(tokens: current.tokens, followers: Set(first..<rows), why: why, mayPass: true)
    }
    // One row a sequence, its last token's.
    guard count < rows, outcome.shape.count > 1 else { return nil }
    let length = slots == count && rows % count == 0 ? rows / count : nil
    let followers = (0..<count).filter { sequence in
      length.map { length in flipped.contains { $0 / length == sequence } } ?? true
    }
    return SetAside(tokens: [], followers: Set(followers), why: why, mayPass: true)
  }

  /// Tokens after a flip whose input is far beyond the others'.
  private func excused(noise: Double) -> Set<Int> {
    guard let first = flipped.min(), inputs.count == rows else { return [] }
    let sorted = inputs.filter(\.isFinite).sorted()
    let usual = sorted.isEmpty ? 0 : sorted[sorted.count / 2]
    return Set((first..<rows).filter { inputs[$0] > max(3 * usual, 2 * noise) })
  }

  private mutating func note(_ flips: RoutingFlips, _ key: CaptureKey) {
    let words = flips.tokens.prefix(8).map(String.init).joined(separator: ", ")
    let list = "\(words)\(flips.tokens.count > 8 ? ", … (\(flips.tokens.count) in all)" : "")"
    guard flips.isRounding else {
      notes.append(
        "\(key): token \(list) took other experts, and \(flips.beyondTie.count) of them at scores that are no near-tie "
          + "(they differ by \(Float(flips.worstMargin)) of the largest, rounding gives up to \(Float(flips.tie))): the "
          + "routing itself is wrong")
      return
    }
    current.tokens.formUnion(flips.tokens)
    flipped.formUnion(flips.tokens)
    rows = flips.rows
    notes.append(
      "\(key): token \(list) took another expert at a near-tie (the scores differ by \(Float(flips.worstMargin)) of the "
        + "largest, rounding gives up to \(Float(flips.tie))), or after another token had: rounding, no fault of the "
        + "routing; judged without them")
  }
}
