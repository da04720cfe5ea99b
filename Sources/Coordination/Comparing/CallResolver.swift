import Alignment
import Dumps

/// The calls chosen on one side.
struct ResolvedCalls: Sendable {
  /// One choice for all stages (rule `auto`).
  var common: Result<CallChoice, CallProblem>?
  /// One choice a stage (rule `atom`, and stages that loop).
  var byStage: [StagePlace: Result<CallChoice, CallProblem>] = [:]
  /// Tokens of the common call.
  var tokens: Int?

  struct StagePlace: Hashable, Sendable {
    var layer: Int?
    var stage: String
  }

  func choice(_ key: CaptureKey) -> Result<CallChoice, CallProblem> {
    byStage[StagePlace(layer: key.layer, stage: key.stage)] ?? common
      ?? .failure(CallProblem(code: .unknown, message: "no call was chosen"))
  }
}

/// Chooses the calls of one side, looking at values only as far as needed.
enum CallResolver {
  /// Calls whose values are looked at, from the first.
  private static let readCalls = 4

  static func resolve(_ index: CaptureIndex, request: ComparisonRequest) -> ResolvedCalls {
    var observations = index.observations()
    var result = ResolvedCalls()
    let slots = request.slots ?? 1
    if request.rule == .atom, request.selection == .prefill {
      let rank = index.ranks.first ?? 0
      let places = Dictionary(grouping: observations.filter { $0.rank == rank }) {
        ResolvedCalls.StagePlace(layer: $0.layer, stage: $0.stage)
      }
      for (place, files) in places {
        result.byStage[place] = CallChooser.atom(calls: files.map { ($0.call, $0.tokens) }, slots: slots)
      }
      return result
    }
    let loops = CallChooser.loops(observations)
    for place in Set(observations.map { ResolvedCalls.StagePlace(layer: $0.layer, stage: $0.stage) }) {
      guard let count = loops[place.stage] else { continue }
      result.byStage[place] = .failure(
        CallProblem(
          code: .unknown,
          message: "\(place.stage) ran \(count) times, several times in each pass (a loop over sequences): its call "
            + "numbers are not those of the other stages"))
    }
    observations.removeAll { loops[$0.stage] != nil }
    let numbers = Set(observations.compactMap(\.call)).sorted().prefix(readCalls)
    // Only where the model begins: rounding noise tells equal rows apart further on.
    let lowest = observations.compactMap(\.layer).min()
    let keys = Dictionary(grouping: index.captures.keys.filter { $0.layer == nil || $0.layer == lowest }) {
      ResolvedCalls.StagePlace(layer: $0.layer, stage: $0.stage)
    }
    for position in observations.indices {
      let place = observations[position]
      guard place.layer == nil || place.layer == lowest, place.rank == index.ranks.first,
        place.call.map(numbers.contains) ?? true
      else { continue }
      let own = keys[ResolvedCalls.StagePlace(layer: place.layer, stage: place.stage)] ?? []
      observations[position].content = content(of: place, keys: own.sorted(), in: index)
    }
    result.common = CallChooser.auto(observations, selection: request.selection, slots: request.slots)
    if case .success(let choice) = result.common {
      var votes: [Int: Int] = [:]
      for place in observations where place.call == choice.call { votes[place.tokens, default: 0] += 1 }
      result.tokens = votes.max { ($0.value, $0.key) < ($1.value, $1.key) }?.key
    }
    return result
  }

  /// Whether the values look like a dummy batch: ids all 0, or all token rows alike.
  private static func content(
    of place: CallObservation, keys: [CaptureKey], in index: CaptureIndex
  ) -> CallObservation.Content {
    var result = CallObservation.Content.unread
    for key in keys {
      guard let tensor = index.captures[key]?[place.call]?[place.rank]?.tensor, tensor.elementCount > 0 else {
        continue
      }
      if !tensor.dtype.isFloatingPoint {
        guard key.role == .input || key.tensor.contains("ids"), !key.tensor.contains("pos") else { continue }
        if let zeros = isAllZero(tensor) { return zeros ? .idsZero : .idsReal }
      } else if key.tensor == "hidden", tensor.shape.count >= 2, tensor.shape[0] > 1, let alike = rowsAreAlike(tensor) {
        result = alike ? .rowsAlike : .rowsDiffer
      }
    }
    return result
  }

  private static func isAllZero(_ tensor: Tensor) -> Bool? {
    guard let reader = try? TensorReader(tensor) else { return nil }
    var values: [Double] = []
    guard (try? reader.readDoubles(0..<min(tensor.elementCount, 1 << 16), into: &values)) != nil else { return nil }
    return values.allSatisfy { $0 == 0 }
  }

  private static func rowsAreAlike(_ tensor: Tensor) -> Bool? {
    let layout = ShardLayout.whole(tensor.shape, kind: .single)
    guard let logical = try? LogicalTensor(parts: [tensor], layout: layout, place: tensor.name) else { return nil }
    let length = tensor.elementCount / tensor.shape[0]
    let sample = TensorSample(shape: tensor.shape, limit: max(length * 16, 1))
    guard length > 0, length <= 1 << 20, let values = try? sample.values(of: logical), values.count >= 2 * length else {
      return nil
    }
    let head = values[0..<length]
    for start in stride(from: length, to: values.count - length + 1, by: length) {
      if Agreement(target: values[start..<(start + length)], reference: head).distance > 0.05 { return false }
    }
    return true
  }
}
