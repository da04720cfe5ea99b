/// One dumped call of one stage on one rank, as far as the choice of a call needs it.
public struct CallObservation: Sendable, Hashable {
  /// What the values say about the call, where they were looked at.
  public enum Content: String, Sendable, Hashable, Codable {
    /// Token ids, all zero: a warm-up or a dummy batch.
    case idsZero = "ids-zero"
    /// Token ids of a prompt. Ids decide; rows are only a sign.
    case idsReal = "ids-real"
    /// Token rows all (nearly) equal: what equal ids give but for what depends on the position.
    case rowsAlike = "rows-alike"
    case rowsDiffer = "rows-differ"
    case unread
  }

  public var rank: Int
  public var layer: Int?
  public var stage: String
  /// nil where the file name has no call (one-shot).
  public var call: Int?
  /// Whether a file without a call holds the last one, as where each call wrote it anew; else it holds the first.
  public var isLast: Bool
  /// Size of dimension 0 of the stage's output.
  public var tokens: Int
  public var content: Content

  public init(
    rank: Int, layer: Int?, stage: String, call: Int?, tokens: Int, content: Content = .unread,
    isLast: Bool = false
  ) {
    self.isLast = isLast
    self.rank = rank
    self.layer = layer
    self.stage = stage
    self.call = call
    self.tokens = tokens
    self.content = content
  }
}

/// Why no call could be chosen.
public struct CallProblem: Error, Sendable, Hashable, Codable, CustomStringConvertible {
  public enum Code: String, Sendable, Hashable, Codable {
    /// The dump holds another call than the one asked for.
    case wrongCall = "wrong-call"
    /// The evidence does not single out one call.
    case unknown = "call-unknown"
  }

  public var code: Code
  /// The reason with the runners-up, and what to do.
  public var message: String

  public init(code: Code, message: String) {
    self.code = code
    self.message = message
  }

  public var description: String { message }
}

/// Chooses the call that is compared.
public enum CallChooser {
  /// ATOM's `pick_prefill_call`, for one (layer, class) of one rank.
  ///
  /// With more than one file: keep the calls whose token count is a multiple of `slots` and above it, prefer
  /// counts that are not a power of two, take the lowest call. One file only is taken if its count is a multiple
  /// of `slots`, whatever else holds.
  public static func atom(calls: [(call: Int?, tokens: Int)], slots: Int) -> Result<CallChoice, CallProblem> {
    guard slots > 0 else {
      return .failure(CallProblem(code: .unknown, message: "slots must be at least 1, not \(slots)"))
    }
    if calls.count == 1, let only = calls.first {
      guard only.tokens % slots == 0 else {
        return .failure(
          CallProblem(
            code: .unknown,
            message: "the only file has \(only.tokens) tokens, not a multiple of \(slots) slots"))
      }
      return .success(
        CallChoice(call: only.call, rule: .atom, why: "the only file, \(only.tokens) tokens in \(slots) slots"))
    }
    let candidates = calls.filter { $0.tokens % slots == 0 && $0.tokens > slots }
    let odd = candidates.filter { !isPowerOfTwo($0.tokens) }
    guard let best = (odd.isEmpty ? candidates : odd).min(by: { ($0.call ?? -1) < ($1.call ?? -1) }) else {
      let seen = listed(calls.map { "\(name($0.call)): \($0.tokens)" })
      return .failure(
        CallProblem(
          code: .unknown,
          message: "no call has a token count that is a multiple of \(slots) slots and above it (\(seen))"))
    }
    let others = candidates.filter { $0.call != best.call }.map { "\(name($0.call)): \($0.tokens)" }
    let runnersUp = others.isEmpty ? "" : "; other candidates \(listed(others))"
    return .success(
      CallChoice(
        call: best.call, rule: .atom,
        why: "lowest call with a multiple of \(slots) tokens, \(best.tokens), powers of two last\(runnersUp)"))
  }

  /// One call for all layers, stages and ranks, from everything there is.
  ///
  /// A call's token count is the one that most of its files have. Dummies are the calls whose values say so (ids all
  /// zero, rows all alike); where values say nothing, the first call counts as the warm-up when its count is a power
  /// of two and a later call is longer than a decode step (a hint only). The prefill starts at the earliest call that
  /// is no dummy and longer than a decode step; calls that follow it before the first decode step continue it
  /// (chunked prefill), and their rows are joined.
  ///
  /// - Parameters:
  ///   - observations: every (rank, layer, stage, call) of one side.
  ///   - slots: sequences in the batch, where known.
  public static func auto(
    _ observations: [CallObservation], selection: CallSelection, slots: Int?
  ) -> Result<CallChoice, CallProblem> {
    guard !observations.isEmpty else {
      return .failure(CallProblem(code: .unknown, message: "there are no captures"))
    }
    let numbered = observations.filter { $0.call != nil }
    if numbered.isEmpty { return oneShot(observations, selection: selection) }
    if let problem = disagreement(numbered) { return .failure(problem) }
    let calls = summaries(numbered, slots: slots)
    if case .number(let wanted) = selection {
      if let found = calls.first(where: { $0.number == wanted }) {
        return .success(
          CallChoice(call: wanted, rule: .auto, why: "call \(wanted) was asked for; \(found.tokens) tokens"))
      }
      return .failure(
        CallProblem(
          code: .wrongCall,
          message: "call \(wanted) was asked for and is not there; calls \(listed(calls.map(\.text)))"))
    }
    return choose(calls, selection: selection, slots: slots)
  }

  /// One choice for each side that fits the other: the number of calls that make up the prefill is the one at which
  /// both sides have the same tokens (a last chunk may be as short as a decode step).
  public static func auto(
    reference: [CallObservation], target: [CallObservation], selection: CallSelection, slots: Int?
  ) -> (reference: Result<CallChoice, CallProblem>, target: Result<CallChoice, CallProblem>) {
    var left = auto(reference, selection: selection, slots: slots)
    var right = auto(target, selection: selection, slots: slots)
    if selection != .warmUp, holdsLastCall(reference) {
      let partner = Partner(target, right, slots: slots)
      left = lastCall(reference, selection: selection, partner: partner, slots: slots)
    }
    if selection != .warmUp, holdsLastCall(target) {
      let partner = Partner(reference, left, slots: slots)
      right = lastCall(target, selection: selection, partner: partner, slots: slots)
    }
    guard case .success(let leftChoice) = left, case .success(let rightChoice) = right, leftChoice.call != nil,
      rightChoice.call != nil
    else { return (left, right) }
    // The same calls on both sides: what one side's lost files said of them, the other's still say.
    if leftChoice.calls != rightChoice.calls {
      let calls = [reference, target].map { side in summaries(side.filter { $0.call != nil }, slots: slots) }
      let outlines = calls.map { side in side.map { [$0.number, $0.tokens] } }
      if outlines[0] == outlines[1] {
        let both = (reference + target).filter { $0.call != nil }
        let common = choose(summaries(both, slots: slots), selection: selection, slots: slots)
        if case .success = common { return (common, common) }
      }
      // Chunks of one prefill begin with the same call and have the same tokens, whatever numbers are not there.
      let tokens = zip([leftChoice, rightChoice], calls).map { choice, side in
        let own = side.filter { choice.calls.contains($0.number) }
        return own.reduce(0) { $0.addingReportingOverflow($1.tokens).partialValue }
      }
      if leftChoice.call != rightChoice.call || tokens[0] != tokens[1] {
        if let lost = gap(calls[0].map(\.number), rightChoice, "reference") { return (.failure(lost), right) }
        if let lost = gap(calls[1].map(\.number), leftChoice, "target") { return (left, .failure(lost)) }
      }
      if Set(leftChoice.calls).isDisjoint(with: rightChoice.calls),
        let ofLeft = span(of: leftChoice, reference, in: target, slots: slots),
        let ofRight = span(of: rightChoice, target, in: reference, slots: slots)
      {
        func isReal(_ span: (calls: [Int], tokens: Int), _ side: [Summary]) -> Bool {
          !side.contains { span.calls.contains($0.number) && $0.content == .dummy }
        }
        if isReal(ofLeft, calls[1]) { return (left, .success(refitted(rightChoice, ofLeft))) }
        if isReal(ofRight, calls[0]) { return (.success(refitted(leftChoice, ofRight)), right) }
      }
    }
    guard selection == .prefill else { return (left, right) }
    let leftSpans = spans(reference, from: leftChoice, slots: slots)
    let rightSpans = spans(target, from: rightChoice, slots: slots)
    guard let l = leftSpans.chosen, let r = rightSpans.chosen,
      leftSpans.all[l].tokens != rightSpans.all[r].tokens
    else { return (left, right) }
    // Only a decode step can have been taken for a chunk: what is longer stays, or what it holds would go unseen.
    let leftChunks = chunks(of: leftChoice, reference, facing: target, slots: slots)
    let rightChunks = chunks(of: rightChoice, target, facing: reference, slots: slots)
    // The pair of equal length that is nearest to what each side says by itself; the longer of two. Never less than
    // what was chosen on both sides.
    var best: (left: Int, right: Int, cost: Int)?
    for (i, a) in leftSpans.all.enumerated() where leftChunks.isSubset(of: a.calls) {
      for (j, b) in rightSpans.all.enumerated() where a.tokens == b.tokens {
        guard i >= l || j >= r, rightChunks.isSubset(of: b.calls) else { continue }
        let cost = abs(i - l) + abs(j - r)
        if let known = best, (known.cost, -known.left) <= (cost, -i) { continue }
        best = (i, j, cost)
      }
    }
    // The same calls where both sides have them, not one side's first for what the other lost.
    if best.map({ leftSpans.all[$0.left].calls != rightSpans.all[$0.right].calls }) ?? true {
      if let same = span(of: rightChoice, target, in: reference, slots: slots), leftChunks.isSubset(of: same.calls) {
        return (.success(refitted(leftChoice, same)), right)
      }
      if let same = span(of: leftChoice, reference, in: target, slots: slots), rightChunks.isSubset(of: same.calls) {
        return (left, .success(refitted(rightChoice, same)))
      }
    }
    guard let best else { return (left, right) }
    return (
      .success(refitted(leftChoice, leftSpans.all[best.left])),
      .success(refitted(rightChoice, rightSpans.all[best.right]))
    )
  }

  /// The calls of a choice that are longer than a decode step, from the first one on that the other side has.
  private static func chunks(
    of choice: CallChoice, _ own: [CallObservation], facing other: [CallObservation], slots: Int?
  ) -> Set<Int> {
    let side = summaries(own.filter { $0.call != nil }, slots: slots)
    let step = decodeSize(side, slots: slots)
    let first = other.compactMap(\.call).min() ?? 0
    return Set(
      side.filter { $0.number >= first && $0.tokens > step && choice.calls.contains($0.number) }.map(\.number))
  }

  private static func holdsLastCall(_ observations: [CallObservation]) -> Bool {
    !observations.isEmpty && observations.allSatisfy { $0.call == nil && $0.isLast }
  }

  private static func refitted(_ choice: CallChoice, _ span: (calls: [Int], tokens: Int)) -> CallChoice {
    guard span.calls != choice.calls.compactMap({ $0 }) else { return choice }
    var result = choice
    result.call = span.calls[0]
    result.joined = span.calls.count > 1 ? span.calls : []
    result.why =
      "calls \(listed(span.calls.map(String.init))), together \(span.tokens) tokens, as many as the other side's; "
      + choice.why
    return result
  }

  /// The first one, two, three … calls from the chosen one on, without dummies, and which of them was chosen.
  private static func spans(
    _ observations: [CallObservation], from choice: CallChoice, slots: Int?
  ) -> (all: [(calls: [Int], tokens: Int)], chosen: Int?) {
    let real = summaries(observations.filter { $0.call != nil }, slots: slots).filter {
      $0.content != .dummy && $0.number >= (choice.call ?? 0)
    }
    var all: [(calls: [Int], tokens: Int)] = []
    var calls: [Int] = []
    var tokens = 0
    for call in real.prefix(max(64, choice.joined.count + 1)) {
      calls.append(call.number)
      let (sum, overflow) = tokens.addingReportingOverflow(call.tokens)
      guard !overflow else { break }
      tokens = sum
      all.append((calls, tokens))
    }
    return (all, all.firstIndex { $0.calls == choice.calls.compactMap { $0 } })
  }

  /// The calls that one side chose, on the other side, where that has them with as many tokens each.
  private static func span(
    of choice: CallChoice, _ own: [CallObservation], in other: [CallObservation], slots: Int?
  ) -> (calls: [Int], tokens: Int)? {
    let calls = choice.calls.compactMap { $0 }
    let sides = [own, other].map { side in
      summaries(side.filter { calls.contains($0.call ?? -1) }, slots: slots).map { [$0.number, $0.tokens] }
    }
    guard sides[0] == sides[1], sides[0].count == calls.count else { return nil }
    return (calls, sides[0].reduce(0) { $0.addingReportingOverflow($1[1]).partialValue })
  }

  /// A call that the other side chose, and that is not there although calls before and after it are.
  private static func gap(_ numbers: [Int], _ other: CallChoice, _ name: String) -> CallProblem? {
    guard let first = numbers.first, let last = numbers.last,
      let lost = other.calls.compactMap({ $0 }).first(where: { first < $0 && $0 < last && !numbers.contains($0) })
    else { return nil }
    return CallProblem(
      code: .unknown,
      message: "the \(name) has no call \(lost), which was chosen on the other side, but calls before and after it: "
        + "its files are lost; gather them again, or select a call by its number")
  }

  /// Ranks that disagree about what a call is: data-parallel ranks run batches of their own.
  ///
  /// One stage alone (a foreign file) says nothing of the batch.
  private static func disagreement(_ observations: [CallObservation]) -> CallProblem? {
    for (number, files) in Dictionary(grouping: observations, by: { $0.call ?? 0 }).sorted(by: { $0.key < $1.key }) {
      var example: (least: CallObservation, most: CallObservation)?
      var (agreeing, disagreeing) = (0, 0)
      for (_, stage) in Dictionary(grouping: files, by: { "\($0.layer ?? -1) \($0.stage)" }) {
        guard let least = stage.min(by: { $0.tokens < $1.tokens }), let most = stage.max(by: { $0.tokens < $1.tokens }),
          stage.count > 1, Set(stage.map(\.rank)).count == stage.count
        else { continue }
        // Sequence parallel: shares of one batch differ by the remainder only.
        let isShare = most.tokens - least.tokens < max(2, stage.count)
        if !isShare, most.tokens - least.tokens > least.tokens {
          disagreeing += 1
          if most.tokens > example?.most.tokens ?? -1 { example = (least, most) }
        } else {
          agreeing += 1
        }
      }
      if let (least, most) = example, disagreeing > agreeing {
        return CallProblem(
          code: .unknown,
          message: "the ranks disagree about call \(number): \(most.tokens) tokens on rank \(most.rank), "
            + "\(least.tokens) on rank \(least.rank), as data-parallel ranks with batches of their own (one may run "
            + "a dummy batch); compare one rank alone")
      }
    }
    return nil
  }

  /// Which calls of a stage belong to each call of the other stages, for a stage with call numbers of its own: one
  /// that runs once for each sequence of the batch, or that did not run in the first calls.
  ///
  /// - Parameters:
  ///   - stage: the stage's calls with their tokens, ascending.
  ///   - passes: the calls of most stages, likewise.
  /// - Returns: for each call of `passes` the stage's calls in order, with the reason in words; nil where neither
  ///   token counts nor numbers say it.
  public static func assignment(
    stage: [(call: Int, tokens: Int)], passes: [(call: Int, tokens: Int)]
  ) -> (calls: [Int: [Int]], why: String)? {
    guard !stage.isEmpty, !passes.isEmpty else { return nil }
    // As many tokens as each pass has, one sequence after the other.
    if stage.count > passes.count {
      var result: [Int: [Int]] = [:]
      var rest = stage[...]
      var isExact = true
      for pass in passes {
        var left = pass.tokens
        while left > 0, let next = rest.first, next.tokens > 0, next.tokens <= left {
          result[pass.call, default: []].append(next.call)
          left -= next.tokens
          rest = rest.dropFirst()
        }
        if left != 0 { isExact = false }
      }
      if isExact, rest.isEmpty { return (result, "one call a sequence: their tokens add up to each pass's") }
      guard stage.count % passes.count == 0 else { return nil }
      let times = stage.count / passes.count
      result = [:]
      for (index, call) in stage.enumerated() { result[passes[index / times].call, default: []].append(call.call) }
      return (result, "\(times) calls in each pass")
    }
    // Fewer: it did not run in some of the first calls.
    let tail = passes.suffix(stage.count)
    guard stage.count < passes.count, zip(stage, tail).allSatisfy({ $0.tokens == $1.tokens }) else { return nil }
    return (
      Dictionary(uniqueKeysWithValues: zip(tail, stage).map { ($0.call, [$1.call]) }),
      "it did not run in the first \(passes.count - stage.count) calls"
    )
  }

  static func isPowerOfTwo(_ value: Int) -> Bool { value > 0 && value & (value - 1) == 0 }

  private static func name(_ call: Int?) -> String { call.map { "call \($0)" } ?? "no call number" }

  private static func listed(_ parts: [String]) -> String {
    parts.count <= 8 ? parts.joined(separator: ", ") : parts.prefix(8).joined(separator: ", ") + ", …"
  }

  /// What a numbered side chose, for a side whose files hold the last call alone.
  private struct Partner {
    var tokens: Int
    /// Whether no call follows what was chosen.
    var isLast: Bool
    /// Whether a later call has as many tokens.
    var isRepeated: Bool
    /// Whether it is what would be chosen as the prefill.
    var isPrefill: Bool

    init?(_ observations: [CallObservation], _ result: Result<CallChoice, CallProblem>, slots: Int?) {
      guard case .success(let choice) = result, choice.call != nil else { return nil }
      let all = summaries(observations.filter { $0.call != nil }, slots: slots)
      let chosen = all.filter { choice.calls.contains($0.number) }
      tokens = chosen.reduce(0) { $0.addingReportingOverflow($1.tokens).partialValue }
      isLast = all.last?.number == chosen.last?.number
      let total = tokens
      isRepeated = all.contains { $0.number > chosen.last?.number ?? 0 && $0.tokens == total }
      isPrefill = (try? auto(observations, selection: .prefill, slots: slots).get())?.calls == choice.calls
    }
  }

  /// Files that each call wrote anew hold the last call, whichever that was: the one that was asked for, where its
  /// values are no dummy's and it has as many tokens as what the other side chose.
  private static func lastCall(
    _ observations: [CallObservation], selection: CallSelection, partner: Partner?, slots: Int?
  ) -> Result<CallChoice, CallProblem> {
    let tokens = summaries(observations, slots: slots).first?.tokens ?? 0
    let isLong = tokens > slots ?? 1
    let held = "the files have no call numbers and hold the last call alone, \(tokens) tokens"
    var refusal: String?
    if nature(observations) == .dummy {
      refusal = "their token rows are all alike, as a dummy batch's"
    } else if let partner {
      if partner.tokens != tokens {
        refusal = "the other side's call has \(partner.tokens)"
      } else if !isLong, !partner.isLast {
        refusal = "a decode step, and other calls follow the other side's"
      } else if partner.isRepeated {
        refusal = "a call of as many follows the other side's"
      } else if case .number = selection, !partner.isLast, !partner.isPrefill {
        refusal = "other calls follow the other side's"
      }
    } else if selection == .prefill ? !isLong : selection != .decode || isLong {
      refusal = "nothing says that it is the call that was asked for"
    }
    guard let refusal else {
      return .success(
        CallChoice(
          call: nil, rule: .auto, why: held + (partner == nil ? "" : ", as many as what the other side's call has")))
    }
    return .failure(
      CallProblem(
        code: .wrongCall,
        message: "\(held): \(refusal); dump a run that ends with the prefill (one new token) on both sides"))
  }

  /// A file without a call number is ATOM's one-shot mode: it holds the first call, the warm-up.
  private static func oneShot(
    _ observations: [CallObservation], selection: CallSelection
  ) -> Result<CallChoice, CallProblem> {
    if selection == .warmUp {
      return .success(
        CallChoice(call: nil, rule: .auto, why: "one-shot files hold the warm-up call, which was asked for"))
    }
    let wanted =
      switch selection {
      case .prefill: "the prefill"
      case .decode: "a decode step"
      case .number(let number): "call \(number)"
      case .warmUp: "the warm-up"
      }
    let seen = nature(observations) == .dummy ? " (its token rows are all alike)" : ""
    return .failure(
      CallProblem(
        code: .wrongCall,
        message: "one-shot files hold the warm-up call\(seen) and \(wanted) was asked for; dump with "
          + "ATOM_FWD_DUMP_ONE_SHOT=0, or select warm-up"))
  }

  /// All files of one call number.
  private struct Summary {
    var number: Int
    var tokens: Int
    var content: Nature
    var text: String { "\(number): \(tokens) tokens\(content == .dummy ? " (dummy)" : "")" }
  }

  private static func summaries(_ observations: [CallObservation], slots: Int?) -> [Summary] {
    Dictionary(grouping: observations) { $0.call ?? 0 }.map { number, files in
      var votes: [Int: Int] = [:]
      for file in files { votes[file.tokens, default: 0] += 1 }
      let tokens = votes.max { ($0.value, $0.key) < ($1.value, $1.key) }?.key ?? 0
      var content = nature(files)
      // One token of the same prompt in every slot: alike, and no dummy.
      if content == .dummy, tokens <= slots ?? 8, !files.contains(where: { $0.content == .idsZero }) {
        content = .unknown
      }
      return Summary(number: number, tokens: tokens, content: content)
    }
    .sorted { $0.number < $1.number }
  }

  private enum Nature {
    case dummy
    case real
    case unknown
  }

  /// Ids decide; without them most stages' rows do (rotated queries differ by position even for equal ids).
  private static func nature(_ files: [CallObservation]) -> Nature {
    var counts: [CallObservation.Content: Int] = [:]
    for file in files { counts[file.content, default: 0] += 1 }
    if counts[.idsReal] != nil { return .real }
    if counts[.idsZero] != nil { return .dummy }
    let alike = counts[.rowsAlike] ?? 0
    let different = counts[.rowsDiffer] ?? 0
    return alike + different == 0 ? .unknown : alike > different ? .dummy : .real
  }

  private static func choose(
    _ calls: [Summary], selection: CallSelection, slots: Int?
  ) -> Result<CallChoice, CallProblem> {
    let all = listed(calls.map(\.text))
    if let slots, let whole = sequenceLoop(calls, slots: slots) {
      return loop(whole, calls, selection: selection, slots: slots)
    }
    let decodeTokens = decodeSize(calls, slots: slots)
    let warmUp = warmUpCall(calls, decodeTokens: decodeTokens)
    if selection == .warmUp {
      guard let warmUp else {
        return .failure(
          CallProblem(code: .wrongCall, message: "no call looks like the warm-up; calls \(all)"))
      }
      return .success(CallChoice(call: warmUp.call.number, rule: .auto, why: "\(warmUp.why); calls \(all)"))
    }
    let rest = calls.filter { $0.number != warmUp?.call.number && $0.content != .dummy }
    let prefills = rest.filter { $0.tokens > decodeTokens }
    guard let prefill = prefills.first, let position = rest.firstIndex(where: { $0.number == prefill.number }) else {
      // A run that decodes from the start, or whose prefill was not dumped.
      if selection == .decode, let step = rest.first {
        return .success(
          CallChoice(
            call: step.number, rule: .auto,
            why: "first call of at most \(decodeTokens) tokens; no longer one was dumped"))
      }
      return .failure(
        CallProblem(
          code: .unknown,
          message: "no call is longer than a decode step of \(decodeTokens) tokens after the warm-up (its prompts may "
            + "have come from the prefix cache); calls \(all); select a call by its number"))
    }
    let chunks = Array(rest[position...].prefix { $0.tokens > decodeTokens })
    if selection == .decode {
      return decode(rest, after: chunks.last ?? prefill, decodeTokens: decodeTokens, slots: slots, all: all)
    }
    // Without a word from the values, one call much longer than those after it may be a dummy batch.
    if chunks.count > 1, prefill.content == .unknown, prefill.tokens > 4 * (chunks.dropFirst().map(\.tokens).max() ?? 0)
    {
      return .failure(
        CallProblem(
          code: .unknown,
          message: "call \(prefill.number) has \(prefill.tokens) tokens, far more than the calls after it, and its "
            + "values do not say whether it is a warm-up; calls \(all); select a call by its number"))
    }
    let warmUpText = warmUp.map { "call \($0.call.number) is the warm-up (\($0.why))" } ?? "no warm-up seen"
    let later = prefills.filter { call in !chunks.contains { $0.number == call.number } }
    let following = rest[position...].dropFirst(chunks.count).first
    var runnersUp = later.prefix(8).map {
      CallCandidate(calls: [$0.number], tokens: $0.tokens, why: "a later request, or what a prefix cache left of one")
    }
    if let following, !later.contains(where: { $0.number == following.number }) {
      runnersUp.append(
        CallCandidate(
          calls: [following.number], tokens: following.tokens,
          why: "as short as a decode step; it could be a last chunk"))
    }
    let others =
      runnersUp.isEmpty
      ? "" : "; runners-up " + listed(runnersUp.map { "\(listed($0.calls.map(String.init))): \($0.tokens) tokens" })
    let total = chunks.reduce(0) { $0 + $1.tokens }
    let seen =
      chunks.count == 1
      ? "earliest real call longer than a decode step, \(prefill.tokens) tokens"
      : "calls \(listed(chunks.map { "\($0.number)" })) follow one another before the first decode step: chunks of the "
        + "prefill, joined to \(total) tokens"
    return .success(
      CallChoice(
        call: prefill.number, rule: .auto, why: "\(seen); \(warmUpText)\(others)",
        joined: chunks.count > 1 ? chunks.map(\.number) : [], runnersUp: runnersUp))
  }

  private static func decode(
    _ rest: [Summary], after prefill: Summary, decodeTokens: Int, slots: Int?, all: String
  ) -> Result<CallChoice, CallProblem> {
    let steps = rest.filter { $0.number > prefill.number && $0.tokens <= decodeTokens }
    // A dummy batch of a data-parallel rank has fewer tokens than the batch has sequences.
    let full = slots.flatMap { slots in steps.first { $0.tokens >= slots && $0.tokens % slots == 0 } }
    guard let step = full ?? steps.first else {
      return .failure(
        CallProblem(
          code: .wrongCall, message: "no decode step follows the prefill call \(prefill.number); calls \(all)"))
    }
    return .success(
      CallChoice(
        call: step.number, rule: .auto,
        why: "first call of at most \(decodeTokens) tokens after the prefill call \(prefill.number)"))
  }

  /// Calls grouped by `slots` where the whole model runs one sequence at a time: a batch of `slots` sequences cannot
  /// decode fewer tokens a call, and every group is of one kind.
  private static func sequenceLoop(_ calls: [Summary], slots: Int) -> [[Summary]]? {
    let real = calls.filter { $0.content != .dummy }
    guard slots > 1, real.count / 2 >= slots, real.count % slots == 0 || calls.count % slots == 0 else { return nil }
    let list = real.count % slots == 0 ? real : calls
    let groups = stride(from: 0, to: list.count, by: slots).map { Array(list[$0..<($0 + slots)]) }
    guard let last = groups.last, last.allSatisfy({ $0.tokens == last[0].tokens && $0.tokens < slots }) else {
      return nil
    }
    // A decode step and a prefill never share a group.
    let isSound = groups.allSatisfy { group in
      let sizes = group.map(\.tokens)
      return (sizes.max() ?? 0) <= 4 * max(1, sizes.min() ?? 0)
    }
    return isSound ? groups : nil
  }

  private static func loop(
    _ groups: [[Summary]], _ calls: [Summary], selection: CallSelection, slots: Int
  ) -> Result<CallChoice, CallProblem> {
    let all = listed(calls.map(\.text))
    let decodeTokens = groups.last?.first?.tokens ?? 1
    let real = groups.filter { !$0.contains { $0.content == .dummy } }
    let isWarmUp = { (group: [Summary]) in group.allSatisfy { $0.content == .dummy } }
    let found: [Summary]?
    switch selection {
    case .warmUp: found = groups.first(where: isWarmUp)
    case .decode:
      let prefill = real.firstIndex { $0.contains { $0.tokens > decodeTokens } } ?? 0
      found = real.dropFirst(prefill + 1).first { $0.allSatisfy { $0.tokens <= decodeTokens } }
    default: found = real.first { $0.contains { $0.tokens > decodeTokens } }
    }
    guard let found else {
      return .failure(
        CallProblem(
          code: .wrongCall,
          message: "the model runs one sequence at a time and no such call is there; "
            + "calls \(all)"))
    }
    return .success(
      CallChoice(
        call: found[0].number, rule: .auto,
        why: "calls \(listed(found.map { "\($0.number)" })) are the \(slots) sequences of one batch, run one by one "
          + "(a decode step has \(decodeTokens) tokens, fewer than the batch has sequences), joined",
        joined: found.map(\.number), loop: .model))
  }

  /// Tokens of a decode step: the short count that calls after the longest repeat; up to 4 tokens a sequence
  /// (speculative decoding) where the sequences are known; else what one token a sequence gives.
  private static func decodeSize(_ all: [Summary], slots: Int?) -> Int {
    let calls = all.filter { $0.content != .dummy }
    let longest = calls.map(\.tokens).max() ?? 0
    let after = calls.drop { $0.tokens < longest }.dropFirst().map(\.tokens).filter { $0 < longest }
    var votes: [Int: Int] = [:]
    for count in after { votes[count, default: 0] += 1 }
    let usual = votes.filter { $0.value > 1 }.max { ($0.value, $0.key) < ($1.value, $1.key) }?.key
    guard let slots else {
      if let usual { return usual }
      guard calls.count > 1, let last = after.last else { return 0 }
      return last <= calls[calls.count - 2].tokens / 2 ? last : 0
    }
    let (fourfold, isLarge) = slots.multipliedReportingOverflow(by: 4)
    let most = isLarge ? .max : fourfold
    if let usual, usual <= most { return max(slots, usual) }
    // One step only: short, a whole number of tokens a sequence, and far shorter than what it follows.
    if calls.count > 1, let last = after.last, last <= most, last % slots == 0, last == calls[calls.count - 1].tokens,
      calls[calls.count - 2].tokens > 2 * last
    {
      return max(slots, last)
    }
    return slots
  }

  private static func warmUpCall(_ calls: [Summary], decodeTokens: Int) -> (call: Summary, why: String)? {
    guard let first = calls.first else { return nil }
    switch first.content {
    case .dummy: return (first, "its ids are 0 or its token rows all alike")
    case .real: return nil
    case .unknown:
      let laterLong = calls.dropFirst().contains { $0.tokens > decodeTokens }
      return isPowerOfTwo(first.tokens) && laterLong
        ? (first, "the first call, \(first.tokens) tokens, a power of two (a hint only)") : nil
    }
  }
}
