import Alignment
import Comparison
import Diagnosis
import Dumps
public import Reporting

/// Compares dump sets: the numeric half from captures to a report. It needs no database and no host.
public enum DumpComparer {
  /// Compares a target with a reference, capture by capture.
  ///
  /// Whatever is missing, unreadable or undecided is in the report by name and keeps the verdict from PASS.
  ///
  /// - Throws: `AlignmentError` for a shard rule that this version cannot apply, or a pattern that is not a
  ///   regular expression; `CancellationError`.
  public static func compare(
    _ request: ComparisonRequest, progress: MeasuringProgress? = nil
  ) async throws -> ComparisonReport {
    try judge(try await measure(request, progress: progress), by: request)
  }

  /// Chooses calls, joins ranks and measures; nothing is judged.
  ///
  /// - Throws: as `compare`.
  public static func measure(
    _ request: ComparisonRequest, progress: MeasuringProgress? = nil
  ) async throws -> MeasuredComparison {
    let rules = try StageRules(request)
    let names = try Self.names(request)
    let reference = CaptureIndex(request.reference, rank: request.rank, names: names.reference)
    let target = CaptureIndex(request.target, rank: request.rank, names: names.target)
    let matching = CaptureMatching(request: request, reference: reference, target: target, names: names)
    let areVerified = request.reference.set.areChecksumsVerified && request.target.set.areChecksumsVerified
    let measured = try await measure(
      matching, rules: rules, areNamesJoined: !request.names.isEmpty, audit: areVerified ? nil : StorageAudit(),
      progress: progress)
    let open = measured.outcomes.filter { $0.measures == nil }
    let unmeasured = Dictionary(
      open.map { ($0.key, $0.problem?.why ?? "not measured") }, uniquingKeysWith: { first, _ in first })
    return MeasuredComparison(
      matching: MatchingSummary(
        matching, rank: request.rank, unmeasured: unmeasured, strung: request.names.isEmpty ? names.batchNote : nil),
      outcomes: measured.outcomes,
      unreadable: measured.unreadable)
  }

  /// Judges measures by the policy of `request`, whose other rules must be those they were taken by.
  ///
  /// Measures from a file are judged without opening a dump.
  ///
  /// - Throws: where a judgement, not only a cause, needs evidence that the file lacks.
  public static func judge(_ measured: MeasuredComparison, by request: ComparisonRequest) throws -> ComparisonReport {
    let book = EvidenceBook(measured.evidence, canRead: measured.storedAt == nil)
    return try ReportBuilder(request: request, matching: measured.matching, outcomes: measured.outcomes, book: book)
      .report(unreadable: measured.unreadable)
  }

  /// Measures all pairs, as many at a time as there are cores; the order of the result is that of `matching`.
  static func measure(
    _ matching: CaptureMatching, rules: StageRules, areNamesJoined: Bool = false, audit: StorageAudit?,
    progress: MeasuringProgress? = nil
  ) async throws -> (outcomes: [PairOutcome], unreadable: [Unreadable]) {
    let counter = MeasuringCounter(matching.pairs, progress)
    let batch = BatchExtents(matching.pairs)
    // A stated rule counts the dimensions as they are.
    let pairs = matching.pairs.map { pair in
      guard rules.rule(for: pair.key.stage) == .auto else { return pair }
      return batch?.flattened(pair) ?? pair.tokensFirst.withoutBatchOfOne(tokens: matching.tokens)
    }
    var results = try await Bounded.map(pairs) { pair in
      let result = await make(pair, rules: rules, usual: nil, tokens: matching.tokens, audit: audit)
      counter.finished(pair)
      return result
    }
    // Where the data fit no layout, the one of the same stage in other layers stands.
    let open = results.indices.filter { index in
      guard let plan = results[index].outcome.decision?.plan, results[index].outcome.targets.count > 1 else {
        return false
      }
      return plan.kind == .ambiguous || plan.residual.map { $0 > 0.25 } ?? true
    }
    let usual = UsualLayouts(results.map(\.outcome))
    let again = open.compactMap { index in
      usual[index].map { (index: index, pair: pairs[index], usual: $0) }
    }
    let repeated = try await Bounded.map(again) {
      await make($0.pair, rules: rules, usual: $0.usual, tokens: matching.tokens, audit: audit)
    }
    for (place, result) in zip(again, repeated) { results[place.index] = result }
    // Two formats may keep one quantity in different shapes: that is for the rules to mend, and no wrong result.
    if areNamesJoined {
      for index in results.indices where results[index].outcome.problem?.verdict == .fail {
        if results[index].outcome.decision == nil { results[index].outcome.problem?.verdict = .inconclusive }
      }
    }
    return (results.map(\.outcome), results.flatMap(\.unreadable))
  }

  /// Which names belong together, by the request's rules.
  static func names(_ request: ComparisonRequest) throws(AlignmentError) -> NameJoin {
    guard !request.names.isEmpty else {
      func captures(_ side: ComparisonSide) -> [Capture] {
        side.set.captures.filter { request.rank == nil || $0.rank == request.rank }
      }
      return .stringingBatches(captures(request.reference), captures(request.target))
    }
    func shapes(_ side: ComparisonSide) -> [CaptureKey: [Int]] {
      side.set.captures.reduce(into: [:]) { shapes, capture in
        if request.rank == nil || capture.rank == request.rank { shapes[CaptureKey(capture)] = capture.tensor.shape }
      }
    }
    return try NameJoin(
      rules: request.names, reference: shapes(request.reference), target: shapes(request.target),
      layouts: (request.reference.set.layout, request.target.set.layout))
  }

  private static func make(
    _ pair: CaptureMatching.Pair, rules: StageRules, usual: ShardLayout?, tokens: Int?, audit: StorageAudit?
  ) async -> (outcome: PairOutcome, unreadable: [Unreadable]) {
    await PairOutcome.make(
      key: pair.key, call: pair.call, reference: pair.reference, target: pair.target,
      missingRanks: pair.missingRanks, missingReferenceRanks: pair.missingReferenceRanks,
      rule: rules.rule(for: pair.key.stage), usual: usual, tokens: tokens, audit: audit)
  }
}

/// The shard rules of a request, patterns compiled.
struct StageRules: Sendable {
  private struct Pattern: @unchecked Sendable {
    // Regex is not Sendable although it is immutable once made; it is only ever read here.
    var regex: Regex<AnyRegexOutput>
    var rule: ShardRule
  }

  private let patterns: [Pattern]
  private let fallback: ShardRule

  init(_ request: ComparisonRequest) throws(AlignmentError) {
    var patterns: [Pattern] = []
    for (stage, rule) in request.shardRules {
      try Self.check(rule, stage: stage)
      guard let regex = try? Regex(stage) else {
        throw AlignmentError(
          code: .unsupportedRule, place: "shard rule for “\(stage)”", message: "the stage is not a regular expression")
      }
      patterns.append(Pattern(regex: regex, rule: rule))
    }
    try Self.check(request.shardRule, stage: "all stages")
    self.patterns = patterns
    fallback = request.shardRule
  }

  private static func check(_ rule: ShardRule, stage: String) throws(AlignmentError) {
    guard case .unsupported(let text) = rule else { return }
    throw AlignmentError(
      code: .unsupportedRule, place: "shard rule for \(stage)",
      message: "“\(text)” is not supported; use auto, an axis, partial, replicated, blocks, heads or dims text")
  }

  func rule(for stage: String) -> ShardRule {
    for pattern in patterns where (try? pattern.regex.wholeMatch(in: stage)) ?? nil != nil { return pattern.rule }
    return fallback
  }
}
