import Alignment
import Dumps

/// The calls chosen on one side.
struct ResolvedCalls: Sendable {
  /// One choice for all stages (rule `auto`).
  var common: Result<CallChoice, CallProblem>?
  /// One choice a stage (rule `atom`, and stages that have call numbers of their own).
  var byStage: [StagePlace: Result<CallChoice, CallProblem>] = [:]
  /// Of a stage with call numbers of its own: its calls for each common one.
  var assigned: [StagePlace: [Int: [Int]]] = [:]
  /// Tokens of the common choice.
  var tokens: Int?
  /// Tokens of each of its calls.
  var callTokens: [Int: Int] = [:]
  /// The rows of a joined choice in the order in which they are compared.
  var runs: [RowRun] = []

  struct StagePlace: Hashable, Sendable {
    var layer: Int?
    var stage: String
  }

  func choice(_ key: CaptureKey) -> Result<CallChoice, CallProblem> {
    byStage[StagePlace(layer: key.layer, stage: key.stage)] ?? common
      ?? .failure(CallProblem(code: .unknown, message: "no call was chosen"))
  }

  /// The call of each compared row; empty where the choice is one call.
  var rowCalls: [Int] { runs.flatMap { Array(repeating: $0.call, count: $0.count) } }
}

/// Chooses the calls of both sides, looking at values only as far as needed.
enum CallResolver {
  /// Calls whose values are looked at, from the first.
  private static let readCalls = 32

  /// One choice for each side, over all its stages and ranks, that fits the other's.
  ///
  /// - Parameter isSlots: one side's slots are to be compared, so rows are wanted sequence after sequence.
  static func resolve(
    reference: CaptureIndex, target: CaptureIndex, request: ComparisonRequest, isSlots: Bool = false
  ) -> (reference: ResolvedCalls, target: ResolvedCalls) {
    if request.rule == .atom, request.selection == .prefill {
      return (atom(reference, request: request), atom(target, request: request))
    }
    let left = Side(reference)
    let right = Side(target)
    var choices = CallChooser.auto(
      reference: left.observations, target: right.observations, selection: request.selection, slots: request.slots)
    if let only = onlyCall(reference, request.selection) { choices.reference = only }
    if let only = onlyCall(target, request.selection) { choices.target = only }
    var result = (
      reference: left.resolved(choices.reference), target: right.resolved(choices.target)
    )
    if onlyCall(reference, request.selection) != nil { result.reference.tokens = nil }
    if onlyCall(target, request.selection) != nil { result.target.tokens = nil }
    if isSlots {
      RowOrder.arrangeBySlot(&result.target, slots: request.slots ?? 1)
      result.reference = result.target
    } else {
      RowOrder.arrange(&result.reference, reference, &result.target, target, slots: request.slots)
    }
    return result
  }

  /// Layouts that know no calls hold what their user dumped: weights, or one forward pass. Which call that is, nothing
  /// says.
  private static func onlyCall(
    _ index: CaptureIndex, _ selection: CallSelection
  ) -> Result<CallChoice, CallProblem>? {
    let layout = index.side.set.layout
    guard [.weights, .safetensors, .npy, .huggingFace, .custom].contains(layout), selection != .warmUp,
      index.captures.values.allSatisfy({ $0.keys.allSatisfy { $0 == nil } })
    else { return nil }
    guard selection == .prefill else {
      let captures = index.captures.values.lazy.flatMap(\.values).flatMap(\.values)
      return captures.contains(where: \.holdsLastCall)
        ? nil
        : .failure(
          CallProblem(
            code: .wrongCall,
            message: "the \(layout.rawValue) layout has no calls, and nothing says that these files hold the one that "
              + "was asked for; where they do, compare them without a selection"))
    }
    return .success(CallChoice(call: nil, rule: .auto, why: "the \(layout.rawValue) layout has no calls"))
  }

  private static func atom(_ index: CaptureIndex, request: ComparisonRequest) -> ResolvedCalls {
    var result = ResolvedCalls()
    let rank = index.ranks.first ?? 0
    let files = index.observations(countsBatchOfOne: false)
    let places = Dictionary(grouping: files.filter { $0.rank == rank }) {
      ResolvedCalls.StagePlace(layer: $0.layer, stage: $0.stage)
    }
    for (place, files) in places {
      result.byStage[place] = CallChooser.atom(calls: files.map { ($0.call, $0.tokens) }, slots: request.slots ?? 1)
    }
    return result
  }

  /// What one side shows.
  private struct Side {
    /// Of the stages whose call numbers are the usual ones, the first calls' values looked at.
    var observations: [CallObservation]
    private var others: [ResolvedCalls.StagePlace: [CallObservation]] = [:]
    /// Each stage's calls in most layers.
    private var whole: [String: Set<Int?>] = [:]

    init(_ index: CaptureIndex) {
      observations = index.observations()
      let places = Dictionary(grouping: observations) {
        ResolvedCalls.StagePlace(layer: $0.layer, stage: $0.stage)
      }
      // The usual calls are those of most stages.
      var votes: [Set<Int?>: Int] = [:]
      let sets = places.mapValues { Set($0.map(\.call)) }
      whole = Self.whole(sets)
      for (place, set) in sets { votes[nominal(set, place), default: 0] += 1 }
      // With as many votes the fewer calls, then the earlier: never the order of a table.
      func isBehind(_ left: (calls: Set<Int?>, votes: Int), _ right: (calls: Set<Int?>, votes: Int)) -> Bool {
        guard (left.votes, -left.calls.count) == (right.votes, -right.calls.count) else {
          return (left.votes, -left.calls.count) < (right.votes, -right.calls.count)
        }
        let numbers = [right.calls, left.calls].map { $0.map { $0 ?? -1 }.sorted() }
        return numbers[0].lexicographicallyPrecedes(numbers[1])
      }
      let usual = votes.max { isBehind(($0.key, $0.value), ($1.key, $1.value)) }?.key ?? []
      let passes = Dictionary(
        uniqueKeysWithValues: Self.tokens(
          of: places.filter { nominal(sets[$0.key] ?? [], $0.key) == usual }.flatMap(\.value)
        ).map { ($0.call, $0.tokens) })
      // Lost files make no stage one with numbers of its own: what is left still has the usual tokens.
      others = places.filter { place, files in
        let set = sets[place] ?? []
        guard set != usual, !set.contains(nil), !usual.contains(nil) else { return false }
        return set.count > usual.count || files.contains { $0.tokens != passes[$0.call ?? -1] }
      }
      let own = others
      observations.removeAll { own[ResolvedCalls.StagePlace(layer: $0.layer, stage: $0.stage)] != nil }
      let numbers = Set(observations.compactMap(\.call)).sorted().prefix(CallResolver.readCalls)
      // Only where the model begins: rounding noise tells equal rows apart further on.
      let lowest = observations.compactMap(\.layer).min()
      let keys = Dictionary(grouping: index.captures.keys.filter { $0.layer == nil || $0.layer == lowest }) {
        ResolvedCalls.StagePlace(layer: $0.layer, stage: $0.stage)
      }
      let ids = CallResolver.loneIds(Array(keys.values.joined()), beside: observations, calls: numbers, in: index)
      let known = Set(ids.map(\.call))
      for position in observations.indices {
        let place = observations[position]
        guard place.layer == nil || place.layer == lowest, place.rank == index.ranks.first,
          place.call.map(numbers.contains) ?? true, !known.contains(place.call)
        else { continue }
        let own = keys[ResolvedCalls.StagePlace(layer: place.layer, stage: place.stage)] ?? []
        observations[position].content = CallResolver.content(of: place, keys: own.sorted(), in: index)
      }
      observations += ids
    }

    /// A stage runs as often in each layer: what most have, the more of two that are as frequent; files get lost.
    private static func whole(_ sets: [ResolvedCalls.StagePlace: Set<Int?>]) -> [String: Set<Int?>] {
      Dictionary(grouping: sets) { $0.key.stage }.mapValues { layers in
        var votes: [Set<Int?>: Int] = [:]
        for layer in layers { votes[layer.value, default: 0] += 1 }
        func rank(_ one: (key: Set<Int?>, value: Int)) -> [Int] {
          [one.value, one.key.count] + one.key.map { -($0 ?? -1) }.sorted()
        }
        return votes.max { rank($0).lexicographicallyPrecedes(rank($1)) }?.key ?? []
      }
    }

    /// The calls that this place had before files were lost.
    private func nominal(_ set: Set<Int?>, _ place: ResolvedCalls.StagePlace) -> Set<Int?> {
      guard let whole = whole[place.stage], set.isSubset(of: whole) else { return set }
      return whole
    }

    func resolved(_ common: Result<CallChoice, CallProblem>) -> ResolvedCalls {
      var result = ResolvedCalls()
      result.common = common
      let passes = Self.tokens(of: observations)
      if case .success(let choice) = common, choice.call != nil {
        let calls = choice.calls.compactMap { $0 }
        result.callTokens = passes.reduce(into: [:]) { if calls.contains($1.call) { $0[$1.call] = $1.tokens } }
        // Ids say how many tokens there are; other stages may be padded.
        for place in observations where place.content == .idsReal || place.content == .idsZero {
          if let call = place.call, calls.contains(call) { result.callTokens[call] = place.tokens }
        }
        result.tokens = result.callTokens.values.reduce(0, +)
        if calls.count > 1 {
          result.runs = calls.map { RowRun(call: $0, start: 0, count: result.callTokens[$0] ?? 0) }
        }
      } else if case .success = common {
        result.tokens = observations.map(\.tokens).max()
      }
      for (place, files) in others {
        let stage = Self.tokens(of: files)
        let own = Set(files.map(\.call))
        let lost = nominal(own, place).subtracting(own).compactMap { $0 }.sorted()
        guard lost.isEmpty || Self.skippedFirst(stage, passes) else {
          let calls = lost.prefix(8).map(String.init).joined(separator: ", ")
          result.byStage[place] = .failure(
            CallProblem(code: .unknown, message: "\(place.stage) lacks calls that other layers have (\(calls))"))
          continue
        }
        guard let assigned = CallChooser.assignment(stage: stage, passes: passes) else {
          result.byStage[place] = .failure(
            CallProblem(
              code: .unknown,
              message: "\(place.stage) ran \(stage.count) times where the other stages ran \(passes.count) times: "
                + "neither its token counts nor their number say which call is which"))
          continue
        }
        guard case .success(let choice) = common else { continue }
        let calls = choice.calls.compactMap { $0 }.flatMap { assigned.calls[$0] ?? [] }
        guard let first = calls.first else {
          result.byStage[place] = .failure(
            CallProblem(code: .wrongCall, message: "\(place.stage) did not run in the chosen call: \(assigned.why)"))
          continue
        }
        result.assigned[place] = assigned.calls
        result.byStage[place] = .success(
          CallChoice(
            call: first, rule: .auto, why: "\(choice.why); \(place.stage): \(assigned.why)",
            joined: calls.count > 1 ? calls : [], runnersUp: choice.runnersUp,
            loop: calls.count > choice.calls.count ? .stage : choice.loop))
      }
      return result
    }

    /// Whether a stage has all of its own calls and ran in no pass but the last ones: its token counts say so, and
    /// would fit no other passes had it lost its last files.
    private static func skippedFirst(
      _ stage: [(call: Int, tokens: Int)], _ passes: [(call: Int, tokens: Int)]
    ) -> Bool {
      guard stage.map(\.call) == Array(stage.indices), stage.count < passes.count else { return false }
      let fitting = (0...(passes.count - stage.count)).filter { start in
        zip(stage, passes[start...]).allSatisfy { $0.tokens == $1.tokens }
      }
      return fitting == [passes.count - stage.count]
    }

    /// Tokens of each call, by a vote of its files.
    private static func tokens(of files: [CallObservation]) -> [(call: Int, tokens: Int)] {
      Dictionary(grouping: files.filter { $0.call != nil }) { $0.call ?? 0 }.map { call, files in
        var votes: [Int: Int] = [:]
        for file in files { votes[file.tokens, default: 0] += 1 }
        return (call, votes.max { ($0.value, $0.key) < ($1.value, $1.key) }?.key ?? 0)
      }.sorted { $0.call < $1.call }
    }
  }

  /// Token ids that a batch is given, where no output stands beside them (SGLang's stage `inputs`): what they say of
  /// their calls, and how many tokens those have.
  fileprivate static func loneIds(
    _ keys: [CaptureKey], beside observations: [CallObservation], calls: ArraySlice<Int>, in index: CaptureIndex
  ) -> [CallObservation] {
    let stages = Set(observations.map { ResolvedCalls.StagePlace(layer: $0.layer, stage: $0.stage) })
    let counts = Dictionary(grouping: observations, by: \.call).mapValues { Set($0.map(\.tokens)) }
    return keys.filter { key in
      key.role == .input && key.namesTokenIds
        && !stages.contains(ResolvedCalls.StagePlace(layer: key.layer, stage: key.stage))
    }.sorted().flatMap { key in
      (index.captures[key] ?? [:]).compactMap { call, ranks -> CallObservation? in
        guard let rank = index.ranks.first, let capture = ranks[rank], let known = counts[call],
          call.map(calls.contains) ?? true, !capture.tensor.dtype.isFloatingPoint, capture.tensor.elementCount > 0,
          let areZero = isAllZero(capture.tensor)
        else { return nil }
        // Of several sequences, `[B, T]`, the outputs say what is counted.
        let count = capture.tensor.elementCount
        let isOne = capture.tensor.shape.dropLast().allSatisfy { $0 == 1 } || known.contains(count)
        return CallObservation(
          rank: rank, layer: key.layer, stage: key.stage, call: call, tokens: isOne ? count : capture.tokenCount,
          content: areZero ? .idsZero : .idsReal, isLast: capture.holdsLastCall)
      }
    }
  }

  /// Whether the values look like a dummy batch: ids all 0, or all token rows alike.
  fileprivate static func content(
    of place: CallObservation, keys: [CaptureKey], in index: CaptureIndex
  ) -> CallObservation.Content {
    var result = CallObservation.Content.unread
    let hasHidden = keys.contains { $0.tensor == "hidden" }
    for key in keys {
      guard let tensor = index.captures[key]?[place.call]?[place.rank]?.tensor, tensor.elementCount > 0 else {
        continue
      }
      if !tensor.dtype.isFloatingPoint {
        guard key.role == .input || key.tensor.contains("ids"), !key.tensor.contains("pos") else { continue }
        if let zeros = isAllZero(tensor) { return zeros ? .idsZero : .idsReal }
      } else if key.tensor == "hidden", tensor.shape.count >= 2, tensor.shape[0] > 1 {
        if let alike = rowsAreAlike(tensor) { result = alike ? .rowsAlike : .rowsDiffer }
      } else if !hasHidden, result != .rowsDiffer, holdsTokenRows(key), tensor.shape.count == 2, tensor.shape[0] > 1,
        let alike = rowsAreAlike(tensor, mayBeConstant: false)
      {
        result = alike ? .rowsAlike : .rowsDiffer
      }
    }
    return result
  }

  /// Whether an output is, by its name, what a stage makes of its tokens alone: no weight, no gradient, and nothing that
  /// is turned by its position.
  static func holdsTokenRows(_ key: CaptureKey) -> Bool {
    let stage = key.stage.lowercased()
    return key.role == .output && !key.tensor.hasPrefix("parameters.")
      && !["grad", "rope", "rotary", "_rot"].contains { stage.contains($0) }
  }

  private static func isAllZero(_ tensor: Tensor) -> Bool? {
    guard let reader = try? TensorReader(tensor) else { return nil }
    var values: [Double] = []
    guard (try? reader.readDoubles(0..<min(tensor.elementCount, 1 << 16), into: &values)) != nil else { return nil }
    return values.allSatisfy { $0 == 0 }
  }

  /// - Parameter mayBeConstant: whether rows of one number (a mask, a scale) are rows of a batch; nil for them if not.
  static func rowsAreAlike(_ tensor: Tensor, mayBeConstant: Bool = true) -> Bool? {
    let layout = ShardLayout.whole(tensor.shape, kind: .single)
    guard let logical = try? LogicalTensor(parts: [tensor], layout: layout, place: tensor.name) else { return nil }
    let length = tensor.elementCount / tensor.shape[0]
    let sample = TensorSample(shape: tensor.shape, limit: max(length * 16, 1))
    guard length > 0, length <= 1 << 20, let values = try? sample.values(of: logical), values.count >= 2 * length else {
      return nil
    }
    let head = values[0..<length]
    if !mayBeConstant, head.allSatisfy({ $0 == head[0] }) { return nil }
    for start in stride(from: length, to: values.count - length + 1, by: length) {
      if Agreement(target: values[start..<(start + length)], reference: head).distance > 0.05 { return false }
    }
    return true
  }
}
