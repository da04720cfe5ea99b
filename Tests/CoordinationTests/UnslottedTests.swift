import Alignment
import Comparison
import Coordination
import Dumps
import Reporting
import TestSupport
import Testing

/// Tensors of a batch that are not by token have no slots; the others are judged without them.
@Suite(.timeLimit(.minutes(30))) struct UnslottedTests {
  /// A batch of four sequences of five tokens, the same in each, and `more` beside it.
  private func report(_ scratch: Scratch, _ more: String, tokens: Int = 20) async throws -> ComparisonReport {
    try await runPython(
      """
      import numpy, sys
      from numpy import *
      random = numpy.random.default_rng(1)
      tokens = int(sys.argv[3])
      hidden = tile(random.random((tokens // 4, 8)), (5, 1))[:tokens]
      for call in range(2):
          for stage, value in {"Block": hidden, "Attention": hidden, **eval(sys.argv[2])}.items():
              save(f"{sys.argv[1]}/layer00_{stage}_rank0_call00{call}.npy", value)
      """, [scratch.path, more, "\(tokens)"])
    return try await DumpComparer.compareSlots(
      set: try DumpSetLoader.load(directory: scratch.path, layout: .npy), slots: 4, selection: .number(1))
  }

  @Test(arguments: [
    "{'Load': arange(6.0)}", "{'Load': arange(8.0)}", "{'Offsets': arange(5)}", "{'Scale': array(1.5)}",
    "{'Weights': random.random((7, 3))}",
  ])
  func theRestIsJudged(_ more: String) async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, more)
      #expect(report.verdict == .pass, "\(report.notes) \(report.findings)")
      #expect(Set(report.rows.map(\.stage)) == ["Block", "Attention"])
      #expect(report.notes.contains { $0.contains("not comparable by slot") && $0.contains("is not by token") })
      #expect(report.coverage.unmatched == [])
      let entry = report.coverage.ledger?.target.entries.first { $0.reason == .notMeasured }
      #expect(entry?.why?.contains("is not by token (the batch has 20)") == true, "\(String(describing: entry))")
    }
  }

  /// Padded rows, and slots that the batch does not have, may be tokens.
  @Test(arguments: [("{'Padded': random.random((22, 8))}", 20), ("{}", 22)])
  func whatMayBeTokensIsNoPass(_ more: String, _ tokens: Int) async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, more, tokens: tokens)
      #expect(report.verdict == .inconclusive, "\(report.notes)")
      #expect(report.coverage.unmatched.allSatisfy { $0.contains("cannot be cut into 4 slots") })
      #expect(!report.coverage.unmatched.isEmpty)
    }
  }

  /// `[heads, tokens]` is cut where its tokens are.
  @Test(arguments: [6, 8]) func tokensInAnotherDimensionAreJudged(heads: Int) async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, "{'Lse': tile(random.random((\(heads), 5)), (1, 4))}")
      #expect(report.verdict == .pass, "\(report.notes) \(report.findings)")
      #expect(report.rows.filter { $0.stage == "Lse" }.map(\.shape) == Array(repeating: [5, heads], count: 3))
    }
  }

  /// A hidden size, or a vocabulary's share, that is the number of tokens.
  @Test(arguments: [1, 10]) func aWidthOfAsManyAsTheTokensIsNoDimensionOfTokens(rows: Int) async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, "{'Wide': tile(random.random((\(rows), 20)), (4, 1))}")
      #expect(report.verdict == .pass, "\(report.notes) \(report.coverage.unmatched)")
      #expect(report.rows.filter { $0.stage == "Wide" }.map(\.shape) == Array(repeating: [rows, 20], count: 3))
    }
  }

  /// Slots that differ along a dimension that may be another's are neither a PASS nor an alarm.
  @Test(arguments: [
    "{'Lse': tile(random.random((6, 5)), (1, 4)) + (arange(20) == 13)}",
    "{'Lse': tile(random.random((4, 5)), (1, 4))}", "{'Positions': arange(60).reshape(3, 20)}",
    "{'Flat': random.random((6, 40))}", "{'Padded': random.random((42, 8))}",
    "{'Padded': concatenate([hidden, zeros((4, 8))])}",
  ])
  func tokensThatCannotBeToldApartLeaveTheVerdictOpen(_ more: String) async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, more)
      #expect(report.verdict == .inconclusive, "\(report.notes)")
      #expect(report.findings.isEmpty, "\(report.findings)")
      #expect(report.coverage.unmatched.count == 1, "\(report.coverage.unmatched)")
    }
  }

  @Test func rowsOfEachSequenceAndOfEachTokenAreJudged() async throws {
    try await Scratch.with { scratch in
      let report = try await report(
        scratch, "{'Logits': ones((4, 9)), 'Last': ones((8, 9)), 'Chosen': ones((40, 3)), 'Ids': zeros(20)}")
      #expect(report.verdict == .pass, "\(report.notes)")
      #expect(Set(report.rows.map(\.stage)) == ["Block", "Attention", "Logits", "Last", "Chosen", "Ids"])
    }
  }

  @Test func withNothingByTokenThereIsNoPass() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import numpy, sys
        for call in range(2):
            numpy.save(f"{sys.argv[1]}/layer00_Scale_rank0_call00{call}.npy", numpy.array(1.5))
        """, [scratch.path])
      let report = try await DumpComparer.compareSlots(
        set: try DumpSetLoader.load(directory: scratch.path, layout: .npy), slots: 4, selection: .number(1))
      #expect(report.verdict == .inconclusive)
    }
  }
}
