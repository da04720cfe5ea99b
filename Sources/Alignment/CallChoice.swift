/// Which call of the run a person wants compared.
public enum CallSelection: Sendable, Hashable, Codable {
  case prefill
  case decode
  case warmUp
  case number(Int)
}

/// How the call is found.
public enum CallRule: String, Sendable, Hashable, Codable {
  /// Exactly ATOM's `pick_prefill_call`, for parity.
  case atom
  /// Everything there is: input ids, token counts over all stages and ranks, call order.
  case auto
}

/// One call, or several in a row, that could have been meant.
public struct CallCandidate: Sendable, Hashable, Codable {
  /// Call numbers in order; more than one where they are chunks of one prefill.
  public var calls: [Int]
  /// Rows of all of them together.
  public var tokens: Int
  /// In words, why it is less likely than the one chosen.
  public var why: String

  public init(calls: [Int], tokens: Int, why: String) {
    self.calls = calls
    self.tokens = tokens
    self.why = why
  }
}

/// The chosen call of one stage, and why.
public struct CallChoice: Sendable, Hashable, Codable {
  /// What runs the sequences of a batch one by one, each in a call of its own.
  public enum SequenceLoop: String, Sendable, Hashable, Codable {
    /// This stage alone, inside a pass of the whole batch.
    case stage
    /// The whole model: no stage ever sees two sequences.
    case model
  }

  /// The (first) call; nil where the files have no call number (one-shot).
  public var call: Int?
  public var rule: CallRule
  /// In words, with the runners-up.
  public var why: String
  /// All calls whose rows are strung together, in order: chunks of one prefill. Empty for one call alone.
  public var joined: [Int]
  /// What else could have been meant, the likeliest first.
  public var runnersUp: [CallCandidate]
  /// Set where `joined` are sequences of one batch, not chunks.
  public var loop: SequenceLoop?

  public init(
    call: Int?, rule: CallRule, why: String, joined: [Int] = [], runnersUp: [CallCandidate] = [],
    loop: SequenceLoop? = nil
  ) {
    self.loop = loop
    self.call = call
    self.rule = rule
    self.why = why
    self.joined = joined
    self.runnersUp = runnersUp
  }

  /// The calls, in order; one without a number where the files have none.
  public var calls: [Int?] { joined.isEmpty ? [call] : joined }
}

/// Consecutive rows of one call, as a joined tensor takes them.
public struct RowRun: Sendable, Hashable, Codable {
  public var call: Int
  /// First row in that call.
  public var start: Int
  public var count: Int

  public init(call: Int, start: Int, count: Int) {
    self.call = call
    self.start = start
    self.count = count
  }
}
