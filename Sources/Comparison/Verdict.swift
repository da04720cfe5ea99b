/// The answer about a row, a pair or a sweep.
public enum Verdict: String, Sendable, Hashable, Codable, CaseIterable {
  case pass
  case fail
  case inconclusive

  /// Of several answers the one that stands for all: FAIL before INCONCLUSIVE before PASS.
  /// Nothing judged is INCONCLUSIVE.
  public static func combined(_ verdicts: some Sequence<Verdict>) -> Verdict {
    var result: Verdict?
    for verdict in verdicts {
      switch (result, verdict) {
      case (_, .fail), (.fail, _): result = .fail
      case (_, .inconclusive), (.inconclusive, _): result = .inconclusive
      default: result = .pass
      }
    }
    return result ?? .inconclusive
  }
}
