import Comparison
import OrderedCollections
import Planning
import Playbooks
import Testing

@Suite struct HarnessTests {
  private static let evaluation = "evaluation: {task: classification, choices: 4, max_tokens: 2"

  private func subject(_ more: String = "", expected: Double? = nil) throws -> Subject {
    try Subjects.subject(
      matrix: "{backend: [plain, kernel]}", reference: "{backend: plain}",
      playbook: Self.evaluation + (expected.map { ", expected: \($0)" } ?? "") + more + "}")
  }

  /// Answers for each cell that a step runs.
  private func play(
    _ playbook: Evaluate, plain: [Lines.Answer], kernel: [Lines.Answer]
  ) throws -> (conclusion: Conclusion, steps: [Step]) {
    try Play.through(playbook) { experiment in
      let outcome = Play.outcome(experiment, .inconclusive)
      return outcome.evaluated(
        try experiment.change.cells.map { values in
          RunSamples(
            values: values,
            set: try Lines.set(
              "\(values["backend"].map(\.description) ?? "")", values["backend"] == .string("plain") ? plain : kernel))
        })
    }
  }

  private let right = Lines.answers(100) { $0 % 4 == 0 }
  private let wrong = Lines.answers(100) { $0 % 4 == 0 || $0 % 5 == 1 }

  @Test func theReferenceRunsFirstAndAlone() throws {
    let (conclusion, steps) = try play(Evaluate(subject(expected: 0.75), .harness), plain: right, kernel: wrong)
    #expect(steps.map(\.experiment.step) == ["reference", "target"])
    #expect(steps[0].experiment.change.cells == [["backend": .string("plain")]])
    #expect(conclusion.verdict == .fail && conclusion.kind == "worse-wrong")
    let (clean, _) = try play(Evaluate(subject(expected: 0.75), .harness), plain: right, kernel: right)
    #expect(clean.verdict == .pass && clean.kind == "no-bug")
  }

  @Test func aLowReferenceIsTheHarnessAndNoTargetRuns() throws {
    let (conclusion, steps) = try play(Evaluate(subject(expected: 0.95), .harness), plain: right, kernel: wrong)
    #expect(steps.count == 1)
    #expect(conclusion.verdict == .fail && conclusion.kind == "harness")
    // `evaluate` runs both, and says that its answer stands on a doubtful reference.
    let (both, _) = try play(Evaluate(subject(expected: 0.95), .evaluate), plain: right, kernel: wrong)
    #expect(both.verdict == .inconclusive && both.kind == "harness-suspect")
    let guessing = Lines.answers(100) { $0 % 4 != 0 }
    let (chance, _) = try play(Evaluate(subject(), .harness), plain: guessing, kernel: guessing)
    #expect(chance.kind == "harness" && chance.summary.contains("guessing"))
  }

  @Test func aLoweredThresholdIsNamed() throws {
    let (conclusion, _) = try play(Evaluate(subject(expected: 0.5), .harness), plain: right, kernel: right)
    #expect(conclusion.evidence.contains { $0.contains("[lowered-threshold]") })
    let (honest, _) = try play(Evaluate(subject(expected: 0.75), .harness), plain: right, kernel: right)
    #expect(!honest.evidence.contains { $0.contains("[lowered-threshold]") })
  }

  @Test func aRunWithoutSamplesIsNoAnswer() throws {
    let (conclusion, _) = try play(Evaluate(subject(), .evaluate), plain: right, kernel: [])
    #expect(conclusion.verdict == .inconclusive && conclusion.kind == "no-samples")
    let subject = try subject()
    let (failed, _) = try Play.through(Evaluate(subject, .harness)) {
      Play.outcome($0, .inconclusive, failed: ["run x failed: exit code 7"])
    }
    #expect(failed.kind == "run-failed")
    #expect(throws: PlaybookError.self) { try Evaluate(Subjects.subject(), .harness) }
  }
}

/// Each rule has a job that commits it, and the nearest one that does not.
@Suite struct AntiPatternTests {
  struct Case: Sendable {
    var rule: AntiPattern.Rule
    var guilty: String
    var innocent: String
  }

  private static func job(
    command: String = "engine", env: String = "{}", dumps: String = "{layout: atom}", compare: String = "",
    matrix: String = "{world_size: [1, 2]}", reference: String = "reference: {world_size: 1}", playbook: String = "{}"
  ) -> String {
    """
    name: sample
    matrix: \(matrix)
    run: {command: "\(command)", env: \(env)}
    dumps: \(dumps)
    compare: {\(reference)\(compare)}
    playbook: \(playbook)
    """
  }

  private static let fiveShot = "{evaluation: {fewshot: 5, expected: 0.7}}"
  private static let triage = "{triage: {url: 'http://localhost:1', model: m}}"

  static let cases = [
    Case(
      rule: .zeroShotDiagnosis, guilty: job(command: "eval --num_fewshot 0", playbook: fiveShot),
      innocent: job(command: "eval --num_fewshot 5", playbook: fiveShot)),
    Case(
      rule: .torchrunForAutoDeploy, guilty: job(command: "torchrun --nproc 2 run.py --backend _autodeploy"),
      innocent: job(command: "python3 run.py --backend _autodeploy")),
    Case(
      rule: .overriddenModelsRoot, guilty: job(env: "{LLM_MODELS_ROOT: /models}"),
      innocent: job(command: "engine $LLM_MODELS_ROOT/tiny")),
    Case(
      rule: .chatAPI, guilty: job(command: "curl http://localhost/v1/chat/completions", playbook: triage),
      innocent: job(command: "curl http://localhost/v1/completions", playbook: triage)),
    Case(
      rule: .chatAPI, guilty: job(playbook: "{triage: {url: 'http://x/v1/chat/completions', model: m}}"),
      innocent: job(playbook: triage)),
    Case(
      rule: .twoChanges,
      guilty: job(playbook: "{components: {a: {on: {env: {A: 1, B: 2}}}}, ablate: [a]}"),
      innocent: job(playbook: "{components: {a: {on: {env: {A: 1}}}}, ablate: [a]}")),
    Case(
      rule: .twoChanges,
      guilty: job(
        matrix: "{world_size: [1, 2], backend: [x, y]}", reference: "reference: {world_size: 1, backend: x}",
        playbook: fiveShot),
      innocent: job(playbook: fiveShot)),
    Case(
      rule: .oneShot, guilty: job(dumps: "{layout: atom, slots: 4}", reference: "mode: slots"),
      innocent: job(env: "{ATOM_FWD_DUMP_ONE_SHOT: '0'}", dumps: "{layout: atom, slots: 4}", reference: "mode: slots")),
    Case(
      rule: .cosineAlone, guilty: job(compare: ", noise: {cos: 0.99}"),
      innocent: job(compare: ", noise: {cos: 0.99, rel: 0.02}")),
    Case(
      rule: .templateOnFewShot,
      guilty: job(playbook: "{evaluation: {expected: 0.7, fewshot: 5, apply_chat_template: true}}"),
      innocent: job(
        playbook: "{evaluation: {expected: 0.7, fewshot: 5, apply_chat_template: true, fewshot_as_multiturn: true}}")),
    Case(
      rule: .missingTemplate, guilty: job(playbook: "{evaluation: {expected: 0.7, chat_model: true}}"),
      innocent: job(playbook: "{evaluation: {expected: 0.7, chat_model: true, apply_chat_template: true}}")),
    Case(
      rule: .uncappedClassification,
      guilty: job(playbook: "{evaluation: {expected: 0.7, task: classification, max_tokens: 512}}"),
      innocent: job(playbook: "{evaluation: {expected: 0.7, task: classification, max_tokens: 2}}")),
    Case(
      rule: .shortGeneration, guilty: job(playbook: "{evaluation: {expected: 0.7, task: generation, max_tokens: 64}}"),
      innocent: job(playbook: "{evaluation: {expected: 0.7, task: generation, max_tokens: 512}}")),
    Case(
      rule: .rebuiltContainer, guilty: job(command: "docker build -t x . && docker run x"),
      innocent: job(command: "docker run x")),
    Case(
      rule: .unverifiedReference, guilty: job(playbook: "{evaluation: {}}"),
      innocent: job(playbook: "{evaluation: {expected: 0.7}}")),
    Case(
      rule: .manyLayers, guilty: job(playbook: "{bisect: {layers: 0-63, width: 32}}"),
      innocent: job(playbook: "{bisect: {layers: 0-63, width: 5}}")),
    Case(
      rule: .onePrompt,
      guilty: job(
        dumps: "{layout: atom, slots: 1}", playbook: "{necessity: [a], components: {a: {on: {env: {A: 1}}}}}"),
      innocent: job(
        dumps: "{layout: atom, slots: 4}", playbook: "{necessity: [a], components: {a: {on: {env: {A: 1}}}}}")),
  ]

  @Test(arguments: cases.indices) func isFoundWhereItIsAndNotBesideIt(_ index: Int) throws {
    let tested = Self.cases[index]
    func rules(_ text: String) throws -> [AntiPattern.Rule] {
      let plan = try Planner.plan(text: text, path: "/job.yaml")
      if tested.rule.isRefused, AntiPattern.found(in: plan).contains(where: { $0.rule == tested.rule }) {
        #expect(throws: PlaybookError.self) { try AntiPattern.refuse(in: plan) }
      } else {
        try AntiPattern.refuse(in: plan)
      }
      return AntiPattern.found(in: plan).map(\.rule)
    }
    #expect(try rules(tested.guilty) == [tested.rule])
    #expect(try !rules(tested.innocent).contains(tested.rule))
  }

  @Test func everyRuleHasItsJob() {
    // The lowered threshold shows only against a score: HarnessTests. Unchecked weights show only in a store.
    let missing = Set(AntiPattern.Rule.allCases).subtracting(Self.cases.map(\.rule))
    #expect(missing == [.loweredThreshold, .uncheckedWeights])
    #expect(AntiPattern.uncheckedWeights(.bisect)?.rule == .uncheckedWeights)
    #expect(AntiPattern.uncheckedWeights(.weights) == nil)
  }
}
