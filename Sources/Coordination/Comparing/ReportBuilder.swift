import Alignment
import Comparison
import Diagnosis
import Dumps
import Reporting

/// Judges measured pairs, finds the first divergence, asks the diagnosis, and writes the report's record.
struct ReportBuilder {
  let request: ComparisonRequest
  let matching: MatchingSummary
  let outcomes: [PairOutcome]
  let book: EvidenceBook
  private let usual: UsualLayouts
  private let towers: Towers
  /// Positions of the outcomes of each layer, in order.
  private let places: [TowerLayer: [Int]]

  init(request: ComparisonRequest, matching: MatchingSummary, outcomes: [PairOutcome], book: EvidenceBook) {
    self.request = request
    self.matching = matching
    self.outcomes = outcomes
    self.book = book
    usual = UsualLayouts(outcomes)
    let towers = Towers(outcomes.lazy.map(\.key))
    self.towers = towers
    places = Dictionary(grouping: outcomes.indices) { Self.layer(of: outcomes[$0].key, towers) }
  }

  private static func layer(of key: CaptureKey, _ towers: Towers) -> TowerLayer {
    TowerLayer(tower: key.layer == nil ? nil : towers.tower(ofLayered: key.stage), layer: key.layer)
  }

  private func layer(of key: CaptureKey) -> TowerLayer { Self.layer(of: key, towers) }

  /// One row on its way into the report.
  struct Line {
    var outcome: PairOutcome
    var judgement: Judgement
    /// Largest passing distance before, or the floor: what noise gives here.
    var noise: Double
  }

  func report(unreadable: [Unreadable]) throws -> ComparisonReport {
    var notes: [String] = policyNotes + worldSizeNotes + roundingNotes
    var findings: [Finding] = []
    var lines = judged(notes: &notes, suspects: &findings)
    excuseVariants(&lines, notes: &notes)
    judgePositions(&lines)
    findings += stopOnInputs(&lines)
    findings += try judgePartials(&lines, notes: &notes)
    findings += judgeLayouts(&lines)
    judgeGrids(&lines)
    judgeGrowth(&lines)
    findings += judgeLostRanks(&lines)
    let first = lines.firstIndex { $0.judgement.verdict == .fail }
    var divergence: DivergenceEvidence?
    var considered: [Considered] = []
    if let first {
      divergence = try? collected(first, lines, aftermath: afterPartial(first, lines)).divergence
      if findings.allSatisfy({ $0.cause != "fused-shard-layout" }) {
        findings += try diagnose(first, lines: lines, notes: &notes)
      }
      // The evidence was collected for the diagnosis; where it was not stored, the findings say so.
      if let evidence = try? collected(first, lines, aftermath: afterPartial(first, lines)) {
        considered = Diagnostician.considered(evidence, beside: findings)
      }
    }
    findings += try paddingFindings(lines)
    findings += vocabularyFindings(lines)
    findings += referenceReplicas(&lines)
    findings += coverageFindings()
    notes += [matching.namesNote, matching.batchNote].compactMap { $0 }
    if let pattern = layerPattern(lines) { notes.append(pattern) }
    let broken = matching.reference.unreadable + matching.target.unreadable + unreadable
    let coverage = ComparisonReport.Coverage(
      expected: matching.expected, compared: lines.count { $0.outcome.measures != nil },
      unmatched: matching.unmatched + matching.reference.duplicates + matching.target.duplicates,
      unreadable: broken, otherCalls: matching.otherCalls, ledger: matching.ledger)
    let verdict = verdict(lines: lines, coverage: coverage, notes: &notes)
    if verdict == .pass, let note = sensitivity(lines) { notes.append(note) }
    var report = ComparisonReport(
      verdict: verdict, reference: side(request.reference, matching.reference),
      target: side(request.target, matching.target), coverage: coverage, rows: lines.map(row),
      firstDivergence: first.map {
        ComparisonReport.Divergence(layer: lines[$0].outcome.key.layer, stage: lines[$0].outcome.key.stage)
      }, findings: ordered(findings), notes: notes, evidence: divergence)
    report.considered = considered
    return report
  }

  private func side(_ side: ComparisonSide, _ summary: SideSummary) -> ComparisonReport.Side {
    ComparisonReport.Side(path: summary.root, worldSize: summary.worldSize, label: side.label)
  }

  /// A world size that nobody stated is what the files say: a lost last rank would not be missed.
  private var worldSizeNotes: [String] {
    [("reference", matching.reference), ("target", matching.target)].compactMap { name, index in
      guard request.rank == nil else { return nil }
      if let sizes = index.worldSizes {
        return "the \(name)'s dumps state a world of \(sizes.stated) ranks, and \(sizes.given) were said to be there: "
          + "\(index.worldSize) are expected"
      }
      guard !index.isWorldSizeStated else { return nil }
      return "the \(name)'s world size, \(index.worldSize), is taken from the files that are there; state it "
        + "(--\(name)-world-size) to have a missing rank named"
    }
  }

  private var policyNotes: [String] {
    switch request.policy {
    case .measured(let floors):
      let source =
        floors.relL2.isEmpty && floors.table.isEmpty
        ? "noise: no history: rounding theory for the type and depth, and the onset over the stages before"
        : "noise: measured, from \(floors.relL2.count) repeated captures, \(floors.table.count) floors by stage, rounding "
          + "and the stages before"
      return [source] + NoiseTable.lines(floors)
    case .strict: return ["noise: strict, every byte must be equal"]
    case .atom: return ["noise: the fixed table of ATOM's compare"]
    case .triage: return ["noise: the fixed table of the triage method"]
    case .thresholds(let cos, let rel):
      return ["noise: own limits, cos \(cos.map { "\($0)" } ?? "any"), rel \(rel.map { "\($0)" } ?? "any")"]
    }
  }

  /// Where the noise of many layers has grown large, a PASS says less: how large a fault must be to show there.
  private func sensitivity(_ lines: [Line]) -> String? {
    guard case .measured(let floors) = request.policy,
      let last = lines.last(where: { $0.outcome.key.role == .output && $0.outcome.key.layer != nil })
    else { return nil }
    let least = Judge(policy: .measured(floors)).onset * last.noise
    guard least > 0.05 else { return nil }
    return
      "at the end of layer \(last.outcome.key.layer ?? 0) honest noise has reached \(Float(last.noise)): one fault "
      + "smaller than \(Float(least)) would not show there. Dump the projections with their inputs, or compare in "
      + "float32, to see smaller ones."
  }

  // MARK: judging

  /// Rows beyond the batch's tokens.
  private func padding(_ outcome: PairOutcome) -> SetAside? {
    guard let tokens = matching.tokens, tokens > 0, outcome.key.role == .output, let rows = outcome.shape.first,
      outcome.shape.count > 1, rows > tokens, rows < 2 * tokens, outcome.measures?.tokenRelL2.count == rows
    else { return nil }
    return SetAside(
      tokens: Set(tokens..<rows), why: "only rows beyond the batch's \(tokens) tokens differ: padding", mayPass: false,
      isPadding: true)
  }

  private func suspected(_ key: CaptureKey, _ tokens: [Int], worst: Double) -> Finding {
    Finding(
      cause: "token-corruption", layer: key.layer, stage: key.stage, tokens: Array(tokens.prefix(64)),
      confidence: .possible, evidence: ["tokens": Double(tokens.count), "worst_token_rel_l2": worst],
      summary:
        "\(key): token \(tokens.prefix(8).map(String.init).joined(separator: ", ")) is off and its input is not: "
        + "corrupted rows, or tokens that took another expert at a near-tie of the router's scores.",
      next: "Dump the router of this layer: a near-tie of its scores is rounding, anything else is a fault.")
  }

  /// Tensors that are judged by a coarser type than the one they are stored in.
  private var roundingNotes: [String] {
    let rounded = outcomes.filter { $0.roundedTo != nil }
    return Set(rounded.compactMap(\.roundedTo)).sorted { $0.rawValue < $1.rawValue }.map { type in
      let own = rounded.filter { $0.roundedTo == type }
      return
        "\(own.count) tensors are stored in a finer type, but all their values are those of \(type.rawValue) on both "
        + "sides (first \(own[0].key)): judged by its rounding"
    }
  }

  private func judged(notes: inout [String], suspects: inout [Finding]) -> [Line] {
    let measured = outcomes.indices.filter { outcomes[$0].measures != nil }
    var routing = RoutingWalk(slots: request.slots, outcomes: outcomes)
    let rows = measured.compactMap { index -> JudgedRow? in
      let outcome = outcomes[index]
      guard let measures = outcome.measures else { return nil }
      let floor = Judge.roundingFloor(outcome.noisyType)
      let padding = padding(outcome)
      return JudgedRow(
        key: outcome.key, dtype: outcome.noisyType, measures: measures,
        divergentRanks: padding == nil ? outcome.divergentRanks : outcome.divergentTokenRanks ?? outcome.divergentRanks,
        isSum: outcome.decision.map { $0.target.isSum || $0.reference.isSum } ?? false,
        setAside: padding ?? routing.setAside(outcome, noise: floor), isParameter: matching.areParameters,
        usualRatio: outcome.usualRatio)
    }
    notes += routing.notes
    suspects = routing.suspects.first.map { [suspected($0.key, $0.tokens, worst: $0.worst)] } ?? []
    let judgements = Dictionary(uniqueKeysWithValues: zip(measured, Judge(policy: request.policy).judge(rows)))
    var noise = 0.0
    return outcomes.indices.map { index in
      let outcome = outcomes[index]
      guard var judgement = judgements[index] else {
        let problem = outcome.problem ?? PairOutcome.Problem(.inconclusive, "not measured")
        return Line(
          outcome: outcome, judgement: Judgement(verdict: problem.verdict, why: problem.why), noise: noise)
      }
      let absent = outcome.missingRanks + outcome.missingReferenceRanks
      if judgement.verdict == .pass, !absent.isEmpty {
        let ranks = Set(absent).sorted().map(String.init).joined(separator: ", ")
        judgement.verdict = .inconclusive
        judgement.why = "the ranks that are there agree; missing: rank \(ranks)"
      }
      let floor = judgement.floor ?? (outcome.noisyType.isFloatingPoint ? Judge.roundingFloor(outcome.noisyType) : 0)
      let line = Line(outcome: outcome, judgement: judgement, noise: max(noise, floor))
      if judgement.verdict == .pass, outcome.key.role == .output, let relL2 = outcome.measures?.relL2, relL2.isFinite {
        noise = max(noise, relL2)
      }
      return line
    }
  }

  private func excuseVariants(_ lines: inout [Line], notes: inout [String]) {
    let excused = variantConversions().filter { lines[$0.key].judgement.verdict == .fail }
    for (index, why) in excused {
      lines[index].judgement = Judgement(verdict: .pass, why: why, floor: lines[index].judgement.floor)
    }
    if let first = excused.keys.min(), let why = excused[first] {
      notes.append(
        "\(excused.count) tensors are converted to the other float8 variant (\(outcomes[first].key): \(why))")
    }
  }

  /// Positions that are all off by the same are wrong, whatever other integers may be.
  private func judgePositions(_ lines: inout [Line]) {
    for index in lines.indices where lines[index].outcome.positionOffsets != nil {
      guard lines[index].judgement.verdict == .inconclusive else { continue }
      lines[index].judgement.verdict = .fail
      lines[index].judgement.why = "every token's position is off by the same"
    }
  }

  /// Ids that differ mean that two runs were not asked the same: nothing after that is a divergence. Positions that are
  /// all off by the same are a fault of one side.
  private func stopOnInputs(_ lines: inout [Line]) -> [Finding] {
    guard
      let stop = lines.first(where: { line in
        guard let measures = line.outcome.measures, !line.outcome.dtype.isFloatingPoint,
          line.outcome.positionOffsets == nil
        else { return false }
        let name = "\(line.outcome.key.stage).\(line.outcome.key.tensor)".lowercased()
        return !measures.isEqual && (line.outcome.key.role == .input || name.contains("ids"))
          && !name.contains("topk") && !name.contains("expert") && line.judgement.verdict != .pass
      })
    else { return stopOnFirstRows(&lines) }
    let key = stop.outcome.key
    for index in lines.indices where lines[index].judgement.verdict == .fail {
      lines[index].judgement.verdict = .inconclusive
      lines[index].judgement.why =
        "the inputs differ (\(key)), so this is not a divergence: \(lines[index].judgement.why ?? "")"
    }
    let equal = stop.outcome.measures?.byteEqual ?? 0
    return [
      Finding(
        cause: "input-mismatch", layer: key.layer, stage: key.stage, confidence: .certain,
        evidence: ["byte_equal": equal],
        summary: "Stop: the two sides had different inputs (\(key) differs).",
        next: "Use the same tokenizer, chat template and prompts on both sides, and check input_ids first.")
    ]
  }

  /// Without ids: the very first input of the model agrees byte for byte in some token rows and is another row
  /// altogether in the rest, as embeddings of other tokens are.
  private func stopOnFirstRows(_ lines: inout [Line]) -> [Finding] {
    guard let first = lines.first(where: { $0.outcome.measures != nil }), first.outcome.key.role == .input,
      first.outcome.dtype.isFloatingPoint, first.judgement.verdict == .fail, first.outcome.divergentRanks.isEmpty,
      let rows = first.outcome.measures?.tokenRelL2, rows.count > 1, rows.allSatisfy({ $0 == 0 || $0 > 0.3 }),
      rows.contains(0)
    else { return [] }
    let key = first.outcome.key
    let tokens = rows.indices.filter { rows[$0] != 0 }
    // Equal values in other bytes (another type, a zero's sign) are the same input.
    guard !tokens.isEmpty else { return [] }
    for index in lines.indices where lines[index].judgement.verdict == .fail {
      lines[index].judgement.verdict = .inconclusive
      lines[index].judgement.why =
        "the first input differs (\(key)), so this is not a divergence: \(lines[index].judgement.why ?? "")"
    }
    return [
      Finding(
        cause: "input-mismatch", layer: key.layer, stage: key.stage, tokens: Array(tokens.prefix(64)),
        confidence: .likely, evidence: ["tokens": Double(tokens.count), "of": Double(rows.count)],
        summary:
          "Stop: what the model is given differs at token \(tokens.prefix(8).map(String.init).joined(separator: ", ")) "
          + "(\(key)) and is the same bytes at the others: other token ids, or a fault of the embedding.",
        next: "Dump the token ids (the embedding's input) and align them first: same tokenizer, template and prompts.")
    ]
  }

  // MARK: partials

  /// A sum that fits is no pass by itself: either the stage is a partial everywhere, or a reduce is missing, or the
  /// dump was taken before it.
  private func judgePartials(_ lines: inout [Line], notes: inout [String]) throws -> [Finding] {
    var findings: [Finding] = []
    var said: Set<String> = []
    var hasMissingReduce = false
    for index in lines.indices {
      let outcome = lines[index].outcome
      guard let decision = outcome.decision, decision.isInferred, decision.plan.kind == .partial,
        lines[index].judgement.verdict == .pass
      else { continue }
      let usual = usual[index]?.kind
      let aftermath = afterPartial(index, lines)
      if usual == .partial, !hasMissingReduce, try isAddedUnreduced(index, lines) {
        lines[index].judgement.verdict = .fail
        lines[index].judgement.why =
          "only the sum of the ranks is the reference, here and in the other layers, and the ranks differ where it is "
          + "added: the all-reduce is missing"
        hasMissingReduce = true
        continue
      }
      if usual == .partial || aftermath == .agrees && usual == nil && self.usual.hasSiblings(index) {
        if said.insert(outcome.key.stage).inserted {
          notes.append(
            "\(outcome.key.stage) was taken as a partial sum: dumped before its all-reduce; state `shard: partial` "
              + "for it")
        }
        continue
      }
      // Once a reduce is missing, what follows is its consequence.
      if hasMissingReduce { continue }
      if aftermath == .disagrees, usual == nil, try isReducedLater(index, lines) { continue }
      switch aftermath {
      case .agrees:
        lines[index].judgement.why = "the sum of the ranks agrees: dumped before the all-reduce"
      case .disagrees:
        lines[index].judgement.verdict = .fail
        lines[index].judgement.why =
          "only the sum of the ranks is the reference, and the ranks differ after it: the all-reduce is missing"
        hasMissingReduce = true
      case .unknown:
        lines[index].judgement.verdict = .inconclusive
        lines[index].judgement.why =
          "only the sum of the ranks is the reference: a missing all-reduce, or a dump taken before it"
      }
      guard aftermath != .disagrees else { continue }
      findings += try diagnosed(index, lines, aftermath: aftermath, notes: &notes)
    }
    return findings
  }

  /// With no other layer to say what is usual: of several partials of a layer only the last can lack its reduce, and
  /// not even that one where the stage after it has another sure cause (a branch that is not reduced).
  private func isReducedLater(_ index: Int, _ lines: [Line]) throws -> Bool {
    let key = lines[index].outcome.key
    let later = places(of: layer(of: key), after: index).filter {
      lines[$0].outcome.key.role == .output && lines[$0].outcome.key.stage != key.stage
    }
    let isFollowed = later.contains {
      lines[$0].judgement.verdict == .pass && lines[$0].outcome.decision?.isInferred == true
        && lines[$0].outcome.decision?.plan.kind == .partial
    }
    if isFollowed { return true }
    guard let next = later.first(where: { lines[$0].judgement.verdict == .fail && lines[$0].outcome.measures != nil })
    else { return false }
    let found = Diagnostician.findings(try collected(next, lines, aftermath: .unknown))
    return found.contains { $0.confidence != .possible && $0.cause != "missing-reduce" }
  }

  /// A partial in every layer may be dumped before its all-reduce, unless the next whole stage is the residual, which
  /// every rank holds, and a partial.
  private func isAddedUnreduced(_ index: Int, _ lines: [Line]) throws -> Bool {
    guard let next = unreducedSum(after: index, lines) else { return false }
    return Diagnostician.findings(try collected(next, lines, aftermath: .unknown))
      .contains { $0.cause == "missing-reduce" && $0.confidence != .possible }
  }

  /// Whether the ranks were reduced after a partial: the last whole output of the layer, else the first of the next,
  /// is the same on all ranks, and right. One that is wrong tells nothing by that: a later stage's own reduce makes its
  /// ranks alike, whatever they were given. Then it is what is usual of the stage that tells.
  private func afterPartial(_ index: Int, _ lines: [Line]) -> RowEvidence.Aftermath {
    let key = lines[index].outcome.key
    let isWhole: (Int) -> Bool = { place in
      guard lines[place].outcome.key.stage != key.stage, lines[place].outcome.key.role == .output,
        lines[place].outcome.measures != nil, let kind = lines[place].outcome.decision?.plan.kind
      else { return false }
      return kind == .replicated || kind == .ambiguous || !lines[place].outcome.divergentRanks.isEmpty
    }
    guard
      let witness = places(of: layer(of: key), after: index).last(where: isWhole)
        ?? places(
          of: TowerLayer(tower: layer(of: key).tower, layer: (key.layer ?? -1) + 1), after: index
        ).first(where: isWhole)
    else { return .unknown }
    let isReduced =
      lines[witness].outcome.decision?.plan.kind == .replicated && lines[witness].outcome.divergentRanks.isEmpty
    guard isReduced, lines[witness].judgement.verdict == .fail else { return isReduced ? .agrees : .disagrees }
    return usual[index] == nil ? .agrees : .disagrees
  }

  /// A layer whose ranks are laid out otherwise than in the other layers, and that goes wrong after it: the plain
  /// concatenation of wrongly cut ranks is the reference, so the stage itself looks right.
  private func judgeLayouts(_ lines: inout [Line]) -> [Finding] {
    var findings: [Finding] = []
    for index in lines.indices {
      let outcome = lines[index].outcome
      guard let decision = outcome.decision, decision.isInferred, lines[index].judgement.verdict == .pass,
        outcome.key.role == .output, [.concat, .blocks, .heads].contains(decision.plan.kind),
        let usual = usual[index], !usual.isLike(decision.target.layout),
        places(of: layer(of: outcome.key), after: index).contains(where: { lines[$0].judgement.verdict == .fail })
      else { continue }
      lines[index].judgement.verdict = .fail
      lines[index].judgement.why =
        "the ranks are joined as \(decision.plan.kind.rawValue) here and as \(usual.kind.rawValue) in the other layers"
      findings.append(layoutFinding(outcome, decision.target.layout, usual: usual))
    }
    return findings
  }

  /// Values that were quantised on one side alone are no noise, however deep in it they lie. A known good pair may say
  /// that it is meant.
  private func judgeGrids(_ lines: inout [Line]) {
    guard case .measured = request.policy else { return }
    let end = lines.firstIndex { $0.judgement.verdict == .fail } ?? lines.endIndex
    for index in lines[..<end].indices where lines[index].judgement.verdict == .pass {
      let outcome = lines[index].outcome
      guard let grids = outcome.grids, grids.differ, let distance = outcome.measures?.relL2,
        distance > lines[index].judgement.floor ?? 0
      else { continue }
      lines[index].judgement.verdict = .fail
      lines[index].judgement.why = grids.why
    }
  }

  /// A stage that passes among the noise of all layers before, and adds far more to its own input's distance than the
  /// same stage does in the other layers.
  private func judgeGrowth(_ lines: inout [Line]) {
    guard case .measured = request.policy else { return }
    let end = lines.firstIndex { $0.judgement.verdict == .fail } ?? lines.endIndex
    var points: [String: [(index: Int, input: Double, point: LocalGrowth.Point)]] = [:]
    for index in lines[..<end].indices {
      let (key, judgement) = (lines[index].outcome.key, lines[index].judgement)
      guard key.role == .output, let number = key.layer, let output = lines[index].outcome.measures,
        lines[index].outcome.dtype.isFloatingPoint, judgement.verdict == .pass, judgement.why == nil,
        let floor = judgement.floor
      else { continue }
      let inputs = (places[layer(of: key)] ?? []).filter {
        $0 < end && lines[$0].outcome.key.stage == key.stage && lines[$0].outcome.key.role == .input
          && lines[$0].outcome.dtype.isFloatingPoint && lines[$0].judgement.verdict == .pass
      }.compactMap { lines[$0].outcome.measures }
      guard let input = inputs.max(by: { $0.relL2 < $1.relL2 }) else { continue }
      let point = LocalGrowth.Point(layer: number, input: input, output: output, floor: floor)
      points["\(key.stage).\(key.tensor)", default: []].append((index, input.relL2, point))
    }
    for stage in points.values {
      for outlier in LocalGrowth().outliers(stage.map(\.point)) {
        guard let found = stage.first(where: { $0.point.layer == outlier.layer }) else { continue }
        lines[found.index].judgement.verdict = .fail
        lines[found.index].judgement.jump = outlier.factor
        lines[found.index].judgement.why = outlier.why
        lines[found.index].noise = max(found.input * outlier.usual, found.point.floor)
      }
    }
  }

  /// Shared heads that lie in another order are the wrong heads; any other cut is that of a fused weight.
  private func layoutFinding(_ outcome: PairOutcome, _ layout: ShardLayout, usual: ShardLayout) -> Finding {
    let areHeads = layout.kind == .heads && usual.kind == .heads
    func words(_ layout: ShardLayout) -> String {
      layout.kind.rawValue + (layout.detail.map { " (\($0))" } ?? "")
    }
    return Finding(
      cause: areHeads ? "head-map" : "fused-shard-layout", layer: outcome.key.layer, stage: outcome.key.stage,
      confidence: .certain,
      evidence: ["residual": outcome.decision?.plan.residual ?? 0, "world_size": Double(matching.target.worldSize)],
      summary: "\(outcome.key.stage) of layer \(outcome.key.layer.map(String.init) ?? "–") is cut over the ranks as "
        + "\(words(layout)), in the other layers as \(words(usual)), and the layer goes wrong after it.",
      next: areHeads
        ? "Check which key/value head each rank loads (rank // copies, or rank mod heads)."
        : "Check how the fused weight (gate_up, qkv) of this layer is cut: each block by itself, not the whole.")
  }

  /// The later rows of a layer.
  private func places(of layer: TowerLayer, after index: Int) -> ArraySlice<Int> {
    let all = places[layer] ?? []
    var range = all.indices
    while !range.isEmpty {
      let middle = range.lowerBound + range.count / 2
      range = all[middle] <= index ? (middle + 1)..<range.upperBound : range.lowerBound..<middle
    }
    return all[range.lowerBound...]
  }

  // MARK: diagnosis

  private func neighbours(_ index: Int, _ lines: [Line]) -> [PairOutcome] {
    let key = lines[index].outcome.key
    return (places[layer(of: key)] ?? []).map { lines[$0].outcome }.filter { $0.key != key }
  }

  /// The last output of the layer before, or of what comes before the first, that is shaped like this row.
  private func stream(_ index: Int, _ lines: [Line]) -> PairOutcome? {
    let own = lines[index].outcome
    guard let layer = own.key.layer else { return nil }
    let tower = self.layer(of: own.key).tower
    let before = lines[..<index].map(\.outcome).last { other in
      guard other.key.role == .output, other.key.layer != layer, other.measures != nil, other.shape == own.shape else {
        return false
      }
      return other.key.layer == nil || self.layer(of: other.key).tower == tower
    }
    return before?.key.layer == layer - 1 || layer == 0 && before?.key.layer == nil ? before : nil
  }

  private func evidence(_ index: Int, _ lines: [Line]) -> RowEvidence {
    let line = lines[index]
    let outcome = line.outcome
    var evidence = RowEvidence(
      key: outcome.key, measures: outcome.measures ?? .nothing,
      plan: outcome.decision?.plan
        ?? ShardPlan(
          kind: .ambiguous, axis: nil, ranks: outcome.targets.count, residual: nil, margin: nil, why: "not aligned"),
      judgement: line.judgement, worldSize: matching.target.worldSize, referenceWorldSize: matching.reference.worldSize,
      noise: line.noise)
    evidence.isParameter = matching.areParameters
    evidence.divergentRanks = outcome.divergentRanks
    evidence.usualKind = usual[index]?.kind
    evidence.inputsAgree = inputsAgree(index, lines)
    evidence.grids = outcome.grids
    evidence.positionOffsets = outcome.positionOffsets
    evidence.usualRatio = outcome.usualRatio
    evidence.rotatedAgree = rotatedAgree(index, lines)
    return evidence
  }

  /// Whether all that was rotated in the layer before passed: q and k; nil where not both were dumped.
  private func rotatedAgree(_ index: Int, _ lines: [Line]) -> Bool? {
    let rotary = StageOrder.heuristic("rotary")
    let rotated = (places[layer(of: lines[index].outcome.key)] ?? []).filter {
      $0 < index && StageOrder.heuristic(lines[$0].outcome.key.stage) == rotary
        && lines[$0].outcome.key.role == .output && lines[$0].outcome.measures != nil
    }
    return rotated.count < 2 ? nil : rotated.allSatisfy { lines[$0].judgement.verdict == .pass }
  }

  /// Whether the inputs of the same stage passed; nil where none was dumped.
  private func inputsAgree(_ index: Int, _ lines: [Line]) -> Bool? {
    let key = lines[index].outcome.key
    let inputs = (places[layer(of: key)] ?? []).filter {
      lines[$0].outcome.key.stage == key.stage && lines[$0].outcome.key.role == .input
        && lines[$0].outcome.measures != nil
    }
    return inputs.isEmpty ? nil : inputs.allSatisfy { lines[$0].judgement.verdict == .pass }
  }

  private func collected(
    _ index: Int, _ lines: [Line], aftermath: RowEvidence.Aftermath
  ) throws -> RowEvidence {
    var evidence = evidence(index, lines)
    evidence.aftermath = aftermath
    let all = neighbours(index, lines)
    return try book.collected(
      evidence, outcome: lines[index].outcome, before: all,
      setting: EvidenceCollector.Setting(
        slots: request.slots, rowCalls: matching.rowCalls, tokens: matching.tokens, stream: stream(index, lines)))
  }

  /// What the diagnosis says of a row; where stored measures lack its evidence, a note says so.
  private func diagnosed(
    _ index: Int, _ lines: [Line], aftermath: RowEvidence.Aftermath, notes: inout [String]
  ) throws -> [Finding] {
    do {
      return Diagnostician.findings(try collected(index, lines, aftermath: aftermath))
    } catch let error as EvidenceNotStored {
      notes.append(
        "the cause at \(error.key) was not looked for: its evidence is not among the stored measures; compare the "
          + "dumps themselves to have it")
      return []
    }
  }

  /// Diagnoses the first divergence and, where it stays open, other stages of its layer that go wrong although their
  /// inputs agree (parallel branches).
  private func diagnose(_ first: Int, lines: [Line], notes: inout [String]) throws -> [Finding] {
    let layer = lines[first].outcome.key.layer
    let place = self.layer(of: lines[first].outcome.key)
    let others = lines.indices.filter { index in
      index > first && self.layer(of: lines[index].outcome.key) == place && lines[index].outcome.key.role == .output
        && lines[index].judgement.verdict == .fail && inputsAgree(index, lines) == true
        // What contains other stages only repeats them.
        && StageOrder.heuristic(lines[index].outcome.key.stage) < 78
    }
    var findings: [Finding] = []
    for index in [first] + others.prefix(6) where lines[index].outcome.measures != nil {
      do {
        let found = try diagnosed(index, lines, aftermath: afterPartial(index, lines), notes: &notes)
          .map { try ofBranch($0, index, lines) }
        let new = found.filter { index == first || $0.confidence != .possible }
        // What one stage leaves possible another may show for sure.
        findings.removeAll { known in
          known.confidence == .possible && new.contains { $0.cause == known.cause && $0.confidence != .possible }
        }
        findings += new.filter { new in !findings.contains { $0.cause == new.cause } }
      } catch let error as DumpError {
        findings.append(
          Finding(
            cause: "incomplete-ranks", layer: layer, stage: lines[index].outcome.key.stage, confidence: .possible,
            evidence: [:], summary: "The divergence could not be looked at closer: \(error.description).",
            next: "Gather the file again."))
      }
      if findings.contains(where: { $0.confidence != .possible }) { break }
    }
    return findings
  }

  /// A reduce that is missing in a branch: the stage that follows is the branches' sum, and its ranks hold the others
  /// whole.
  private func ofBranch(_ finding: Finding, _ index: Int, _ lines: [Line]) throws -> Finding {
    let name = lines[index].outcome.key.stage.lowercased()
    guard finding.cause == "missing-reduce", finding.confidence != .possible,
      ["shared", "expert", "routed"].contains(where: { name.contains($0) }),
      let next = unreducedSum(after: index, lines),
      let branch = Diagnostician.findings(try collected(next, lines, aftermath: .unknown))
        .first(where: { $0.cause == "branch-missing-reduce" && $0.confidence != .possible })
    else { return finding }
    var result = finding
    result.cause = branch.cause
    result.summary += " \(branch.summary)"
    result.next = branch.next
    return result
  }

  /// The next whole stage of the layer, where it is wrong and its ranks differ.
  private func unreducedSum(after index: Int, _ lines: [Line]) -> Int? {
    let next = places(of: layer(of: lines[index].outcome.key), after: index).first {
      lines[$0].outcome.key.role == .output && lines[$0].outcome.shape == lines[index].outcome.shape
        && lines[$0].outcome.measures != nil
    }
    guard let next, lines[next].judgement.verdict == .fail, !lines[next].outcome.divergentRanks.isEmpty else {
      return nil
    }
    return next
  }

  /// Rows that differ in their padding only: no divergence, and no silence.
  private func paddingFindings(_ lines: [Line]) throws -> [Finding] {
    guard
      let index = lines.indices.first(where: {
        lines[$0].judgement.verdict == .inconclusive && padding(lines[$0].outcome) != nil
          && lines[$0].outcome.measures != nil
      })
    else { return [] }
    return Diagnostician.findings(try collected(index, lines, aftermath: .unknown))
      .filter { $0.cause == "uninitialised-padding" }
  }

  /// Which layers go wrong by themselves: their output jumps although it is not their input's fault.
  private func layerPattern(_ lines: [Line]) -> String? {
    var local: [String: (wrong: Set<Int>, all: Set<Int>)] = [:]
    for line in lines where line.outcome.key.role == .output && line.outcome.key.tensor == "hidden" {
      guard let number = line.outcome.key.layer, let own = line.outcome.measures?.relL2, own.isFinite,
        let place = places[layer(of: line.outcome.key)]?.first(where: {
          lines[$0].outcome.key.stage == line.outcome.key.stage && lines[$0].outcome.key.tensor == "input"
        }), let input = lines[place].outcome.measures?.relL2, input.isFinite
      else { continue }
      local[line.outcome.key.stage, default: ([], [])].all.insert(number)
      if line.judgement.verdict == .fail, own > 2.5 * max(input, line.noise) {
        local[line.outcome.key.stage, default: ([], [])].wrong.insert(number)
      }
    }
    let found = local.sorted { $0.key < $1.key }.compactMap { stage, layers in
      LayerPattern.describe(stage: stage, wrong: layers.wrong, all: layers.all)
    }
    return found.isEmpty ? nil : found.joined(separator: "; ")
  }

  private func referenceReplicas(_ lines: inout [Line]) -> [Finding] {
    var findings: [Finding] = []
    for index in lines.indices where !lines[index].outcome.divergentReferenceRanks.isEmpty {
      let key = lines[index].outcome.key
      let ranks = lines[index].outcome.divergentReferenceRanks
      if lines[index].judgement.verdict == .pass {
        lines[index].judgement.verdict = .inconclusive
        lines[index].judgement.why = "replicas of the reference differ between its own ranks"
      }
      guard findings.isEmpty else { continue }
      findings.append(
        Finding(
          cause: "replica-divergence", layer: key.layer, stage: key.stage, ranks: ranks, confidence: .likely,
          evidence: [:],
          summary: "The reference itself is in doubt: rank \(ranks.map(String.init).joined(separator: ", ")) of "
            + "\(key) differs from its rank 0.",
          next: "Build a reference whose ranks agree before you judge the target."))
    }
    return findings
  }

  // MARK: coverage

  private func coverageFindings() -> [Finding] {
    var findings: [Finding] = []
    for (name, index) in [("reference", matching.reference), ("target", matching.target)] {
      let absent = index.missingRanks(only: request.rank)
      let partial = outcomes.flatMap { name == "target" ? $0.missingRanks : $0.missingReferenceRanks }
      let stale = Set(index.stale.map(\.rank))
      if let first = index.stale.first {
        findings.append(
          Finding(
            cause: "stale-dump", layer: first.layer, stage: first.stage, ranks: stale.sorted(),
            confidence: index.startTime == nil ? .likely : .certain,
            evidence: ["files": Double(Set(index.stale.map(\.file)).count)],
            summary: index.startTime == nil
              ? "\(first.file) of the \(name) is more than a day older than the rest: it is of an earlier run and was "
                + "not compared."
              : "\(first.file) of the \(name) is older than the attempt's start: it is of an earlier run and was not "
                + "compared.",
            next: "Dump into a fresh directory: one-shot dumps keep a file that is already there."))
      }
      let ranks = Set(absent).union(partial).subtracting(absent.isEmpty ? stale : []).sorted()
      guard !ranks.isEmpty else { continue }
      let words = ranks.map(String.init).joined(separator: ", ")
      findings.append(
        Finding(
          cause: "incomplete-ranks", layer: nil, stage: nil, ranks: ranks, confidence: .certain,
          evidence: ["world_size": Double(index.worldSize), "ranks_seen": Double(index.ranks.count)],
          summary: absent.isEmpty
            ? "Rank \(words) of the \(name) lacks some of its files."
            : "Rank \(words) of the \(name) did not answer: \(index.worldSize) ranks should be there.",
          next: absent.isEmpty && index.mayBePipelined
            ? "Where these ranks are other pipeline stages, have each file state pp_rank and pp_size (SGLang's dumper does);"
              + " else gather their files again."
            : "Gather the files of rank \(words) again, or run the cell again."))
    }
    for (problem, stage) in matching.callProblems.map({ ($0.problem, $0.stage) }) {
      findings.append(
        Finding(
          cause: "wrong-call", layer: nil, stage: stage, confidence: problem.code == .wrongCall ? .certain : .possible,
          evidence: [:], summary: problem.message,
          next: "Select another call, or dump with ATOM_FWD_DUMP_ONE_SHOT=0 so that each call has its own file."))
    }
    return findings
  }

  // MARK: verdict and rows

  private func verdict(lines: [Line], coverage: ComparisonReport.Coverage, notes: inout [String]) -> Verdict {
    var verdicts = lines.map(\.judgement.verdict)
    var reasons: [String] = []
    if lines.allSatisfy({ ($0.outcome.measures?.elementCount ?? 0) == 0 }) { reasons.append("nothing was compared") }
    let zeros = lines.filter { $0.outcome.measures?.isZeroThroughout ?? false }
    if let first = zeros.first {
      let compared = lines.count { ($0.outcome.measures?.elementCount ?? 0) > 0 }
      if zeros.count == compared {
        reasons.append("all that was compared is zero on both sides, as what was never written is")
      } else {
        notes.append(
          "zero throughout on both sides: \(zeros.count) of \(compared) tensors, the first \(first.outcome.key)")
      }
    }
    if !coverage.unmatched.isEmpty { reasons.append("\(coverage.unmatched.count) captures have no partner") }
    if !coverage.unreadable.isEmpty { reasons.append("\(coverage.unreadable.count) files or values could not be read") }
    if !matching.callProblems.isEmpty { reasons.append("the call is not certain") }
    for (name, index) in [("reference", matching.reference), ("target", matching.target)] {
      let absent = index.missingRanks(only: request.rank)
      if !absent.isEmpty {
        reasons.append("rank \(absent.map(String.init).joined(separator: ", ")) of the \(name) is missing")
      }
      if !index.stale.isEmpty { reasons.append("\(index.stale.count) stale captures of the \(name) were set aside") }
      if let dumps = index.overlookedDumps, let first = dumps.first {
        reasons.append("\(dumps.count) dump files of the \(name) have names that the layout does not know: \(first)")
      }
    }
    let open = lines.count { $0.judgement.verdict == .inconclusive }
    if open > 0 { reasons.append("\(open) rows are open") }
    let (figures, others) = plainDifferences(lines)
    if !figures.isEmpty {
      reasons.append("figures that stand in the place of tensors differ or are NaN: " + PlainDifference.list(figures))
    }
    if !others.isEmpty { notes.append("stated beside the tensors and not alike: " + PlainDifference.list(others)) }
    if !reasons.isEmpty {
      verdicts.append(.inconclusive)
      notes.insert("not a PASS: " + reasons.joined(separator: "; "), at: 0)
    }
    for side in [matching.reference, matching.target] where side.unrecognisedCount > 0 {
      notes.append("\(side.root): \(side.unrecognisedCount) files have names that the layout does not know")
    }
    return Verdict.combined(verdicts)
  }

  /// What the sides state otherwise: figures beyond what rounding explains, which no floor is known for, and the rest.
  private func plainDifferences(_ lines: [Line]) -> (figures: [PlainDifference], others: [PlainDifference]) {
    let rounding =
      lines.compactMap { line in
        line.outcome.measures.map { Judge.carriedRounding(line.outcome.noisyType, $0) }
      }.max() ?? 0
    let limit: Double =
      switch request.policy {
      case .strict: 0
      case .thresholds(_, let rel?): rel
      default: rounding
      }
    let all = matching.plain ?? []
    return (all.filter { $0.gap.map { $0 > limit } ?? false }, all.filter { $0.gap == nil })
  }

  /// Certain before likely before possible; otherwise as found.
  private func ordered(_ findings: [Finding]) -> [Finding] {
    let rank: [Finding.Confidence: Int] = [.certain: 0, .likely: 1, .possible: 2]
    return findings.enumerated().sorted {
      (rank[$0.element.confidence] ?? 3, $0.offset) < (rank[$1.element.confidence] ?? 3, $1.offset)
    }.map(\.element)
  }

  private func row(_ line: Line) -> ComparisonReport.Row {
    let outcome = line.outcome
    var row = ComparisonReport.Row(
      layer: outcome.key.layer, stage: outcome.key.stage, tensor: outcome.key.tensor, call: outcome.call,
      shard: outcome.decision?.plan
        ?? ShardPlan(
          kind: .ambiguous, axis: nil, ranks: outcome.targets.count, residual: nil, margin: nil,
          why: outcome.problem?.why ?? "not aligned"),
      dtype: outcome.dtype, shape: outcome.shape, measures: outcome.measures, floor: line.judgement.floor,
      jump: line.judgement.jump, verdict: line.judgement.verdict, why: line.judgement.why,
      profileFlags: outcome.measures.map { FixedProfile.flags(of: $0) } ?? [:])
    row.paddingStart = padding(outcome)?.tokens.min()
    return row
  }
}

extension Measures {
  /// No figures at all.
  static var nothing: Measures {
    Measures(
      cos: .nan, maxAbs: .nan, rel: .nan, relL2: .nan, alpha: .nan, residual: .nan, normRatio: .nan, sglangRel: .nan,
      byteEqual: .nan, nonfiniteReference: 0, nonfiniteTarget: 0, elementCount: 0, worstToken: nil, tokenRelL2: [],
      worstCoordinate: [])
  }
}
