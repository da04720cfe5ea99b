/// The tables that the field's documents give for cos and rel, and their flags.
public enum FixedProfile: String, Sendable, Hashable, Codable, CaseIterable {
  /// ATOM's `compare.py` as its code has it (`flag_for`).
  case atom
  /// The table of ATOM's dump-bisect document, which differs from its code.
  case atomSkill = "atom-skill"
  /// The table of the accuracy-triage document: cosine only.
  case triage

  /// `✓`, `?`, `✗`, `✗✗` or `??`; for triage a word.
  public func flag(cos: Double, rel: Double) -> String {
    switch self {
    case .atom:
      if cos.isNaN { return "??" }
      if cos > 0.9999, rel < 0.01 { return "✓" }
      if cos > 0.999 { return "?" }
      return cos > 0.99 ? "✗" : "✗✗"
    case .atomSkill:
      if cos.isNaN || rel.isNaN { return "??" }
      // Where cos and rel disagree, the worse of the two holds: rel is the more sensitive.
      let byCos = cos > 0.9999 ? 0 : cos > 0.99 ? 1 : cos > 0.9 ? 2 : 3
      let byRel = rel < 0.01 ? 0 : rel < 0.1 ? 1 : rel < 0.3 ? 2 : 3
      return ["✓", "?", "✗", "✗✗"][max(byCos, byRel)]
    case .triage:
      if cos.isNaN { return "??" }
      return cos > 0.999 ? "correct" : cos > 0.99 ? "suspicious" : cos > 0.9 ? "broken" : "catastrophic"
    }
  }

  /// All profiles' flags for the same numbers.
  public static func flags(of measures: Measures) -> [String: String] {
    var result: [String: String] = [:]
    for profile in allCases { result[profile.rawValue] = profile.flag(cos: measures.cos, rel: measures.rel) }
    return result
  }

  /// The verdict on one row.
  ///
  /// `✓`, `?`, “correct” and “suspicious” pass, all else fails. Where cos and rel disagree rel decides: rel of 10 %
  /// and more fails whatever the cosine says. Two all-zero tensors, and equal bytes, pass; a NaN never does.
  public func verdict(of measures: Measures) -> (verdict: Verdict, why: String?) {
    if measures.nonfiniteTarget > 0 || measures.nonfiniteReference > 0 {
      return (.fail, nonfiniteText(measures))
    }
    if measures.isEqual { return (.pass, nil) }
    let flag = flag(cos: measures.cos, rel: measures.rel)
    let passes = ["✓", "?", "correct", "suspicious"].contains(flag)
    if passes, measures.rel >= 0.1 {
      return (.fail, "\(rawValue) says \(flag) by cosine, but rel is \(short(measures.rel)), and rel decides")
    }
    return passes
      ? (.pass, nil) : (.fail, "\(rawValue): \(flag) (cos \(short(measures.cos)), rel \(short(measures.rel)))")
  }
}

func nonfiniteText(_ measures: Measures) -> String {
  "not finite: \(measures.nonfiniteTarget) values of the target, \(measures.nonfiniteReference) of the reference"
}

/// A figure with four significant digits.
func short(_ value: Double) -> String {
  guard value.isFinite, value != 0 else { return "\(value)" }
  var scale = 1.0
  let size = abs(value)
  if size >= 1e-4, size < 1e6 {
    while size * scale < 1000 { scale *= 10 }
    return "\((value * scale).rounded() / scale)"
  }
  var exponent = 0
  var mantissa = size
  while mantissa < 1 { (mantissa, exponent) = (mantissa * 10, exponent - 1) }
  while mantissa >= 10 { (mantissa, exponent) = (mantissa / 10, exponent + 1) }
  return "\(value < 0 ? "-" : "")\((mantissa * 100).rounded() / 100)e\(exponent)"
}
