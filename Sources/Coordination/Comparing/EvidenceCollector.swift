import Alignment
import Comparison
import Diagnosis
import Dumps

/// Looks closer at one divergence: each rank alone, sums, shifted rows, blocks, projections on other tensors.
enum EvidenceCollector {
  /// Elements sampled.
  private static let limit = 1 << 19

  /// What a comparison knows beside the tensors.
  struct Setting {
    /// Sequences in the batch, where known.
    var slots: Int?
    /// Of a joined prefill the call of each row.
    var rowCalls: [Int] = []
    /// Tokens of the chosen call.
    var tokens: Int?
    /// The output of the layer before, or the embedding: the stream that the layer adds to.
    var stream: PairOutcome?
  }

  static func collect(
    _ base: RowEvidence, outcome: PairOutcome, before: [PairOutcome], setting: Setting = Setting()
  ) throws -> RowEvidence {
    guard let decision = outcome.decision, outcome.dtype.isFloatingPoint else { return base }
    var evidence = base
    evidence.codes = try CodeProbe.relation(decision)
    let sample = TensorSample(shape: decision.reference.shape, limit: limit)
    let reference = try sample.values(of: decision.reference)
    var target = try sample.values(of: decision.target)
    guard !reference.isEmpty, target.count == reference.count else { return base }
    try addRanks(&evidence, outcome: outcome, decision: decision, sample: sample, reference: reference)
    if let sum = try sumOfPartials(evidence, outcome: outcome, decision: decision, sample: sample) {
      target = sum
      evidence.isSumOfPartials = true
      evidence.divergentRanks = []
      evidence.plan.kind = .partial
      evidence.measures.take(Agreement(target: target, reference: reference))
    }
    addPadding(&evidence, tokens: setting.tokens)
    let isFinite = reference.allSatisfy(\.isFinite) && target.allSatisfy(\.isFinite)
    guard isFinite else { return evidence }
    evidence.difference = TensorSketch(zip(target, reference).map { $0 - $1 })
    addTokens(&evidence, sample: sample, target: target, reference: reference)
    addSequences(&evidence, setting: setting)
    addRowSources(&evidence, sample: sample, target: target, reference: reference)
    try addRowMove(
      &evidence, outcome: outcome, decision: decision, sample: sample, target: target, reference: reference)
    addChanges(&evidence, target: target, reference: reference)
    addBlocks(&evidence, sample: sample, target: target, reference: reference, decision: decision)
    try addForeignSlices(
      &evidence, before: before, sample: sample, target: target, reference: reference, decision: decision)
    evidence.wholeFusedStage = wholeFusedStage(outcome, before: before)
    try addProjections(
      &evidence, outcome: outcome, before: before, stream: setting.stream, sample: sample, target: target,
      reference: reference)
    try addSubsets(
      &evidence, before: before, sample: sample, target: target, layer: outcome.key.layer, shape: decision.target.shape)
    return evidence
  }

  /// The sum of ranks that differ, where a later stage of the layer is the same on all ranks: they hold partials, and
  /// one of them alone says nothing.
  private static func sumOfPartials(
    _ evidence: RowEvidence, outcome: PairOutcome, decision: ShardDecision, sample: TensorSample
  ) throws -> [Double]? {
    guard evidence.aftermath == .agrees, !evidence.divergentRanks.isEmpty, outcome.targets.count > 1,
      outcome.targets.allSatisfy({ $0.shape == decision.reference.shape }),
      // Replicas that drifted agree with the reference, each by itself.
      evidence.ranks.allSatisfy({ !($0.agreement.distance <= 0.25) })
    else { return nil }
    return try sample.values(
      of: LogicalTensor(
        parts: outcome.targets, layout: .sum(decision.reference.shape, ranks: outcome.targets.count),
        place: outcome.key.description))
  }

  private static func addPadding(_ evidence: inout RowEvidence, tokens: Int?) {
    let rows = evidence.measures.tokenRelL2
    guard let tokens, tokens > 0, rows.count > tokens, rows.count < 2 * tokens else { return }
    let worst = rows[..<tokens].max() ?? 0
    guard worst.isFinite, rows[..<tokens].allSatisfy({ $0 <= max(evidence.tolerance, 8 * evidence.noise) }),
      rows[tokens...].contains(where: { !($0 <= evidence.tolerance) })
    else { return }
    evidence.paddingRow = tokens
  }

  // MARK: sequences

  /// From the measures of every token row, so that long prefills count whole.
  private static func addSequences(_ evidence: inout RowEvidence, setting: Setting) {
    let rows = evidence.measures.tokenRelL2
    let norms = evidence.measures.tokenNorms
    guard rows.count > 1, rows.count == norms.count, !evidence.isSumOfPartials else { return }
    if setting.rowCalls.count == rows.count {
      var calls: [Int: (difference: Double, reference: Double)] = [:]
      for (row, call) in setting.rowCalls.enumerated() {
        let size = norms[row] * norms[row]
        calls[call, default: (0, 0)].reference += size
        if rows[row] != 0 { calls[call, default: (0, 0)].difference += rows[row] * rows[row] * size }
      }
      evidence.callDistances = calls.keys.sorted().map { call in
        let sums = calls[call] ?? (0, 0)
        let distance = sums.difference == 0 ? 0 : (sums.difference / sums.reference).squareRoot()
        return CallDistance(call: call, relL2: distance)
      }
    }
    // Equal lengths where nothing else is known; the first token of all is one in any case.
    var firsts: Set<Int> = [0]
    if let slots = setting.slots, slots > 1, rows.count % slots == 0, setting.tokens == rows.count {
      firsts = Set((0..<slots).map { $0 * (rows.count / slots) })
    }
    let later = rows.indices.filter { !firsts.contains($0) }.map { rows[$0] }.sorted()
    evidence.firstTokensRelL2 = firsts.map { rows[$0] }.max()
    evidence.laterTokensRelL2 = later.isEmpty ? nil : later[later.count / 2]
  }

  /// Finds each token row of the target among the reference's rows, up to 2048 rows; cheap by a few columns first.
  private static func addRowSources(
    _ evidence: inout RowEvidence, sample: TensorSample, target: [Double], reference: [Double]
  ) {
    let length = sample.rowLength
    let count = sample.rows.count
    guard count > 3, count <= 2048, length >= 8, sample.rows == Array(sample.rows.indices),
      evidence.measures.relL2 > 2 * evidence.tolerance
    else { return }
    let columns = (0..<min(16, length)).map { $0 * length / min(16, length) }
    func head(_ values: [Double], _ row: Int) -> [Double] { columns.map { values[row * length + $0] } }
    let heads = (0..<count).map { head(reference, $0) }
    var sources: [Int?] = []
    for row in 0..<count {
      let own = head(target, row)
      var best: (row: Int, distance: Double)?
      // Its own place first, so that equal rows stay where they are.
      for candidate in [row] + Array(0..<count) {
        var distance = 0.0
        for (x, y) in zip(own, heads[candidate]) { distance += (x - y) * (x - y) }
        if distance < best?.distance ?? .infinity { best = (candidate, distance) }
      }
      guard let best else { return }
      let found = Agreement(
        target: target[(row * length)..<((row + 1) * length)],
        reference: reference[(best.row * length)..<((best.row + 1) * length)])
      sources.append(found.distance <= max(2 * evidence.tolerance, 0.05) ? best.row : nil)
      // Most rows must be found, or it is no rearrangement.
      if sources.count(where: { $0 == nil }) > count / 8 { return }
    }
    evidence.rowSources = sources
  }

  /// Rows that moved by a few places in a part of the batch, or on some ranks while the others agree.
  private static func addRowMove(
    _ evidence: inout RowEvidence, outcome: PairOutcome, decision: ShardDecision, sample: TensorSample,
    target: [Double], reference: [Double]
  ) throws {
    let count = sample.rows.count
    guard count > 4, sample.rows == Array(sample.rows.indices), !evidence.isSumOfPartials,
      evidence.measures.relL2 > 2 * evidence.tolerance || !evidence.divergentRanks.isEmpty
    else { return }
    if evidence.divergentRanks.isEmpty, let move = rowMove(evidence, target, reference, count: count) {
      // One shift of all rows is found by the shifts of the whole.
      if move.rows.count * 8 < count * 7 { evidence.rowMove = move }
      return
    }
    let far = evidence.ranks.filter { !($0.agreement.distance <= evidence.tolerance) }
    guard !far.isEmpty, far.count < evidence.ranks.count else { return }
    var found: RowMove?
    for (position, rank) in outcome.targetRanks.enumerated() where far.contains(where: { $0.rank == rank }) {
      let own: (target: [Double], reference: [Double])?
      if outcome.targets[position].shape == decision.reference.shape {
        let whole = try LogicalTensor(
          parts: outcome.targets, layout: .whole(decision.reference.shape, kind: .replicated, part: position),
          place: outcome.key.description)
        own = (try sample.values(of: whole), reference)
      } else {
        own = try LayoutSlice(decision: decision, part: position).values(sample: sample)
      }
      guard let own, own.target.count % count == 0,
        let move = rowMove(evidence, own.target, own.reference, count: count),
        found.map({ $0.shift == move.shift }) ?? true
      else { return }
      let ranks = (found?.ranks ?? []) + [rank]
      found = RowMove(shift: move.shift, rows: Set((found?.rows ?? []) + move.rows).sorted(), ranks: ranks)
    }
    evidence.rowMove = found
  }

  /// The one shift that explains most of the rows that differ; nil where there is none.
  private static func rowMove(
    _ evidence: RowEvidence, _ target: [Double], _ reference: [Double], count: Int
  ) -> RowMove? {
    let length = target.count / count
    let limit = max(2 * evidence.tolerance, 0.05)
    func agrees(_ row: Int, _ source: Int) -> Bool {
      Agreement(
        target: target[(row * length)..<((row + 1) * length)],
        reference: reference[(source * length)..<((source + 1) * length)]
      ).distance <= limit
    }
    let differing = (0..<count).filter { !agrees($0, $0) }
    guard differing.count >= 3 else { return nil }
    let moves = [-3, -2, -1, 1, 2, 3].map { shift in
      RowMove(
        shift: shift, rows: differing.filter { (0..<count).contains($0 + shift) && agrees($0, $0 + shift) })
    }
    guard let best = moves.max(by: { $0.rows.count < $1.rows.count }), best.rows.count >= 3,
      best.rows.count * 4 >= differing.count * 3
    else { return nil }
    return best
  }

  // MARK: ranks

  private static func addRanks(
    _ evidence: inout RowEvidence, outcome: PairOutcome, decision: ShardDecision, sample: TensorSample,
    reference: [Double]
  ) throws {
    let shape = decision.reference.shape
    guard outcome.targets.count > 1 else { return }
    guard outcome.targets.allSatisfy({ $0.shape == shape }) else {
      // Slices: the reference's block of each rank.
      for (position, rank) in outcome.targetRanks.enumerated() {
        let part = LayoutSlice(decision: decision, part: position)
        guard let slice = try part.values(sample: sample) else { continue }
        evidence.ranks.append(
          RankEvidence(
            rank: rank, agreement: Agreement(target: slice.target, reference: slice.reference),
            nonfinite: slice.target.count { !$0.isFinite }))
      }
      return
    }
    var sum = Array(repeating: 0.0, count: reference.count)
    for (position, rank) in outcome.targetRanks.enumerated() {
      let whole = try LogicalTensor(
        parts: outcome.targets, layout: .whole(shape, kind: .replicated, part: position),
        place: outcome.key.description)
      let values = try sample.values(of: whole)
      for index in values.indices { sum[index] += values[index] }
      evidence.ranks.append(
        RankEvidence(
          rank: rank, agreement: Agreement(target: values, reference: reference),
          nonfinite: values.count { !$0.isFinite }))
    }
    if !outcome.divergentRanks.isEmpty || decision.plan.kind == .partial || decision.plan.kind == .ambiguous {
      evidence.sumOfRanks = Agreement(target: sum, reference: reference)
    }
  }

  /// One rank's slice of the target and the same places of the reference, for a plain concatenation.
  private struct LayoutSlice {
    var decision: ShardDecision
    var part: Int

    func values(sample: TensorSample) throws -> (target: [Double], reference: [Double])? {
      let layout = decision.target.layout
      guard layout.inner.isEmpty, let axis = layout.axis, axis > 0, !sample.rows.isEmpty else { return nil }
      let reference = try sample.values(of: decision.reference)
      let target = try sample.values(of: decision.target)
      let inner = layout.shape[(axis + 1)...].reduce(1, *)
      let width = layout.shape[axis] * inner
      var picked: (target: [Double], reference: [Double]) = ([], [])
      var offset = 0
      for piece in layout.pieces {
        let span = (offset * inner)..<((offset + piece.count) * inner)
        offset += piece.count
        guard piece.part == part else { continue }
        for start in stride(from: 0, to: reference.count - width + 1, by: width) {
          picked.target += target[(start + span.lowerBound)..<(start + span.upperBound)]
          picked.reference += reference[(start + span.lowerBound)..<(start + span.upperBound)]
        }
      }
      return picked.target.isEmpty ? nil : picked
    }
  }

  // MARK: tokens

  private static func addTokens(
    _ evidence: inout RowEvidence, sample: TensorSample, target: [Double], reference: [Double]
  ) {
    let length = sample.rowLength
    let rows = sample.rows
    guard rows.count > 1, length > 0, rows.count * length == target.count else { return }
    // Shifts need neighbours: only where every row was taken.
    if rows == Array(rows.indices), rows.count > 4 {
      for shift in [-3, -2, -1, 1, 2, 3] {
        let from = max(0, -shift)..<(rows.count - max(0, shift))
        evidence.rowShifts[shift] =
          Agreement(
            target: target[(from.lowerBound * length)..<(from.upperBound * length)],
            reference: reference[((from.lowerBound + shift) * length)..<((from.upperBound + shift) * length)]
          ).distance
      }
    }
    let difference = zip(target, reference).map { $0 - $1 }
    let size = norm(difference)
    guard size > 0 else { return }
    var mean = Array(repeating: 0.0, count: length)
    for row in rows.indices {
      for column in 0..<length { mean[column] += difference[row * length + column] / Double(rows.count) }
    }
    var left = 0.0
    for row in rows.indices {
      for column in 0..<length {
        let rest = difference[row * length + column] - mean[column]
        left += rest * rest
      }
    }
    evidence.tokenConstantResidual = left.squareRoot() / size
    evidence.varyingPart = Agreement(
      target: withoutMean(target, rows: rows.count), reference: withoutMean(reference, rows: rows.count))
    addTokenScales(&evidence, length: length, target: target, reference: reference)
    addColumns(&evidence, length: length, rows: rows.count, target: target, reference: reference)
    var deviation = 0.0
    for start in stride(from: 0, to: target.count, by: length) {
      let size = norm(reference[start..<(start + length)])
      guard size > 0 else { continue }
      deviation = max(deviation, abs(norm(target[start..<(start + length)]) / size - 1))
    }
    evidence.tokenNormDeviation = deviation
  }

  private static func withoutMean(_ values: [Double], rows: Int) -> [Double] {
    let length = values.count / rows
    var mean = Array(repeating: 0.0, count: length)
    for index in values.indices { mean[index % length] += values[index] / Double(rows) }
    return values.indices.map { values[$0] - mean[$0 % length] }
  }

  private static func addColumns(
    _ evidence: inout RowEvidence, length: Int, rows: Int, target: [Double], reference: [Double]
  ) {
    var dot = Array(repeating: 0.0, count: length)
    var own = dot
    var squares = dot
    var differences = dot
    for row in 0..<rows {
      for column in 0..<length {
        let a = target[row * length + column]
        let b = reference[row * length + column]
        dot[column] += a * b
        own[column] += a * a
        squares[column] += b * b
        differences[column] += (a - b) * (a - b)
      }
    }
    var left = 0.0
    var scales: [Double] = []
    for column in 0..<length where squares[column] > 0 {
      let scale = dot[column] / squares[column]
      scales.append(scale)
      left += max(0, own[column] - scale * dot[column])
    }
    let size = own.reduce(0, +)
    if rows > 2, size > 0, let least = scales.min(), let most = scales.max(), least <= most {
      evidence.columnScaleResidual = (left / size).squareRoot()
      evidence.columnScales = least...most
    }
    // The columns at the end that the reference leaves empty.
    guard let start = squares.lastIndex(where: { $0 > 0 }).map({ $0 + 1 }), start < length, start > length / 2 else {
      return
    }
    let inside = differences[..<start].reduce(0, +)
    let padding = differences[start...].reduce(0, +)
    let limit = evidence.noise * 3
    if padding > 0, inside <= limit * limit * squares.reduce(0, +) { evidence.paddingStart = start }
  }

  private static func addTokenScales(
    _ evidence: inout RowEvidence, length: Int, target: [Double], reference: [Double]
  ) {
    // Each rank's slice of a token has its own scale, where slices are the ranks'.
    let slices = evidence.plan.kind == .concat && (evidence.plan.axis ?? 0) > 0 ? evidence.plan.ranks : 1
    let width = length % slices == 0 ? length / slices : length
    var left = 0.0
    var scales: [Double] = []
    for start in stride(from: 0, to: target.count, by: width) {
      let a = target[start..<(start + width)]
      let b = reference[start..<(start + width)]
      let agreement = Agreement(target: a, reference: b)
      guard agreement.alpha.isFinite, agreement.residual.isFinite else { continue }
      let size = norm(a)
      left += (agreement.residual * size) * (agreement.residual * size)
      scales.append(agreement.alpha)
    }
    let size = norm(target)
    // Squares beyond a double's range leave NaN.
    guard size > 0, let least = scales.min(), let most = scales.max(), least <= most else { return }
    evidence.tokenScaleResidual = left.squareRoot() / size
    evidence.tokenScales = least...most
  }

  private static func norm(_ values: some Collection<Double>) -> Double {
    var sum = 0.0
    for value in values { sum += value * value }
    return sum.squareRoot()
  }

  private static func addChanges(_ evidence: inout RowEvidence, target: [Double], reference: [Double]) {
    let usual = norm(reference) / Double(max(reference.count, 1)).squareRoot()
    let limit = 4 * evidence.noise
    var changed = 0
    var grown = 0
    var rest: (target: [Double], reference: [Double]) = ([], [])
    for index in target.indices {
      let a = target[index]
      let b = reference[index]
      guard abs(a - b) > limit * (usual + abs(b)) else {
        rest.target.append(a)
        rest.reference.append(b)
        continue
      }
      changed += 1
      if abs(a) > abs(b) { grown += 1 }
    }
    guard changed > 0 else { return }
    evidence.changedShare = Double(changed) / Double(target.count)
    evidence.grownShare = Double(grown) / Double(changed)
    evidence.changedCount = changed
    evidence.unchanged = Agreement(target: rest.target, reference: rest.reference)
  }

  // MARK: blocks

  private static func addBlocks(
    _ evidence: inout RowEvidence, sample: TensorSample, target: [Double], reference: [Double],
    decision: ShardDecision
  ) {
    guard sample.isWhole(of: decision.reference.shape), decision.reference.dtype.valuesPerElement == 1 else { return }
    let shape = decision.reference.shape
    let size = evidence.worldSize
    let isSliced = [.concat, .heads].contains(decision.plan.kind)
    var seen: Set<[Int]> = []
    // Experts hold their fused gate and up in the middle.
    for axis in shape.indices where axis == 0 || axis == shape.count - 1 || shape.count == 3 {
      for count in [size, 2 * size, 2, 3] + (axis == 0 ? [4, 8, 16] : [])
      where count > 1 && count <= 64 && shape[axis] % count == 0 {
        guard shape[axis] / count > 0, seen.insert([axis, count]).inserted else { continue }
        let isByRank = count == size && isSliced && decision.plan.axis == axis
        guard let match = match(target, reference, shape: shape, axis: axis, count: count, isByRank: isByRank) else {
          continue
        }
        evidence.blockMatches.append(match)
      }
    }
  }

  private static func match(
    _ target: [Double], _ reference: [Double], shape: [Int], axis: Int, count: Int, isByRank: Bool
  ) -> BlockMatch? {
    let inner = shape[(axis + 1)...].reduce(1, *) * (shape[axis] / count)
    let width = inner * count
    func block(_ values: [Double], _ number: Int) -> [Double] {
      var result: [Double] = []
      result.reserveCapacity(values.count / count)
      for start in stride(from: number * inner, to: values.count, by: width) {
        result += values[start..<(start + inner)]
      }
      return result
    }
    let blocks = (0..<count).map { block(reference, $0) }
    var sources: [Int] = []
    var left = 0.0
    for number in 0..<count {
      let a = block(target, number)
      var best = (source: number, difference: Double.infinity)
      for (source, b) in blocks.enumerated() {
        var difference = 0.0
        for (x, y) in zip(a, b) { difference += (x - y) * (x - y) }
        if difference < best.difference { best = (source, difference) }
      }
      sources.append(best.source)
      left += best.difference
    }
    let size = norm(reference)
    guard size > 0 else { return nil }
    return BlockMatch(axis: axis, sources: sources, residual: left.squareRoot() / size, isByRank: isByRank)
  }

  // MARK: other tensors

  /// Slices of the last axis that are not the rank's own but a sibling's (q, k and v of one fused weight).
  private static func addForeignSlices(
    _ evidence: inout RowEvidence, before: [PairOutcome], sample: TensorSample, target: [Double], reference: [Double],
    decision: ShardDecision
  ) throws {
    let ranks = evidence.plan.ranks
    guard evidence.plan.kind == .concat, decision.target.layout.axis == decision.target.shape.count - 1,
      sample.rowLength % max(1, ranks) == 0, ranks > 1, decision.target.shape.count == 2
    else { return }
    let width = sample.rowLength / ranks
    func slice(_ values: [Double], _ number: Int, rowLength: Int) -> [Double] {
      stride(from: number * width, to: values.count, by: rowLength).flatMap { values[$0..<($0 + width)] }
    }
    let mine = (0..<ranks).map { slice(target, $0, rowLength: sample.rowLength) }
    let own = (0..<ranks).map { slice(reference, $0, rowLength: sample.rowLength) }
    // What is a slice of the stage itself is another rank's.
    let strange = (0..<ranks).filter { rank in
      own.allSatisfy { Agreement(target: mine[rank], reference: $0).distance > max(evidence.tolerance, 0.05) }
    }
    guard !strange.isEmpty else { return }
    for other in before where other.key.layer == evidence.key.layer && other.key.role == .output {
      guard let decision = other.decision, other.key.stage != evidence.key.stage, other.dtype.isFloatingPoint,
        decision.reference.shape.count == 2, decision.reference.shape[0] == sample.rows.count,
        sample.rows == Array(sample.rows.indices), decision.reference.shape[1] % width == 0
      else { continue }
      let length = decision.reference.shape[1]
      let all = TensorSample(shape: decision.reference.shape, limit: limit)
      guard all.isWhole(of: decision.reference.shape) else { continue }
      let values = try all.values(of: decision.reference)
      for number in 0..<(length / width) {
        let candidate = slice(values, number, rowLength: length)
        for rank in strange {
          let distance = Agreement(target: mine[rank], reference: candidate).distance
          guard distance <= max(evidence.tolerance, 0.02) else { continue }
          evidence.foreignSlices.append(
            ForeignSlice(rank: rank, stage: other.key.stage, slice: number, residual: distance))
        }
      }
    }
  }

  /// Gate and up in one, of which this stage takes the halves.
  private static func wholeFusedStage(_ outcome: PairOutcome, before: [PairOutcome]) -> String? {
    guard let width = outcome.shape.last, outcome.targets.count > 1 else { return nil }
    return before.first { other in
      guard other.key.role == .output, other.key.layer == outcome.key.layer, let plan = other.decision?.plan,
        other.shape.count == outcome.shape.count
      else { return false }
      let gate = StageOrder.heuristic("gate")
      return plan.kind == .concat && plan.axis == other.shape.count - 1 && other.shape.last == 2 * width
        && StageOrder.heuristic(other.key.stage) == gate
        && (gate...(gate + 4)).contains(StageOrder.heuristic(outcome.key.stage))
    }?.key.stage
  }

  private static func addProjections(
    _ evidence: inout RowEvidence, outcome: PairOutcome, before: [PairOutcome], stream: PairOutcome?,
    sample: TensorSample, target: [Double], reference: [Double]
  ) throws {
    let difference = zip(target, reference).map { $0 - $1 }
    var sumDifference: [Double] = []
    let shape = outcome.shape
    if !evidence.divergentRanks.isEmpty, outcome.targets.allSatisfy({ $0.shape == shape }) {
      let sum = try LogicalTensor(
        parts: outcome.targets, layout: .sum(shape, ranks: outcome.targets.count), place: outcome.key.description)
      sumDifference = zip(try sample.values(of: sum), reference).map { $0 - $1 }
    }
    var block: [Double]?
    for other in before where other.key.layer == outcome.key.layer {
      guard let decision = other.decision, decision.reference.shape == shape, other.dtype.isFloatingPoint,
        other.key != outcome.key
      else { continue }
      let values = try sample.values(of: decision.reference)
      if StageOrder.heuristic(other.key.stage) == 90, other.key.tensor == "hidden" { block = values }
      // The same tensor under another name (a sum before and after its reduce) explains nothing.
      if Agreement(target: values, reference: reference).distance < 0.1 { continue }
      if let fit = project(difference, on: values, from: other.key) { evidence.projections.append(fit) }
      if !sumDifference.isEmpty, let fit = project(sumDifference, on: values, from: other.key) {
        evidence.sumProjections.append(fit)
      }
      // What a block adds to the stream that it was given.
      if other.key.stage == outcome.key.stage, other.key.tensor == "input", evidence.isContainer {
        let update = zip(reference, values).map { $0 - $1 }
        if let fit = project(difference, on: update, from: outcome.key, as: "update") {
          evidence.projections.append(fit)
        }
      }
    }
    if let stream, let decision = stream.decision, decision.reference.shape == shape, stream.dtype.isFloatingPoint {
      let values = try sample.values(of: decision.reference)
      if var fit = project(difference, on: values, from: stream.key, as: "stream") {
        fit.streamLayer = stream.key.layer
        evidence.projections.append(fit)
      }
      if !sumDifference.isEmpty, var fit = project(sumDifference, on: values, from: stream.key, as: "stream") {
        fit.streamLayer = stream.key.layer
        evidence.sumProjections.append(fit)
      }
    }
    // The stream that a stage's output is added to: what its block gives without it.
    if let block, !evidence.isContainer, outcome.key.role == .output {
      let residual = zip(block, reference).map { $0 - $1 }
      if let fit = project(difference, on: residual, from: outcome.key, as: "residual") {
        evidence.projections.append(fit)
      }
      if !sumDifference.isEmpty, let fit = project(sumDifference, on: residual, from: outcome.key, as: "residual") {
        evidence.sumProjections.append(fit)
      }
    }
  }

  private static func project(
    _ difference: [Double], on values: [Double], from key: CaptureKey, as name: String? = nil
  ) -> Projection? {
    guard values.count == difference.count else { return nil }
    let agreement = Agreement(target: difference, reference: values)
    guard agreement.alpha.isFinite, agreement.residual.isFinite else { return nil }
    return Projection(
      stage: key.stage, tensor: name ?? key.tensor, coefficient: agreement.alpha, residual: agreement.residual)
  }

  private static func addSubsets(
    _ evidence: inout RowEvidence, before: [PairOutcome], sample: TensorSample, target: [Double], layer: Int?,
    shape: [Int]
  ) throws {
    var sources: [(stage: String, ranks: [Int], partials: [[Double]])] = []
    for other in before where other.key.layer == layer && other.key.role == .output {
      guard let decision = other.decision, decision.plan.kind == .partial, decision.target.shape == shape,
        other.targets.count > 1
      else { continue }
      let partials = try other.targets.indices.map { part in
        try sample.values(
          of: LogicalTensor(
            parts: other.targets, layout: .whole(shape, kind: .replicated, part: part), place: other.key.description))
      }
      sources.append((other.key.stage, other.targetRanks, partials))
    }
    // One stage's partials, or those of two branches together (routed and shared experts).
    for (number, first) in sources.enumerated() {
      addSubsets(&evidence, stage: first.stage, ranks: first.ranks, partials: first.partials, target: target)
      for second in sources[(number + 1)...] where second.ranks == first.ranks {
        let sums = zip(first.partials, second.partials).map { zip($0, $1).map(+) }
        addSubsets(
          &evidence, stage: "\(first.stage) and \(second.stage)", ranks: first.ranks, partials: sums, target: target)
      }
    }
  }

  private static func addSubsets(
    _ evidence: inout RowEvidence, stage: String, ranks: [Int], partials: [[Double]], target: [Double]
  ) {
    for absent in partials.indices {
      var sum = Array(repeating: 0.0, count: target.count)
      for part in partials.indices where part != absent {
        for index in sum.indices { sum[index] += partials[part][index] }
      }
      let residual = Agreement(target: target, reference: sum).distance
      evidence.subsets.append(SubsetMatch(stage: stage, absentRanks: [ranks[absent]], residual: residual))
    }
  }
}

extension Measures {
  /// Takes over the figures of another reading of the same tensors (their sum instead of one).
  fileprivate mutating func take(_ agreement: Agreement) {
    cos = agreement.cos
    relL2 = agreement.relL2
    alpha = agreement.alpha
    residual = agreement.residual
    normRatio = agreement.normRatio
  }
}
