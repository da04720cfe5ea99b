import Comparison

/// The samples of a target held against those of its reference: is the gap more than noise, and what shape has it?
public struct Evaluation: Sendable, Hashable, Codable {
  /// The scores over what both sides ran.
  public struct Gap: Sendable, Hashable, Codable {
    /// Samples that both sides have; the sides' scores over them.
    public var shared: Int
    public var reference: Proportion
    public var target: Proportion
    /// Right on the reference's side alone, and on the target's alone; nil where the sides share no sample.
    public var lost: Int?
    public var gained: Int?
    /// `target − reference`, and its 95 % interval.
    public var difference: Double
    public var interval: ClosedRange<Double>
    /// Two-sided, of McNemar's exact test; nil where the sides share no sample.
    public var pairedP: Double?
    /// Two-sided, of the pooled z test of two proportions.
    public var pooledP: Double
    /// Samples on each side that would show a gap of this size with a power of 0.8; nil: no gap.
    public var neededSamples: Int?

    /// The paired test is the stronger one and decides wherever it can be made.
    public var p: Double { pairedP ?? pooledP }
    public var isSignificant: Bool { p < 0.05 }
  }

  public struct Category: Sendable, Hashable, Codable {
    public var name: String
    public var reference: Proportion
    public var target: Proportion
    public var lost: Int
    public var gained: Int
    /// McNemar's, times the number of categories that are left (Holm, 1979).
    public var adjustedP: Double
    /// The target's score cannot be told from guessing; and the reference's.
    public var isNearChance: Bool
    public var isReferenceNearChance: Bool

    public var difference: Double { target.value - reference.value }
    public var isSignificant: Bool { adjustedP < 0.05 && difference < 0 }
  }

  public struct Pattern: Sendable, Hashable, Codable {
    public var pattern: OutputPattern
    public var reference: Int
    public var target: Int
    /// Of the samples that the reference has right and the target wrong.
    public var lost: Int
    /// Of the target's answers, lost ones first.
    public var examples: [Sample]
  }

  public struct SameAnswer: Sendable, Hashable, Codable {
    public var answer: String
    public var count: Int
    public var total: Int
  }

  public var reference: SampleSide
  public var target: SampleSide
  /// nil where a side has no sample at all.
  public var gap: Gap?
  /// The part that guessing gets right; nil: no choices.
  public var chance: Double?
  public var choices: Int?
  public var categories: [Category]
  public var shape: LossShape?
  public var patterns: [Pattern]
  /// One answer that most of the target's wrong ones give.
  public var sameAnswer: SameAnswer?
  /// What keeps the numbers from being an answer: duplicates, missing samples, malformed lines, other prompts.
  public var problems: [String]
  /// Shared samples whose prompts, or whose right answers, are not the same on both sides.
  public var otherPrompts: Int
  public var otherReferences: Int
  public var margin: Double

  /// One side as such.
  public struct SampleSide: Sendable, Hashable, Codable {
    public var name: String
    public var score: Proportion
    /// Its score cannot be told from guessing.
    public var isNearChance: Bool
  }

  public init(reference: SampleSet, target: SampleSet, settings: EvaluationSettings = EvaluationSettings()) {
    margin = settings.margin
    choices = settings.choices ?? Self.choices(of: reference.samples + target.samples)
    let chance = choices.map { 1 / Double($0) }
    self.chance = chance
    func isNear(_ score: Proportion) -> Bool {
      chance.map { score.total > 0 && score.interval.lowerBound <= $0 } ?? false
    }
    self.reference = SampleSide(
      name: reference.name, score: reference.score, isNearChance: isNear(reference.score))
    self.target = SampleSide(name: target.name, score: target.score, isNearChance: isNear(target.score))

    let byID = Dictionary(target.samples.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
    let pairs = reference.samples.compactMap { sample in byID[sample.id].map { (reference: sample, target: $0) } }
    otherPrompts = pairs.count { a, b in
      if let a = a.promptHash, let b = b.promptHash { a != b } else { false }
    }
    otherReferences = pairs.count { a, b in
      if let a = a.reference, let b = b.reference { a != b } else { false }
    }
    problems = Self.problems(reference, target, pairs.count)
    gap = Self.gap(reference, target, pairs)
    categories = Self.categories(pairs, isNear)
    shape = LossShape(pairs: pairs, categories: categories)
    patterns = Self.patterns(reference.samples, target.samples, pairs)
    sameAnswer = Self.sameAnswer(target.samples)
    if otherPrompts > 0 {
      problems.insert(
        "\(otherPrompts) of \(pairs.count) shared samples were asked with another prompt: the sides did not run the same "
          + "evaluation", at: 0)
    }
    if otherReferences > 0 {
      problems.insert(
        "\(otherReferences) of \(pairs.count) shared samples have another right answer on each side: the data sets differ",
        at: 0)
    }
  }

  typealias Pairs = [(reference: Sample, target: Sample)]

  // MARK: Parts

  /// Letters, or yes and no, told by the right answers of at least 20 samples.
  private static func choices(of samples: [Sample]) -> Int? {
    let answers = samples.compactMap { $0.reference?.filter { !"()[]. ".contains($0) }.lowercased() }
    guard answers.count >= 20, answers.count == samples.count else { return nil }
    let kinds = Set(answers)
    guard kinds.count > 1 else { return nil }
    let words: Set<String> = ["yes", "no", "true", "false"]
    if kinds.isSubset(of: words) { return kinds.count }
    let letters = kinds.compactMap { $0.count == 1 ? $0.unicodeScalars.first?.value : nil }.filter {
      (0x61...0x6A).contains($0)
    }
    // The last letter counts: a, b and d are three of four.
    guard letters.count == kinds.count, let last = letters.max() else { return nil }
    return Int(last - 0x60)
  }

  private static let namedProblems = 20

  private static func problems(_ reference: SampleSet, _ target: SampleSet, _ shared: Int) -> [String] {
    var problems: [String] = []
    for side in [reference, target] {
      problems += side.problems.prefix(namedProblems).map { "\(side.name):\($0.line): \($0.message)" }
      if side.problems.count > namedProblems {
        problems.append("\(side.name): \(side.problems.count - namedProblems) further lines are no samples")
      }
      if side.samples.isEmpty { problems.append("\(side.name): holds no sample") }
    }
    for (side, other) in [(reference, target), (target, reference)] where !other.samples.isEmpty {
      let known = Set(other.samples.map(\.id))
      let alone = side.samples.map(\.id).filter { !known.contains($0) }
      guard !alone.isEmpty else { continue }
      let names = alone.prefix(5).map(shown).joined(separator: ", ") + (alone.count > 5 ? ", …" : "")
      problems.append("\(alone.count) samples stand in \(side.name) alone: \(names)")
    }
    if shared == 0, !reference.samples.isEmpty, !target.samples.isEmpty {
      problems.append("the sides share no id: the scores are compared, which is weaker")
    }
    return problems
  }

  private static func gap(_ reference: SampleSet, _ target: SampleSet, _ pairs: Pairs) -> Gap? {
    guard !reference.samples.isEmpty, !target.samples.isEmpty else { return nil }
    guard !pairs.isEmpty else {
      let (a, b) = (reference.score, target.score)
      return Gap(
        shared: 0, reference: a, target: b, difference: b.value - a.value, interval: ScoreTest.interval(a, b),
        pooledP: ScoreTest.pooled(a, b), neededSamples: ScoreTest.sampleSize(a.value, b.value))
    }
    let (lost, gained) = flips(pairs)
    let a = Proportion(count: pairs.count { $0.reference.isCorrect }, total: pairs.count)
    let b = Proportion(count: pairs.count { $0.target.isCorrect }, total: pairs.count)
    return Gap(
      shared: pairs.count, reference: a, target: b, lost: lost, gained: gained, difference: b.value - a.value,
      interval: ScoreTest.pairedInterval(lost: lost, gained: gained, total: pairs.count),
      pairedP: ScoreTest.mcNemar(lost: lost, gained: gained), pooledP: ScoreTest.pooled(a, b),
      neededSamples: ScoreTest.pairedSampleSize(
        gap: b.value - a.value, discordant: Double(lost + gained) / Double(pairs.count)))
  }

  private static func flips(_ pairs: Pairs) -> (lost: Int, gained: Int) {
    (
      pairs.count { $0.reference.isCorrect && !$0.target.isCorrect },
      pairs.count { !$0.reference.isCorrect && $0.target.isCorrect }
    )
  }

  private static func categories(_ pairs: Pairs, _ isNear: (Proportion) -> Bool) -> [Category] {
    let groups = Dictionary(grouping: pairs) { $0.reference.category ?? $0.target.category ?? "" }
    guard groups.count > 1 || groups.keys.first.map({ !$0.isEmpty }) ?? false else { return [] }
    var categories = groups.map { name, pairs in
      let (lost, gained) = flips(pairs)
      let reference = Proportion(count: pairs.count { $0.reference.isCorrect }, total: pairs.count)
      let target = Proportion(count: pairs.count { $0.target.isCorrect }, total: pairs.count)
      return Category(
        name: name.isEmpty ? "(none)" : name, reference: reference, target: target, lost: lost, gained: gained,
        adjustedP: ScoreTest.mcNemar(lost: lost, gained: gained), isNearChance: isNear(target),
        isReferenceNearChance: isNear(reference))
    }
    categories.sort { ($0.adjustedP, $0.difference, $0.name) < ($1.adjustedP, $1.difference, $1.name) }
    var highest = 0.0
    for index in categories.indices {
      highest = max(highest, min(1, categories[index].adjustedP * Double(categories.count - index)))
      categories[index].adjustedP = highest
    }
    return categories.sorted { ($0.difference, $0.name) < ($1.difference, $1.name) }
  }

  private static func patterns(_ reference: [Sample], _ target: [Sample], _ pairs: Pairs) -> [Pattern] {
    let lost = Set(pairs.lazy.filter { $0.reference.isCorrect && !$0.target.isCorrect }.map(\.target.id))
    return OutputPattern.allCases.compactMap { pattern in
      let own = target.filter { $0.pattern == pattern }
      let count = reference.count { $0.pattern == pattern }
      guard pattern != .correct, !own.isEmpty || count > 0 else { return nil }
      let examples = own.filter { lost.contains($0.id) } + own.filter { !lost.contains($0.id) }
      return Pattern(
        pattern: pattern, reference: count, target: own.count, lost: own.count { lost.contains($0.id) },
        examples: Array(examples.prefix(3)))
    }.sorted { ($0.lost, $0.target) > ($1.lost, $1.target) }
  }

  /// Where at least ten answers are wrong, and 60 % of them are the same though the right ones differ.
  private static func sameAnswer(_ samples: [Sample]) -> SameAnswer? {
    let wrong = samples.filter { $0.pattern == .wrong }
    guard wrong.count >= 10, Set(wrong.map(\.reference)).count > 2 else { return nil }
    let answers = Dictionary(grouping: wrong) { $0.output.split(whereSeparator: \.isWhitespace).joined(separator: " ") }
    guard let most = answers.max(by: { ($0.value.count, $1.key) < ($1.value.count, $0.key) }),
      most.value.count * 5 >= wrong.count * 3
    else { return nil }
    return SameAnswer(answer: most.key, count: most.value.count, total: wrong.count)
  }
}
