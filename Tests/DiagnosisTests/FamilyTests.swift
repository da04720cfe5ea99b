import Alignment
import Comparison
import Diagnosis
import Testing

/// Findings from measured numbers alone, where a workload cannot plant the case.
@Suite struct FamilyTests {
  private func evidence(
    cos: Double, alpha: Double, norm: Double, residual: Double = 1, worldSize: Int = 8, kind: ShardKind = .replicated
  ) -> RowEvidence {
    let measures = Measures(
      cos: cos, maxAbs: 1, rel: 1, relL2: 1.4, alpha: alpha, residual: residual, normRatio: norm, sglangRel: 1,
      byteEqual: 0, nonfiniteReference: 0, nonfiniteTarget: 0, elementCount: 4096, worstToken: nil,
      tokenRelL2: Array(repeating: 1.4, count: 32), worstCoordinate: [])
    return RowEvidence(
      key: CaptureKey(layer: 3, stage: "OProj", tensor: "hidden"), measures: measures,
      plan: ShardPlan(kind: kind, axis: nil, ranks: worldSize, residual: nil, margin: nil, why: ""),
      judgement: Judgement(verdict: .fail, jump: 100), worldSize: worldSize, referenceWorldSize: 1, noise: 0.004)
  }

  @Test func slowGrowthIsDriftAndAJumpIsNone() {
    var slow = evidence(cos: 0.99995, alpha: 1, norm: 1, residual: 0.01)
    slow.measures.relL2 = 0.01
    slow.measures.tokenRelL2 = Array(repeating: 0.01, count: 32)
    slow.judgement.jump = 1.4
    let drift = Diagnostician.findings(slow).first { $0.cause == "drift" }
    #expect(drift?.confidence == .possible)
    #expect(drift?.next.contains("noise of repeated runs") == true)
    slow.judgement.jump = 2.6
    #expect(!Diagnostician.findings(slow).contains { $0.cause == "drift" })
    slow.judgement.jump = 1.4
    slow.judgement.tokens = [5]
    #expect(!Diagnostician.findings(slow).contains { $0.cause == "drift" }, "one token is far off: no drift")
  }

  @Test func aCommonFactorIsNoMissingClamp() {
    var scaled = evidence(cos: 0.99996, alpha: 1.05, norm: 1.05, residual: 0.009)
    scaled.measures.relL2 = 0.051
    (scaled.changedShare, scaled.grownShare) = (0.2, 1)
    scaled.noise = 0.0072
    #expect(Diagnostician.findings(scaled).first?.cause == "repeated-scale")
    #expect(!Diagnostician.findings(scaled).contains { $0.cause == "missing-clamp" })
    // What no factor explains is one still.
    scaled.measures.residual = 0.05
    #expect(Diagnostician.findings(scaled).contains { $0.cause == "missing-clamp" })
  }

  @Test func aTurnedSignIsCalledOne() {
    let found = Diagnostician.findings(evidence(cos: -1, alpha: -1, norm: 1, residual: 0.001)).first
    #expect(found?.summary.contains("The sign is turned") == true)
    #expect(found?.confidence == .possible)
  }

  @Test func rowsThatChangedPlacesAreNoChunks() {
    var moved = evidence(cos: 0.9, alpha: 0.9, norm: 1, residual: 0.4)
    var rows = Array(0..<32)
    rows.swapAt(5, 20)
    moved.rowSources = rows
    let swapped = Diagnostician.findings(moved)
    #expect(swapped.contains { $0.cause == "row-shift" && $0.confidence == .likely && $0.tokens == [5, 20] })
    #expect(!swapped.contains { $0.cause == "chunk-order" })
    // Chunks of eight rows, the middle two in each other's place.
    moved.rowSources = Array(0..<8) + Array(16..<24) + Array(8..<16) + Array(24..<32)
    #expect(Diagnostician.findings(moved).contains { $0.cause == "chunk-order" && $0.confidence == .certain })
  }

  @Test func anOutputOfZerosIsAWeightThatWasNeverLoaded() {
    let found = Diagnostician.findings(evidence(cos: .nan, alpha: 0, norm: 0, residual: .nan))
    #expect(found.map(\.cause) == ["missing-weight"])
    // Where smaller world sizes pass, a shard that was rounded down to nothing is nearer.
    #expect(found.first?.confidence == .possible)
    let results = [(2, false), (8, true)].map { size, isFailed in
      WorldSizeFindings(
        worldSize: size, findings: isFailed ? found : [], divergence: isFailed ? (3, "OProj") : nil)
    }
    #expect(Trend.refined(results).last?.findings.map(\.cause) == ["divisibility", "missing-weight"])
  }

  @Test func aShuffleKeepsTheNormAndWhatStandsInMemoryDoesNot() {
    let causes = ["weight-shuffle", "missing-weight"]
    func order(_ norm: Double) -> [String] {
      Diagnostician.findings(evidence(cos: 0.01, alpha: 0.01 * norm, norm: norm)).map(\.cause).filter(causes.contains)
    }
    #expect(order(1.03) == causes)
    #expect(order(0.2) == causes.reversed())
    #expect(order(7) == causes.reversed())
  }

  @Test("a factor beside a bias that is right is a reduce where it is the world size", arguments: [2, 4, 8])
  func besideBias(worldSize: Int) {
    for (alpha, cause) in [(Double(worldSize), "double-reduce"), (1 / Double(worldSize), "average-reduce")] {
      var evidence = evidence(cos: 0.9, alpha: alpha * 0.9, norm: alpha, residual: 0.3, worldSize: worldSize)
      evidence.varyingPart = Agreement(target: [1, 2, 3].map { $0 * alpha }, reference: [1, 2, 3])
      let found = Diagnostician.findings(evidence)
      #expect(found.first?.cause == cause)
      // One pair of two ranks leaves another factor possible.
      #expect(found.first?.confidence == (worldSize == 2 ? .possible : .certain))
      #expect(found.contains { $0.cause == "float8-variant" } == (worldSize == 2))
    }
    var evidence = evidence(cos: 0.9, alpha: 0.4, norm: 0.5, residual: 0.3, worldSize: worldSize)
    evidence.varyingPart = Agreement(target: [1, 2, 3].map { $0 * 0.4 }, reference: [1, 2, 3])
    #expect(Diagnostician.findings(evidence).first?.cause == "missing-scale")
  }

  @Test("the same difference at all world sizes is no shuffle of a rank's shard", arguments: [true, false])
  func constant(isSame: Bool) {
    let found = Diagnostician.findings(evidence(cos: 0.01, alpha: 0.01, norm: 1.02))
    let results = [2, 8].map { size in
      let values = (0..<4096).map { Double(($0 &* (isSame ? 31 : 31 + size)) % 97) - 48 }
      return WorldSizeFindings(
        worldSize: size, findings: found, divergence: (3, "OProj"),
        evidence: DivergenceEvidence(
          layer: 3, stage: "OProj", tensor: "hidden", worldSize: size, difference: TensorSketch(values), relL2: 1.4,
          alpha: 0.01, normRatio: 1.02, noise: 0.004, isContainer: false))
    }
    for refined in Trend.refined(results) {
      #expect(refined.findings.first?.cause == (isSame ? "missing-weight" : "weight-shuffle"))
    }
  }
}
