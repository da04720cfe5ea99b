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
  /// Size of dimension 0 of the stage's output.
  public var tokens: Int
  public var content: Content

  public init(
    rank: Int, layer: Int?, stage: String, call: Int?, tokens: Int, content: Content = .unread
  ) {
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
  /// A call's token count is the one that most of its files have. The first call counts as the warm-up when its
  /// values say so (ids all zero, rows all equal) or, where values say nothing, when its count is a power of two
  /// and a later call is longer than a decode step. The prefill is the earliest call that is neither the warm-up
  /// nor a dummy and longer than a decode step.
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
    let calls = summaries(numbered)
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

  /// Stages that ran several times in each pass of the model (a loop over sequences), so that their call numbers
  /// are not those of the others.
  ///
  /// - Returns: stage name → calls, for stages with at least twice as many calls as most stages have.
  public static func loops(_ observations: [CallObservation]) -> [String: Int] {
    struct Place: Hashable {
      var rank: Int
      var layer: Int?
      var stage: String
    }
    let places = Dictionary(grouping: observations.filter { $0.call != nil }) {
      Place(rank: $0.rank, layer: $0.layer, stage: $0.stage)
    }
    var byStage: [String: Int] = [:]
    for (place, files) in places { byStage[place.stage] = max(byStage[place.stage] ?? 0, files.count) }
    var votes: [Int: Int] = [:]
    for count in byStage.values { votes[count, default: 0] += 1 }
    guard let usual = votes.max(by: { ($0.value, -$0.key) < ($1.value, -$1.key) })?.key else { return [:] }
    return byStage.filter { $0.value >= 2 * usual && usual > 0 }
  }

  static func isPowerOfTwo(_ value: Int) -> Bool { value > 0 && value & (value - 1) == 0 }

  private static func name(_ call: Int?) -> String { call.map { "call \($0)" } ?? "no call number" }

  private static func listed(_ parts: [String]) -> String {
    parts.count <= 8 ? parts.joined(separator: ", ") : parts.prefix(8).joined(separator: ", ") + ", …"
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

  private static func summaries(_ observations: [CallObservation]) -> [Summary] {
    Dictionary(grouping: observations) { $0.call ?? 0 }.map { number, files in
      var votes: [Int: Int] = [:]
      for file in files { votes[file.tokens, default: 0] += 1 }
      let tokens = votes.max { ($0.value, $0.key) < ($1.value, $1.key) }?.key ?? 0
      return Summary(number: number, tokens: tokens, content: nature(files))
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
    guard let prefill = prefills.first else {
      // A run that decodes from the start, or whose prefill was not dumped.
      return .failure(
        CallProblem(
          code: .unknown,
          message: "no call is longer than a decode step of \(decodeTokens) tokens after the warm-up; calls \(all)"))
    }
    let warmUpText = warmUp.map { "call \($0.call.number) is the warm-up (\($0.why))" } ?? "no warm-up seen"
    if selection == .prefill {
      let later = prefills.dropFirst().map(\.text)
      let runnersUp = later.isEmpty ? "" : "; runners-up \(listed(later))"
      return .success(
        CallChoice(
          call: prefill.number, rule: .auto,
          why: "earliest real call longer than a decode step, \(prefill.tokens) tokens; \(warmUpText)\(runnersUp)"))
    }
    guard let decode = rest.first(where: { $0.number > prefill.number && $0.tokens <= decodeTokens }) else {
      return .failure(
        CallProblem(
          code: .wrongCall, message: "no decode step follows the prefill call \(prefill.number); calls \(all)"))
    }
    return .success(
      CallChoice(
        call: decode.number, rule: .auto,
        why: "first call of at most \(decodeTokens) tokens after the prefill call \(prefill.number)"))
  }

  /// Tokens of a decode step: what the batch gives (up to 4 tokens a sequence where such short calls repeat), or
  /// the count that the last calls repeat.
  private static func decodeSize(_ calls: [Summary], slots: Int?) -> Int {
    let tail = calls.suffix(2).map(\.tokens)
    let longest = calls.map(\.tokens).max() ?? 0
    let repeated = tail.count == 2 && tail[0] == tail[1] && tail[0] < longest ? tail[0] : nil
    guard let slots else {
      if let repeated { return repeated }
      return calls.count > 2 && tail[1] <= tail[0] / 2 ? tail[1] : 0
    }
    if let repeated, repeated <= slots.multipliedReportingOverflow(by: 4).partialValue { return max(slots, repeated) }
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
