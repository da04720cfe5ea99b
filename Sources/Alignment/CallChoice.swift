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

/// The chosen call of one stage, and why.
public struct CallChoice: Sendable, Hashable, Codable {
  /// nil where the files have no call number (one-shot).
  public var call: Int?
  public var rule: CallRule
  /// In words, with the runners-up.
  public var why: String

  public init(call: Int?, rule: CallRule, why: String) {
    self.call = call
    self.rule = rule
    self.why = why
  }
}
