import Comparison
import Foundation
import Planning
import TestSupport
import Testing

@testable import Playbooks

/// Samples as an evaluation writes them.
enum Lines {
  struct Answer {
    var id: String
    var category: String?
    var prompt = "What is the capital of the country in the question that follows here?"
    var reference = "A"
    var output = "A"
    var isCorrect = true
    var finish: String?
  }

  static func text(_ answers: [Answer]) throws -> Data {
    var data = Data()
    for answer in answers {
      var object: [String: Any] = [
        "id": answer.id, "prompt": answer.prompt, "reference": answer.reference, "output": answer.output,
        "correct": answer.isCorrect,
      ]
      object["category"] = answer.category
      object["finish_reason"] = answer.finish
      data += try JSONSerialization.data(withJSONObject: object) + Data("\n".utf8)
    }
    return data
  }

  static func set(
    _ name: String, _ answers: [Answer], settings: EvaluationSettings = EvaluationSettings()
  ) throws -> SampleSet {
    SampleSet(name: name, jsonLines: try text(answers), settings: settings)
  }

  /// `count` answers, of which `isWrong` says which are wrong, with another letter.
  static func answers(
    _ count: Int, category: (Int) -> String? = { _ in nil }, prompt: ((Int) -> String)? = nil,
    isWrong: (Int) -> Bool
  ) -> [Answer] {
    let letters = ["A", "B", "C", "D"]
    return (0..<count).map { index in
      var answer = Answer(id: "q\(index)", category: category(index), reference: letters[index % 4])
      if let prompt { answer.prompt = prompt(index) }
      answer.isCorrect = !isWrong(index)
      answer.output = answer.isCorrect ? answer.reference : letters[(index + 1) % 4]
      return answer
    }
  }
}

@Suite struct EvaluationTests {
  private func evaluate(
    _ reference: [Lines.Answer], _ target: [Lines.Answer], settings: EvaluationSettings = EvaluationSettings()
  ) throws -> Evaluation {
    Evaluation(
      reference: try Lines.set("ref.jsonl", reference, settings: settings),
      target: try Lines.set("tgt.jsonl", target, settings: settings), settings: settings)
  }

  // MARK: Statistics, against values of textbooks

  @Test func intervalsAndTestsAreThoseOfTheTextbooks() {
    let interval = Proportion(count: 8, total: 10).interval
    #expect(abs(interval.lowerBound - 0.4902) < 1e-4 && abs(interval.upperBound - 0.9433) < 1e-4)
    #expect(Proportion(count: 0, total: 0).interval == 0...1)
    #expect(abs(ScoreTest.mcNemar(lost: 6, gained: 16) - 0.052_48) < 1e-5)
    #expect(ScoreTest.mcNemar(lost: 0, gained: 0) == 1)
    #expect(abs(ScoreTest.chiSquared(3.841_459, degrees: 1) - 0.05) < 1e-6)
    #expect(abs(ScoreTest.chiSquared(11.070_498, degrees: 5) - 0.05) < 1e-6)
    #expect(abs(ScoreTest.chiSquared(70, degrees: 56) - 0.0993) < 1e-3)
    // 40 of 100 against 60 of 100: z = 2.828.
    let p = ScoreTest.pooled(Proportion(count: 40, total: 100), Proportion(count: 60, total: 100))
    #expect(abs(p - 0.004_677_7) < 1e-6)
    // 0.6 against 0.7 at power 0.8: 356 on each side.
    #expect(ScoreTest.sampleSize(0.6, 0.7) == 356)
  }

  @Test func theStatedSampleSizeHasItsPower() throws {
    // 8 % lost, 3 % gained, tried many times with the stated number of samples.
    let needed = try #require(ScoreTest.pairedSampleSize(gap: 0.05, discordant: 0.11))
    var random = SplitMix64(seed: 7)
    let tries = 400
    let seen = (0..<tries).count { _ in
      var (lost, gained) = (0, 0)
      for _ in 0..<needed {
        let draw = Double.random(in: 0..<1, using: &random)
        if draw < 0.08 { lost += 1 } else if draw < 0.11 { gained += 1 }
      }
      return ScoreTest.mcNemar(lost: lost, gained: gained) < 0.05
    }
    let power = Double(seen) / Double(tries)
    #expect(power > 0.7 && power < 0.9, "power \(power) with \(needed) samples")
  }

  // MARK: Verdicts

  @Test func theSameAnswersAreNoBug() throws {
    let answers = Lines.answers(80) { $0 % 5 == 0 }
    let evaluation = try evaluate(answers, answers)
    #expect(evaluation.conclusion.verdict == .pass)
    #expect(evaluation.gap?.difference == 0)
    // Ten samples cannot rule out a drop by 5 points.
    let few = try evaluate(Array(answers.prefix(10)), Array(answers.prefix(10)))
    #expect(few.conclusion.verdict == .inconclusive)
    #expect(few.conclusion.kind == "noise")
  }

  @Test func aGapInsideNoiseIsSaidToBeNoise() throws {
    let evaluation = try evaluate(
      Lines.answers(100) { $0 < 20 || (90..<94).contains($0) }, Lines.answers(100) { $0 < 26 })
    let gap = try #require(evaluation.gap)
    #expect(gap.lost == 6 && gap.gained == 4)
    #expect(evaluation.conclusion.verdict == .inconclusive)
    #expect(evaluation.conclusion.summary.contains("inside noise"))
    let needed = try #require(gap.neededSamples)
    #expect(needed > 1_000, "2 points of 10 % flips need many samples: \(needed)")
    #expect(evaluation.conclusion.next.contains("\(needed)"))
  }

  @Test func thePairedTestSeesWhatTheScoresAloneDoNot() throws {
    // 8 points lost and none gained: 68 against 60 of 100 is noise, eight flips one way are not.
    let evaluation = try evaluate(Lines.answers(100) { $0 >= 68 }, Lines.answers(100) { $0 >= 60 })
    let gap = try #require(evaluation.gap)
    #expect(gap.pooledP > 0.05)
    #expect(gap.p < 0.01)
    #expect(evaluation.conclusion.verdict == .fail)
    #expect(evaluation.conclusion.kind == "worse-wrong")
    // Without shared ids the scores are all there is.
    var others = Lines.answers(100) { $0 >= 60 }
    for index in others.indices { others[index].id += "-other" }
    let unpaired = try evaluate(Lines.answers(100) { $0 >= 68 }, others)
    #expect(unpaired.conclusion.verdict == .inconclusive)
    #expect(unpaired.gap?.pairedP == nil)
    #expect(unpaired.problems.contains { $0.contains("share no id") })
  }

  @Test func aTargetThatIsBetterIsNoPass() throws {
    let evaluation = try evaluate(Lines.answers(100) { $0 < 40 }, Lines.answers(100) { $0 < 20 })
    #expect(evaluation.conclusion.verdict == .inconclusive)
    #expect(evaluation.conclusion.kind == "better")
  }

  @Test func otherPromptsAreNoEvidence() throws {
    let reference = Lines.answers(100) { $0 < 10 }
    let target = Lines.answers(100, prompt: { "0-shot \($0)" }, isWrong: { $0 < 60 })
    let evaluation = try evaluate(reference, target)
    #expect(evaluation.conclusion.verdict == .inconclusive)
    #expect(evaluation.conclusion.kind == "other-prompts")
    #expect(evaluation.otherPrompts == 100)
  }

  // MARK: Nothing is dropped silently

  @Test func everyBadLineIsNamed() throws {
    let good = try Lines.text(Lines.answers(60) { _ in false })
    var bad = good
    bad += Data("{\"id\": \"q3\", \"prompt\": \"x\", \"output\": \"B\", \"correct\": false}\n".utf8)
    bad += Data(
      "{\"id\": \"x1\", \"output\": \"B\"}\n{\"id\": \"x2\", \"correct\": \"maybe\", \"output\": \"\"}\n".utf8)
    bad += Data("[1, 2]\n{\"id\": \"cut\", \"outp".utf8)
    let set = SampleSet(name: "tgt.jsonl", jsonLines: bad)
    #expect(set.samples.count == 60)
    #expect(set.problems.map(\.line) == [61, 62, 63, 64, 65])
    #expect(set.problems[0].message.contains("another answer than line 4"))
    #expect(set.problems[1].message.contains("`correct`"))
    let reference = SampleSet(name: "ref.jsonl", jsonLines: good)
    let evaluation = Evaluation(reference: reference, target: set)
    #expect(evaluation.conclusion.verdict == .inconclusive, "what is damaged is no PASS")
    #expect(evaluation.problems.contains { $0.hasPrefix("tgt.jsonl:65: ") })
    #expect(Evaluation(reference: reference, target: reference).conclusion.verdict == .pass)
  }

  @Test func samplesOfOneSideAreNamed() throws {
    let all = Lines.answers(80) { _ in false }
    let evaluation = try evaluate(all, Array(all.dropLast(2)))
    #expect(evaluation.conclusion.verdict == .inconclusive)
    #expect(evaluation.problems.contains { $0.contains("2 samples stand in ref.jsonl alone: \"q78\", \"q79\"") })
    let none = try evaluate(all, [])
    #expect(none.conclusion.kind == "no-samples")
    #expect(none.gap == nil)
  }

  // MARK: Categories

  private let names = ["algebra", "biology", "history", "law"]

  @Test func aCategoryNearChanceIsFlagged() throws {
    let reference = Lines.answers(400, category: { names[$0 % 4] }, isWrong: { $0 % 20 == 0 })
    let target = Lines.answers(
      400, category: { names[$0 % 4] }, isWrong: { $0 % 4 == 3 ? $0 / 4 % 4 != 0 : $0 % 20 == 0 })
    let evaluation = try evaluate(reference, target)
    #expect(evaluation.choices == 4)
    let flagged = evaluation.categories.filter(\.isNearChance)
    #expect(flagged.map(\.name) == ["law"])
    #expect(evaluation.shape?.kind == .categories)
    #expect(evaluation.shape?.categories == ["law"])
    #expect(evaluation.conclusion.evidence.contains { $0.contains("Near chance") && $0.contains("law") })
  }

  @Test func aUniformLossIsUniform() throws {
    var random = SplitMix64(seed: 3)
    let lost = Set((0..<400).filter { _ in Double.random(in: 0..<1, using: &random) < 0.15 })
    let reference = Lines.answers(400, category: { names[$0 % 4] }, isWrong: { _ in false })
    let target = Lines.answers(400, category: { names[$0 % 4] }, isWrong: { lost.contains($0) })
    let evaluation = try evaluate(reference, target)
    #expect(evaluation.conclusion.verdict == .fail)
    #expect(evaluation.shape?.kind == .uniform)
  }

  @Test func aLossThatGoesWithLengthIsSaidToBe() throws {
    let prompt = { (index: Int) in String(repeating: "word ", count: 10 + index * 7 % 400) }
    let reference = Lines.answers(400, category: { names[$0 % 4] }, prompt: prompt, isWrong: { _ in false })
    let target = Lines.answers(400, category: { names[$0 % 4] }, prompt: prompt, isWrong: { 10 + $0 * 7 % 400 > 330 })
    let shape = try #require(try evaluate(reference, target).shape)
    #expect(shape.kind == .promptLength)
    #expect(try #require(shape.lostLength) > #require(shape.keptLength))
  }

  @Test func hardCategoriesAreToldFromOthers() throws {
    let isHard = { (index: Int) in index % 4 == 3 }
    let reference = Lines.answers(400, category: { names[$0 % 4] }, isWrong: { isHard($0) && $0 / 4 % 2 == 0 })
    let target = Lines.answers(400, category: { names[$0 % 4] }, isWrong: { isHard($0) && $0 / 4 % 4 != 1 })
    #expect(try evaluate(reference, target).shape?.kind == .hardCategories)
  }

  // MARK: Kinds of wrong answers

  @Test(arguments: [
    ("The user wants to know which letter is right", OutputPattern.metaText), ("Okay, let me see.", .metaText),
    ("", .empty), (" \n</s>", .empty), ("<|endoftext|>", .empty), ("B", .wrong), ("Surely it is B.", .wrong),
    ("the the the the the the the the the", .gibberish), ("!!!!!!!!!!!!!!!!!!", .gibberish),
    ("qzxv kjwq zxqj vvkx pqzj xkcd", .gibberish), ("\u{FFFD}\u{FFFD}a", .gibberish),
    ("the наука 東京 เมือง city", .gibberish), ("It is the second of the four, in the country to the south.", .wrong),
  ]) func outputsAreClassified(_ output: String, _ pattern: OutputPattern) throws {
    // The language is that of the prompts: this repository's own prose.
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let words = try String(contentsOf: root.appending(path: "README.md"), encoding: .utf8)
      .split(whereSeparator: \.isWhitespace).filter { $0.allSatisfy(\.isLetter) }
    try #require(Set(words).count > 300)
    let prompt = { (index: Int) in
      words.dropFirst(index * words.count / 40).prefix(words.count / 40 + 1).joined(separator: " ")
    }
    var answers = Lines.answers(40, prompt: prompt) { $0 == 0 }
    answers[0].output = output
    #expect(try Lines.set("x", answers).samples[0].pattern == pattern)
  }

  @Test func aCutAnswerIsCutOnlyWhereAChainIsAsked() throws {
    var answers = Lines.answers(10) { $0 == 0 }
    answers[0].output = "We start with the number of apples that are left in the basket after the first"
    answers[0].finish = "length"
    let generation = EvaluationSettings(task: .generation)
    // "We start" is no meta-text.
    #expect(try Lines.set("x", answers, settings: generation).samples[0].pattern == .truncated)
    let classification = EvaluationSettings(task: .classification)
    #expect(try Lines.set("x", answers, settings: classification).samples[0].pattern == .wrong)
  }

  @Test func theKindOfTheLostAnswersIsNamed() throws {
    let reference = Lines.answers(100) { _ in false }
    var target = Lines.answers(100) { $0 < 40 }
    for index in 0..<40 { target[index].output = "" }
    let empty = try evaluate(reference, target)
    #expect(empty.conclusion.kind == "worse-empty")
    #expect(empty.conclusion.evidence.contains { $0.contains("KV cache") })
    for index in 0..<40 { target[index].output = "E" }
    let same = try evaluate(reference, target)
    #expect(same.sameAnswer?.answer == "E")
    #expect(same.conclusion.kind == "worse-wrong")
  }
}
