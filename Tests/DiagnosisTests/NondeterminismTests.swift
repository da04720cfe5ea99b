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
