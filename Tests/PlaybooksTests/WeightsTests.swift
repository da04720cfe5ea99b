import Comparison
import Planning
import Playbooks
import Testing

@Suite struct WeightsTests {
  private typealias Finding = WeightsEvidence.Finding

  private func subject(_ more: String = "", playbook: String = "{}") throws -> Subject {
    let text = """
      name: sample
      matrix: {world_size: [1, 2]}
      run: {command: engine}
      dumps: {layout: weights}
      compare: {reference: {world_size: 1}\(more)}
      playbook: \(playbook)
      """
    return try Subject(Planner.plan(text: text, path: "/job.yaml"))
  }

  /// Two sides that hold the same four weights, changed.
  private func play(
    playbook: String = "{}", sweep: (inout Outcome) -> Void = { _ in }, _ change: (inout WeightsEvidence) -> Void
  ) throws -> (conclusion: Conclusion, steps: [Step]) {
    try Play.through(Weights(subject(playbook: playbook))) { experiment in
      guard experiment.look == .schema else {
        // What the comparison by noise says of types and shuffles does not matter.
        var outcome = Play.outcome(experiment, .fail)
        sweep(&outcome)
        return outcome
      }
      var evidence = WeightsEvidence()
      evidence.common = 4
      evidence.byteEqual = ["layers.0.q.weight", "layers.0.o.weight", "layers.0.norm.weight", "layers.1.q.weight"]
      change(&evidence)
      var outcome = Outcome(evidence)
      outcome.sweep = "x"
      return outcome
    }
  }

  private func finding(
    _ cause: String, _ confidence: Finding.Confidence, _ tensors: String...
  ) -> Finding {
    Finding(
      cause: cause, confidence: confidence, tensors: tensors, isInTarget: true, summary: "It looks like \(cause).",
      next: "Look.")
  }

  @Test func equalBytesAreNoBug() throws {
    let (conclusion, steps) = try play { $0.slices = ["column": 2, "row": 1, "replicated": 1] }
    #expect(conclusion.verdict == .pass && conclusion.kind == "no-bug")
    #expect(conclusion.summary.contains("4 of 4 byte for byte"))
    #expect(conclusion.evidence.contains("Slices: 2 column, 1 replicated, 1 row."))
    #expect(steps.map(\.experiment.step) == ["weights", "schema"])
    #expect(steps[1].outcome.verdict == .pass)
  }

  @Test func namesComeBeforeNumbers() throws {
    let (conclusion, _) = try play {
      $0.schema = ["only in the reference: layers.0.k.weight"]
      $0.unequal = ["layers.0.o.weight"]
      $0.findings = [finding("duplicate-shard", .certain, "layers.0.o.weight")]
    }
    #expect(conclusion.kind == "schema" && conclusion.verdict == .fail)
    #expect(conclusion.evidence.first == "only in the reference: layers.0.k.weight")
    let (lost, _) = try play {
      $0.schema = ["only in the reference: layers.0.k.weight"]
      $0.unreadable = ["weight_rank1_layer0.pt: is cut off"]
    }
    #expect(lost.verdict == .inconclusive && lost.kind == "unreadable", "names may stand in the file that was lost")
  }

  @Test(arguments: [
    ("duplicate-shard", "tensor-parallel-rule"), ("rank-order", "tensor-parallel-rule"),
    ("head-map", "tensor-parallel-rule"), ("weight-shuffle", "bytes"), ("missing-weight", "bytes"),
  ]) func wrongSlicesAreToldFromWrongBytes(_ cause: String, _ kind: String) throws {
    let (conclusion, _) = try play {
      $0.unequal = ["layers.1.q.weight"]
      $0.findings = [finding(cause, .likely, "layers.1.q.weight")]
    }
    #expect(conclusion.kind == kind && conclusion.cause == cause)
    #expect(conclusion.layer == 1)
  }

  @Test func valuesThatNothingExplainsAreWrong() throws {
    let (conclusion, _) = try play {
      $0.unequal = ["layers.0.o.weight"]
      $0.unexplained = $0.unequal
    }
    #expect(conclusion.verdict == .fail && conclusion.kind == "bytes")
    #expect(conclusion.layer == 0 && conclusion.subject == "layers.0.o.weight")
  }

  @Test func whatIsLostBetweenTypesIsNotRight() throws {
    let (cast, _) = try play {
      $0.byteEqual.removeAll { $0.contains("norm") }
      $0.equalAfterCast = ["layers.0.norm.weight"]
      $0.findings = [finding("dtype-change", .possible, "layers.0.norm.weight")]
    }
    #expect(cast.verdict == .pass, "a norm in another type with equal values")
    #expect(cast.evidence.contains { $0.contains("1 equal as another type") })
    func rounded(_ playbook: String) throws -> Conclusion {
      try play(playbook: playbook) {
        $0.unequal = ["layers.0.norm.weight"]
        $0.findings = [finding("dtype-change", .possible, "layers.0.norm.weight")]
      }.conclusion
    }
    let unsaid = try rounded("{}")
    #expect(unsaid.verdict == .inconclusive && unsaid.kind == "dtype-change")
    #expect(unsaid.next.contains("playbook.weights.rounded"))
    #expect(try rounded("{weights: {rounded: '*.norm.weight'}}").verdict == .pass)
    #expect(try rounded("{weights: {rounded: '*.other.weight'}}").verdict == .inconclusive)
  }

  @Test func aShuffleIsRightOnlyWhereTheJobSaysSo() throws {
    func shuffled(_ playbook: String, _ name: String = "rank1/layers.0.q.weight") throws -> Conclusion {
      try play(playbook: playbook) {
        $0.byteEqual.removeAll { $0 == "layers.0.q.weight" }
        $0.unequal = [name]
        $0.findings = [finding("weight-shuffle", .possible, name)]
      }.conclusion
    }
    let unsaid = try shuffled("{}")
    #expect(unsaid.verdict == .inconclusive && unsaid.kind == "weight-shuffle")
    #expect(unsaid.next.contains("playbook.weights.shuffled"))
    #expect(try shuffled("{weights: {shuffled: ['layers.*.k.weight', 'layers.0.q*']}}").verdict == .pass)
    // Named as shuffled, and it is not: the kernel reads garbage.
    let plain = try shuffled("{weights: {shuffled: ['layers.*.q.weight']}}")
    #expect(plain.verdict == .fail && plain.kind == "not-shuffled")
    #expect(plain.layer == 1)
    #expect(try shuffled("{weights: {shuffled: 'layers.0.*'}}", "layers.0.o.weight").kind == "not-shuffled")
  }

  /// The checkpoint is what is shuffled as seen from the target: no kernel's order.
  @Test func aShuffleTheWrongWayRoundIsNotMeant() throws {
    for (playbook, kind, verdict) in [
      ("{weights: {shuffled: '*.q.weight'}}", "not-shuffled", Verdict.fail), ("{}", "weight-shuffle", .inconclusive),
    ] {
      let (conclusion, _) = try play(playbook: playbook) {
        $0.byteEqual = ["layers.0.norm.weight"]
        var turned = finding("weight-shuffle", .possible, "layers.0.q.weight")
        turned.isInTarget = false
        $0.findings = [turned]
      }
      #expect(conclusion.kind == kind && conclusion.verdict == verdict)
    }
  }

  @Test func whatIsNotKnownIsNoPass() throws {
    let changes: [(inout WeightsEvidence) -> Void] = [
      { $0 = WeightsEvidence(problem: "no file") }, { $0 = WeightsEvidence() }, { $0.unreadable = ["x: is cut off"] },
      { $0.findings = [finding("float8-variant", .possible, "layers.0.q.weight")] },
    ]
    for change in changes {
      let conclusion = try play(change).conclusion
      #expect(conclusion.verdict == .inconclusive)
    }
    let stale = try play(sweep: { $0.pairs[0].findings = [Play.finding("stale-dump")] }, { _ in })
    #expect(stale.conclusion.kind == "stale-dump" && stale.conclusion.verdict == .inconclusive)
    #expect(stale.steps.count == 1)
    let failed = try play(sweep: { $0.failedRuns = ["run x failed"] }, { _ in })
    #expect(failed.conclusion.kind == "run-failed")
  }

  // MARK: Where names are joined by rules

  private func joined(_ change: (inout Outcome) -> Void) throws -> Conclusion {
    let rules = ", names: {reference: 'a{n}', target: 'b{n}'}"
    let (conclusion, steps) = try Play.through(Weights(subject(rules))) { experiment in
      var outcome = Play.outcome(experiment, .pass)
      outcome.pairs[0].rows = [
        Outcome.Row(layer: 0, stage: "weights", tensor: "q", verdict: .pass, isByteEqual: true),
        Outcome.Row(layer: 1, stage: "weights", tensor: "q", verdict: .pass, isByteEqual: true),
      ]
      change(&outcome)
      return outcome
    }
    #expect(steps.count == 1)
    return conclusion
  }

  @Test func joinedNamesAreJudgedByTheSweep() throws {
    let equal = try joined { _ in }
    #expect(equal.verdict == .pass && equal.summary.contains("2 agree, byte for byte"))
    let schema = try joined { outcome in
      outcome.verdict = .fail
      outcome.pairs[0].unmatched = ["layer 0 weights k is on the reference's side only"]
      outcome.pairs[0].rows[1].verdict = .fail
    }
    #expect(schema.kind == "schema")
    for (cause, kind) in [("duplicate-shard", "tensor-parallel-rule"), ("weight-shuffle", "bytes")] {
      let wrong = try joined { outcome in
        outcome.verdict = .fail
        outcome.pairs[0].rows[1].verdict = .fail
        outcome.pairs[0].findings = [Play.finding(cause, layer: 1, stage: "weights")]
      }
      #expect(wrong.kind == kind && wrong.layer == 1)
    }
    let lost = try joined { outcome in
      outcome.verdict = .inconclusive
      outcome.pairs[0].unmatched = ["layer 0 weights k"]
      outcome.pairs[0].findings = [Play.finding("incomplete-ranks")]
    }
    #expect(lost.verdict == .inconclusive)
  }

  @Test func aJobWithoutWeightsIsRefused() throws {
    let subject = try Subjects.subject()
    #expect(throws: PlaybookError.self) { try Weights(subject) }
  }
}
