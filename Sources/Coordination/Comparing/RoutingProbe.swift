import Alignment
import Comparison
import Diagnosis
import Dumps

/// Finds tokens whose experts differ between the sides, and whether rounding explains it.
///
/// It reads routers that dump, for each token, the weights of the chosen experts and 0 for the others, or the scores of
/// all experts.
enum RoutingProbe {
  /// Elements of a router's output that are looked at.
  private static let limit = 1 << 22

  private static let names = ["router", "routing", "topk", "gating"].map { Array($0.utf8) }

  static func isRouter(_ outcome: PairOutcome) -> Bool {
    guard outcome.key.role == .output, outcome.dtype.isFloatingPoint, outcome.shape.count == 2 else { return false }
    let name = Array(outcome.key.stage.lowercased().utf8)
    return names.contains { word in name.indices.contains { name[$0...].starts(with: word) } }
      || StageOrder.isGate(name)
  }

  /// Reads both sides: nil where the output is no such router's.
  static func changes(_ outcome: PairOutcome) -> RouterChanges? {
    guard isRouter(outcome), let decision = outcome.decision, decision.target.elementCount <= limit,
      decision.target.elementCount > 0, let experts = outcome.shape.last, experts > 1
    else { return nil }
    let sample = TensorSample(shape: outcome.shape, limit: limit)
    guard let target = try? sample.values(of: decision.target),
      let reference = try? sample.values(of: decision.reference),
      target.count == reference.count, target.allSatisfy(\.isFinite), reference.allSatisfy(\.isFinite)
    else { return nil }
    return weightChanges(target: target, reference: reference, experts: experts)
      ?? ScoreOrder.changes(
        target: target, reference: reference, experts: experts, floor: Judge.roundingFloor(outcome.noisyType))
  }

  /// From the weights of the chosen experts, with 0 for the others; nil for anything else.
  private static func weightChanges(target: [Double], reference: [Double], experts: Int) -> RouterChanges? {
    let rows = target.count / experts
    var chosen: Int?
    var changes = RouterChanges(rows: rows)
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
      changes.margins.append(RouterChanges.Margin(token: row, margin: margin))
    }
    return changes
  }

  /// nil where the output is no router's, or all tokens chose the same experts.
  ///
  /// - Parameter excused: tokens whose own input is far off already, by a choice in a layer before.
  static func flips(_ outcome: PairOutcome, noise: Double, excused: Set<Int>) -> RoutingFlips? {
    guard let changes = outcome.routerChanges, changes.noise == nil, !changes.margins.isEmpty else { return nil }
    // What unflipped tokens differ by is what the scores' noise is.
    let distances = (outcome.measures?.tokenRelL2 ?? []).filter(\.isFinite).sorted()
    let usual = distances.isEmpty ? 0 : distances[distances.count / 2]
    var flips = RoutingFlips(layer: outcome.key.layer, stage: outcome.key.stage, rows: changes.rows)
    flips.tie = max(8 * usual, 4 * noise, 0x1p-6)
    flips.tokens = changes.margins.map(\.token)
    for change in changes.margins where !excused.contains(change.token) {
      flips.worstMargin = max(flips.worstMargin, change.margin)
      if change.margin > flips.tie { flips.beyondTie.append(change.token) }
    }
    return flips
  }
}

/// The tokens of a router that took other experts than the reference's.
struct RouterChanges: Sendable, Codable {
  struct Margin: Sendable, Codable {
    var token: Int
    /// How far the scores are from a tie, over the largest weight of the token, or over the spread of its scores.
    var margin: Double
    /// Of the scores of all experts: for how many experts a token.
    var chosen: Int?
    /// True where the last chosen and the first other have one score on a side: either may have been taken there.
    var isEqual: Bool?
    /// Of the scores of all experts: the weight of the expert that lost its place, over that of the best.
    var weight: Double?
  }

  /// Token rows of the router.
  var rows: Int
  var margins: [Margin] = []
  /// Of the scores of all experts: what the usual token's differ by, over their spread; nil where the chosen are known.
  var noise: Double?
}

/// The flips met so far on the way through the stages.
struct RoutingWalk {
  private(set) var notes: [String] = []
  /// Tokens that may have taken another expert where no router was dumped, by place.
  private(set) var suspects: [(key: CaptureKey, tokens: [Int], worst: Double)] = []
  /// Sequences in the batch, where known.
  let slots: Int?
  /// Layers whose router says which experts were chosen.
  private let routed: Set<Int?>
  private let order: ScoreOrder
  /// Token distances of the scores of all experts in the current layer.
  private var scores: [Double] = []
  private var router: CaptureKey?
  /// Tokens that took another expert in the current layer as their scores tell, though their input is no further off.
  private var fresh: Set<Int> = []
  private var isSure = true
  private var flipped: Set<Int> = []
  private var rows = 0
  private var current: (layer: Int?, tokens: Set<Int>) = (nil, [])
  /// Token distances of the router's input.
  private var inputs: [Double] = []
  /// Token distances of the output before, which stands for the input where no input was dumped of anything.
  private var before: [Double] = []
  private let lacksInputs: Bool

  init(slots: Int?, outcomes: [PairOutcome]) {
    self.slots = slots
    routed = Set(outcomes.filter { $0.routerChanges != nil && $0.routerChanges?.noise == nil }.map(\.key.layer))
    order = ScoreOrder(outcomes)
    lacksInputs = !outcomes.contains { $0.key.role == .input && $0.dtype.isFloatingPoint }
  }

  /// What is set aside of one row, given in execution order.
  mutating func setAside(_ outcome: PairOutcome, noise: Double) -> SetAside? {
    if outcome.key.layer != current.layer {
      current = (outcome.key.layer, [])
      (scores, fresh, router) = ([], [], nil)
    }
    if outcome.key.tensor == "input" { inputs = outcome.measures?.tokenRelL2 ?? [] }
    if let flips = RoutingProbe.flips(outcome, noise: noise, excused: excused(noise: noise)) {
      note(flips, outcome.key)
    }
    suspect(outcome, noise: noise)
    if lacksInputs, outcome.key.role == .output { before = outcome.measures?.tokenRelL2 ?? [] }
    // Scores are judged whole: an order that changed at a near-tie leaves them as near as the others'.
    var result = setAside(outcome)
    guard outcome.routerChanges?.noise != nil else { return result }
    let mayBeOff = inputs.count == rows ? excused(noise: noise) : Set((flipped.min() ?? rows)..<rows)
    result?.followers.formIntersection(mayBeOff)
    if let flips = order.flips(outcome, excused: mayBeOff) { note(flips, outcome.key) }
    scores = outcome.measures?.tokenRelL2 ?? []
    router = outcome.key
    return result
  }

  private func setAside(_ outcome: PairOutcome) -> SetAside? {
    guard let first = flipped.min(), !outcome.shape.isEmpty else { return nil }
    let count = TokenRows(shape: outcome.shape).count
    var why =
      isSure
      ? "tokens took another expert at a near-tie of the router's scores"
      : "tokens may have taken another expert, and no router was dumped to say so"
    if count == rows {
      // Whose scores are right had the right input.
      let followers = (first..<rows).filter { token in
        order.chosen == nil || !(router.map { order.hasUsualInput(token, of: $0) } ?? false)
      }
      var mayPass = isSure
      if let chosen = order.chosen, chosen > 1, let distances = outcome.measures?.tokenRelL2,
        let token = fresh.sorted().first(where: { distances.indices.contains($0) && distances[$0] > Self.oneOfSeveral })
      {
        mayPass = false
        why += ", and token \(token) is off by more than one of \(chosen) experts explains"
      }
      return SetAside(
        tokens: current.tokens, followers: Set(followers), origins: flipped, why: why, mayPass: mayPass)
    }
    // One row a sequence, its last token's.
    guard count < rows, outcome.shape.count > 1 else { return nil }
    let length = slots == count && rows % count == 0 ? rows / count : nil
    let followers = (0..<count).filter { sequence in
      length.map { length in flipped.contains { $0 / length == sequence } } ?? true
    }
    return SetAside(tokens: [], followers: Set(followers), why: why, mayPass: isSure)
  }

  /// Without a router to look at: single tokens of a mixture of experts that are off although their input is not, and
  /// not by as much as garbage is. A flip keeps the other experts' share of the row.
  private mutating func suspect(_ outcome: PairOutcome, noise: Double) {
    let name = outcome.key.stage.lowercased()
    // Scores are as far off as the router's input.
    let inputs = scores.isEmpty ? (lacksInputs ? before : inputs) : scores
    let names = ["moe", "expert"] + (scores.isEmpty ? [] : ["routed", "mlp", "ffn"])
    guard outcome.key.role == .output, names.contains(where: { name.contains($0) }),
      !routed.contains(outcome.key.layer), scores.isEmpty || order.isOpen, let distances = outcome.measures?.tokenRelL2,
      distances.count > 8,
      inputs.count == distances.count, outcome.divergentRanks.isEmpty, distances.allSatisfy(\.isFinite)
    else { return }
    func usual(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }
    let limit = max(8 * usual(distances), 8 * noise)
    let inputLimit = max(3 * usual(inputs), 2 * noise)
    let far = distances.indices.filter { distances[$0] > limit }
    guard !far.isEmpty, far.count * 8 <= distances.count,
      far.allSatisfy({
        (distances[$0] < 1 || flipped.contains($0)) && (inputs[$0] <= inputLimit || $0 >= flipped.min() ?? .max)
      })
    else { return }
    let new = far.filter { inputs[$0] <= inputLimit }
    if !new.isEmpty { suspects.append((outcome.key, new, new.map { distances[$0] }.max() ?? 0)) }
    isSure = false
    rows = distances.count
    current.tokens.formUnion(far)
    flipped.formUnion(far)
  }

  /// One expert in the place of another, beside others that stay, leaves this much: half of the row's energy changed
  /// is 1, and a row of the same size that has nothing to do with it is at 1.4.
  private static let oneOfSeveral = 1.25

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
    if order.chosen != nil { fresh = Set(flips.tokens).subtracting(flipped) }
    current.tokens.formUnion(flips.tokens)
    flipped.formUnion(flips.tokens)
    rows = flips.rows
    notes.append(
      "\(key): token \(list) took another expert at a near-tie (the scores differ by \(Float(flips.worstMargin)) of the "
        + "largest, rounding gives up to \(Float(flips.tie))), or after another token had: rounding, no fault of the "
        + "routing; judged without them")
  }
}
