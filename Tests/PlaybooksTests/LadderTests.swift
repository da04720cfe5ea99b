import Comparison
import Diagnosis
import OrderedCollections
import Planning
import Playbooks
import Testing

@Suite struct LadderTests {
  private func conclusion(
    strategies: [String] = [], verdict: @escaping (Experiment) -> Verdict
  ) throws -> (conclusion: Conclusion, steps: [Step]) {
    let subject = try Subjects.ladder(strategies: strategies)
    return try Play.through(Ladder(subject)) { Play.outcome($0, verdict($0)) }
  }

  /// The world size that an experiment runs beside the reference.
  private func size(_ experiment: Experiment) -> Int {
    guard case .int(let size) = experiment.change.cells.last?["world_size"] else { return 0 }
    return size
  }

  @Test func whatIsRightEverywhereIsNoBug() throws {
    let (conclusion, steps) = try conclusion { _ in .pass }
    #expect(conclusion.verdict == .pass)
    #expect(conclusion.kind == "no-bug")
    #expect(steps.map(\.experiment.step) == ["world_size-2", "world_size-4", "world_size-8"])
  }

  @Test func wrongFromTheFirstRungOnIsStructural() throws {
    let (conclusion, steps) = try conclusion { size($0) >= 2 ? .fail : .pass }
    #expect(conclusion.kind == "structural")
    #expect(conclusion.subject == "world_size=2")
    #expect(steps.count == 1, "it stops at the first that breaks")
  }

  @Test func wrongOnlyLaterIsDivisibility() throws {
    let (conclusion, _) = try conclusion { size($0) >= 8 ? .fail : .pass }
    #expect(conclusion.kind == "divisibility")
    #expect(conclusion.subject == "world_size=8")
  }

  @Test func whereNoOtherStrategyIsNamedThatIsSaid() throws {
    let (conclusion, _) = try conclusion { size($0) >= 2 ? .fail : .pass }
    #expect(conclusion.evidence.contains { $0.contains("No other all-reduce strategy was tried") })
  }

  /// A ladder without the rungs between does not tell structure from divisibility.
  @Test func aMissingRungIsNoStructuralBug() throws {
    let subject = try Subjects.subject(matrix: "{world_size: [1, 8]}")
    let (conclusion, _) = try Play.through(Ladder(subject)) { Play.outcome($0, .fail) }
    #expect(conclusion.kind == "sharding")
    #expect(conclusion.verdict == .fail)
    #expect(conclusion.summary.contains("nothing between them was run"))
    #expect(conclusion.next.contains("Add the values between"))
  }

  /// A rung suggests a cause, and the dumps may name another.
  @Test func theSentenceFollowsTheCauseThatTheDumpsName() throws {
    func play(_ cause: String, from first: Int, sizes: String = "[1, 2, 4, 8]", isSure: Bool = true) throws
      -> Conclusion
    {
      var finding = Play.finding(cause, layer: 3, stage: "MoE")
      if !isSure { finding.confidence = .possible }
      let subject = try Subjects.subject(matrix: "{world_size: \(sizes)}")
      return try Play.through(Ladder(subject)) { experiment in
        size(experiment) >= first
          ? Play.outcome(experiment, .fail, findings: [finding]) : Play.outcome(experiment, .pass)
      }.conclusion
    }
    let later = try play("double-reduce", from: 4)
    #expect(later.kind == "divisibility", "the values at which it is wrong")
    #expect(later.summary.contains("the dumps name double-reduce in layer 3 MoE"))
    #expect(!later.summary.contains("divi"))
    #expect(later.cause == "double-reduce")
    #expect(later.next == "Look at double-reduce.")
    let odd = try play("nondeterminism", from: 2)
    #expect(odd.kind == "structural")
    #expect(!odd.summary.contains("structural"))
    let apart = try play("double-reduce", from: 8, sizes: "[1, 8]")
    #expect(apart.kind == "sharding" && apart.summary.contains("the dumps name double-reduce"))
    // What the rung suggests, and what the dumps leave open.
    #expect(try play("double-reduce", from: 2).kind == "structural")
    #expect(try play("divisibility", from: 4).kind == "divisibility")
    #expect(try play("double-reduce", from: 4, isSure: false).kind == "divisibility")
  }

  /// Where the reference is no cell, the lowest rung is under suspicion like any other.
  @Test func wrongAtWorldSizeOneIsNotSharding() throws {
    func play(_ sizes: String, wrong: Set<Int>) throws -> Conclusion {
      let subject = try Subjects.subject(matrix: "{world_size: \(sizes)}", reference: "/")
      return try Play.through(Ladder(subject)) { Play.outcome($0, wrong.contains(size($0)) ? .fail : .pass) }.conclusion
    }
    #expect(try play("[1, 2, 4]", wrong: [1, 2, 4]).kind == "not-world_size")
    #expect(try play("[2, 4]", wrong: [2, 4]).kind == "from-the-lowest")
    #expect(try play("[1, 2, 4]", wrong: [4]).kind == "divisibility")
    #expect(try play("[1, 2, 4]", wrong: []).kind == "no-bug")
  }

  @Test func theAllReduceIsTriedBeforeTheModelIsBlamed() throws {
    let strategies = ["one-shot", "tree"]
    let (right, steps) = try conclusion(strategies: strategies) { experiment in
      size(experiment) >= 4 && experiment.change.target.first?.arguments != ["--tree"] ? .fail : .pass
    }
    #expect(right.kind == "all-reduce-strategy")
    #expect(right.subject == "tree")
    #expect(steps.map(\.experiment.step) == ["world_size-2", "world_size-4", "strategy-one-shot", "strategy-tree"])
    let (wrong, _) = try conclusion(strategies: strategies) { size($0) >= 4 ? .fail : .pass }
    #expect(wrong.kind == "divisibility")
    #expect(wrong.evidence.contains("With tree it is wrong as well."))
  }

  @Test func noAnswerIsNoPass() throws {
    let (conclusion, _) = try conclusion { size($0) == 4 ? .inconclusive : .pass }
    #expect(conclusion.verdict == .inconclusive)
    let subject = try Subjects.ladder()
    let (failed, _) = try Play.through(Ladder(subject)) {
      Play.outcome($0, .pass, failed: ["run x failed: exit code 7"])
    }
    #expect(failed.verdict == .inconclusive)
    #expect(failed.kind == "run-failed")
  }

  @Test func aJobWithNothingToClimbIsRefused() throws {
    let flat = try Subjects.subject(matrix: "{backend: [eager, split]}", reference: "{backend: eager}")
    #expect(throws: PlaybookError.self) { try Ladder(flat) }
    #expect(throws: PlaybookError.self) { try Subjects.subject(matrix: "{world_size: [1]}") }
  }
}
