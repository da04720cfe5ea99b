/// How the lost samples are spread (seed 000, phase 5): told only where enough were lost.
public struct LossShape: Sendable, Hashable, Codable {
  public enum Kind: String, Sendable, Hashable, Codable {
    /// All categories alike.
    case uniform
    /// Some categories, named in `categories`.
    case categories
    /// Categories that the reference finds hard.
    case hardCategories = "hard-categories"
    /// Long prompts, or short ones.
    case promptLength = "prompt-length"
    /// Too few samples were lost, or there is but one category.
    case unclear
  }

  public var kind: Kind
  /// Those that lose more than the others, the worst first.
  public var categories: [String]
  /// Probability that equal losses are spread so unevenly over the categories; nil: one category.
  public var categoriesP: Double?
  /// Probability that losses unrelated to the prompts' lengths look so; nil: no lengths.
  public var lengthP: Double?
  /// Median characters of the prompts of lost samples, and of those that stayed right.
  public var lostLength: Int?
  public var keptLength: Int?
  /// Within each category lengths matter, too; nil: not told.
  public var isLengthWithinCategories: Bool?

  static let fewestLost = 8

  /// - Returns: nil where nothing was lost.
  init?(pairs: Evaluation.Pairs, categories: [Evaluation.Category]) {
    let atStake = pairs.filter(\.reference.isCorrect)
    let lost = atStake.filter { !$0.target.isCorrect }
    guard !lost.isEmpty else { return nil }
    self.categories = []
    kind = .unclear
    guard lost.count >= Self.fewestLost, lost.count < atStake.count || categories.count > 1 else { return }

    // Homogeneity of the lost share over categories with enough samples at stake.
    let groups = Dictionary(grouping: atStake) { $0.reference.category ?? $0.target.category ?? "" }
      .filter { $0.value.count >= 5 }
    let total = groups.values.reduce(0) { $0 + $1.count }
    let lostTotal = groups.values.reduce(0) { $0 + $1.count { !$0.target.isCorrect } }
    if groups.count > 1, lostTotal > 0 {
      let share = Double(lostTotal) / Double(total)
      let spread = share * (1 - share)
      var chi = 0.0
      var excess: [(name: String, z: Double)] = []
      for (name, group) in groups {
        let expected = share * Double(group.count)
        let difference = Double(group.count { !$0.target.isCorrect }) - expected
        let variance = spread * Double(group.count)
        guard variance > 0 else { continue }
        chi += difference * difference / variance
        excess.append((name.isEmpty ? "(none)" : name, difference / variance.squareRoot()))
      }
      categoriesP = spread == 0 ? 1 : ScoreTest.chiSquared(chi, degrees: groups.count - 1)
      if let p = categoriesP, p < 0.01 {
        // Those that stand out by themselves; the worst in any case.
        let sorted = excess.sorted { ($1.z, $0.name) < ($0.z, $1.name) }
        self.categories = sorted.filter { $0.z > 2 }.map(\.name)
        if self.categories.isEmpty { self.categories = sorted.prefix(1).map(\.name) }
      }
    }

    func lengths(_ pairs: Evaluation.Pairs) -> [Double] { pairs.compactMap { $0.target.promptLength.map(Double.init) } }
    let (lostLengths, keptLengths) = (lengths(lost), lengths(atStake.filter(\.target.isCorrect)))
    func median(_ values: [Double]) -> Int? { values.isEmpty ? nil : Int(values.sorted()[values.count / 2]) }
    lostLength = median(lostLengths)
    keptLength = median(keptLengths)
    lengthP = ScoreTest.rankSum([(lostLengths, keptLengths)]).map(Normal.twoSided)
    let within = ScoreTest.rankSum(
      groups.values.map { group in
        (lengths(group.filter { !$0.target.isCorrect }), lengths(group.filter(\.target.isCorrect)))
      }
    ).map(Normal.twoSided)
    let byLength = lengthP.map { $0 < 0.01 } ?? false
    let byCategory = !self.categories.isEmpty
    if byLength { isLengthWithinCategories = within.map { $0 < 0.05 } }

    if byLength, !byCategory || isLengthWithinCategories == true {
      kind = .promptLength
    } else if byCategory {
      kind = Self.areHard(self.categories, in: categories) ? .hardCategories : .categories
    } else if categoriesP != nil {
      kind = .uniform
    }
  }

  /// Whether the reference is worse, by a tenth at least, in these categories than in the others.
  private static func areHard(_ names: [String], in categories: [Evaluation.Category]) -> Bool {
    func score(_ categories: [Evaluation.Category]) -> Double? {
      let total = categories.reduce(0) { $0 + $1.reference.total }
      return total == 0 ? nil : Double(categories.reduce(0) { $0 + $1.reference.count }) / Double(total)
    }
    guard let own = score(categories.filter { names.contains($0.name) }),
      let others = score(categories.filter { !names.contains($0.name) })
    else { return false }
    return own <= others - 0.1
  }

  /// In a sentence, with what the method says of it.
  public var sentence: String? {
    let lengths = lostLength.flatMap { lost in keptLength.map { (lost, $0) } }
    switch kind {
    case .unclear: return nil
    case .uniform:
      return "The loss is uniform over the categories: uniform precision loss, a low-precision kernel or the attention "
        + "scale."
    case .categories:
      var text =
        "The loss is category-specific: \(list). A systematic error there: the length of these prompts, or chunked "
        + "prefill."
      if lengthP.map({ $0 < 0.01 }) ?? false, let (lost, kept) = lengths {
        text +=
          " Their prompts have other lengths (lost samples: median \(lost) characters, kept ones: \(kept)), which "
          + "explains it as well."
      }
      return text
    case .hardCategories:
      return "The loss is category-specific, in those that are hard for the reference too: \(list). Answers near the "
        + "decision boundary: a subtle numerical error."
    case .promptLength:
      let (lost, kept) = lengths ?? (0, 0)
      return
        "The loss goes with the prompt's length: median \(lost) characters where an answer was lost, \(kept) where "
        + "it was kept. Verify truncation (max_input_len) and chunked prefill."
    }
  }

  private var list: String {
    categories.prefix(8).joined(separator: ", ") + (categories.count > 8 ? ", …" : "")
  }
}
