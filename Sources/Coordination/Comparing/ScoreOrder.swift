import Alignment
import Comparison
import Diagnosis
import Dumps
import Foundation

/// Finds, from the scores that a router gave to all experts, the tokens that took others for another order of them.
///
/// How many experts a token takes is the number for which the tokens whose best so many changed are those whose outputs
/// stand out after the router: the width of the experts' numbers and no other, where these were dumped. Where there is
/// none, no token is excused.
struct ScoreOrder {
  /// Experts that a token takes; nil where the dumps do not tell.
  let chosen: Int?
  /// Tokens of several layers are off although their scores are not, and no number explains them: the experts are not
  /// chosen by these scores alone (a bias is added, or groups are chosen first).
  let isOpen: Bool
  /// Of each router the tokens that its outputs show to have taken other experts, as far as they do.
  private let standing: [CaptureKey: Standing]

  /// More experts for each token than any model takes.
  private static let mostChosen = 16
  /// More experts than any model has.
  private static let mostExperts = 1024
  /// Times the noise of the usual token's scores that two of them may be apart and still be a near-tie.
  private static let tie = 8.0
  /// Of the spread of a token's scores: beyond it all are near-ties, and the router itself is wrong.
  private static let mostNoise = 1.0 / 16

  /// How far the tokens after one router are off, in times of what the usual token is.
  private struct Standing {
    var outputs: [Double]
    /// Of the scores themselves: a token with another input has other scores.
    var scores: [Double]
    /// What the usual token is off by where that is most.
    var usual: Double

    func isQuiet(_ token: Int) -> Bool { scores[token] <= 4 }
    func isFar(_ token: Int) -> Bool { outputs[token] > 4 }
    func isUsual(_ token: Int) -> Bool { outputs[token] <= 2 }
  }

  init(_ outcomes: [PairOutcome]) {
    var found: [(key: CaptureKey, changes: RouterChanges, standing: Standing)] = []
    for (place, router) in outcomes.enumerated() {
      guard let changes = router.routerChanges, let noise = changes.noise, noise <= Self.mostNoise,
        let scores = Self.times(router, rows: changes.rows)?.values,
        !outcomes.contains(where: { Self.isGated($0, by: router) })
      else { continue }
      let after = outcomes[(place + 1)...].filter { $0.key.layer == router.key.layer && $0.key.role == .output }
        .compactMap { Self.times($0, rows: changes.rows) }
      guard let first = after.first else { continue }
      let outputs = after.dropFirst().reduce(first.values) { zip($0, $1.values).map(max) }
      let usual = after.map(\.usual).reduce(0, max)
      found.append((router.key, changes, Standing(outputs: outputs, scores: scores, usual: usual)))
    }
    standing = Dictionary(found.map { ($0.key, $0.standing) }) { first, _ in first }
    let stated = Self.stated(outcomes, rows: Set(found.map(\.changes.rows)))
    var best: (chosen: Int, score: Int, explained: Int)?
    for chosen in stated.map({ $0...$0 }) ?? 1...Self.mostChosen {
      var (explained, idle) = (0, 0)
      for (_, changes, standing) in found {
        for change in changes.margins
        where change.chosen == chosen && standing.isQuiet(change.token) && changes.isTie(change, tie: Self.tie) {
          if standing.isFar(change.token) { explained += 1 }
          // Of two equal scores either may be taken, so that a token without another says nothing; and no more does
          // an expert whose weight is lost in the noise of the outputs.
          if change.isEqual != true, standing.isUsual(change.token), (change.weight ?? 1) > 8 * standing.usual {
            idle += 1
          }
        }
      }
      let score = explained - idle
      if score > 0, (score, explained) > (best?.score ?? 0, best?.explained ?? 0) { best = (chosen, score, explained) }
    }
    chosen = best?.chosen
    let open = found.count { _, changes, standing in
      (0..<changes.rows).contains { standing.isQuiet($0) && standing.isFar($0) }
    }
    isOpen = best == nil && open > 1
  }

  /// The width of the numbers of the experts that the tokens took; nil where no layer's were dumped.
  private static func stated(_ outcomes: [PairOutcome], rows: Set<Int>) -> Int? {
    let widths = outcomes.compactMap { outcome -> Int? in
      let name = "\(outcome.key.stage).\(outcome.key.tensor)".lowercased()
      guard !outcome.dtype.isFloatingPoint, outcome.shape.count == 2, rows.contains(outcome.shape[0]),
        name.contains("topk") || name.contains("expert")
      else { return nil }
      return outcome.shape[1]
    }
    guard let width = widths.first, (1...mostChosen).contains(width), Set(widths).count == 1 else { return nil }
    return width
  }

  /// The gate of a gated unit is no router.
  private static func isGated(_ outcome: PairOutcome, by gate: PairOutcome) -> Bool {
    outcome.key.layer == gate.key.layer && outcome.key.role == .output && outcome.shape == gate.shape
      && outcome.key.stage.lowercased().contains("up")
  }

  /// Token distances over the usual token's; nil for rows that are not the tokens'.
  private static func times(_ outcome: PairOutcome, rows: Int) -> (values: [Double], usual: Double)? {
    guard let distances = outcome.measures?.tokenRelL2, distances.count == rows, outcome.dtype.isFloatingPoint,
      distances.allSatisfy(\.isFinite)
    else { return nil }
    let usual = max(distances.sorted()[rows / 2], Judge.roundingFloor(outcome.noisyType))
    return (distances.map { $0 / usual }, usual)
  }

  /// Tokens of a router that took other experts at a near-tie, or with another input; nil where the router is none that
  /// dumps all scores.
  ///
  /// - Parameter excused: tokens whose input may be far off already.
  func flips(_ outcome: PairOutcome, excused: Set<Int>) -> RoutingFlips? {
    guard let changes = outcome.routerChanges, let noise = changes.noise, let chosen,
      let standing = standing[outcome.key]
    else { return nil }
    var flips = RoutingFlips(layer: outcome.key.layer, stage: outcome.key.stage, rows: changes.rows)
    flips.areAllScores = true
    flips.tie = Self.tie * noise
    for change in changes.margins where change.chosen == chosen {
      guard change.isEqual == true ? standing.isFar(change.token) : !standing.isUsual(change.token) else { continue }
      // Scores of another input have another order.
      if !standing.isQuiet(change.token), excused.contains(change.token) {
        flips.tokens.append(change.token)
      } else if changes.isTie(change, tie: Self.tie) {
        flips.tokens.append(change.token)
        flips.worstMargin = max(flips.worstMargin, change.margin)
      }
    }
    return flips.tokens.isEmpty || !flips.isRounding ? nil : flips
  }

  /// Whether the scores of a token say that this router's input was no further off there than elsewhere.
  func hasUsualInput(_ token: Int, of router: CaptureKey) -> Bool {
    (standing[router]?.scores[token] ?? .infinity) <= 2
  }

  // MARK: reading

  /// What changed between the scores of both sides; nil where the rows are no scores of all experts.
  static func changes(target: [Double], reference: [Double], experts: Int, floor: Double) -> RouterChanges? {
    guard experts <= mostExperts, target.count(where: { $0 == 0 }) * 8 <= target.count,
      reference.count(where: { $0 == 0 }) * 8 <= reference.count
    else { return nil }
    let rows = target.count / experts
    var changes = RouterChanges(rows: rows)
    var noises: [Double] = []
    var isSorted = true
    for row in 0..<rows {
      let places = (row * experts)..<((row + 1) * experts)
      let (a, b) = (scores(target[places]), scores(reference[places]))
      isSorted = isSorted && zip(a, a.dropFirst()).allSatisfy(>=) && zip(b, b.dropFirst()).allSatisfy(>=)
      let mean = b.reduce(0, +) / Double(experts)
      let spread = rootMeanSquare(b.map { $0 - mean })
      guard spread > 0 else { return nil }
      let step = floor * max(rootMeanSquare(b), 1e-30)
      noises.append(max(rootMeanSquare(zip(a, b).map { $0 - $1 }), step) / spread)
      changes.margins += margins(a, b, spread: spread, token: row)
    }
    // The weights of the chosen, the largest first, are no scores.
    guard !isSorted, !noises.isEmpty else { return nil }
    changes.noise = noises.sorted()[rows / 2]
    return changes
  }

  /// Probabilities are compared by their logarithms, which are the scores less one number.
  private static func scores(_ row: ArraySlice<Double>) -> [Double] {
    let areProbabilities = row.allSatisfy { $0 > 0 } && abs(row.reduce(0, +) - 1) < 0.02
    return areProbabilities ? row.map { log($0) } : Array(row)
  }

  private static func margins(_ a: [Double], _ b: [Double], spread: Double, token: Int) -> [RouterChanges.Margin] {
    guard a != b || Set(b).count < b.count else { return [] }
    let count = min(mostChosen, a.count - 1)
    let (mine, theirs) = (best(count + 1, of: a), best(count + 1, of: b))
    var result: [RouterChanges.Margin] = []
    for chosen in 1...count {
      let own = Set(mine[..<chosen])
      let other = Set(theirs[..<chosen])
      let (gained, lost) = (own.subtracting(other), other.subtracting(own))
      // Which of two equal scores is taken is not in them.
      let gaps = [a[mine[chosen - 1]] - a[mine[chosen]], b[theirs[chosen - 1]] - b[theirs[chosen]]]
      let isEqual = gaps.contains(0) ? true : nil
      if gained.isEmpty {
        guard isEqual == true, let most = gaps.max() else { continue }
        result.append(RouterChanges.Margin(token: token, margin: most / spread, chosen: chosen, isEqual: isEqual))
      } else if let best = lost.map({ b[$0] }).max(), let least = gained.map({ b[$0] }).min(),
        let most = gained.map({ a[$0] }).max(), let left = lost.map({ a[$0] }).min()
      {
        let margin = max(best - least, most - left) / spread
        // Scores become weights by a softmax, or by a sigmoid that takes less from the smaller ones.
        result.append(
          RouterChanges.Margin(
            token: token, margin: margin, chosen: chosen, isEqual: isEqual, weight: exp(best - b[theirs[0]])))
      }
    }
    return result
  }

  /// The places of the largest, the largest first.
  private static func best(_ count: Int, of scores: [Double]) -> [Int] {
    var result: [Int] = []
    for place in scores.indices {
      if result.count == count, let last = result.last, scores[place] <= scores[last] { continue }
      let position = result.firstIndex { scores[$0] < scores[place] } ?? result.count
      result.insert(place, at: position)
      if result.count > count { result.removeLast() }
    }
    return result
  }

  private static func rootMeanSquare(_ values: [Double]) -> Double {
    (values.reduce(0) { $0 + $1 * $1 } / Double(max(values.count, 1))).squareRoot()
  }
}

extension RouterChanges {
  func isTie(_ change: Margin, tie: Double) -> Bool { change.margin <= tie * (noise ?? 0) }
}
