import Comparison
import Planning
import Playbooks
import Testing

@Suite struct TriageTests {
  private static let capital = Triage.prompts[0]

  @Test(arguments: [
    (" Paris, which is a large city.", Triage.Kind.right), (" Paris", .right), (" the city of Paris.", .right),
    (" Berlin.", .firstToken), ("", .firstToken), (" !!!!!!!!!!!!!!!!!!!!!!", .firstToken),
    (" Paris the the the the the the the the the", .later), (" Paris!!!!!!!!!!!!!!!!!!!!!!!!", .later),
  ]) func anAnswerIsToldApart(_ text: String, _ kind: Triage.Kind) {
    #expect(Triage.kind(of: text, to: Self.capital) == kind)
    #expect(Triage.kind(of: nil, to: Self.capital) == .unanswered)
  }

  private func evidence(_ text: String, reference: String? = nil) -> TriageEvidence {
    TriageEvidence(answers: [.init(prompt: Self.capital, text: text, referenceText: reference)])
  }

  @Test func theTreeGoesFromTheTokenToThePart() {
    #expect(Triage(evidence(" Paris.")).conclusion.kind == "no-bug")
    var wrong = evidence(" Berlin.", reference: " Paris.")
    #expect(Triage(wrong).conclusion.kind == "prefill")
    #expect(Triage(wrong).verdict == .fail)
    #expect(Triage(evidence(" Paris the the the the the the the the the")).conclusion.kind == "decode")

    // An open prompt cannot tell where it began.
    var open = evidence(" Paris the the the the the the the the the")
    open.answers.append(.init(prompt: Triage.prompts[3], text: " man the the the the the the the the the the the the"))
    #expect(Triage(open).conclusion.kind == "decode")

    wrong.embedding = .init(.right, "All rows.")
    wrong.head = .init(.wrong, "cos 0.3")
    #expect(Triage(wrong).conclusion.kind == "lm-head")
    wrong.embedding = .init(.wrong, "3 of 5 rows")
    #expect(Triage(wrong).conclusion.kind == "embedding", "the earlier part comes first")
    wrong.head = .init(.nonFinite, "row 0")
    #expect(Triage(wrong).conclusion.kind == "non-finite")
    wrong.embedding = .init(.right, "All rows.")
    wrong.head = .init(.right, "The product.")
    let layers = Triage(wrong).conclusion
    #expect(layers.kind == "prefill" && layers.subject == "transformer-layers")
    #expect(layers.next.contains("rollcall playbook bisect"))
    #expect(Triage(evidence(" Berlin.", reference: " Rome.")).conclusion.kind == "upstream")
  }

  @Test func whatIsNotKnownIsNoPass() {
    #expect(Triage(TriageEvidence(healthProblem: "connection refused")).verdict == .inconclusive)
    var silent = evidence("")
    silent.answers[0].text = nil
    silent.answers[0].problem = "500"
    #expect(Triage(silent).conclusion.kind == "no-answer")
    var unstable = evidence(" Paris.")
    unstable.answers[0].isUnstable = true
    #expect(Triage(unstable).conclusion.kind == "nondeterministic")
    var unread = evidence(" Paris.")
    unread.logs.problems = ["server.log: cannot be read"]
    #expect(Triage(unread).verdict == .inconclusive)
    var damaged = evidence(" Paris.")
    damaged.head = .init(.wrong, "cos 0.3")
    #expect(Triage(damaged).verdict == .fail, "right answers do not outweigh a wrong product")
  }

  @Test func aFallbackInTheLogIsNamed() {
    var found = evidence(" Paris.")
    found.logs.scan(
      """
      INFO fallback: disabled
      INFO started with 0 errors
      [aiter] failed jit build [module_quant], retrying
      WARNING falling back to the triton kernel
      WARNING falling back to the triton kernel
      """, file: "server.log")
    #expect(found.logs.hits.map(\.line) == [3, 4])
    #expect(found.logs.hits.map(\.rule) == [.failedJIT, .fallback])
    #expect(found.logs.counts["fallback"] == 2)
    #expect(Triage(found).conclusion.kind == "fallback")
    found.answers[0].text = " Berlin."
    #expect(Triage(found).conclusion.subject == "failed-jit-build")
  }

  // MARK: As a playbook

  private func plan() throws -> Plan {
    try Planner.plan(
      text: """
        name: sample
        matrix: {world_size: [1, 2]}
        run: {command: engine}
        dumps: {layout: atom}
        compare: {reference: {world_size: 1}}
        playbook:
          triage: {url: "http://127.0.0.1:1", model: tiny}
          bisect: {layers: 0-3}
        """, path: "/job.yaml")
  }

  /// - Parameter wrongLayer: the layer that a dump shows to be wrong.
  private func play(
    bisects: Bool, answer: String, health: String? = nil, wrongLayer: Int? = nil
  ) throws -> (conclusion: Conclusion, steps: [Step]) {
    try Play.through(TriagePlaybook(plan(), bisects: bisects)) { experiment in
      guard let look = experiment.look else {
        let rows = (0..<4).map { layer in
          Outcome.Row(
            layer: layer, stage: "Block", tensor: "hidden", verdict: layer >= wrongLayer ?? .max ? .fail : .pass)
        }
        return Play.outcome(experiment, Verdict.combined(rows.map(\.verdict)), rows: rows)
      }
      var seen = TriageEvidence(healthProblem: health)
      switch look {
      case .completions: if health == nil { seen.answers = evidence(answer).answers }
      case .logs: seen.logs.scan("all is well", file: "server.log")
      case .ends: seen.embedding = .init(.right, "All rows.")
      case .schema: Issue.record("a triage looks at no weights")
      }
      return Outcome(look, seen)
    }
  }

  @Test func threeLooksAndNoRun() throws {
    let (right, steps) = try play(bisects: false, answer: " Paris.")
    #expect(right.kind == "no-bug")
    #expect(steps.map(\.experiment.step) == ["completions", "logs", "embedding-and-lm-head"])
    #expect(steps.map(\.outcome.verdict) == [.pass, .pass, .inconclusive], "the head was not looked at")
    #expect(right.evidence.contains("Embedding: All rows."), "the third look is evidence, too")
    let (wrong, _) = try play(bisects: false, answer: " Berlin.")
    #expect(wrong.kind == "prefill")
    let (absent, one) = try play(bisects: true, answer: "", health: "connection refused")
    #expect(absent.kind == "not-served")
    #expect(one.count == 1)
  }

  @Test func wrongAnswersGoOnToTheLayerAndStayWrong() throws {
    let (located, steps) = try play(bisects: true, answer: " Berlin.", wrongLayer: 2)
    #expect(located.kind == "located")
    #expect(located.layer == 2)
    #expect(located.evidence.first?.hasPrefix("1 of 1 known answers are wrong") == true)
    #expect(steps.count > 3)
    let (unlocated, _) = try play(bisects: true, answer: " Berlin.")
    #expect(unlocated.verdict == .fail, "layers that agree do not make wrong answers right")
    #expect(unlocated.kind == "prefill")
    let (right, looks) = try play(bisects: true, answer: " Paris.", wrongLayer: 2)
    #expect(right.verdict == .pass)
    #expect(looks.count == 3)
  }

  @Test func theNotesOfLooksNameNoSweep() throws {
    let (conclusion, steps) = try play(bisects: false, answer: " Berlin.")
    let report = PlaybookReport(id: "x", name: "triage", job: "sample", steps: steps, conclusion: conclusion)
    #expect(report.note(1).contains("- \"The capital of France is\""))
    #expect(!report.markdown().contains("sweep"))
    #expect(try report.json().contains("\"evidence\""))
    #expect(try !report.json().contains("\"sweep\""))
  }
}
