import Alignment
import Dumps

/// Puts the rows of chunked prefills into one order on both sides.
///
/// Equal chunks on both sides need nothing. Else a chunk may hold a piece of every sequence, and stringing the chunks
/// together mixes the sequences: token ids say which row is which, and without ids the first stage's rows do.
enum RowOrder {
  static func arrange(
    _ reference: inout ResolvedCalls, _ left: CaptureIndex, _ target: inout ResolvedCalls, _ right: CaptureIndex,
    slots: Int?
  ) {
    guard case .success(let leftChoice) = reference.common, case .success(let rightChoice) = target.common,
      leftChoice.call != nil, rightChoice.call != nil, reference.tokens == target.tokens
    else { return }
    let leftCounts = counts(leftChoice, reference)
    let rightCounts = counts(rightChoice, target)
    guard leftCounts != rightCounts else { return }
    let lefts = candidates(leftChoice, leftCounts, slots: slots)
    let rights = candidates(rightChoice, rightCounts, slots: slots)
    guard let fit = byIds(lefts, left, rights, right, slots: slots) ?? byRows(lefts, left, rights, right) else {
      let problem = CallProblem(
        code: .unknown,
        message: "the prefill came in other chunks on the two sides (\(leftCounts) and \(rightCounts) tokens) and "
          + "neither token ids nor the first stage's rows say which row is which; dump the ids (the embedding's "
          + "input), or use the same chunk size on both sides")
      reference.common = .failure(problem)
      target.common = .failure(problem)
      return
    }
    if leftCounts.count > 1 { reference.runs = fit.left }
    if rightCounts.count > 1 { target.runs = fit.right }
  }

  /// Rows of chunks sequence after sequence, for a comparison of the sequences with each other.
  static func arrangeBySlot(_ calls: inout ResolvedCalls, slots: Int) {
    guard case .success(let choice) = calls.common, choice.joined.count > 1, slots > 1 else { return }
    let counts = counts(choice, calls)
    // One call a sequence is in order.
    if counts.count == slots, Set(counts).count == 1 { return }
    guard let bySlot = candidates(choice, counts, slots: slots).dropFirst().first else {
      calls.common = .failure(
        CallProblem(
          code: .unknown,
          message: "the prefill came in chunks of \(counts) tokens, which \(slots) slots do not divide, so the slots' "
            + "rows cannot be told apart; dump without chunked prefill"))
      return
    }
    calls.runs = bySlot
  }

  private static func counts(_ choice: CallChoice, _ calls: ResolvedCalls) -> [Int] {
    choice.calls.map { $0.flatMap { calls.callTokens[$0] } ?? 0 }
  }

  /// Chunk after chunk, and sequence after sequence where every chunk holds an equal piece of each.
  private static func candidates(_ choice: CallChoice, _ counts: [Int], slots: Int?) -> [[RowRun]] {
    let calls = choice.calls.compactMap { $0 }
    let plain = zip(calls, counts).map { RowRun(call: $0, start: 0, count: $1) }
    guard let slots, slots > 1, calls.count > 1, counts.allSatisfy({ $0 % slots == 0 }) else { return [plain] }
    let bySlot = (0..<slots).flatMap { slot in
      zip(calls, counts).map { RowRun(call: $0, start: slot * ($1 / slots), count: $1 / slots) }
    }
    return [plain, bySlot]
  }

  // MARK: token ids

  private static func byIds(
    _ lefts: [[RowRun]], _ left: CaptureIndex, _ rights: [[RowRun]], _ right: CaptureIndex, slots: Int?
  ) -> (left: [RowRun], right: [RowRun])? {
    guard let leftIds = ids(lefts[0], left), let rightIds = ids(rights[0], right) else { return nil }
    for a in lefts {
      for b in rights where values(a, leftIds) == values(b, rightIds) { return (a, b) }
    }
    // Sequences of unequal lengths: found where one side is one call.
    if lefts[0].count == 1, let only = leftIds.values.first,
      let runs = Weaving(chunks: rights[0].map { ($0.call, rightIds[$0.call] ?? []) }, whole: only, slots: slots).runs
    {
      return (lefts[0], runs)
    }
    if rights[0].count == 1, let only = rightIds.values.first,
      let runs = Weaving(chunks: lefts[0].map { ($0.call, leftIds[$0.call] ?? []) }, whole: only, slots: slots).runs
    {
      return (runs, rights[0])
    }
    return nil
  }

  /// Token ids by call; nil where a call has none of that length.
  private static func ids(_ runs: [RowRun], _ index: CaptureIndex) -> [Int: [Double]]? {
    let key = index.captures.keys.filter { key in
      let name = "\(key.stage).\(key.tensor)".lowercased()
      return (key.role == .input || name.contains("ids")) && !name.contains("pos")
    }.sorted().first { key in
      runs.allSatisfy { run in
        guard let tensor = first(index, key, call: run.call) else { return false }
        return !tensor.dtype.isFloatingPoint && tensor.elementCount == run.count
      }
    }
    guard let key else { return nil }
    var result: [Int: [Double]] = [:]
    for run in runs {
      guard let tensor = first(index, key, call: run.call), let reader = try? TensorReader(tensor) else { return nil }
      var values: [Double] = []
      guard (try? reader.readDoubles(0..<tensor.elementCount, into: &values)) != nil else { return nil }
      result[run.call] = values
    }
    return result
  }

  private static func first(_ index: CaptureIndex, _ key: CaptureKey, call: Int) -> Tensor? {
    index.captures[key]?[call]?.min { $0.key < $1.key }?.value.tensor
  }

  private static func values(_ runs: [RowRun], _ ids: [Int: [Double]]) -> [Double] {
    runs.flatMap { run in (ids[run.call] ?? []).dropFirst(run.start).prefix(run.count) }
  }

  // MARK: first rows

  /// The order in which the first stage's rows agree, where one clearly does.
  private static func byRows(
    _ lefts: [[RowRun]], _ left: CaptureIndex, _ rights: [[RowRun]], _ right: CaptureIndex
  ) -> (left: [RowRun], right: [RowRun])? {
    for key in CaptureMatching.order([left, right]).prefix(24) {
      let isNamed = key.tensor == "hidden" || key.tensor == "input"
      guard isNamed || CallResolver.holdsTokenRows(key) else { continue }
      var best: (left: [RowRun], right: [RowRun], distance: Double)?
      for a in lefts {
        for b in rights {
          guard let x = rows(a, left, key), let y = rows(b, right, key), x.shape == y.shape else { continue }
          // Rows that are all alike fit in any order.
          guard isNamed || x.shape.count == 2 && CallResolver.rowsAreAlike(x) == false else { continue }
          guard let one = sample(x), let other = sample(y) else { continue }
          let distance = Agreement(target: one, reference: other).distance
          if distance < best?.distance ?? .infinity { best = (a, b, distance) }
        }
      }
      if let best, best.distance < 0.25 { return (best.left, best.right) }
    }
    return nil
  }

  private static func rows(_ runs: [RowRun], _ index: CaptureIndex, _ key: CaptureKey) -> Tensor? {
    let pieces = runs.map { run -> Tensor? in
      guard let tensor = first(index, key, call: run.call), tensor.dtype.isFloatingPoint else { return nil }
      return tensor.rows(run.start..<(run.start + run.count))
    }
    guard pieces.allSatisfy({ $0 != nil }) else { return nil }
    return Tensor.joined(pieces.compactMap { $0 })
  }

  private static func sample(_ tensor: Tensor) -> [Double]? {
    let layout = ShardLayout.whole(tensor.shape, kind: .single)
    guard let logical = try? LogicalTensor(parts: [tensor], layout: layout, place: tensor.name) else { return nil }
    return try? TensorSample(shape: tensor.shape, limit: 1 << 16).values(of: logical)
  }
}

/// Finds how the sequences of one batch lie over its chunks, from token ids: every chunk holds the next piece of each
/// sequence, in the same order.
private struct Weaving {
  let chunks: [(call: Int, ids: [Double])]
  let whole: [Double]
  let slots: Int?

  /// The chunks' rows in the order of the whole batch; nil where there is no such order, or too many ways to try.
  var runs: [RowRun]? {
    guard chunks.reduce(0, { $0 + $1.ids.count }) == whole.count else { return nil }
    var steps = 20_000
    var taken = Array(repeating: 0, count: chunks.count)
    return weave(chunk: 0, position: 0, sequences: 0, taken: &taken, steps: &steps)
  }

  private func weave(chunk: Int, position: Int, sequences: Int, taken: inout [Int], steps: inout Int) -> [RowRun]? {
    if position == whole.count { return slots == nil || chunk > 0 || sequences == slots ? [] : nil }
    steps -= 1
    guard steps > 0 else { return nil }
    if chunk == chunks.count {
      return weave(chunk: 0, position: position, sequences: sequences + 1, taken: &taken, steps: &steps)
    }
    let ids = chunks[chunk].ids
    let start = taken[chunk]
    var length = 0
    while start + length < ids.count, position + length < whole.count, ids[start + length] == whole[position + length] {
      length += 1
    }
    // The longest piece first; ids that agree by chance make it too long.
    while length >= (chunk == 0 ? 1 : 0) {
      taken[chunk] += length
      if let rest = weave(
        chunk: chunk + 1, position: position + length, sequences: sequences, taken: &taken, steps: &steps)
      {
        let run = RowRun(call: chunks[chunk].call, start: start, count: length)
        return (length > 0 ? [run] : []) + rest
      }
      taken[chunk] -= length
      length -= 1
    }
    return nil
  }
}
