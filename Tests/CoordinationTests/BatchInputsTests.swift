import Alignment
import Comparison
import Coordination
import Diagnosis
import Dumps
import Reporting
import TestSupport
import Testing

/// What a batch is given, in files of SGLang's dumper, where ids and positions are a stage of their own: a warm-up of
/// zero ids, a prefill in chunks, and a decode step, of four layers.
@Suite(.timeLimit(.minutes(30))) struct BatchInputsTests {
  /// - Parameters:
  ///   - chunks: tokens of each call of the prefill, of the reference and of the target.
  ///   - isNoisy: whether the warm-up's rows differ from one another.
  ///   - change: Python that gives what is saved for a `value` of a `side`, `call`, `name` and `layer`.
  private func report(
    _ scratch: Scratch, chunks: [[Int]], warmUp: Int = 64, hasInputs: Bool = true, isNoisy: Bool = false,
    change: String = "value"
  ) async throws -> ComparisonReport {
    try await runPython(
      """
      import sys, torch
      torch.manual_seed(1)
      table, noise, nan = torch.randn(50, 24), torch.randn(128, 24), float("nan")
      prompt = torch.randint(1, 50, (sum(\(chunks[0])),))
      def changed(side, call, name, layer, value): return \(change)
      for side, chunks in (("ref", \(chunks[0])), ("tgt", \(chunks[1]))):
          start = 0
          batches = [torch.zeros(\(warmUp), dtype=torch.long), *prompt.split(chunks), torch.tensor([7])]
          for call, ids in enumerate(batches):
              rows = table[ids]
              if call == 0 and \(isNoisy ? "True" : "False"): rows = rows + noise[:len(ids)]
              positions = torch.arange(start, start + len(ids))
              values = [("input_ids", None, ids), ("positions", None, positions), ("seq_lens", None, positions[-1:] + 1)]
              if not \(hasInputs ? "True" : "False"): values = []
              values += [("mlp_out", layer, rows * (layer + 1)) for layer in range(4)]
              for index, (name, layer, value) in enumerate(values):
                  tag = "" if layer is None else f"___layer_id={layer}"
                  file = f"step={call}___rank=0___dump_index={100 * call + index + 1}___name={name}{tag}.pt"
                  value = changed(side, call, name, layer, value).clone()
                  torch.save({"value": value, "meta": {}}, f"{sys.argv[1]}/{side}/{file}")
              if call > 0: start += len(ids)
      """, [scratch.path, try scratch.directory("ref"), try scratch.directory("tgt")])
    let sides = try ["ref", "tgt"].map {
      ComparisonSide(set: try DumpSetLoader.load(directory: scratch.path($0), layout: .sglang), worldSize: 1)
    }
    return try await DumpComparer.compare(
      ComparisonRequest(reference: sides[0], target: sides[1], slots: 4))
  }

  private func outputs(_ report: ComparisonReport) -> [ComparisonReport.Row] { report.rows.filter { $0.layer != nil } }

  @Test(arguments: [(hasInputs: true, isNoisy: true), (false, false)])
  func aFaultOfTheChunksIsSeen(_ hasInputs: Bool, _ isNoisy: Bool) async throws {
    try await Scratch.with { scratch in
      let report = try await report(
        scratch, chunks: [[16, 16, 5], [16, 16, 5]], hasInputs: hasInputs, isNoisy: isNoisy,
        change: "value * nan if side == 'tgt' and layer == 3 and call == 1 else value")
      #expect(report.verdict == .fail, "\(report.notes)")
      #expect(report.findings.first?.cause == "non-finite")
      for row in outputs(report) {
        #expect(row.shape == [37, 24])
        #expect(row.call.reference == 1, "\(row.call.why)")
      }
    }
  }

  @Test(arguments: [(hasInputs: true, isNoisy: true), (false, false)])
  func aWarmUpIsNotJoinedWithThePrefill(_ hasInputs: Bool, _ isNoisy: Bool) async throws {
    try await Scratch.with { scratch in
      let report = try await report(
        scratch, chunks: [[39], [39]], warmUp: 100, hasInputs: hasInputs, isNoisy: isNoisy)
      #expect(report.verdict == .pass, "\(report.notes)")
      #expect(outputs(report).map(\.shape) == Array(repeating: [39, 24], count: 4), "\(report.rows[0].call.why)")
    }
  }

  @Test(arguments: [true, false])
  func otherChunksThanTheOtherSidesAreNoFault(_ hasInputs: Bool) async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, chunks: [[23], [8, 8, 7]], hasInputs: hasInputs)
      #expect(report.verdict == .pass, "\(report.notes) \(report.findings.map(\.summary))")
      #expect(outputs(report).map(\.shape) == Array(repeating: [23, 24], count: 4))
    }
  }

  /// Of an image's tokens there are three positions each.
  @Test(arguments: ["value", "value.expand(3, -1)"])
  func positionsThatAreAllOffByOneAreAFault(_ positions: String) async throws {
    try await Scratch.with { scratch in
      let report = try await report(
        scratch, chunks: [[23], [23]],
        change: "(\(positions)) + (side == 'tgt') if name == 'positions' else "
          + "value.roll(1, 1) if side == 'tgt' and layer == 2 else value")
      #expect(report.verdict == .fail, "\(report.notes)")
      let finding = try #require(report.findings.first)
      #expect(finding.cause == "position-offset")
      #expect(finding.confidence == .certain)
      #expect(finding.evidence["offset"] == 1)
      #expect(!report.findings.contains { $0.cause == "input-mismatch" })
    }
  }

  @Test func axesOfPositionsMayBeOffByTheirOwn() async throws {
    try await Scratch.with { scratch in
      let report = try await report(
        scratch, chunks: [[23], [23]],
        change: "value.expand(3, -1) + torch.tensor([[2], [0], [-1]]) * (side == 'tgt') if name == 'positions' "
          + "else value")
      #expect(report.verdict == .fail, "\(report.notes)")
      let evidence = report.findings.first { $0.cause == "position-offset" }?.evidence
      #expect(["offset_0", "offset_1", "offset_2"].map { evidence?[$0] } == [2, 0, -1])
    }
  }

  /// Other positions, and other ids whatever the positions are: two runs that were not asked the same.
  @Test(arguments: [("2 * value", "name == 'positions'"), ("value + 1", "name in ('input_ids', 'positions')")])
  func otherInputsStopTheComparison(_ other: String, _ names: String) async throws {
    try await Scratch.with { scratch in
      let report = try await report(
        scratch, chunks: [[23], [23]],
        change: "\(other) if \(names) and side == 'tgt' and call > 0 else value")
      #expect(report.verdict == .inconclusive)
      #expect(report.findings.first?.cause == "input-mismatch", "\(report.findings.map(\.summary))")
    }
  }
}
