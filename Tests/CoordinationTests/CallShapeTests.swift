import Alignment
import Comparison
import Coordination
import Diagnosis
import Dumps
import Reporting
import TestSupport
import Testing

/// Calls of a stage of four layers, in which files are lost, a layer numbers its calls otherwise, or a batch of one is a
/// dimension of its own: the same calls are compared, or none.
@Suite(.timeLimit(.minutes(30))) struct CallShapeTests {
  /// Both sides alike, call 0 a warm-up of equal rows, and then `change` of the files' names and tensors.
  ///
  /// - Parameter change: Python that gives a dictionary of file names and tensors from `files`, for a `side`.
  private func report(
    _ scratch: Scratch, tokens: [Int], selection: CallSelection = .prefill, _ change: String
  ) async throws -> ComparisonReport {
    try await runPython(
      """
      import sys, torch
      def name(layer, call): return f"layer{layer:02d}_Block_rank0_call{call:03d}.pt"
      for side in ("ref", "tgt"):
          torch.manual_seed(1)
          files = {}
          for layer in range(4):
              for call, tokens in enumerate(\(tokens)):
                  rows = torch.randn(1 if call == 0 else tokens, 60)
                  files[name(layer, call)] = rows.expand(tokens, 60).clone()
          files = \(change)
          for file, tensor in files.items(): torch.save({"hidden": tensor}, f"{sys.argv[1]}/{side}/{file}")
      """, [scratch.path, try scratch.directory("ref"), try scratch.directory("tgt")])
    let sides = try ["ref", "tgt"].map {
      ComparisonSide(set: try DumpSetLoader.load(directory: scratch.path($0), layout: .atom))
    }
    return try await DumpComparer.compare(
      ComparisonRequest(reference: sides[0], target: sides[1], selection: selection))
  }

  private func calls(_ report: ComparisonReport) -> Set<[Int?]> {
    Set(report.rows.map { [$0.call.reference, $0.call.target] })
  }

  @Test(arguments: [(1, CallSelection.prefill), (2, .decode)])
  func aCallThatMostLayersLostIsNamed(_ lost: Int, _ selection: CallSelection) async throws {
    try await Scratch.with { scratch in
      let report = try await report(
        scratch, tokens: [64, 24, 1, 24, 1], selection: selection,
        "{k: v for k, v in files.items() if side == 'ref' or 'layer00' in k or 'call00\(lost)' not in k}")
      #expect(report.verdict == .inconclusive, "\(calls(report))")
      #expect(
        report.findings.contains { $0.summary.contains("target has no call \(lost)") },
        "\(report.findings.map(\.summary))")
    }
  }

  /// Layer 3 did not run in the warm-up, and numbers its calls from the prefill on.
  private static let late =
    "{k.replace('call00' + str(c), 'call00' + str(c - 1)) if 'layer03' in k else k: v for k, v in files.items() "
    + "for c in [int(k[-4])] if c > 0 or 'layer03' not in k}"

  @Test func aLayerThatSkippedTheFirstCallIsComparedInTheSame() async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, tokens: [64, 24, 2, 2], Self.late)
      #expect(report.verdict == .pass, "\(report.notes) \(report.coverage.unmatched)")
      #expect(calls(report) == [[1, 1], [0, 0]])
    }
  }

  /// Where all calls are alike, a lost one leaves open which they are.
  @Test func aLayerThatSkippedTheFirstCallAndLostTheLastIsNotGuessed() async throws {
    try await Scratch.with { scratch in
      let report = try await report(
        scratch, tokens: [64, 24, 24, 24],
        "{k: v for k, v in \(Self.late).items() if side == 'ref' or k[:7] + k[-4] != 'layer032'}")
      #expect(report.verdict == .inconclusive, "\(calls(report))")
      #expect(report.coverage.unmatched.contains { $0.contains("lacks calls") }, "\(report.coverage.unmatched)")
    }
  }

  @Test(arguments: [(24, CallSelection.prefill), (1, .decode)])
  func lastCallsWithADimensionForTheBatchAreCompared(_ tokens: Int, _ selection: CallSelection) async throws {
    try await Scratch.with { scratch in
      let report = try await report(
        scratch, tokens: [64, tokens], selection: selection,
        "{f'ref_{k[:13]}__hidden_out_rank0.pt': v[None] for k, v in files.items() if k[-4] == '1'}")
      #expect(report.verdict == .pass, "\(report.notes) \(report.findings.map(\.summary))")
      #expect(report.rows.count == 4)
    }
  }

  @Test(arguments: ["ref", "tgt"])
  func aDimensionForTheBatchOnOneSideIsNoFault(_ side: String) async throws {
    try await Scratch.with { scratch in
      let report = try await report(
        scratch, tokens: [64, 24],
        "{f'ref_{k[:13]}__hidden_out_rank0.pt': v[None] for k, v in files.items() if k[-4] == '1'}"
          + " if side == '\(side)' else files")
      #expect(report.verdict == .pass, "\(report.notes) \(report.rows.map(\.why))")
      #expect(report.rows.map(\.shape) == Array(repeating: [24, 60], count: 4))
    }
  }

  /// One token of a decode step and its heads.
  @Test func theHeadsOfOneTokenAreNoTokens() async throws {
    try await Scratch.with { scratch in
      let report = try await report(
        scratch, tokens: [64, 24, 1, 1], selection: .decode,
        "{k: v.reshape(-1, 30, 2) for k, v in files.items()}")
      #expect(report.verdict == .pass, "\(report.notes)")
      #expect(calls(report) == [[2, 2]])
    }
  }

  /// One file of NumPy for each tensor, by Python that writes what `save(side, name, array)` is given.
  private func report(
    _ scratch: Scratch, selection: CallSelection = .prefill, arrays: String
  ) async throws -> ComparisonReport {
    try await runPython(
      """
      import sys, numpy
      from numpy import float32
      random = numpy.random.default_rng(1)
      def save(side, name, array): numpy.save(f"{sys.argv[1]}/{side}/{name}.npy", array)
      \(arrays)
      """, [scratch.path, try scratch.directory("ref"), try scratch.directory("tgt")])
    let sides = try ["ref", "tgt"].map {
      ComparisonSide(set: try DumpSetLoader.load(directory: scratch.path($0), layout: .npy))
    }
    return try await DumpComparer.compare(
      ComparisonRequest(reference: sides[0], target: sides[1], selection: selection))
  }

  @Test(arguments: [(CallSelection.prefill, Verdict.pass), (.decode, .fail), (.number(3), .pass)])
  func filesOfAnyNameMayHaveCalls(_ selection: CallSelection, _ verdict: Verdict) async throws {
    try await Scratch.with { scratch in
      let report = try await report(
        scratch, selection: selection,
        arrays: """
          for layer in range(3):
              for call, tokens in enumerate((16, 13, 1, 1)):
                  rows = random.standard_normal((tokens, 32)).astype(float32)
                  name = f"model.layers.{layer}.mlp_rank0_call{call}"
                  save("ref", name, rows)
                  save("tgt", name, rows + (1 if call == 2 else 0))
          """)
      #expect(report.verdict == verdict, "\(report.notes)")
      #expect(report.coverage.compared == 3 && report.rows.allSatisfy { $0.stage == "model.mlp" }, "\(report.rows)")
    }
  }

  @Test func aNameMayEndLikeACall() async throws {
    try await Scratch.with { scratch in
      let report = try await report(
        scratch,
        arrays: """
          for name in ("sys_call1", "sys_call2"):
              for side in ("ref", "tgt"): save(side, name, numpy.ones((4, 8), float32))
          """)
      #expect(report.verdict == .pass && Set(report.rows.map(\.stage)) == ["sys_call1", "sys_call2"], "\(report.rows)")
    }
  }

  /// Layouts without calls: nothing but the shapes says how many tokens there are.
  private func arraysOfOne(scale: String) -> String {
    """
    rows = random.standard_normal((1, 6, 8)).astype(float32)
    save("ref", "model.layers.0.mlp", rows)
    save("tgt", "model.layers.0.mlp", rows[0])
    save("ref", "model.layers.0.scale", float32(1.5))
    save("tgt", "model.layers.0.scale", float32(\(scale)))
    """
  }

  @Test func aBatchOfOneAndANumberMayLackTheirDimension() async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, arrays: arraysOfOne(scale: "[1.5]"))
      #expect(report.verdict == .pass && report.coverage.compared == 2, "\(report.rows.compactMap(\.why))")
    }
  }

  @Test func theRatioOfTwoNumbersIsNoFactor() async throws {
    try await Scratch.with { scratch in
      let report = try await report(scratch, arrays: arraysOfOne(scale: "1.6"))
      #expect(report.verdict == .fail)
      #expect(!report.findings.contains { $0.cause == "repeated-scale" }, "\(report.findings.map(\.summary))")
    }
  }

  @Test func aLayoutWithoutCallsSaysSo() async throws {
    try await Scratch.with { scratch in
      let report = try await report(
        scratch, selection: .decode, arrays: arraysOfOne(scale: "1.5"))
      #expect(report.verdict == .inconclusive && report.coverage.compared == 0)
      #expect(report.findings.contains { $0.summary.contains("the npy layout has no calls") }, "\(report.findings)")
    }
  }
}
