import Alignment
import Comparison
import Coordination
import Diagnosis
import Dumps
import Reporting
import Testing

/// What repeats of a cell say, and that they never excuse a bug.
@Suite struct NondeterminismTests {
  private let key = CaptureKey(layer: 2, stage: "MoE", tensor: "hidden")

  /// A passing comparison of one bf16 row.
  private func passing() -> ComparisonReport {
    ComparisonReport(
      verdict: .pass, reference: .init(path: "a", worldSize: 1), target: .init(path: "b", worldSize: 2),
      coverage: .init(expected: 1, compared: 1, unmatched: [], unreadable: [], otherCalls: 0),
      rows: [
        .init(
          layer: 2, stage: "MoE", tensor: "hidden", call: .init(reference: 1, target: 1, rule: .auto, why: ""),
          shard: ShardPlan(kind: .replicated, axis: nil, ranks: 2, residual: 0, margin: 1, why: ""),
          dtype: .bfloat16, shape: [4, 4], measures: nil, verdict: .pass)
      ], firstDivergence: nil, findings: [], notes: [])
  }

  private func floors(_ spread: Double) -> NoiseFloors {
    NoiseFloors(relL2: [key: spread], nondeterministic: spread > 0 ? [key] : [])
  }

  @Test func equalRepeatsSayNothing() {
    #expect(DumpComparer.noteRepeats(passing(), reference: floors(0), target: floors(0)) == passing())
  }

  @Test func repeatsThatDifferWithinNoiseAreNamedAndPass() throws {
    let report = DumpComparer.noteRepeats(passing(), reference: floors(0), target: floors(0.004))
    #expect(report.verdict == .pass)
    let finding = try #require(report.findings.first)
    #expect(finding.cause == "nondeterminism")
    #expect(finding.layer == 2)
    #expect(finding.evidence["spread"] == 0.004)
  }

  @Test func aTargetThatChangesFromRunToRunFails() throws {
    let report = DumpComparer.noteRepeats(passing(), reference: floors(0), target: floors(0.5))
    #expect(report.verdict == .fail)
    #expect(report.rows[0].verdict == .fail)
    #expect(report.firstDivergence == .init(layer: 2, stage: "MoE"))
    #expect(report.findings.first?.cause == "nondeterminism")
  }

  @Test func aReferenceThatChangesFromRunToRunDecidesNothing() {
    let report = DumpComparer.noteRepeats(passing(), reference: floors(0.5), target: floors(0))
    #expect(report.verdict == .inconclusive)
    #expect(report.firstDivergence == nil)
  }

  /// What a repeat's comparison with the first says of one row.
  private func repeated(
    byteEqual: Double, nonfinite: Int, ofFirst: Int = 0, relL2: Double = .nan, paddingStart: Int? = nil,
    tokens: [Double] = []
  ) async throws -> NoiseFloors {
    let empty = DumpSet(root: "/dumps", layout: .atom, captures: [], unreadable: [], unrecognised: [])
    var report = passing()
    report.rows[0].measures = Measures(
      cos: .nan, maxAbs: .nan, rel: .nan, relL2: relL2, alpha: .nan, residual: .nan, normRatio: .nan, sglangRel: .nan,
      byteEqual: byteEqual, nonfiniteReference: ofFirst, nonfiniteTarget: nonfinite, elementCount: 16,
      worstToken: nil, tokenRelL2: tokens, worstCoordinate: [], tokenNorms: tokens.map { _ in 1 })
    report.rows[0].paddingStart = paddingStart
    let told = report
    return try await DumpComparer.floors(repeats: [empty, empty]) { _ in told }
  }

  @Test(
    "a repeat that no distance tells is never taken for one that agrees", arguments: [(3, Double.nan), (0, .infinity)])
  func beyondMeasure(nonfinite: Int, relL2: Double) async throws {
    let wild = try await repeated(byteEqual: 0.9, nonfinite: nonfinite, relL2: relL2)
    #expect(wild.nondeterministic == [key])
    // It excuses nothing, of other layers neither.
    #expect(wild.floor(of: key) == nil)
    let target = DumpComparer.noteRepeats(passing(), reference: floors(0), target: wild)
    #expect(target.verdict == .fail && target.rows[0].verdict == .fail)
    #expect(target.rows[0].why?.contains("not finite") == true)
    #expect(target.findings.map(\.cause) == ["nondeterminism"])
    let reference = DumpComparer.noteRepeats(passing(), reference: wild, target: floors(0))
    #expect(reference.verdict == .inconclusive)
  }

  @Test func valuesThatAreNotFiniteInEveryRepeatAlikeAreDeterministic() async throws {
    #expect(try await repeated(byteEqual: 1, nonfinite: 3, ofFirst: 3).nondeterministic.isEmpty)
    // A mask beside numbers that differ within noise.
    let masked = try await repeated(byteEqual: 0.9, nonfinite: 3, ofFirst: 3)
    #expect(masked.nondeterministic == [key] && masked.unmeasured.isEmpty)
  }

  @Test func whatStandsInPaddingIsNoNoise() async throws {
    let same = try await repeated(byteEqual: 0.5, nonfinite: 3, paddingStart: 2, tokens: [0, 0, .nan, .nan])
    #expect(same.nondeterministic.isEmpty && same.relL2 == [key: 0])
    let token = try await repeated(byteEqual: 0.5, nonfinite: 3, paddingStart: 3, tokens: [0, 0, .nan, .nan])
    #expect(token.unmeasured == [key])
  }

  @Test func aSumOfRanksThatDiffersIsNondeterministic() async throws {
    let sum = try await repeated(byteEqual: .nan, nonfinite: 0, relL2: 0.5)
    #expect(sum.nondeterministic == [key])
    #expect(sum.relL2 == [key: 0.5])
  }

  @Test func wildRepeatsDoNotRaiseTheFloorOverABug() {
    let measures = Measures(
      cos: 0.98, maxAbs: 1, rel: 0.2, relL2: 0.2, alpha: 1, residual: 0.2, normRatio: 1, sglangRel: 0.02,
      byteEqual: 0.1, nonfiniteReference: 0, nonfiniteTarget: 0, elementCount: 16, worstToken: nil, tokenRelL2: [],
      worstCoordinate: [])
    let row = JudgedRow(key: key, dtype: .bfloat16, measures: measures)
    #expect(Judge(policy: .measured(floors(0.001))).judge([row])[0].verdict == .fail)
    #expect(Judge(policy: .measured(floors(0.9))).judge([row])[0].verdict == .fail)
  }
}
