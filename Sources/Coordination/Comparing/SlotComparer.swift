public import Alignment
import Comparison
import Diagnosis
public import Dumps
public import Reporting

extension DumpComparer {
  /// Compares slot 0 of a batch with every other slot, on every stage: batch invariance, a bitwise question.
  ///
  /// Slots are equal parts of dimension 0, or of another that has as many indices as the batch has tokens; where slots
  /// differ along a dimension that may be no tokens', the verdict stays open. As in ATOM's `compare_slots`, a is slot 0 and b the other slot, so `rel`
  /// is relative to the other slot's largest value. What is no tensor of tokens (experts' loads, offsets of sequences)
  /// has no slots: it is listed, and judges nothing. Ranks that are replicas count once; other ranks are taken side
  /// by side. The verdict is byte equality; cosine only explains. Slots with different token ids cannot be compared:
  /// INCONCLUSIVE.
  ///
  /// - Parameters:
  ///   - slots: sequences in the batch, 2 at least.
  ///   - rank: one rank alone; nil: all.
  ///   - single: a run of one sequence, and the slot that holds the same prompt: that slot is compared with it, and no
  ///     slot with another.
  public static func compareSlots(
    set: DumpSet, slots: Int, rule: CallRule = .auto, selection: CallSelection = .prefill, rank: Int? = nil,
    worldSize: Int? = nil, label: String? = nil, startTime: Int64? = nil, expectation: CaptureExpectation? = nil,
    single: (side: ComparisonSide, slot: Int)? = nil, progress: MeasuringProgress? = nil
  ) async throws -> ComparisonReport {
    let side = ComparisonSide(set: set, label: label, worldSize: worldSize, startTime: startTime)
    let request = ComparisonRequest(
      reference: side, target: side, expectation: expectation, selection: selection, rule: rule, slots: slots,
      policy: .strict, rank: rank)
    let index = CaptureIndex(side, rank: rank)
    let matching = CaptureMatching(request: request, reference: index, target: index, isSlots: true)
    guard slots >= 2 else {
      throw AlignmentError(code: .ruleMismatch, place: set.root, message: "slots must be at least 2, not \(slots)")
    }
    var alone: CaptureMatching?
    if let single {
      var request = request
      (request.reference, request.target, request.slots) = (single.side, single.side, 1)
      let index = CaptureIndex(single.side, rank: rank)
      alone = CaptureMatching(request: request, reference: index, target: index, isSlots: true)
    }
    let others = alone.map {
      Dictionary($0.pairs.map { ($0.key, $0.target) }, uniquingKeysWith: { first, _ in first })
    }
    let counter = MeasuringCounter(matching.pairs, progress)
    let audit = set.areChecksumsVerified ? nil : StorageAudit()
    let measured = try await Bounded.map(matching.pairs) { pair in
      var measurer = SlotMeasurer(pair: pair, slots: slots, tokens: matching.tokens, audit: audit)
      if let single { measurer.single = (others?[pair.key] ?? [:], single.slot) }
      let stage = await measurer.measure()
      counter.finished(pair)
      return stage
    }
    return SlotReport(request: request, matching: matching, stages: measured, single: single?.side, alone: alone).report
  }
}

/// The slots of one stage's tensor.
private struct SlotMeasurer {
  var pair: CaptureMatching.Pair
  var slots: Int
  /// Of the batch, where known.
  var tokens: Int?
  var audit: StorageAudit?
  /// The captures of a run of one sequence, and the slot that is compared with it.
  var single: (captures: [Int: Capture], slot: Int)?

  struct Stage: Sendable {
    var pair: CaptureMatching.Pair
    var plan: ShardPlan
    var dtype: DType
    /// Shape of one slot.
    var shape: [Int]
    /// By slot, from 1.
    var measures: [(slot: Int, measures: Measures)]
    var unmatched: String?
    /// Why it has no slots.
    var unslotted: String?
    var unreadable: Unreadable?
  }

  func measure() async -> Stage {
    let ranks = pair.target.keys.sorted()
    let tensors = ranks.compactMap { pair.target[$0]?.tensor }
    var stage = Stage(
      pair: pair,
      plan: ShardPlan(kind: .single, axis: nil, ranks: ranks.count, residual: nil, margin: nil, why: "one rank"),
      dtype: tensors.first?.dtype ?? .float32, shape: tensors.first?.shape ?? [], measures: [])
    do {
      for storage in tensors.flatMap(\.storages) { try audit?.verify(storage) }
      let whole = try logical(tensors, axis: 0, plan: &stage.plan)
      let shape = whole.shape
      let place = tokens.map { self.place(of: $0, in: shape, parts: tensors) } ?? TokenPlace(axes: [0])
      if let tokens, place.axes.isEmpty {
        let isOpen = shape.dropFirst().contains { $0 > 0 && $0 % tokens == 0 }
        let words = "\(pair.key): shape \(shape) is not by token (the batch has \(tokens))"
        if isOpen {
          stage.unmatched = "\(words) in dimension 0, and may be in another"
        } else {
          stage.unslotted = words
        }
        return stage
      }
      var cuts: [Stage] = []
      for axis in place.axes {
        var plan = stage.plan
        let turned = axis == 0 ? whole : try logical(tensors, axis: axis, plan: &plan)
        var cut = stage
        cut.plan = plan
        try await measure(turned, axis: axis, into: &cut)
        // Equal rows of every sequence are that: experts' widths, or a vocabulary's share, may be as many as the tokens.
        if axis == 0, cut.unmatched != nil || cut.measures.allSatisfy({ $0.measures.areSameSlots }) { return cut }
        cuts.append(cut)
      }
      let differing = cuts.count { cut in !cut.measures.allSatisfy { $0.measures.areSameSlots } }
      // Only slots that differ whichever dimension holds the tokens are a finding.
      if differing > 0, !place.isCertain || differing < cuts.count {
        stage.unmatched =
          "\(pair.key): shape \(shape) has slots that differ, and nothing says that its tokens are in dimension "
          + place.axes.map(String.init).joined(separator: " or ") + " (the batch has \(tokens ?? 0))"
        return stage
      }
      return cuts.first { $0.unmatched != nil } ?? cuts[0]
    } catch let error as DumpError {
      stage.unreadable = Unreadable(file: pair.target[ranks.first ?? 0]?.file ?? error.file, why: error.description)
    } catch {
      stage.unmatched = "\(pair.key): \(error)"
    }
    return stage
  }

  /// The slots as parts of `axis`, which `logical` has first.
  private func measure(_ logical: LogicalTensor, axis: Int, into stage: inout Stage) async throws {
    guard let rows = logical.shape.first, rows > 0, rows % slots == 0 else {
      let place = axis == 0 ? "" : " (dimension \(axis) first)"
      stage.unmatched =
        "\(pair.key): shape \(logical.shape)\(place) cannot be cut into \(slots) slots along dimension 0"
      return
    }
    stage.shape = [rows / slots] + logical.shape.dropFirst()
    let size = logical.elementCount / slots
    if let single {
      let other = try alone(single.captures, stage.shape, axis: axis)
      let measures = try await PairMeasurer.measure(
        target: logical, reference: other, shape: stage.shape, targetStart: single.slot * size, referenceStart: 0)
      stage.measures.append((single.slot, measures))
      return
    }
    for slot in 1..<slots {
      let measures = try await PairMeasurer.measure(
        target: logical, reference: logical, shape: stage.shape, targetStart: 0, referenceStart: slot * size)
      stage.measures.append((slot, measures))
    }
  }

  /// Where the tokens of a batch may lie in a tensor.
  private struct TokenPlace {
    /// Dimensions that may count them; empty where none does.
    var axes: [Int]
    /// Whether it is one of these, so that slots that differ along all of them differ.
    var isCertain = true
  }

  /// Dimension 0 where it counts all tokens, so many of each or of each sequence, some of them as padding, or the
  /// ranks' shares; another where it counts all of them. One dimension alone is by token or by sequence.
  private func place(of tokens: Int, in shape: [Int], parts: [Tensor]) -> TokenPlace {
    guard let rows = shape.first else { return TokenPlace(axes: []) }
    guard tokens > 0, rows > 0, rows != tokens else { return TokenPlace(axes: [0]) }
    let inner = shape.indices.dropFirst().filter { axis in
      parts.allSatisfy { $0.shape.count > axis && $0.shape[axis] == tokens }
    }
    let isWhole = rows == slots || rows % tokens == 0
    if !inner.isEmpty { return TokenPlace(axes: (isWhole ? [0] : []) + inner, isCertain: isWhole) }
    if isWhole { return TokenPlace(axes: [0]) }
    let shares = parts.reduce(0) { $0.addingReportingOverflow($1.shape.first ?? 0).partialValue }
    // Integers in one dimension, more than there are tokens, are an order of rows or counts.
    let isPadded = shape.count > 1 || parts[0].dtype.isFloatingPoint || rows - tokens < tokens
    if shares == tokens || rows > tokens && isPadded { return TokenPlace(axes: [0], isCertain: false) }
    return TokenPlace(axes: shape.count > 1 && rows % slots == 0 ? [0] : [])
  }

  /// The tensor of the run of one sequence.
  private func alone(_ captures: [Int: Capture], _ shape: [Int], axis: Int) throws -> LogicalTensor {
    let tensors = captures.keys.sorted().compactMap { captures[$0]?.tensor }
    guard !tensors.isEmpty else {
      throw AlignmentError(
        code: .shapeMismatch, place: pair.key.description, message: "the run of the prompt alone has none of it")
    }
    for storage in tensors.flatMap(\.storages) { try audit?.verify(storage) }
    var plan = ShardPlan(kind: .single, axis: nil, ranks: tensors.count, residual: nil, margin: nil, why: "")
    let logical = try logical(tensors, axis: axis, plan: &plan)
    guard logical.shape == shape else {
      throw AlignmentError(
        code: .shapeMismatch, place: pair.key.description,
        message: "a slot has the shape \(shape), the prompt alone \(logical.shape)")
    }
    return logical
  }

  /// The ranks' tensors as one, with `axis` first.
  private func logical(_ tensors: [Tensor], axis: Int, plan: inout ShardPlan) throws -> LogicalTensor {
    let views = tensors.compactMap { tensor in
      axis == 0 ? tensor : tensor.permuted([axis] + tensor.shape.indices.filter { $0 != axis })
    }
    guard views.count == tensors.count else {
      throw AlignmentError(
        code: .shapeMismatch, place: pair.key.description, message: "chunks cannot be cut along dimension \(axis)")
    }
    return try LogicalTensor(parts: views, layout: try layout(views, plan: &plan), place: pair.key.description)
  }

  private func layout(_ tensors: [Tensor], plan: inout ShardPlan) throws -> ShardLayout {
    let shapes = tensors.map(\.shape)
    guard let first = shapes.first else {
      throw AlignmentError(code: .shapeMismatch, place: pair.key.description, message: "no tensor")
    }
    if tensors.count == 1 { return .whole(first, kind: .single) }
    let areAlike = tensors.allSatisfy { $0.shape == first && $0.dtype == tensors[0].dtype }
    if try areAlike && PairMeasurer.divergent(tensors).isEmpty {
      (plan.kind, plan.why) = (.replicated, "all ranks are equal")
      return .whole(first, kind: .replicated)
    }
    // Never dimension 0: that is cut into slots.
    for axis in first.indices.dropFirst().reversed() {
      guard let layout = ShardLayout.concat(shapes, axis: axis) else { continue }
      (plan.kind, plan.axis, plan.why) = (.concat, axis, "the ranks side by side")
      return layout
    }
    throw AlignmentError(
      code: .shapeMismatch, place: pair.key.description,
      message: "the ranks' shapes cannot stand side by side: \(shapes.map { "\($0)" }.joined(separator: ", "))")
  }
}

extension Measures {
  /// Whether two slots are the same bytes, all of them numbers.
  fileprivate var areSameSlots: Bool {
    elementCount == 0 || byteEqual == 1 && nonfiniteTarget == 0 && nonfiniteReference == 0
  }
}

/// Puts the slots' rows into a report.
private struct SlotReport {
  var request: ComparisonRequest
  var matching: CaptureMatching
  var stages: [SlotMeasurer.Stage]
  /// The run of the prompt alone; nil: slots are compared with slot 0.
  var single: ComparisonSide?
  /// Of that run; what it lacks keeps the verdict from PASS as what the batch lacks does.
  var alone: CaptureMatching?

  /// What a slot is compared with.
  private var standard: String { single == nil ? "slot 0" : "the prompt alone" }

  var report: ComparisonReport {
    let mismatch = differingInput
    let rows = stages.flatMap { stage in
      stage.measures.map { row(stage, slot: $0.slot, measures: $0.measures, mismatch) }
    }
    var unmatched = matching.unmatched + matching.target.duplicates + stages.compactMap(\.unmatched) + aloneUnmatched
    unmatched = unmatched.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    let unreadable =
      request.target.set.unreadable + (single?.set.unreadable ?? []) + stages.compactMap(\.unreadable)
    let coverage = ComparisonReport.Coverage(
      expected: matching.expected, compared: stages.count { !$0.measures.isEmpty }, unmatched: unmatched,
      unreadable: unreadable, otherCalls: matching.otherCalls / 2, ledger: ledger)
    var findings = incomplete
    if let mismatch {
      findings.append(inputFinding(mismatch))
    } else if let first = firstDivergence {
      findings.insert(variance(first), at: 0)
    }
    var verdicts = rows.map(\.verdict)
    let unread = request.target.set.overlooked + (single?.set.overlooked ?? [])
    let isComplete =
      unmatched.isEmpty && unreadable.isEmpty && matching.callProblems.isEmpty && incomplete.isEmpty && unread.isEmpty
    let unslotted = stages.compactMap(\.unslotted)
    let isNothing = stages.allSatisfy { $0.measures.allSatisfy { $0.measures.elementCount == 0 } }
    let isZero =
      !isNothing
      && stages.allSatisfy { $0.measures.allSatisfy { $0.measures.elementCount == 0 || $0.measures.isZeroThroughout } }
    if !isComplete || isNothing || isZero { verdicts.append(.inconclusive) }
    var notes = ["slots: byte equality decides, cosine only explains"]
    if let first = unread.first {
      notes.append(
        "\(unread.count) dump files have names that the layout does not know (\(first)), so nobody read them")
    }
    if !unslotted.isEmpty {
      notes.append(
        "not comparable by slot, and judged by nothing: " + unslotted.prefix(8).joined(separator: "; ")
          + (unslotted.count > 8 ? "; … (\(unslotted.count) in all, each in the ledger)" : ""))
    }
    if let mismatch {
      notes.insert(
        "not a PASS: the slots had different inputs (\(mismatch.pair.key)), so they cannot be compared", at: 0)
    }
    if isNothing { notes.insert("not a PASS: nothing could be compared by slot", at: 0) }
    if isZero { notes.insert("not a PASS: every slot is zero, as what was never written is", at: 0) }
    if !isComplete {
      notes.insert("not a PASS: captures, files or ranks are missing, or the call is not certain", at: 0)
    }
    let side = ComparisonReport.Side(
      path: request.target.set.root, worldSize: matching.target.worldSize, label: request.target.label)
    let reference = single.map {
      ComparisonReport.Side(path: $0.set.root, worldSize: matching.target.worldSize, label: $0.label)
    }
    return ComparisonReport(
      verdict: Verdict.combined(verdicts), reference: reference ?? side, target: side, coverage: coverage, rows: rows,
      firstDivergence: mismatch == nil
        ? firstDivergence.map { ComparisonReport.Divergence(layer: $0.pair.key.layer, stage: $0.pair.key.stage) } : nil,
      findings: findings, notes: notes)
  }

  private var ledger: CoverageLedger {
    let open = stages.filter(\.measures.isEmpty)
    let unmeasured = Dictionary(
      open.map { ($0.pair.key, $0.unmatched ?? $0.unslotted ?? $0.unreadable?.why ?? "not measured") },
      uniquingKeysWith: { first, _ in first })
    return CoverageAccount.ledger(matching, rank: request.rank, unmeasured: unmeasured)
  }

  private var firstDivergence: SlotMeasurer.Stage? {
    stages.first { stage in stage.measures.contains { !$0.measures.areSameSlots } }
  }

  /// Token ids, or what is embedded from them, that differ between slots: different prompts.
  private var differingInput: SlotMeasurer.Stage? {
    guard let first = firstDivergence else { return nil }
    let key = first.pair.key
    let name = "\(key.stage).\(key.tensor)".lowercased()
    if !first.dtype.isFloatingPoint, key.role == .input || name.contains("ids") { return first }
    if StageOrder.heuristic(key.stage) == 0 { return first }
    // The very first thing dumped already differs beyond any rounding: not a kernel, another prompt.
    let isFirst = first.pair.key == stages.first?.pair.key
    let worst = first.measures.map(\.measures.cos).filter(\.isFinite).min() ?? 1
    return isFirst && (key.role == .input || worst < 0.9) ? first : nil
  }

  private func row(
    _ stage: SlotMeasurer.Stage, slot: Int, measures: Measures, _ mismatch: SlotMeasurer.Stage?
  ) -> ComparisonReport.Row {
    var verdict = measures.areSameSlots ? Verdict.pass : .fail
    var why: String?
    if measures.elementCount == 0 {
      (verdict, why) = (.pass, "empty in every slot")
    } else if measures.nonfiniteTarget + measures.nonfiniteReference > 0 {
      why =
        single == nil
        ? "not finite: \(measures.nonfiniteTarget) values in slot 0, \(measures.nonfiniteReference) in slot \(slot)"
        : "not finite: \(measures.nonfiniteTarget) values in slot \(slot), \(measures.nonfiniteReference) alone"
    } else if verdict == .fail {
      why = "slot \(slot) is not the same bytes as \(standard)"
    }
    if let mismatch, verdict == .fail {
      (verdict, why) = (.inconclusive, "the slots' inputs differ (\(mismatch.pair.key)): not the same prompt")
    }
    return ComparisonReport.Row(
      layer: stage.pair.key.layer, stage: stage.pair.key.stage, tensor: stage.pair.key.tensor, slot: slot,
      call: stage.pair.call, shard: stage.plan, dtype: stage.dtype, shape: stage.shape, measures: measures,
      verdict: verdict, why: why, profileFlags: FixedProfile.flags(of: measures))
  }

  private func variance(_ stage: SlotMeasurer.Stage) -> Finding {
    let key = stage.pair.key
    let worst = stage.measures.min { ($0.measures.byteEqual, $0.slot) < ($1.measures.byteEqual, $1.slot) }
    let slots = stage.measures.filter { !$0.measures.areSameSlots }.map(\.slot)
    let bad = stage.measures.filter { $0.measures.nonfiniteTarget + $0.measures.nonfiniteReference > 0 }
    let place = key.layer.map { "\(key.stage) of layer \($0)" } ?? key.stage
    if !bad.isEmpty {
      return Finding(
        cause: "non-finite", layer: key.layer, stage: key.stage, confidence: .certain,
        evidence: ["slots": Double(bad.count)], summary: "\(place) holds NaN or infinity in some slots.",
        next: "Dump finer stages inside \(place) and look at the inputs of the first operation that produces it.")
    }
    var evidence = ["slots_that_differ": Double(slots.count)]
    if let worst {
      evidence["byte_equal"] = worst.measures.byteEqual
      if worst.measures.cos.isFinite { evidence["cos"] = worst.measures.cos }
    }
    return Finding(
      cause: "batch-variance", layer: key.layer, stage: key.stage, confidence: .certain, evidence: evidence,
      summary: "\(place) is the first stage whose output depends on the \(single == nil ? "slot" : "batch"): slot "
        + "\(slots.map(String.init).joined(separator: ", ")) differs from \(standard) for the same input.",
      next: "Not a bug of the model: look for split-K, split-KV or tile choices that depend on the batch position in "
        + "the kernels of \(place), or accept it as a limit of the stack.")
  }

  private func inputFinding(_ stage: SlotMeasurer.Stage) -> Finding {
    Finding(
      cause: "input-mismatch", layer: stage.pair.key.layer, stage: stage.pair.key.stage,
      confidence: stage.dtype.isFloatingPoint ? .likely : .certain, evidence: [:],
      summary: "The slots had different inputs (\(stage.pair.key) differs), so they cannot be compared.",
      next: "Run the same prompt in every slot, at temperature 0.")
  }

  /// Places that the run of the prompt alone has and the batch lacks, and what is there twice.
  private var aloneUnmatched: [String] {
    guard let alone else { return [] }
    let there = Set(stages.map(\.pair.key))
    let lost = Set(alone.pairs.map(\.key)).subtracting(there).sorted()
    return alone.target.duplicates + alone.unmatched + lost.map { "\($0): only the prompt alone has it" }
  }

  private var incomplete: [Finding] {
    var result = incomplete(matching, stages.map(\.pair), "")
    if let alone { result += incomplete(alone, alone.pairs, " of the prompt alone") }
    return result
  }

  private func incomplete(_ matching: CaptureMatching, _ pairs: [CaptureMatching.Pair], _ side: String) -> [Finding] {
    var result: [Finding] = []
    let absent = matching.target.missingRanks(only: request.rank)
    let partial = pairs.flatMap(\.missingRanks)
    let ranks = Set(absent + partial).sorted()
    if !ranks.isEmpty {
      let words = ranks.map(String.init).joined(separator: ", ")
      result.append(
        Finding(
          cause: "incomplete-ranks", layer: nil, stage: nil, ranks: ranks, confidence: .certain,
          evidence: ["world_size": Double(matching.target.worldSize)],
          summary: "Rank \(words)\(side) lacks files.", next: "Gather the files of rank \(words) again."))
    }
    if let stale = matching.target.stale.first {
      result.append(
        Finding(
          cause: "stale-dump", layer: nil, stage: nil, ranks: Set(matching.target.stale.map(\.rank)).sorted(),
          confidence: .certain, evidence: ["captures": Double(matching.target.stale.count)],
          summary:
            "\(stale.file)\(side) is older than the attempt's start: it is of an earlier run and was not compared.",
          next: "Dump into a fresh directory."))
    }
    for (problem, stage) in matching.callProblems {
      result.append(
        Finding(
          cause: "wrong-call", layer: nil, stage: stage,
          confidence: problem.code == .wrongCall ? .certain : .possible, evidence: [:], summary: problem.message,
          next: "Select another call, or dump with ATOM_FWD_DUMP_ONE_SHOT=0 so that each call has its own file."))
    }
    return result
  }
}
