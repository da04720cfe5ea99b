import Foundation
import Planning

/// What kind of answer a sample holds (seed 000, phase 2).
public enum OutputPattern: String, Sendable, Hashable, Codable, CaseIterable {
  case correct
  case metaText = "meta-text"
  case empty
  case gibberish
  case truncated
  /// Coherent, and not the answer.
  case wrong

  /// What the method says of it.
  public var likelyCause: String {
    switch self {
    case .correct: "none"
    case .metaText: "the prompt's format: the model is not primed to answer directly (few-shot examples, chat template)"
    case .empty: "the KV cache (uninitialised, scale overflow), or an end_id that is the first token"
    case .gibberish: "a transform applied wrongly, a load hook missing or applied twice, or corrupted weights"
    case .truncated: "max_tokens (MAX_OUTPUT_LEN) cuts the answer off before it is reached"
    case .wrong: "numerical accuracy: attention, a low-precision kernel, or corrupted weights"
    }
  }

  public var words: String {
    switch self {
    case .correct: "right"
    case .metaText: "meta-text"
    case .empty: "empty"
    case .gibberish: "gibberish"
    case .truncated: "cut off"
    case .wrong: "coherent, wrong"
    }
  }
}

/// Tells the kind of an answer, by the language that prompts and references are written in.
struct PatternReader {
  private let settings: EvaluationSettings
  /// Pairs of neighbouring letters that occur, in lower case.
  private var pairs: Set<Pair> = []
  /// Too little text tells nothing.
  private var knowsLanguage = false
  private var scripts: Set<Script> = []

  private struct Pair: Hashable {
    var first: Unicode.Scalar
    var second: Unicode.Scalar
  }

  init(corpus: some Sequence<String>, settings: EvaluationSettings) {
    self.settings = settings
    var known: Set<[Unicode.Scalar]> = []
    for text in corpus {
      for word in Self.words(text) {
        guard known.insert(word).inserted else { continue }
        for pair in Self.pairs(word) { pairs.insert(pair) }
        for scalar in word { scripts.insert(Script(scalar)) }
      }
    }
    knowsLanguage = known.count >= 300
  }

  func pattern(_ line: SampleLine) -> OutputPattern {
    if line.correct { return .correct }
    let kind = kind(of: line.output)
    return kind == .wrong && isCut(line, Self.withoutSpecialTokens(line.output)) ? .truncated : kind
  }

  /// Of a text that is not the answer; whether it was cut off is not told.
  func kind(of output: String) -> OutputPattern {
    let text = Self.withoutSpecialTokens(output)
    if text.isEmpty { return .empty }
    if Self.isMetaText(text), !Self.isRepetitive(text) { return .metaText }
    return isGibberish(text) ? .gibberish : .wrong
  }

  // MARK: Kinds

  private static func withoutSpecialTokens(_ text: String) -> String {
    text.replacing(/<\/?s>|<\|[A-Za-z0-9_]{1,40}\|>|<eos>|<pad>|<unk>/, with: "")
      .trimmingCharacters(in: .whitespacesAndNewlines)
  }

  private static let metaBeginnings = [
    "the user", "the answer is", "the question", "let me", "let's", "okay", "ok,", "ok.", "alright", "sure", "hmm",
    "we need to", "we are", "i need to", "i think", "i will", "first,", "to solve", "to answer", "<think>", "so, the",
    "thinking", "here is", "here's", "as an",
  ]

  private static func isMetaText(_ text: String) -> Bool {
    let beginning = text.prefix(40).lowercased()
    return metaBeginnings.contains { word in
      guard beginning.hasPrefix(word) else { return false }
      // "surely" and "sure-fire" are other words than "sure".
      let next = beginning.dropFirst(word.count).first
      return word.last?.isLetter != true || next.map { !$0.isLetter } ?? true
    }
  }

  private func isCut(_ line: SampleLine, _ text: String) -> Bool {
    // A classification is cut on purpose.
    guard settings.task != .classification else { return false }
    if let finish = line.finish { return finish == "length" && (settings.task == .generation || text.count > 40) }
    guard settings.task == .generation || text.count >= 200, let last = text.last else { return false }
    return text.count > 40 && !(last.isPunctuation || last.isNumber || last.isSymbol)
  }

  private func isGibberish(_ text: String) -> Bool {
    let scalars = Array(text.unicodeScalars.prefix(4_000))
    let broken = scalars.count { $0 == "\u{FFFD}" || $0.properties.generalCategory == .control && $0.value > 0x0D }
    if broken * 20 > scalars.count { return true }
    if Self.isRepetitive(text) { return true }
    let words = Self.words(text)
    let letters = words.reduce(0) { $0 + $1.count }
    if scalars.count >= 12 {
      let symbols = scalars.count {
        !$0.properties.isAlphabetic && !$0.properties.isWhitespace && $0.properties.numericType == nil
      }
      if symbols * 2 > scalars.count { return true }
    }
    guard letters >= 12 else { return false }
    let strange = Set(words.joined().map(Script.init)).subtracting(scripts)
    if !scripts.isEmpty, strange.count >= 2 { return true }
    guard knowsLanguage else { return false }
    let found = words.flatMap(Self.pairs)
    return found.count >= 8 && found.count { !pairs.contains($0) } * 4 > found.count
  }

  /// One word, or one character, over and over.
  private static func isRepetitive(_ text: String) -> Bool {
    var run = 0
    var last: Character?
    for character in text.prefix(4_000) {
      run = character == last ? run + 1 : 1
      last = character
      if run >= 12, !character.isWhitespace, !character.isNumber, character != ".", character != "-" { return true }
    }
    let words = text.prefix(4_000).split(whereSeparator: \.isWhitespace)
    guard words.count >= 8 else { return false }
    let most = Dictionary(grouping: words, by: \.self).values.map(\.count).max() ?? 0
    return most * 5 > words.count * 3
  }

  // MARK: Letters

  private static func words(_ text: String) -> [[Unicode.Scalar]] {
    text.prefix(20_000).lowercased().unicodeScalars.split { !$0.properties.isAlphabetic }.map(Array.init)
  }

  private static func pairs(_ word: [Unicode.Scalar]) -> [Pair] {
    zip(word, word.dropFirst()).map { Pair(first: $0, second: $1) }
  }

  /// Large families of writing; finer ones do not matter here.
  private enum Script: Hashable {
    case latin, greek, cyrillic, hebrew, arabic, indic, thai, hangul, kana, han, other

    init(_ scalar: Unicode.Scalar) {
      self =
        switch scalar.value {
        case 0..<0x370, 0x1E00..<0x1F00: .latin
        case 0x370..<0x400: .greek
        case 0x400..<0x530: .cyrillic
        case 0x590..<0x600: .hebrew
        case 0x600..<0x780: .arabic
        case 0x900..<0xE00: .indic
        case 0xE00..<0xF00: .thai
        case 0x1100..<0x1200, 0xAC00..<0xD7B0: .hangul
        case 0x3040..<0x3100: .kana
        case 0x3400..<0xA000, 0x20000..<0x30000: .han
        default: .other
        }
    }
  }
}
