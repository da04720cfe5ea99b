import Comparison
import Diagnosis
import OrderedCollections
import Planning
import Playbooks
import Testing

@Suite struct InvarianceTests {
  private func subject() throws -> Subject {
    let text = """
      name: sample
      matrix: {prompts: [same]}
      run: {command: engine}
      dumps: {layout: atom, slots: 4}
      compare: {mode: slots}
      playbook:
        invariance: {axis: prompts, single: single, same: same, positions: [p0, p1]}
      """
    return try Subject(Planner.plan(text: text, path: "/job.yaml"))
  }

  private func row(
    _ layer: Int, _ stage: String, slot: Int, off: Double, loop: Outcome.SequenceLoop? = nil
  ) -> Outcome.Row {
    Outcome.Row(
      layer: layer, stage: stage, tensor: "hidden", slot: slot, verdict: off > 0 ? .fail : .pass, cos: 1 - off * off,
      relL2: off, loop: loop)
  }

  /// - Parameter off: by what slot `slot` of a batch differs in layer 1's MoE; behind it ten times that.
  private func play(
    repeats: Double = 0, loops: [String: Outcome.SequenceLoop] = [:],
    off: @escaping (_ batch: String, _ slot: Int) -> Double
  ) throws -> (conclusion: Conclusion, steps: [Step]) {
    try Play.through(Invariance(subject())) { experiment in
      func pair(_ kind: String, _ batch: String, _ slots: [Int], _ figure: (Int) -> Double) -> Outcome.Pair {
        let rows = slots.flatMap {
          [
            row(0, "Attention", slot: $0, off: 0, loop: loops["Attention"]),
            row(1, "MoE", slot: $0, off: figure($0), loop: loops["MoE"]),
            row(2, "Attention", slot: $0, off: figure($0) * 20, loop: loops["Attention"]),
          ]
        }
        return Outcome.Pair(
          kind: kind, reference: [:], target: ["prompts": .string(batch)],
          verdict: Verdict.combined(rows.map(\.verdict)), rows: rows)
      }
      var pairs: [Outcome.Pair] = []
      if experiment.change.positions == nil {
        #expect(experiment.change.repetitions == 2)
        pairs = [pair("repeat", "same", [0], { _ in repeats }), pair("slots", "same", [1, 2, 3]) { off("same", $0) }]
      } else {
        #expect(experiment.change.cells.map { $0["prompts"]?.description } == ["single", "p0", "p1"])
        #expect(experiment.change.positions == [0, 1])
        pairs = [0, 1].map { slot in pair("slots", "p\(slot)", [slot]) { off("p\(slot)", $0) } }
      }
      var outcome = Play.outcome(
        experiment, Verdict.combined(pairs.filter { $0.kind != "repeat" }.map(\.verdict)))
      outcome.pairs = pairs
      return outcome
    }
  }

  @Test func theSameBytesEverywhereIsNoBug() throws {
    let (conclusion, steps) = try play { _, _ in 0 }
    #expect(conclusion.kind == "no-bug")
    #expect(conclusion.verdict == .pass)
    #expect(steps.count == 2)
  }

  @Test func aRunThatDiffersFromItselfEndsIt() throws {
    let (conclusion, steps) = try play(repeats: 1e-3) { _, _ in 0 }
    #expect(conclusion.kind == "nondeterministic")
    #expect(conclusion.layer == 1)
    #expect(steps.count == 1)
  }

  @Test func slotsThatDifferByRoundingAreTheKernelStack() throws {
    let (conclusion, _) = try play { _, slot in slot == 0 ? 0 : 1e-3 }
    #expect(conclusion.kind == "batch-variance")
    #expect(conclusion.summary.contains("kernel stack, not a model bug"))
    #expect(conclusion.layer == 1 && conclusion.stage == "MoE")
    #expect(conclusion.evidence.contains { $0.hasPrefix("Amplification: layer 1 MoE cos") && $0.contains("→ layer 2") })
    #expect(conclusion.evidence.contains { $0.contains("split-K") })
    #expect(conclusion.evidence.contains { $0.contains("20 times") })
  }

  @Test func theSizeOfTheBatchIsToldFromThePosition() throws {
    let (size, _) = try play { batch, _ in batch == "same" ? 0 : 1e-3 }
    #expect(size.summary.contains("size of the batch"))
    let (position, _) = try play { batch, _ in batch == "p1" ? 1e-3 : 0 }
    #expect(position.summary.contains("position or the neighbours"))
  }

  @Test func aStageThatRunsOncePerSequenceIsNamedAndNoSplitK() throws {
    let (loop, _) = try play(loops: ["MoE": .stage]) { _, slot in slot == 0 ? 0 : 1e-3 }
    #expect(loop.kind == "batch-variance")
    #expect(loop.evidence.first == "MoE: one call for each sequence; those calls are the slots.")
    #expect(loop.evidence.contains { $0.contains("no kernel in it sees the batch") })
    #expect(!loop.evidence.contains { $0.contains("split-K") })
    // A loop elsewhere says nothing of the first stage that differs.
    let (other, _) = try play(loops: ["Attention": .stage]) { _, slot in slot == 0 ? 0 : 1e-3 }
    #expect(other.evidence.contains { $0.contains("split-K") })
    #expect(other.evidence.first == "Attention: one call for each sequence; those calls are the slots.")
  }

  @Test func aModelThatRunsOncePerSequenceKeepsState() throws {
    let (conclusion, _) = try play(loops: ["MoE": .model, "Attention": .model]) { _, slot in slot == 0 ? 0 : 1e-3 }
    #expect(conclusion.kind == "slot-state")
    #expect(conclusion.layer == 1 && conclusion.stage == "MoE")
    let (clean, _) = try play(loops: ["MoE": .model, "Attention": .model]) { _, _ in 0 }
    #expect(clean.kind == "no-bug")
    #expect(clean.evidence.first == "The whole model runs once for each sequence; those calls are the slots.")
  }

  @Test func moreThanRoundingIsABugOfThePathForSeveralSequences() throws {
    let (conclusion, _) = try play { _, slot in slot == 0 ? 0 : 0.7 }
    #expect(conclusion.kind == "slot-bug")
  }

  @Test func expertsThatDropFurtherThanAttentionAreNamed() throws {
    func play(_ stages: [(Int, String, Double)]) throws -> Conclusion {
      try Play.through(Invariance(subject())) { experiment in
        let rows = stages.map { row($0.0, $0.1, slot: 1, off: $0.2) }
        var outcome = Play.outcome(experiment, .fail)
        outcome.pairs = [Outcome.Pair(kind: "slots", reference: [:], target: [:], verdict: .fail, rows: rows)]
        if experiment.change.positions == nil {
          outcome.pairs.append(
            Outcome.Pair(
              kind: "repeat", reference: [:], target: [:], verdict: .pass, rows: [row(0, "Attention", slot: 0, off: 0)])
          )
        }
        return outcome
      }.conclusion
    }
    let experts = try play([(0, "Attention", 0.001), (0, "MoE", 0.01), (1, "Attention", 0.02)]).evidence
    #expect(experts.contains { $0.contains("layer 0 MoE drops 10 times as far as attention") }, "\(experts)")
    let alike = try play([(0, "Attention", 0.01), (0, "MoE", 0.011)]).evidence
    #expect(!alike.contains { $0.contains("times as far") })
    let head = try play([(0, "Attention", 0.01), (1, "MoE", 0.02), (1, "LMHead", 0.03)]).evidence
    #expect(head.contains { $0.contains("only tokens of nearly equal confidence flip") }, "\(head)")
    let far = try play([(0, "Attention", 0.01), (1, "MoE", 0.09), (1, "LMHead", 0.09)]).evidence
    #expect(!far.contains { $0.contains("nearly equal confidence") })
  }

  /// E1 is a question of slots; without it the prompt would never be held against itself.
  @Test func aJobThatComparesNoSlotsIsRefused() throws {
    let subject = try Subjects.subject(
      matrix: "{prompts: [other, same]}", reference: "{prompts: other}",
      playbook: "invariance: {axis: prompts, single: single, same: same, positions: [p0]}")
    let error = #expect(throws: PlaybookError.self) { try Invariance(subject) }
    #expect(error?.message.contains("compare.mode: slots") == true)
    let (conclusion, _) = try Play.through(Invariance(self.subject())) { experiment in
      var outcome = Play.outcome(experiment, .pass)
      outcome.pairs = [
        Outcome.Pair(
          kind: "repeat", reference: [:], target: [:], verdict: .pass, rows: [row(0, "Attention", slot: 0, off: 0)])
      ]
      return outcome
    }
    #expect(conclusion.verdict == .inconclusive, "slots that were not compared are no PASS")
  }

  @Test func theNoteShowsEveryExperiment() throws {
    let (conclusion, steps) = try play { batch, _ in batch == "p1" ? 1e-3 : 0 }
    let note = PlaybookReport(id: "x", name: "invariance", job: "sample", steps: steps, conclusion: conclusion).note(2)
    #expect(note.contains("### prompts=p0 against the reference: PASS"), "\(note)")
    #expect(note.contains("### prompts=p1 against the reference: FAIL"))
    #expect(note.contains("prompts=p1") && note.contains("| layer 1 MoE slot 1 |"))
  }
}
