import Alignment
import Dumps

/// Joins one tensor's ranks where a rule or the data of a reference say how, and refuses where they do not.
struct Unsharder {
  /// A tensor of the run in one call.
  struct Place: Hashable, Comparable {
    var key: CaptureKey
    var call: Int?

    static func < (left: Place, right: Place) -> Bool {
      left.key == right.key ? (left.call ?? -1) < (right.call ?? -1) : left.key < right.key
    }
  }

  /// Why a tensor is not joined, and the layout that was considered.
  struct Refusal: Error {
    var why: String
    var plan: ShardPlan?
  }

  var rules: [UnshardRule]
  /// Ranks that every tensor must have.
  var worldSize: Int
  /// By place and rank; nil without a reference.
  var reference: [Place: [Int: Capture]]?
  /// Files of the reference that could not be read.
  var damaged: Set<String>

  /// A layout leaves at most this relative distance from the reference.
  private static let residualLimit = 0.25
  /// It is at least twice as near as the runner-up.
  private static let marginLimit = 0.5

  static func group(_ set: DumpSet) -> [Place: [Int: Capture]] {
    var result: [Place: [Int: Capture]] = [:]
    for capture in set.captures {
      result[Place(key: CaptureKey(capture), call: capture.call), default: [:]][capture.rank] = capture
    }
    return result
  }

  /// - Throws: `Refusal`, `AlignmentError` where shapes or types contradict the layout, `DumpError`.
  func join(_ place: Place, _ ranks: [Int: Capture]) throws -> (tensor: LogicalTensor, plan: ShardPlan) {
    let missing = (0..<worldSize).filter { ranks[$0] == nil }
    guard missing.isEmpty else {
      let names = missing.map(String.init).joined(separator: ", ")
      throw Refusal(
        why: missing.count == 1
          ? "rank \(names) of \(worldSize) is missing" : "ranks \(names) of \(worldSize) are missing")
    }
    let tensors = (0..<worldSize).compactMap { ranks[$0]?.tensor }
    let result: (tensor: LogicalTensor, plan: ShardPlan)
    if tensors.count == 1 {
      result = try planned(.whole(tensors[0].shape, kind: .single), tensors, place, why: "one rank")
    } else if let rule = rules.first(where: { $0.fits(place.key) }) {
      if case .dims(let text) = rule.rule {
        result = try declared(text, ranks, place, source: .given)
      } else {
        result = try ruled(rule, tensors, place)
      }
    } else if reference == nil, let stated = ranks[0]?.metadata?.dims {
      result = try declared(try DimsText(stated), ranks, place, source: .metadata)
    } else {
      result = try inferred(tensors, place)
    }
    try checkCopies(result.tensor, result.plan)
    guard SafetensorsWriter.holds(result.tensor.dtype) else {
      throw Refusal(why: "safetensors has no type for \(result.tensor.dtype.rawValue)", plan: result.plan)
    }
    if result.tensor.isSum, !result.tensor.dtype.isFloatingPoint || result.tensor.dtype.valuesPerElement > 1 {
      throw Refusal(why: "partial sums of \(result.tensor.dtype.rawValue) are not added", plan: result.plan)
    }
    return result
  }

  /// Sums are kept with more digits than their terms: an all-reduce rounds in a way of its own.
  func writtenType(of tensor: LogicalTensor) -> DType {
    tensor.isSum && tensor.dtype != .float64 ? .float32 : tensor.dtype
  }

  private func planned(
    _ layout: ShardLayout, _ tensors: [Tensor], _ place: Place, why: String
  ) throws -> (tensor: LogicalTensor, plan: ShardPlan) {
    let tensor = try LogicalTensor(parts: tensors, layout: layout, place: place.key.description)
    return (
      tensor,
      ShardPlan(
        kind: layout.kind, axis: layout.axis, ranks: tensors.count, residual: nil, margin: nil, why: why)
    )
  }

  /// By SGLang's text for the dimensions, of a rule or of the dump itself.
  private func declared(
    _ text: DimsText, _ ranks: [Int: Capture], _ place: Place, source: ShardPlan.Source
  ) throws -> (tensor: LogicalTensor, plan: ShardPlan) {
    let captures = (0..<worldSize).compactMap { ranks[$0] }
    if let other = captures.first(where: { $0.tensor.dtype != captures[0].tensor.dtype }) {
      throw Refusal(
        why: "ranks disagree about the element type: \(captures[0].tensor.dtype.rawValue) and "
          + other.tensor.dtype.rawValue)
    }
    let tensor = try text.joined(
      captures.map(\.tensor), metadata: captures.map(\.metadata), place: place.key.description)
    let plan = ShardPlan(
      kind: tensor.layout.kind, axis: tensor.layout.axis, ranks: captures.count, residual: nil, margin: nil,
      why: "\(source == .given ? "rule" : "metadata"): dims “\(text.text)”", source: source)
    return (tensor, plan)
  }

  private func ruled(
    _ rule: UnshardRule, _ tensors: [Tensor], _ place: Place
  ) throws -> (tensor: LogicalTensor, plan: ShardPlan) {
    let text = rule.rule.text ?? rule.pattern
    guard let layout = try rule.rule.layout(tensors.map(\.shape), place: place.key.description) else {
      throw Refusal(why: "the rule \(text) gives no layout")
    }
    // A layout of pieces of another type than the first is refused below; whole tensors and sums here.
    if let other = tensors.first(where: { $0.dtype != tensors[0].dtype }) {
      throw Refusal(
        why: "ranks disagree about the element type: \(tensors[0].dtype.rawValue) and \(other.dtype.rawValue)")
    }
    return try planned(layout, tensors, place, why: "rule: \(text)")
  }

  private func inferred(_ tensors: [Tensor], _ place: Place) throws -> (tensor: LogicalTensor, plan: ShardPlan) {
    guard let reference else {
      throw Refusal(why: "no rule fits this stage, and there is no reference to find out from")
    }
    guard let other = reference[place], !other.isEmpty else {
      let damage = damaged.isEmpty ? "" : "; \(damaged.count) of its files could not be read"
      throw Refusal(why: "no rule fits this stage, and the reference does not have it\(damage)")
    }
    guard other.count == 1, let whole = other[0]?.tensor else {
      let names = other.keys.sorted().map(String.init).joined(separator: ", ")
      throw Refusal(
        why: "the reference has rank \(names) of it, so the whole tensor is not known; give a rule, or a reference "
          + "of one rank")
    }
    let decision = try ShardPlanner(rule: .auto, place: place.key.description)
      .plan(reference: [whole], target: tensors)
    let plan = decision.plan
    if let other = tensors.first(where: { $0.dtype != tensors[0].dtype }) {
      throw Refusal(
        why: "ranks disagree about the element type: \(tensors[0].dtype.rawValue) and \(other.dtype.rawValue)")
    }
    guard plan.kind != .ambiguous else { throw Refusal(why: "ambiguous: \(plan.why)", plan: plan) }
    guard let residual = plan.residual, residual <= Self.residualLimit else {
      let distance = plan.residual.map { "\($0)" } ?? "no finite number"
      throw Refusal(
        why: "unknown: the best layout, \(plan.kind.rawValue), is \(distance) away from the reference", plan: plan)
    }
    // Equal ranks are copies; a layout without a rival stands by its residual.
    if let margin = plan.margin, margin < Self.marginLimit {
      throw Refusal(
        why: "ambiguous: \(plan.kind.rawValue) fits, and another layout nearly as well (margin \(margin))", plan: plan)
    }
    if let rival = try fusedRival(of: decision, residual) {
      throw Refusal(
        why: "ambiguous: \(plan.kind.rawValue) fits, and \(rival) nearly as well; give a rule", plan: plan)
    }
    return (decision.target, plan)
  }

  /// Fused blocks (qkv, gate_up) that fit nearly as well as plain slices do: the planner looks for them only where
  /// nothing plain fits, and in nearly constant data everything does.
  private func fusedRival(of decision: ShardDecision, _ residual: Double) throws -> String? {
    let target = decision.target
    guard target.layout.kind == .concat, let axis = target.layout.axis, residual > 0 else { return nil }
    let sample = TensorSample(shape: target.shape)
    let reference = try sample.values(of: decision.reference)
    for weights in [[1, 1], [1, 1, 1], [2, 1, 1], [4, 1, 1], [8, 1, 1]] {
      guard let layout = ShardLayout.blocks(target.parts.map(\.shape), axis: axis, weights: weights) else { continue }
      let rival = try LogicalTensor(parts: target.parts, layout: layout, place: "")
      let distance = Agreement(target: try sample.values(of: rival), reference: reference).distance
      if 1 - residual / distance < Self.marginLimit { return layout.detail }
    }
    return nil
  }

  /// What is called a copy must be one, to the last byte.
  private func checkCopies(_ tensor: LogicalTensor, _ plan: ShardPlan) throws {
    for group in tensor.layout.copies {
      let views = group.compactMap { slice in
        slice.axis.map { tensor.parts[slice.part].narrowed(axis: $0, start: slice.start, count: slice.count) }
          ?? tensor.parts[slice.part]
      }
      for (view, slice) in zip(views, group).dropFirst() where try !areEqual(views[0], view) {
        throw Refusal(
          why:
            "\(plan.kind.rawValue), but rank \(slice.part) differs from rank \(group[0].part), of which it should be "
            + "a copy", plan: plan)
      }
    }
  }

  private func areEqual(_ left: Tensor, _ right: Tensor) throws -> Bool {
    guard left.dtype == right.dtype, left.shape == right.shape else { return false }
    let readers = (try TensorReader(left), try TensorReader(right))
    var bytes: (left: [UInt8], right: [UInt8]) = ([], [])
    let step = 1 << 17
    for start in stride(from: 0, to: readers.0.elementCount, by: step) {
      let range = start..<min(start + step, readers.0.elementCount)
      try readers.0.read(range, into: &bytes.left)
      try readers.1.read(range, into: &bytes.right)
      if bytes.left != bytes.right { return false }
    }
    return true
  }
}
