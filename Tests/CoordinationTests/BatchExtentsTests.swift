import Alignment
import Comparison
import Coordination
import Dumps
import Reporting
import TestSupport
import Testing

/// Batches whose sequences and tokens are two dimensions are judged token by token.
@Suite(.timeLimit(.minutes(30))) struct BatchExtentsTests {
  /// Two ranks against one: `[3, 5, 8]`, with a fault in one token of the last sequence.
  private func report(
    _ scratch: Scratch, ids: String, names: String = "{'model.input_ids': ids}", rule: ShardRule = .auto
  ) async throws -> ComparisonReport {
    try await runPython(
      """
      import numpy, sys
      random = numpy.random.default_rng(3)
      clean = random.standard_normal((3, 5, 8)).astype("f4")
      faulty = clean.copy()
      faulty[2, 1] *= 1.02
      ids = numpy.arange(15).reshape(3, 5)[\(ids)]
      for folder, hidden, ranks in ((sys.argv[1], clean, 1), (sys.argv[2], faulty, 2)):
          for rank in range(ranks):
              width = 8 // ranks
              numpy.savez(f"{folder}/all_rank{rank}.npz", **{
                  **\(names), "layers.0.mlp.out": hidden,
                  "layers.0.gate.out": hidden[:, :, rank * width:(rank + 1) * width]})
      """, [try scratch.directory("ref"), try scratch.directory("tgt")])
    let sides = try [("ref", 1), ("tgt", 2)].map {
      ComparisonSide(set: try DumpSetLoader.load(directory: scratch.path($0.0), layout: .npy), worldSize: $0.1)
    }
    return try await DumpComparer.compare(
      ComparisonRequest(reference: sides[0], target: sides[1], selection: .warmUp, shardRule: rule))
  }

  @Test func everyTokenOfEverySequenceIsARow() async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, ids: ":")
      #expect(report.verdict == .fail)
      let rows = report.rows.filter { $0.layer == 0 }
      #expect(rows.count == 2)
      for row in rows {
        #expect(row.measures?.tokenRelL2.count == 15, "\(row.stage) \(row.shape)")
        #expect(row.measures?.worstToken?.index == 11, "\(row.stage)")
        #expect(row.measures?.tokenRelL2.enumerated().allSatisfy { ($0.element == 0) == ($0.offset != 11) } == true)
        #expect(row.shape == [15, 8])
      }
      #expect(report.notes.contains { $0.contains("3 sequences of 5 tokens") }, "\(report.notes)")
    }
  }

  /// Without ids of that shape a first dimension may be the tokens', and the second the heads'.
  @Test(arguments: [":, 0", ":1", ":2, :"])
  func nothingIsGuessed(_ ids: String) async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, ids: ids)
      #expect(report.rows.filter { $0.layer == 0 }.allSatisfy { $0.measures?.tokenRelL2.count == 3 })
      #expect(!report.notes.contains { $0.contains("sequences of") })
    }
  }

  /// Ids of one sequence beside positions for each of three axes, ids of a later layer: no batch of three.
  @Test(arguments: [
    ("{'model.input_ids': ids.reshape(15), 'rotary.positions': ids}", 3),
    ("{'model.input_ids': ids.reshape(1, 15), 'rotary.positions': ids}", 3),
    ("{'layers.1.embed.input_ids': ids}", 3), ("{'rotary.positions': ids}", 15),
    ("{'layers.0.embed.input_ids': ids}", 15),
  ])
  func idsSayItBeforePositions(_ names: String, _ rows: Int) async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, ids: ":", names: names)
      let counts = report.rows.filter { $0.stage.contains("mlp") }.map { $0.measures?.tokenRelL2.count }
      #expect(counts == [rows], "\(report.rows.map(\.stage))")
    }
  }

  @Test func aStatedRuleCountsTheDimensionsAsTheyAre() async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, ids: ":", rule: .concat(axis: 2))
      let row = report.rows.first { $0.stage.contains("gate") }
      #expect(row?.measures?.tokenRelL2.count == 3)
      #expect(row?.shape == [3, 5, 8])
    }
  }

  /// A batch in two dimensions against one whose sequences follow one another; two ranks against one.
  @Test(arguments: [("clean", false), ("clean", true), ("faulty", false), ("faulty", true)])
  func sequencesThatFollowOneAnotherAreTheSameRows(_ kind: String, isTargetBatched: Bool) async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import numpy, sys
        random = numpy.random.default_rng(4)
        clean = random.standard_normal((3, 5, 8)).astype("f4")
        faulty = clean.copy()
        faulty[2, 1] *= 1.02 if sys.argv[3] == "faulty" else 1
        ids = numpy.arange(15).reshape(3, 5)
        for folder, hidden, ranks in ((sys.argv[1], clean, 1), (sys.argv[2], faulty, 2)):
            isBatched = (ranks == 2) == (sys.argv[4] == "true")
            rows = (lambda a: a) if isBatched else (lambda a: a.reshape(15, *a.shape[2:]))
            for rank in range(ranks):
                width = 8 // ranks
                numpy.savez(f"{folder}/all_rank{rank}.npz", **{
                    "model.input_ids": rows(ids), "layers.0.mlp.out": rows(hidden),
                    "layers.0.gate.out": rows(hidden[:, :, rank * width:(rank + 1) * width])})
        """, [try scratch.directory("ref"), try scratch.directory("tgt"), kind, String(isTargetBatched)])
      let sides = try [("ref", 1), ("tgt", 2)].map {
        ComparisonSide(set: try DumpSetLoader.load(directory: scratch.path($0.0), layout: .npy), worldSize: $0.1)
      }
      let report = try await DumpComparer.compare(
        ComparisonRequest(reference: sides[0], target: sides[1], selection: .warmUp))
      #expect(report.verdict == (kind == "clean" ? .pass : .fail), "\(report.notes)")
      #expect(report.rows.count == 3)
      for row in report.rows where row.layer == 0 {
        #expect(row.shape == [15, 8])
        let differing = row.measures?.tokenRelL2.enumerated().filter { $0.element != 0 }.map(\.offset)
        #expect(differing == (kind == "clean" ? [] : [11]), "\(row.stage)")
      }
      let side = isTargetBatched ? "target" : "reference"
      let note = "the \(side)'s batches are read as one sequence after the other"
      #expect(report.notes.contains { $0.hasPrefix(note) }, "\(report.notes)")
    }
  }

  /// Without ids `[15, 8]` may be fifteen tokens, and `[3, 5, 8]` three of five heads.
  @Test func withoutIdsNothingIsStrungTogether() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import numpy, sys
        hidden = numpy.random.default_rng(4).standard_normal((3, 5, 8)).astype("f4")
        numpy.savez(f"{sys.argv[1]}/all_rank0.npz", **{"layers.0.mlp.out": hidden})
        numpy.savez(f"{sys.argv[2]}/all_rank0.npz", **{"layers.0.mlp.out": hidden.reshape(15, 8)})
        """, [try scratch.directory("ref"), try scratch.directory("tgt")])
      let sides = try ["ref", "tgt"].map {
        ComparisonSide(set: try DumpSetLoader.load(directory: scratch.path($0), layout: .npy), worldSize: 1)
      }
      let report = try await DumpComparer.compare(
        ComparisonRequest(reference: sides[0], target: sides[1], selection: .warmUp))
      #expect(report.verdict != .pass)
      #expect(!report.notes.contains { $0.contains("one sequence after the other") })
    }
  }
}
