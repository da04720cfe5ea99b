public import Comparison
import Foundation
public import Planning

/// The decision tree over what a triage saw (seed 003): from the first wrong token to the part of the model.
public struct Triage: Sendable, Hashable, Codable {
  /// What an answer shows.
  public enum Kind: String, Sendable, Hashable, Codable {
    case right
    /// Wrong from the first token on.
    case firstToken = "first-token"
    /// Right at first, then garbage.
    case later
    case unanswered
  }

  /// The prompts of the method; a job adds its own.
  public static let prompts = [
    TriageSpec.Prompt("The capital of France is", expected: ["Paris"]),
    TriageSpec.Prompt("1+1=", expected: ["2"]),
    TriageSpec.Prompt("John went to the store. John"),
    TriageSpec.Prompt("The"),
  ]

  public var evidence: TriageEvidence
  public var conclusion: Conclusion

  public init(_ evidence: TriageEvidence) {
    self.evidence = evidence
    conclusion = Self.decide(evidence)
  }

  public var verdict: Verdict { conclusion.verdict }

  // MARK: One answer

  public static func kind(of text: String?, to prompt: TriageSpec.Prompt) -> Kind {
    guard let text else { return .unanswered }
    let answer = text.lowercased().drop(while: \.isWhitespace)
    guard !prompt.expected.isEmpty else {
      return isGarbage(String(answer)) ? garbageStart(String(answer)) : .right
    }
    for expected in prompt.expected.map({ $0.lowercased() }) where answer.hasPrefix(expected) {
      return isGarbage(String(answer.dropFirst(expected.count)), mayBeEmpty: true) ? .later : .right
    }
    let isAnswered = prompt.expected.contains { answer.contains($0.lowercased()) }
    return isAnswered && !isGarbage(String(answer)) ? .right : .firstToken
  }

  /// Whether garbage begins with the first word, or behind some that make sense.
  private static func garbageStart(_ text: String) -> Kind {
    let words = text.split(whereSeparator: \.isWhitespace)
    guard words.count >= 12 else { return .firstToken }
    return isGarbage(words.prefix(words.count / 2).joined(separator: " ")) ? .firstToken : .later
  }

  private static func isGarbage(_ text: String, mayBeEmpty: Bool = false) -> Bool {
    switch PatternReader(corpus: [], settings: EvaluationSettings()).kind(of: text) {
    case .gibberish: true
    case .empty: !mayBeEmpty
    default: false
    }
  }

  // MARK: The tree

  private static func decide(_ evidence: TriageEvidence) -> Conclusion {
    if let problem = evidence.healthProblem {
      return inconclusive(
        "not-served", "The model is not served: \(problem)",
        next: "Does the server run, and at this address (playbook.triage.url)? See its log; loading may need a longer "
          + "playbook.triage.wait.")
    }
    let unanswered = evidence.answers.filter { kind(of: $0.text, to: $0.prompt) == .unanswered }
    if let first = unanswered.first {
      return inconclusive(
        "no-answer",
        "\(unanswered.count) of \(evidence.answers.count) prompts got no answer: \(first.problem ?? "no reason given")",
        next: "See the server's log.", evidence)
    }
    // Finite or not comes first: nothing that follows means anything otherwise.
    for (name, part) in [("embedding", evidence.embedding), ("lm_head", evidence.head)] where part.state == .nonFinite {
      return wrong(
        "non-finite", "NaN or infinity at the \(name): \(part.detail)",
        next: "Look for a wrong dtype, an overflow, a missing epsilon; rollcall playbook bisect finds where it begins.",
        evidence)
    }
    let kinds = evidence.answers.map { (answer: $0, kind: kind(of: $0.text, to: $0.prompt)) }
    let wrongs = kinds.filter { $0.kind != .right }
    if wrongs.isEmpty { return allRight(evidence) }

    // Wrong on the known-good build as well: not the code between them.
    let shared = wrongs.filter { wrong in
      wrong.answer.referenceText.map { kind(of: $0, to: wrong.answer.prompt) != .right } ?? false
    }
    if shared.count == wrongs.count {
      return wrong(
        "upstream",
        "The reference answers the same \(wrongs.count) prompts wrongly: the cause is upstream of the code "
          + "(weights, configuration), or the prompts are not for this model.",
        next: "rollcall playbook weights; check the prompts with a model that is known to be right.", evidence)
    }
    // Where the garbage begins is known only of prompts with an answer; the others count where there are none.
    let telling = wrongs.filter { !$0.answer.prompt.expected.isEmpty }
    let first = (telling.isEmpty ? wrongs : telling).contains { $0.kind == .firstToken }
    let phase =
      first
      ? "The first token is wrong: the prefill is broken (GEMM, quantisation, attention)"
      : "The first token is right and what follows is garbage: the decode is broken (KV cache, decode kernels)"
    let count = "\(wrongs.count) of \(kinds.count) known answers are wrong. "
    if evidence.embedding.state == .wrong {
      return wrong(
        "embedding", "\(count)\(phase); the embedding itself is wrong: \(evidence.embedding.detail)",
        next: "Weight loading or dtype conversion: rollcall playbook weights.", evidence, stage: "Embedding")
    }
    if evidence.head.state == .wrong {
      return wrong(
        "lm-head", "\(count)\(phase); lm_head's product is wrong: \(evidence.head.detail)",
        next: "Look at lm_head's kernel and its weight: shards, padding of the vocabulary, tying.", evidence,
        stage: "LMHead")
    }
    let isNarrowed = evidence.embedding.state == .right && evidence.head.state == .right
    let fallback = evidence.logs.fallbacks.first
    var conclusion = wrong(
      first ? "prefill" : "decode",
      "\(count)\(phase)"
        + (isNarrowed ? "; embedding and lm_head are right, so it is in the transformer layers" : "") + "."
        + (fallback.map { " The log tells of another path: \(shown($0.text)) (\($0.file):\($0.line))." } ?? ""),
      next: fallback == nil
        ? "rollcall playbook bisect: where does the cosine drop? In every layer: quantisation, scale layout, dispatch; in "
          + "one: attention, RoPE, routing."
        : "Does the fallback handle every parameter of the kernel that it stands for (scale layout, shuffle)? Then "
          + "rollcall playbook bisect.", evidence)
    conclusion.subject = fallback.map { $0.rule.rawValue } ?? (isNarrowed ? "transformer-layers" : nil)
    return conclusion
  }

  private static func allRight(_ evidence: TriageEvidence) -> Conclusion {
    let unstable = evidence.answers.filter(\.isUnstable)
    if let first = unstable.first {
      return inconclusive(
        "nondeterministic",
        "All answers are right, but \(unstable.count) prompts gave two texts at temperature 0: \(shown(first.prompt.prompt))",
        next: "rollcall playbook invariance shows where it begins.", evidence)
    }
    for (name, part) in [("embedding", evidence.embedding), ("lm_head", evidence.head)] where part.state == .wrong {
      return wrong(
        name == "embedding" ? "embedding" : "lm-head",
        "All answers are right, but the \(name) is wrong: \(part.detail)",
        next: "Weight loading or dtype conversion: rollcall playbook weights.", evidence)
    }
    if let fallback = evidence.logs.fallbacks.first {
      return inconclusive(
        "fallback",
        "All \(evidence.answers.count) known answers are right, but the log tells of another path than the "
          + "tested one: \(shown(fallback.text)) (\(fallback.file):\(fallback.line)).",
        next: "Mend the build, or show by rollcall playbook evaluate that the fallback is right.", evidence)
    }
    if !evidence.logs.problems.isEmpty {
      return inconclusive(
        "no-log", "All known answers are right, but a log could not be searched: \(evidence.logs.problems[0])",
        next: "Name the server's log in playbook.triage.logs.", evidence)
    }
    return Conclusion(
      verdict: .pass, kind: "no-bug",
      summary: "No bug: all \(evidence.answers.count) known answers are right, twice.", evidence: lines(evidence),
      next: "A few right answers rule out garbage, not a lower score: rollcall playbook evaluate.")
  }

  private static func inconclusive(
    _ kind: String, _ summary: String, next: String, _ evidence: TriageEvidence? = nil
  ) -> Conclusion {
    Conclusion(
      verdict: .inconclusive, kind: kind, summary: summary, evidence: evidence.map(lines) ?? [], next: next)
  }

  private static func wrong(
    _ kind: String, _ summary: String, next: String, _ evidence: TriageEvidence, stage: String? = nil
  ) -> Conclusion {
    Conclusion(
      verdict: .fail, kind: kind, summary: summary, stage: stage, evidence: lines(evidence), next: next)
  }

  // MARK: In words

  private static func lines(_ evidence: TriageEvidence) -> [String] {
    answers(evidence) + logs(evidence)
      + ["Embedding: \(evidence.embedding.detail)", "lm_head: \(evidence.head.detail)"]
  }

  static func answers(_ evidence: TriageEvidence) -> [String] {
    evidence.answers.map { answer in
      let kind = kind(of: answer.text, to: answer.prompt)
      return
        "\(shown(answer.prompt.prompt)) → \(answer.text.map(shown) ?? answer.problem ?? "nothing"): \(kind.rawValue)"
        + (answer.prompt.expected.isEmpty ? "" : " (expected \(answer.prompt.expected.joined(separator: " or ")))")
        + (answer.isUnstable ? ", another text the second time" : "")
        + (answer.referenceText.map { "; the reference says \(shown($0))" }
          ?? answer.referenceProblem.map { "; the reference: \($0)" } ?? "")
    }
  }

  static func logs(_ evidence: TriageEvidence) -> [String] {
    evidence.logs.problems
      + evidence.logs.hits.prefix(12).map { "\($0.file):\($0.line): [\($0.rule.rawValue)] \(shown($0.text))" }
      + evidence.logs.counts.sorted { $0.key < $1.key }.map { "\($0.value) lines of the logs: \($0.key)" }
  }
}
