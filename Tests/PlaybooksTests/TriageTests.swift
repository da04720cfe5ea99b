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
}
