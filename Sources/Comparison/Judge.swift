public import Alignment
public import Dumps

/// One row on its way to a verdict, in execution order.
public struct JudgedRow: Sendable, Hashable {
  public var key: CaptureKey
  public var dtype: DType
  public var measures: Measures
  /// Ranks that should hold the same bytes and do not.
  public var divergentRanks: [Int]
  /// Both sides were put together from ranks by sums, so that there are no bytes to compare.
  public var isSum: Bool
  /// Token rows that something already known explains, and what it is: judged without them.
  public var setAside: SetAside?
  /// It is loaded, not computed.
  public var isParameter: Bool
  /// What most values are times the reference's (`UsualRatio`); nil where it was not asked for.
  public var usualRatio: Double?

  public init(
    key: CaptureKey, dtype: DType, measures: Measures, divergentRanks: [Int] = [], isSum: Bool = false,
    setAside: SetAside? = nil, isParameter: Bool = false, usualRatio: Double? = nil
  ) {
    self.key = key
    self.dtype = dtype
    self.measures = measures
    self.divergentRanks = divergentRanks
    self.isSum = isSum
    self.setAside = setAside
    self.isParameter = isParameter
    self.usualRatio = usualRatio
  }
}

/// Token rows that are not judged, and why.
public struct SetAside: Sendable, Hashable, Codable {
  /// Rows left out whatever they hold.
  public var tokens: Set<Int>
  /// Rows left out only where they stand out, and by no more than what they may have seen (attention): the others.
  public var followers: Set<Int>
  /// Rows among the followers that were set aside in a stage before: they may be off by as much as those of `tokens`.
  public var origins: Set<Int>
  /// In words.
  public var why: String
  /// Whether the row may still PASS by its other tokens.
  public var mayPass: Bool
  /// The rows are nobody's tokens: whatever stands there, NaN included, proves nothing.
  public var isPadding: Bool

  public init(
    tokens: Set<Int>, followers: Set<Int> = [], origins: Set<Int> = [], why: String, mayPass: Bool,
    isPadding: Bool = false
  ) {
    self.tokens = tokens
    self.followers = followers
    self.origins = origins
    self.why = why
    self.mayPass = mayPass
    self.isPadding = isPadding
  }
}

/// What was judged of one row.
public struct Judgement: Sendable, Hashable, Codable {
  public var verdict: Verdict
  /// One sentence; always for what is not PASS.
  public var why: String?
  /// Relative L2 that honest noise gives; nil under fixed profiles.
  public var floor: Double?
  /// relL2 / max(largest relL2 of the passing stages before, floor).
  public var jump: Double?
  /// Token rows that stand out, worst first.
  public var tokens: [Int]

  public init(verdict: Verdict, why: String? = nil, floor: Double? = nil, jump: Double? = nil, tokens: [Int] = []) {
    self.verdict = verdict
    self.why = why
    self.floor = floor
    self.jump = jump
    self.tokens = tokens
  }
}

/// Judges the rows of one comparison.
public struct Judge: Sendable {
  public var policy: NoisePolicy
  /// A stage whose distance grows by this factor over all before it has diverged. Honest runs stay below 1.6, the
  /// weakest real bug seen is at 2.6.
  public var onset = 2.5
  /// No output may be further off than this, however slowly it got there.
  public var ceiling = 0.25
  /// Repeats bound the noise of repeats, not that of another world size or backend.
  public var repeatFactor = 2.5
  /// A pair known to be good bounds the noise of its like.
  public var knownGoodFactor = 1.25
  /// No floor excuses more than this.
  public static let knownGoodCeiling = 0.1
  /// A token that took another expert is off by no more: honest ones were by up to 2.7 with one expert a token, 1.6
  /// with two.
  public static let otherExpertCeiling = 4.0
  /// A token that attends to such a one is off by no more, whatever that one is off by: honest ones were by up to 0.63.
  /// A row of zeros is at 1.
  public static let followerCeiling = 0.75
  /// A row of the same size that has nothing to do with it is at 1.4; what is further off is garbage.
  public static let garbage = 2.0

  public init(policy: NoisePolicy) { self.policy = policy }

  /// - Parameter rows: all rows of one comparison in execution order.
  /// - Returns: one judgement a row, in the same order.
  public func judge(_ rows: [JudgedRow]) -> [Judgement] {
    guard case .measured(let floors) = policy else { return rows.map(fixed) }
    return measured(rows, floors: floors)
  }

  /// What no policy overrules; nil where the numbers decide.
  private func always(_ row: JudgedRow) -> Judgement? {
    let measures = row.measures
    if measures.elementCount == 0 {
      // Only tensors of one shape are measured; of another type all bytes are called unequal.
      return measures.byteEqual == 0
        ? Judgement(verdict: .inconclusive, why: "the tensor is empty on both sides, and the types differ")
        : Judgement(verdict: .pass, why: "empty on both sides")
    }
    if measures.nonfiniteTarget > 0 { return Judgement(verdict: .fail, why: nonfiniteText(measures)) }
    if measures.nonfiniteReference > 0 {
      return Judgement(verdict: .inconclusive, why: "\(nonfiniteText(measures)): the reference itself is broken")
    }
    return nil
  }

  private func divergence(_ row: JudgedRow) -> String? {
    guard !row.divergentRanks.isEmpty else { return nil }
    let names = row.divergentRanks.map(String.init).joined(separator: ", ")
    return "ranks should hold the same bytes; rank \(names) differ\(row.divergentRanks.count == 1 ? "s" : "")"
  }

  private func fixed(_ row: JudgedRow) -> Judgement {
    if let always = always(row) { return always }
    if let text = divergence(row) { return Judgement(verdict: .fail, why: text) }
    let measures = row.measures
    var outcome: (verdict: Verdict, why: String?)
    switch policy {
    case .atom: outcome = FixedProfile.atom.verdict(of: measures)
    case .triage: outcome = FixedProfile.triage.verdict(of: measures)
    case .strict: outcome = strict(row)
    case .thresholds(let cos, let rel): outcome = limits(measures, cos: cos, rel: rel)
    case .measured: outcome = (.inconclusive, "no profile")
    }
    // Ids, indices and lengths are equal or not; narrower ones may be quantised values, which rounding changes.
    if outcome.verdict == .pass, !row.dtype.isFloatingPoint, row.dtype.byteCount >= 4, !measures.isEqual {
      outcome = (.fail, "integers differ: \(measures.unequalElements) of \(measures.elementCount)")
    }
    return Judgement(verdict: outcome.verdict, why: outcome.why)
  }

  private func strict(_ row: JudgedRow) -> (Verdict, String?) {
    if row.isSum {
      return row.measures.maxAbs == 0
        ? (.pass, nil) : (.inconclusive, "a sum of ranks has no bytes of its own, so it cannot be compared bitwise")
    }
    return row.measures.byteEqual == 1
      ? (.pass, nil)
      : (.fail, "not the same bytes: \(short(row.measures.byteEqual * 100)) % equal")
  }

  private func limits(_ measures: Measures, cos: Double?, rel: Double?) -> (Verdict, String?) {
    if measures.isEqual { return (.pass, nil) }
    if let rel, !(measures.rel <= rel) { return (.fail, "rel \(short(measures.rel)) is above \(short(rel))") }
    if let cos, !(measures.cos >= cos) { return (.fail, "cos \(short(measures.cos)) is below \(short(cos))") }
    return (.pass, nil)
  }

  // MARK: measured noise

  /// State of the walk through the stages.
  private struct Walk {
    /// Coarsest rounding so far: noise does not shrink along the way.
    var rounding = 0.0
    /// Largest distance of the output rows that passed.
    var worst = 0.0
    /// Largest distance of a token row in output rows that passed.
    var worstToken = 0.0
    /// Largest share of a distance that lies along the values, in output rows that passed: |alpha - 1| / relL2.
    var directed = 0.0
    /// Layer of the largest distance, and the last layer with an output.
    var worstLayer: Int?
    var lastLayer: Int?

    /// What tokens that are excused are off by: at most in the rows of this layer, and in the last one.
    private(set) var excused = 0.0
    private var lastExcused = 0.0
    private var excusedLayer: Int?

    mutating func pass(_ layer: Int?) { lastLayer = layer ?? lastLayer }

    mutating func excuse(_ distance: Double, at layer: Int?) {
      if layer != excusedLayer { (excused, excusedLayer) = (lastExcused, layer) }
      excused = max(excused, distance)
      if distance > 0 { lastExcused = distance }
    }

    /// Where layers were left out of the dump, honest noise grew in them as the root of the depth.
    func growth(to layer: Int?) -> Double {
      guard let layer, let worstLayer, let lastLayer, layer > lastLayer + 1 else { return 1 }
      return (Double(layer + 1) / Double(worstLayer + 1)).squareRoot()
    }

    /// With no passing stage before, what rounding theory gives at this depth.
    func theory(_ row: JudgedRow) -> Double {
      guard worst == 0, rounding > 0, let layer = row.key.layer else { return 0 }
      // A dump that begins in the middle: the noise of the layers before comes in.
      if row.key.role == .input { return layer > 0 ? RoundingTheory.expected(rounding: rounding, depth: layer) : 0 }
      guard row.key.role == .output else { return 0 }
      let isContainer = StageOrder.heuristic(row.key.stage) >= 78 && StageOrder.heuristic(row.key.stage) <= 90
      guard isContainer || layer > 0 else { return 0 }
      return RoundingTheory.expected(rounding: rounding, depth: layer + 1)
    }
  }

  /// A row without the tokens that were set aside.
  private struct Reduced {
    var row: JudgedRow
    /// Which they are; nil where none were.
    var aside: Set<Int>?
    /// Those of them that are further off than what they are excused by explains.
    var beyond: [Int] = []
  }

  /// - Parameters:
  ///   - rounding: the coarsest so far, the row's own included.
  ///   - walk: is told how far the excused tokens are off.
  private func reduced(_ row: JudgedRow, rounding: Double, walk: inout Walk) -> Reduced {
    guard let set = row.setAside, row.measures.tokenRelL2.count > 1 else { return Reduced(row: row) }
    let distances = tokenDistances(row.measures)
    let known = set.tokens.union(set.origins).filter(distances.indices.contains)
    // What is off in rows that are nobody's tokens excuses no token.
    if !set.isPadding { walk.excuse(known.map { distances[$0] }.filter(\.isFinite).max() ?? 0, at: row.key.layer) }
    let limit = max(onset * walk.worstToken, 8 * rounding)
    let bound = min(walk.excused, Self.followerCeiling)
    var result = Reduced(row: row)
    var aside = set.tokens.filter(distances.indices.contains)
    for token in set.followers where distances.indices.contains(token) && !(distances[token] <= limit) {
      let isOrigin = known.contains(token)
      // Worse than any other row of the same size: no attention does that, so it is judged.
      if !isOrigin, distances[token].isFinite, distances[token] > Self.garbage { continue }
      aside.insert(token)
      if !isOrigin, !(distances[token] <= bound) { result.beyond.append(token) }
    }
    if !set.isPadding { result.beyond += known.filter { !(distances[$0] <= Self.otherExpertCeiling) } }
    result.beyond.sort { (distances[$1], $0) < (distances[$0], $1) }
    guard aside.contains(where: { row.measures.tokenRelL2[$0] != 0 }) else { return Reduced(row: row) }
    result.row.measures = row.measures.without(aside)
    result.aside = aside
    return result
  }

  /// A row without any follower: many that are a little off each stand out together. nil where one of them is further
  /// off than what it may have seen explains, or too few other rows are left to say that nothing else is wrong.
  private func withoutFollowers(_ row: JudgedRow, walk: Walk) -> Reduced? {
    guard let set = row.setAside, !set.followers.isEmpty, !set.isPadding else { return nil }
    let distances = tokenDistances(row.measures)
    let aside = set.tokens.union(set.followers).filter(distances.indices.contains)
    guard (distances.count - aside.count) * 4 >= distances.count else { return nil }
    let bound = min(walk.excused, Self.followerCeiling)
    let isExplained = aside.allSatisfy {
      distances[$0] <= (set.tokens.contains($0) || set.origins.contains($0) ? Self.otherExpertCeiling : bound)
    }
    guard isExplained else { return nil }
    var result = Reduced(row: row, aside: aside)
    result.row.measures = row.measures.without(aside)
    return result
  }

  private func measured(_ rows: [JudgedRow], floors: NoiseFloors) -> [Judgement] {
    var walk = Walk()
    return rows.map { whole in
      if whole.isParameter { return parameter(whole, floors: floors) }
      let own = whole.dtype.isFloatingPoint ? Self.roundingFloor(whole.dtype) : 0
      var reduced = reduced(whole, rounding: max(walk.rounding, own), walk: &walk)
      var (row, aside) = (reduced.row, reduced.aside)
      walk.rounding = max(walk.rounding, Self.carriedRounding(row.dtype, row.measures))
      if let always = always(whole.setAside?.isPadding == true ? row : whole) { return always }
      if !row.dtype.isFloatingPoint { return integers(row, walk: walk) }
      let floor = max(walk.rounding, own, seen(row, floors))
      let base = max(walk.worst * walk.growth(to: row.key.layer), floor, walk.theory(row))
      if row.measures.relL2 >= onset * base, let wider = withoutFollowers(whole, walk: walk),
        wider.row.measures.relL2 < onset * base
      {
        reduced = wider
        (row, aside) = (wider.row, wider.aside)
      }
      let jump = row.measures.relL2 / base
      var result = Judgement(verdict: .pass, floor: floor, jump: jump)
      let tokens = tokens(row, walk: walk, floor: floor)
      if let text = divergence(row) {
        result.verdict = .fail
        result.why = text
      } else if let text = outOfRange(row.measures) {
        result.verdict = .inconclusive
        result.why = text
      } else if jump >= onset || jump.isNaN {
        result.verdict = .fail
        result.why =
          "relative L2 \(short(row.measures.relL2)) is \(short(jump)) times what the stages before and noise give "
          + "(\(short(base)))"
      } else if row.measures.relL2 > ceiling {
        result.verdict = .fail
        result.why = "relative L2 \(short(row.measures.relL2)) is above \(ceiling), however slowly it grew"
      } else if let worst = tokens.first {
        let distance = row.measures.tokenRelL2.isEmpty ? row.measures.worstToken?.relL2 : row.measures.tokenRelL2[worst]
        result.verdict = .fail
        result.why =
          "token \(worst) is off by \(short(distance ?? .nan)), far beyond the other tokens and stages"
      } else if let ratio = row.usualRatio,
        UsualRatio.isFactor(ratio, measures: whole.measures, floor: floor, directed: walk.directed),
        (aside?.count ?? 0) * 8 <= row.measures.tokenRelL2.count
      {
        result.verdict = .fail
        result.why =
          "most values are \(short(ratio)) times the reference's, and the whole \(short(whole.measures.alpha)) times: "
          + "noise has no such direction"
      }
      result.tokens = tokens
      if let aside, let set = row.setAside {
        let rest = "\(aside.count) of \(row.measures.tokenRelL2.count) token rows set aside"
        if aside.count * 2 > row.measures.tokenRelL2.count {
          if result.verdict == .pass {
            result.verdict = .inconclusive
            result.why = "\(set.why); \(rest): too few are left to judge"
          }
        } else if result.verdict == .pass, let worst = reduced.beyond.first {
          result.verdict = .inconclusive
          result.tokens = reduced.beyond
          result.why =
            "\(set.why); token \(worst) is off by \(short(whole.measures.tokenRelL2[worst])), more than that explains"
        } else if result.verdict == .pass {
          if !set.mayPass { result.verdict = .inconclusive }
          result.why = "\(set.why); \(rest), the others agree"
        }
      }
      if row.key.role == .output { walk.pass(row.key.layer) }
      if result.verdict == .pass, row.key.role == .output, row.dtype != .float8E8M0FNU {
        if row.measures.relL2 >= walk.worst { walk.worstLayer = row.key.layer }
        walk.worst = max(walk.worst, row.measures.relL2)
        // Of what is below rounding nothing is known.
        if row.measures.relL2 >= floor, row.measures.elementCount >= UsualRatio.fewest {
          walk.directed = max(walk.directed, abs(row.measures.alpha - 1) / row.measures.relL2)
        }
        walk.worstToken = max(
          walk.worstToken, tokenDistances(row.measures).max() ?? row.measures.worstToken?.relL2 ?? 0)
      }
      return result
    }
  }

  /// Why there is no relative L2 of finite values; nil where there is, or they are too far apart anyway.
  private func outOfRange(_ measures: Measures) -> String? {
    guard measures.relL2.isNaN, measures.rel <= ceiling else { return nil }
    return "the values differ by up to \(short(measures.maxAbs)), and squares of such numbers leave the range of a "
      + "double: scale the tensor before it is dumped"
  }

  /// Noise of this row in earlier comparisons; 0 where there were none.
  private func seen(_ row: JudgedRow, _ floors: NoiseFloors) -> Double {
    let repeated = min(floors.floor(of: row.key) ?? 0, Self.repeatCeiling(row.dtype)) * repeatFactor
    let known = min(floors.knownGood(row.key, dtype: row.dtype), Self.knownGoodCeiling) * knownGoodFactor
    return max(repeated, known)
  }

  /// Parameters do not flow into each other and are not computed: no rounding adds up in them.
  private func parameter(_ row: JudgedRow, floors: NoiseFloors) -> Judgement {
    if let always = always(row) { return always }
    if !row.dtype.isFloatingPoint { return integers(row, walk: Walk()) }
    if let table = RotaryTable(row) { return table.judgement }
    let floor = max(Self.parameterFloor(row.dtype), seen(row, floors))
    let relL2 = row.measures.relL2
    var result = Judgement(verdict: .pass, floor: floor, jump: relL2 == 0 ? 0 : relL2 / floor)
    let distances = tokenDistances(row.measures)
    result.tokens = distances.indices.filter { !(distances[$0] <= 2 * floor) }
      .sorted { (distances[$1], $0) < (distances[$0], $1) }
    // Of many rows, or of one that is a whole expert, a few values are too little; none moves by more than this.
    let limit = 2 * Self.roundingFloor(row.dtype)
    var worst = result.tokens.first.map { (index: $0, distance: distances[$0]) }
    // Too many rows to be kept.
    if distances.isEmpty, let token = row.measures.worstToken, !(token.relL2 <= 2 * floor) {
      result.tokens = [token.index]
      worst = (token.index, token.relL2)
    }
    let tail = "more than loading and rounding once change a parameter by (\(short(floor)))"
    if let text = divergence(row) {
      (result.verdict, result.why) = (.fail, text)
    } else if let text = outOfRange(row.measures) {
      (result.verdict, result.why) = (.inconclusive, text)
    } else if !(relL2 <= floor) {
      (result.verdict, result.why) = (.fail, "relative L2 \(short(relL2)) is \(tail)")
    } else if let worst {
      (result.verdict, result.why) = (.fail, "row \(worst.index) is off by \(short(worst.distance)), \(tail)")
    } else if !(row.measures.rel <= max(limit, floor)) {
      (result.verdict, result.why) = (
        .fail,
        "a value is off by \(short(row.measures.rel)) of the largest, more than rounding moves any (\(short(limit)))"
      )
    }
    return result
  }

  /// Integers (ids, indices, masks) are equal or not. Where floats before them already differ by noise, a few
  /// flipped choices are open, not wrong.
  private func integers(_ row: JudgedRow, walk: Walk) -> Judgement {
    if row.measures.isEqual, row.divergentRanks.isEmpty { return Judgement(verdict: .pass) }
    if let text = divergence(row) { return Judgement(verdict: .fail, why: text) }
    let equal = short(row.measures.byteEqual * 100)
    if row.key.role == .output, walk.worst == 0 {
      return Judgement(verdict: .fail, why: "integers differ (\(equal) % of bytes equal) and nothing before them does")
    }
    return Judgement(verdict: .inconclusive, why: "integers differ: \(equal) % of bytes equal")
  }

  /// Distance of each token row, against its own norm but no less than a tenth of the usual row's: a row of
  /// almost nothing is not judged by its own rounding.
  private func tokenDistances(_ measures: Measures) -> [Double] {
    guard measures.tokenNorms.count == measures.tokenRelL2.count, !measures.tokenNorms.isEmpty else { return [] }
    // Where none can be so small, the usual one is not looked for.
    if let least = measures.tokenNorms.min(), let most = measures.tokenNorms.max(), least >= 0.1 * most {
      return measures.tokenRelL2
    }
    let usual = median(measures.tokenNorms)
    return zip(measures.tokenRelL2, measures.tokenNorms).map { distance, norm in
      let least = 0.1 * usual
      if norm >= least || least == 0 { return distance }
      return norm > 0 ? distance * norm / least : distance
    }
  }

  /// Token rows far beyond the other tokens, the stages before and rounding, worst first.
  private func tokens(_ row: JudgedRow, walk: Walk, floor: Double) -> [Int] {
    let distances = tokenDistances(row.measures)
    let known = max(onset * walk.worstToken, 8 * floor)
    if distances.isEmpty, let worst = row.measures.worstToken {
      // Of so many rows one is no part of what the whole is off by.
      return worst.relL2 <= max(8 * row.measures.relL2, known) ? [] : [worst.index]
    }
    guard distances.count > 1 else { return [] }
    guard !distances.allSatisfy({ $0 <= known }) else { return [] }
    let limit = max(8 * median(distances), known)
    return distances.indices.filter { distances[$0] > limit || distances[$0].isNaN }
      .sorted { (distances[$1], $0) < (distances[$0], $1) }
  }

  private func median(_ values: [Double]) -> Double {
    values.isEmpty ? 0 : values.ranked(values.count / 2)
  }

  /// What honest repeats may differ by. More is no noise but a fault of its own, and must not excuse others.
  public static func repeatCeiling(_ dtype: DType) -> Double {
    switch dtype {
    case .float32, .float64, .complex64, .complex128: 64 * roundingFloor(dtype)
    default: 4 * roundingFloor(dtype)
    }
  }

  /// What of a row's rounding the rows after it may be off by, too.
  ///
  /// A type of 8 bits or less is what values are stored in, not what is computed in: it brings noise only where both
  /// sides rounded to different numbers. A scale that is a power of two (e8m0) is no activation and brings none.
  public static func carriedRounding(_ dtype: DType, _ measures: Measures) -> Double {
    guard dtype.isFloatingPoint, dtype != .float8E8M0FNU else { return 0 }
    if dtype.byteCount == 1, measures.isEqual || measures.relL2 == 0 { return 0 }
    return roundingFloor(dtype)
  }

  /// What a parameter that was loaded rightly may be off by, as relative L2 of the whole and of each row.
  ///
  /// One rounding of a conversion or of a factor that is folded in. Codes of 8 bits and less are stored, not computed:
  /// quantised anew in the arithmetic of another type, a few in a hundred lie a step apart. A scale that is a power of two is not rounded at all.
  public static func parameterFloor(_ dtype: DType) -> Double {
    switch dtype {
    case .float8E8M0FNU: 0
    case .float8E4M3FN, .float8E4M3FNUZ, .float8E5M2, .float8E5M2FNUZ, .float4E2M1FNx2: dtype.epsilon / 2
    default: roundingFloor(dtype)
    }
  }

  /// Relative L2 that the order of additions alone gives in this type: 2^-8 for bfloat16, 2^-21 for float32.
  public static func roundingFloor(_ dtype: DType) -> Double {
    switch dtype {
    case .bfloat16, .float8E4M3FN, .float8E4M3FNUZ, .float8E5M2, .float8E5M2FNUZ, .float4E2M1FNx2, .float8E8M0FNU:
      dtype.epsilon
    case .float16, .complex32: 2 * dtype.epsilon
    default: 8 * dtype.epsilon
    }
  }
}
