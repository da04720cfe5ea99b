import Alignment
import Comparison
import Diagnosis
import Dumps
import Reporting

/// What is compared with what, in execution order, and everything that has no partner.
struct CaptureMatching: Sendable {
  struct Pair: Sendable {
    var key: CaptureKey
    var call: ComparisonReport.RowCall
    var reference: [Int: Capture]
    var target: [Int: Capture]
    var missingRanks: [Int]
    var missingReferenceRanks: [Int]
  }

  let reference: CaptureIndex
  let target: CaptureIndex
  private(set) var pairs: [Pair] = []
  private(set) var unmatched: [String] = []
  /// Places that should have been compared.
  private(set) var expected = 0
  private(set) var otherCalls = 0
  /// Problems with the choice of calls, one a side or stage.
  private(set) var callProblems: [(problem: CallProblem, stage: String?)] = []
  private(set) var order: [CaptureKey] = []
  /// What became of each place on either side.
  private(set) var fates: [CaptureKey: (reference: Fate, target: Fate)] = [:]

  /// What became of one side's captures of a place.
  enum Fate: Sendable {
    /// Of these calls, those of each rank that are in `pairs`.
    case paired(calls: Set<Int?>, used: [Int: Set<Int?>])
    /// Those of these calls have nothing to be compared with.
    case partnerless(calls: Set<Int?>, why: String)
    /// Those of these calls cannot be put together.
    case unjoined(calls: Set<Int?>, why: String)
    /// The chosen call has none.
    case notThere
    case undecided(String)
    /// On this side only, and no name rule claims it.
    case outside(String)
  }
  /// Of a joined prefill the target's call of each row; empty where it is one call.
  private(set) var rowCalls: [Int] = []
  /// Tokens of the target's chosen call.
  private(set) var tokens: Int?
  /// Places of which both sides hold the last call alone, and it is the same call.
  private var lastCalls: Set<CaptureKey> = []
  /// How many names of each side no rule joins, and an example; nil without rules.
  private(set) var namesNote: String?

  init(
    request: ComparisonRequest, reference: CaptureIndex, target: CaptureIndex, names: NameJoin = .none,
    isSlots: Bool = false
  ) {
    self.reference = reference
    self.target = target
    let (referenceCalls, targetCalls) = CallResolver.resolve(
      reference: reference, target: target, request: request, isSlots: isSlots)
    rowCalls = targetCalls.rowCalls
    tokens = targetCalls.tokens
    order = Self.order([reference, target])
    if !isSlots { lastCalls = commonLastCalls() }
    let areFitting = tokensFit(referenceCalls, targetCalls)
    // Ranks that hold shares: the batch has what all of them hold together.
    if areFitting, let whole = referenceCalls.tokens, let share = targetCalls.tokens, share < whole { tokens = whole }
    noteCommonProblems(referenceCalls, targetCalls, areFitting: areFitting)
    var chosen = 0
    var problemStages: Set<String> = []
    for key in order {
      if isOutside(key, names) { continue }
      expected += 1
      let left = side(key, reference, referenceCalls, otherRows: rows(key, target, targetCalls))
      let right = side(key, target, targetCalls, otherRows: rows(key, reference, referenceCalls))
      switch (left, right) {
      case (.found(let leftChoice, let leftRanks, let leftUsed), .found(let rightChoice, let rightRanks, let rightUsed)):
        chosen += leftRanks.count * leftChoice.calls.count + rightRanks.count * rightChoice.calls.count
        guard areFitting else {
          let why = "the calls chosen on the two sides have different token counts"
          unmatched.append("\(key): \(why)")
          fates[key] = (
            .partnerless(calls: Set(leftChoice.calls), why: why), .partnerless(calls: Set(rightChoice.calls), why: why)
          )
          continue
        }
        fates[key] = (
          .paired(calls: Set(leftChoice.calls), used: leftUsed), .paired(calls: Set(rightChoice.calls), used: rightUsed)
        )
        let why =
          leftChoice == rightChoice ? rightChoice.why : "reference: \(leftChoice.why); target: \(rightChoice.why)"
        pairs.append(
          Pair(
            key: key,
            call: ComparisonReport.RowCall(
              reference: leftChoice.call, target: rightChoice.call, rule: rightChoice.rule, why: why,
              loop: rightChoice.loop),
            reference: leftRanks, target: rightRanks,
            missingRanks: missing(rightRanks, target, rank: request.rank),
            missingReferenceRanks: missing(leftRanks, reference, rank: request.rank)))
      default:
        fates[key] = (left.fate(other: right, "target"), right.fate(other: left, "reference"))
        for (name, outcome) in [("reference", left), ("target", right)] {
          switch outcome {
          case .found(let choice, let ranks, _): chosen += ranks.count * choice.calls.count
          case .absent(let why, _):
            let reason = (names.reference.reasons[key] ?? names.target.reasons[key]).map { " (\($0))" } ?? ""
            unmatched.append("\(key): \(why) in the \(name)\(reason)")
          case .problem(let problem):
            unmatched.append("\(key): \(name): \(problem.message)")
            let isCommon = callProblems.contains { $0.problem == problem && $0.stage == nil }
            if !isCommon, problemStages.insert(key.stage).inserted { callProblems.append((problem, key.stage)) }
          }
        }
      }
    }
    otherCalls = reference.count + target.count - chosen
    expectMore(request.expectation)
    noteNames(names)
  }

  // MARK: names

  /// Names on one side only that no rule claims: listed in the ledger, no more.
  private mutating func isOutside(_ key: CaptureKey, _ names: NameJoin) -> Bool {
    let why = "no name rule joins it with a name of the"
    if names.reference.outside.contains(key), target.captures[key] == nil {
      fates[key] = (.outside("\(why) target"), .notThere)
      return true
    }
    if names.target.outside.contains(key), reference.captures[key] == nil {
      fates[key] = (.notThere, .outside("\(why) reference"))
      return true
    }
    return false
  }

  /// What the rules left undone: a layer of which nothing is compared is no PASS.
  private mutating func noteNames(_ names: NameJoin) {
    unmatched += names.problems + reference.unfused + target.unfused
    let outside = names.reference.outside.union(names.target.outside)
    let compared = Set(pairs.filter { $0.key.role == .output }.map(\.key.layer))
    for layer in Set(outside.compactMap(\.layer)).subtracting(compared.compactMap { $0 }).sorted() {
      unmatched.append("layer \(layer): no name rule joins any of its outputs")
    }
    guard !names.reference.outside.isEmpty || !names.target.outside.isEmpty else { return }
    let texts = [("reference", names.reference.outside), ("target", names.target.outside)].compactMap { side, keys in
      keys.min().map { "\(keys.count) of the \(side) (\($0)\(keys.count > 1 ? ", …" : ""))" }
    }
    namesNote = "names: joined \(names.count); on one side only, and in the ledger: " + texts.joined(separator: ", ")
  }

  // MARK: one place

  private enum Found {
    /// - Parameter used: of each rank, the calls whose numbers are in its capture.
    case found(CallChoice, [Int: Capture], used: [Int: Set<Int?>])
    /// - Parameter calls: those of the choice, of which some may be there.
    case absent(String, calls: [Int?] = [])
    case problem(CallProblem)

    /// What becomes of this side's captures where the place is not compared, because of `other`.
    func fate(other: Found, _ name: String) -> Fate {
      switch (self, other) {
      case (.found(let choice, _, _), .problem(let problem)):
        .partnerless(calls: Set(choice.calls), why: "\(name): \(problem.message)")
      case (.found(let choice, _, _), .absent(let why, _)):
        .partnerless(calls: Set(choice.calls), why: "\(why) in the \(name)")
      case (.found(let choice, _, let used), .found): .paired(calls: Set(choice.calls), used: used)
      case (.absent(let why, let calls), _): calls.isEmpty ? .notThere : .unjoined(calls: Set(calls), why: why)
      case (.problem(let problem), _): .undecided(problem.message)
      }
    }
  }

  private func side(
    _ key: CaptureKey, _ index: CaptureIndex, _ calls: ResolvedCalls, otherRows: Int?
  ) -> Found {
    guard let byCall = index.captures[key] else { return .absent("there is none") }
    if lastCalls.contains(key), let ranks = byCall[nil] {
      let why = "every call wrote the file anew, so it holds the last call, and both sides had the same calls"
      return .found(CallChoice(call: nil, rule: .auto, why: why), ranks, used: ranks.mapValues { _ in [nil] })
    }
    switch calls.choice(key) {
    case .failure(let problem): return .problem(problem)
    case .success(let choice):
      if choice.joined.isEmpty {
        guard let ranks = byCall[choice.call] else {
          return .absent(choice.call.map { "there is no call \($0)" } ?? "there is no file without a call number")
        }
        return .found(choice, ranks, used: ranks.mapValues { _ in [choice.call] })
      }
      let wanted = choice.joined.filter { byCall[$0] == nil }
      if let first = wanted.first {
        return .absent("there is no call \(first) of the \(choice.joined.count) to be joined", calls: choice.calls)
      }
      var ranks: [Int: Capture] = [:]
      var used: [Int: Set<Int?>] = [:]
      for rank in index.ranks {
        var captures = choice.joined.compactMap { byCall[$0]?[rank] }
        if areDescribed(key) { captures = captures.map(\.tokensFirst) }
        guard captures.count == choice.joined.count else { continue }
        guard let joined = joined(captures, choice: choice, key: key, calls: calls, otherRows: otherRows) else {
          return .absent(
            "the rows of calls \(choice.joined.map(String.init).joined(separator: ", ")) cannot be joined",
            calls: choice.calls)
        }
        (ranks[rank], used[rank]) = joined
      }
      return ranks.isEmpty
        ? .absent("no rank has all of the calls to be joined", calls: choice.calls) : .found(choice, ranks, used: used)
    }
  }

  /// Whether both sides' producers say which dimension is which.
  private func areDescribed(_ key: CaptureKey) -> Bool {
    [reference, target].allSatisfy { side in
      side.captures[key]?.values.allSatisfy { $0.values.allSatisfy { $0.metadata?.dims != nil } } ?? false
    }
  }

  /// The chunks of one rank as one capture, rows in the common order, and the calls that are in it.
  private func joined(
    _ captures: [Capture], choice: CallChoice, key: CaptureKey, calls: ResolvedCalls, otherRows: Int?
  ) -> (capture: Capture, used: Set<Int?>)? {
    guard var result = captures.first else { return nil }
    let place = ResolvedCalls.StagePlace(layer: key.layer, stage: key.stage)
    var byPass: [Int: Tensor] = [:]
    if let assigned = calls.assigned[place] {
      let tensors = Dictionary(uniqueKeysWithValues: zip(choice.joined, captures.map(\.tensor)))
      for (pass, own) in assigned {
        let parts = own.compactMap { tensors[$0] }
        if !parts.isEmpty, parts.count == own.count { byPass[pass] = Tensor.joined(parts) }
      }
    } else {
      for (call, capture) in zip(choice.joined, captures) { byPass[call] = capture.tensor }
    }
    // A loop over sequences inside one call needs no order of rows.
    let runs =
      calls.runs.isEmpty
      ? byPass.keys.sorted().map { RowRun(call: $0, start: 0, count: byPass[$0]?.shape.first ?? 0) } : calls.runs
    let isByToken = runs.allSatisfy { run in
      byPass[run.call].map { $0.shape.first == calls.callTokens[run.call] } ?? false
    }
    if isByToken {
      let pieces = runs.compactMap { byPass[$0.call]?.rows($0.start..<($0.start + $0.count)) }
      if pieces.count == runs.count, let whole = Tensor.joined(pieces) {
        result.tensor = whole
        return (result, Set(choice.calls))
      }
    }
    // [1, tokens, hidden]: the rows to be strung together are in the second dimension.
    let isBatchOfOne = byPass.contains { pass, tensor in
      let shape = tensor.shape
      return shape.count == 3 && shape[0] == 1 && shape[1] > 1 && shape[1] == calls.callTokens[pass]
    }
    guard !isBatchOfOne else { return nil }
    let order = Set(runs.map(\.call)).sorted()
    guard let whole = Tensor.joined(order.compactMap { byPass[$0] }) else { return nil }
    result.tensor = whole
    // One row a sequence (the last token's): against one call the last chunk counts.
    if let last = order.last, let tensor = byPass[last], whole.shape.first != otherRows,
      tensor.shape.first == otherRows
    {
      result.tensor = tensor
      return (result, Set(calls.assigned[place].map { $0[last] ?? [] } ?? [last]))
    }
    return (result, Set(choice.calls))
  }

  /// Files that every call wrote anew, beside files that say which calls there were: as many, of as many tokens.
  private func commonLastCalls() -> Set<CaptureKey> {
    let keys = order.filter { key in
      [reference, target].allSatisfy { side in
        side.captures[key].map { $0.count == 1 && $0[nil]?.values.allSatisfy(\.holdsLastCall) == true } ?? false
      }
    }
    guard !keys.isEmpty else { return [] }
    let calls = [reference, target].map { side in
      side.observations().reduce(into: [Int: Int]()) { tokens, file in
        if let call = file.call { tokens[call] = max(tokens[call] ?? 0, file.tokens) }
      }
    }
    return calls[0].isEmpty || calls[0] != calls[1] ? [] : Set(keys)
  }

  /// Rows of a place in the one call chosen; nil where several are joined.
  private func rows(_ key: CaptureKey, _ index: CaptureIndex, _ calls: ResolvedCalls) -> Int? {
    guard case .success(let choice) = calls.choice(key), choice.joined.isEmpty else { return nil }
    return index.captures[key]?[choice.call]?.values.first?.tokenCount
  }

  private func missing(_ found: [Int: Capture], _ index: CaptureIndex, rank: Int?) -> [Int] {
    guard rank == nil else { return [] }
    let missing = (0..<index.worldSize).filter { found[$0] == nil }
    guard !missing.isEmpty, let stages = index.pipelineStages else { return missing }
    // Of another stage of the pipeline, which has no such layer.
    let holders = Set(found.keys.compactMap { stages[$0] })
    return missing.filter { stages[$0].map(holders.contains) ?? true }
  }

  private mutating func noteCommonProblems(
    _ reference: ResolvedCalls, _ target: ResolvedCalls, areFitting: Bool
  ) {
    for (name, calls, index) in [("reference", reference, self.reference), ("target", target, self.target)] {
      guard !index.captures.isEmpty, case .failure(let problem) = calls.common else { continue }
      _ = name
      if !callProblems.contains(where: { $0.problem == problem }) { callProblems.append((problem, nil)) }
    }
    if !areFitting, let left = reference.tokens, let right = target.tokens {
      callProblems.append(
        (
          CallProblem(
            code: .wrongCall,
            message: "the call chosen in the reference has \(left) tokens and that of the target \(right): they are "
              + "not the same call, the inputs differ, or one side had a cached prefix or a padded batch"), nil
        ))
    }
  }

  /// Token counts of the chosen calls are equal, or the ranks of one side hold shares of the other's tokens: sequence
  /// or context parallel, over all ranks or over groups of them.
  private func tokensFit(_ left: ResolvedCalls, _ right: ResolvedCalls) -> Bool {
    guard let mine = left.tokens, let theirs = right.tokens, mine != theirs else { return true }
    return mine > theirs
      ? areShares(target, right, of: mine, each: theirs) : areShares(reference, left, of: theirs, each: mine)
  }

  /// Outputs whose ranks are compared before they are believed to hold different tokens.
  private static let sharesLooked = 16

  private func areShares(_ index: CaptureIndex, _ calls: ResolvedCalls, of whole: Int, each: Int) -> Bool {
    guard each > 0 else { return false }
    guard whole % each == 0, index.worldSize % (whole / each) == 0 else {
      return areUnevenShares(index, calls, of: whole)
    }
    // What all ranks hold alike has the tokens of the call, not a share of them.
    var looked = 0
    for key in order where key.role == .output && looked < Self.sharesLooked {
      guard case .success(let choice) = calls.choice(key), choice.joined.isEmpty,
        let ranks = index.captures[key]?[choice.call], ranks.count == index.worldSize
      else { continue }
      let tensors = ranks.keys.sorted().compactMap { ranks[$0]?.tensor }
      guard let first = tensors.first, first.shape.count > 1, first.dtype.isFloatingPoint,
        ranks.values.first?.tokenCount == each
          || first.shape.count == 3 && first.shape[0] == 1 && first.shape[1] == each,
        tensors.allSatisfy({ $0.shape == first.shape && $0.dtype == first.dtype })
      else { continue }
      looked += 1
      if let others = try? PairMeasurer.divergent(tensors), others.isEmpty { return false }
    }
    return true
  }

  /// Shares of a length that the ranks do not divide: unequal ones that add up to it, or equal ones with a padded end.
  private func areUnevenShares(_ index: CaptureIndex, _ calls: ResolvedCalls, of whole: Int) -> Bool {
    let world = index.worldSize
    func fit(_ lengths: [Int]) -> Bool {
      let total = lengths.reduce(0, +)
      let areEqual = Set(lengths).count == 1
      return (1..<max(world, 2)).contains { copies in
        guard world % copies == 0, total >= copies else { return false }
        let (needed, overflow) = whole.multipliedReportingOverflow(by: copies)
        guard !overflow, total >= needed, (lengths.max() ?? whole) < whole else { return false }
        // Zigzag cuts each rank's share in two.
        return areEqual ? total - needed < 2 * world && total > needed : total == needed
      }
    }
    var looked = 0
    for key in order where key.role == .output && looked < Self.sharesLooked {
      guard case .success(let choice) = calls.choice(key), choice.joined.isEmpty,
        let ranks = index.captures[key]?[choice.call], ranks.count == world
      else { continue }
      let captures = ranks.keys.sorted().compactMap { ranks[$0] }
      let tensors = captures.map(\.tensor)
      guard tensors.allSatisfy({ $0.shape.count > 1 && $0.dtype.isFloatingPoint }), fit(captures.map(\.tokenCount))
      else { continue }
      looked += 1
      // What all ranks hold alike has the tokens of the call, not a share of them.
      if tensors.allSatisfy({ $0.shape == tensors[0].shape }),
        let others = try? PairMeasurer.divergent(tensors), others.isEmpty
      {
        return false
      }
    }
    return looked > 0
  }

  private mutating func expectMore(_ expectation: CaptureExpectation?) {
    guard let expectation else { return }
    let there = Set(order.map { ResolvedCalls.StagePlace(layer: $0.layer, stage: $0.stage) })
    for layer in expectation.layers {
      for stage in expectation.stages {
        guard !there.contains(ResolvedCalls.StagePlace(layer: layer, stage: stage)) else { continue }
        expected += 1
        unmatched.append("layer \(layer) \(stage): expected and not there on either side")
      }
    }
  }

  // MARK: order

  /// All places of the sides in the order in which they were computed.
  static func order(_ indices: [CaptureIndex]) -> [CaptureKey] {
    let order = StageOrder(sides: indices.map(\.stamps), allFiles: indices.map(\.files))
    let keys = indices.reduce(into: Set<CaptureKey>()) { $0.formUnion($1.captures.keys) }
    let towers = Towers(keys)
    let byLayer = Dictionary(grouping: keys.filter { $0.layer != nil }) {
      TowerLayer(tower: towers.tower(ofLayered: $0.stage), layer: $0.layer)
    }
    // What belongs to no layer comes before the layers or after them, by its name.
    let loose = Array(keys.filter { $0.layer == nil })
    let unit = units(of: loose)
    var early: [Int?: [CaptureKey]] = [:]
    var late: [Int?: [CaptureKey]] = [:]
    for key in loose {
      let name = unit(key)
      let isConnector = !towers.all.isEmpty && Towers.isConnector(name)
      let isLate =
        isConnector || StageOrder.heuristic(name) >= 85 || name.lowercased().contains("norm") || name == "outputs"
      var tower = towers.place(ofLoose: key.stage, isLate: isLate)
      // What stands between two stacks runs after the first of them.
      if tower == nil, isConnector { tower = 0 }
      if isLate { late[tower, default: []].append(key) } else { early[tower, default: []].append(key) }
    }
    // Most layers have the same stages: each set of them is ordered once.
    var known: [Set<String>: [String]] = [:]
    var result = arranged(early[nil] ?? [], order, &known)
    for (place, tower) in (towers.all.isEmpty ? [nil] : towers.all).enumerated() {
      result += arranged(early[place] ?? [], order, &known)
      for layer in byLayer.keys.filter({ $0.tower == tower }).compactMap(\.layer).sorted() {
        result += arranged(byLayer[TowerLayer(tower: tower, layer: layer)] ?? [], order, &known)
      }
      result += arranged(late[place] ?? [], order, &known)
    }
    return result + arranged(late[nil] ?? [], order, &known)
  }

  /// Stages first to last; within a stage its inputs, `hidden`, then the other outputs.
  private static func arranged(
    _ keys: [CaptureKey], _ order: StageOrder, _ known: inout [Set<String>: [String]]
  ) -> [CaptureKey] {
    let byUnit = Dictionary(grouping: keys, by: units(of: keys))
    let names = Set(byUnit.keys)
    let units = known[names] ?? order.ordered(Array(names))
    known[names] = units
    func place(_ key: CaptureKey) -> Int { key.role == .input ? 0 : key.tensor == "hidden" ? 1 : 2 }
    return units.flatMap { unit in
      (byUnit[unit] ?? []).sorted { (place($0), $0.tensor) < (place($1), $1.tensor) }
    }
  }

  /// The name that says when a place of `keys` is computed: its stage's; of a stage that is no module's (it holds no
  /// `input` and no `hidden`) that of each tensor, where it says something. So are the names of one file cut:
  /// `model.norm` is the tensor `norm` of the stage `model`.
  private static func units(of keys: [CaptureKey]) -> (CaptureKey) -> String {
    let modules = Set(keys.filter { $0.role == .input || $0.tensor == "hidden" }.map(\.stage))
    let unknown = StageOrder.heuristic("")
    return { key in
      guard !modules.contains(key.stage), key.tensor != "value", StageOrder.heuristic(key.tensor) != unknown,
        StageOrder.heuristic(key.stage) == unknown || !key.tensor.contains(".")
      else { return key.stage }
      return "\(key.stage).\(key.tensor)"
    }
  }
}
