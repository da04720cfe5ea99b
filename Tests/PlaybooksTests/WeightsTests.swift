import Comparison
import Planning
import Playbooks
import Testing

@Suite struct WeightsTests {
  private func play(_ change: (inout Outcome) -> Void) throws -> Conclusion {
    let text = """
      name: sample
      matrix: {world_size: [1, 2]}
      run: {command: engine}
      dumps: {layout: weights}
      compare: {reference: {world_size: 1}}
      """
    let subject = try Subject(Planner.plan(text: text, path: "/job.yaml"))
    return try Play.through(Weights(subject)) { experiment in
      var outcome = Play.outcome(experiment, .pass)
      outcome.pairs[0].rows = [
        Outcome.Row(layer: 0, stage: "weights", tensor: "q", verdict: .pass, isByteEqual: true),
        Outcome.Row(layer: 1, stage: "weights", tensor: "q", verdict: .pass, isByteEqual: true),
      ]
      change(&outcome)
      return outcome
    }.conclusion
  }

  @Test func equalBytesAreNoBug() throws {
    let conclusion = try play { _ in }
    #expect(conclusion.verdict == .pass)
    #expect(conclusion.summary.contains("2 agree, byte for byte"))
  }

  @Test func namesComeBeforeNumbers() throws {
    let conclusion = try play { outcome in
      outcome.verdict = .fail
      outcome.pairs[0].unmatched = ["layer 0 weights k is on the reference's side only"]
      outcome.pairs[0].rows[1].verdict = .fail
    }
    #expect(conclusion.kind == "schema")
  }

  @Test func lostFilesAreNoSchema() throws {
    let conclusion = try play { outcome in
      outcome.verdict = .inconclusive
      outcome.pairs[0].unmatched = ["layer 0 weights k"]
      outcome.pairs[0].findings = [Play.finding("incomplete-ranks")]
    }
    #expect(conclusion.verdict == .inconclusive)
  }

  @Test func wrongSlicesAreToldFromWrongBytes() throws {
    for (cause, kind) in [("duplicate-shard", "tensor-parallel-rule"), ("weight-shuffle", "bytes")] {
      let conclusion = try play { outcome in
        outcome.verdict = .fail
        outcome.pairs[0].rows[1].verdict = .fail
        outcome.pairs[0].findings = [Play.finding(cause, layer: 1, stage: "weights")]
      }
      #expect(conclusion.kind == kind)
      #expect(conclusion.layer == 1)
    }
  }

  @Test func aJobWithoutWeightsIsRefused() throws {
    let subject = try Subjects.subject()
    #expect(throws: PlaybookError.self) { try Weights(subject) }
  }
}
