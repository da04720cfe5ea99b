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

  @Test func aParameterThatIsALittleOffIsNoDrift() {
    var off = evidence(cos: 0.99998, alpha: 1.006, norm: 1.006, residual: 0.0001)
    off.key = CaptureKey(layer: 3, stage: "model.mlp.down_proj", tensor: "weight")
    off.measures.relL2 = 0.006
    off.measures.tokenRelL2 = Array(repeating: 0, count: 32)
    off.measures.tokenRelL2[5] = 0.02
    off.judgement.jump = 1.5
    off.judgement.tokens = [5]
    (off.changedShare, off.grownShare) = (0.02, 1)
    #expect(Diagnostician.findings(off).first?.cause != "weight-differs", "of what was computed")
    off.isParameter = true
    let found = Diagnostician.findings(off)
    #expect(found.first?.cause == "weight-differs")
    #expect(found.first?.summary.contains("rows 5;") == true)
    #expect(!found.contains { $0.cause == "drift" || $0.cause == "token-corruption" })
  }

  @Test func whatStandsInsideAnAttentionIsNotTheAttention() {
    var inside = evidence(cos: 0.96, alpha: 0.88, norm: 0.92, worldSize: 1)
    (inside.measures.relL2, inside.firstTokensRelL2, inside.laterTokensRelL2) = (0.27, 0.27, 0.27)
    inside.key = CaptureKey(layer: 3, stage: "self_attn.kv_a_layernorm", tensor: "output")
    #expect(Diagnostician.findings(inside).map(\.cause) == ["norm-weight-offset"])
    inside.key.stage = "self_attn.q_proj"
    let causes = Diagnostician.findings(inside).map(\.cause)
    #expect(causes.first == "missing-scale")
    #expect(!causes.contains("rank-order") && !causes.contains("head-map"), "one rank, and no heads yet")
    #expect(Diagnostician.findings(inside).allSatisfy { !$0.summary.contains("output projection") })
    inside.key.stage = "self_attn.rotary_q"
    #expect(Diagnostician.findings(inside).allSatisfy { !$0.summary.contains("output projection") })
    inside.key.stage = "self_attn"
    #expect(Diagnostician.findings(inside).allSatisfy { $0.cause != "rank-order" }, "one rank has no order")
    inside.worldSize = 8
    #expect(Diagnostician.findings(inside).contains { $0.cause == "rank-order" })
  }

  @Test func whereQAndKAgreeTheScoresAreScaledOtherwise() {
    var context = evidence(cos: 0.95, alpha: 0.9, norm: 0.95, worldSize: 1)
    context.key = CaptureKey(layer: 3, stage: "self_attn.attn_mqa", tensor: "output")
    (context.measures.relL2, context.firstTokensRelL2, context.laterTokensRelL2) = (0.3, 0, 0.3)
    #expect(Diagnostician.findings(context).contains { $0.cause == "rope-style" })
    context.rotatedAgree = true
    #expect(Diagnostician.findings(context).map(\.cause) == ["missing-scale"])
  }

  @Test func nothingTurnsBehindTheLayers() {
    var turned = evidence(cos: 0.9, alpha: 0.9, norm: 1)
    (turned.measures.relL2, turned.tokenNormDeviation) = (0.4, 0.001)
    #expect(Diagnostician.findings(turned).contains { $0.cause == "position-offset" })
    turned.key = CaptureKey(layer: nil, stage: "lm_head", tensor: "output")
    #expect(!Diagnostician.findings(turned).contains { $0.cause == "position-offset" })
  }

  @Test func aFactorNearOneShowsByHowMuch() throws {
    var scaled = evidence(cos: 1, alpha: 0.996, norm: 0.996, residual: 0.0001)
    scaled.measures.relL2 = 0.0041
    scaled.noise = 0.0002
    let finding = try #require(Diagnostician.findings(scaled).first)
    #expect(finding.summary.contains("0.996 times"))
    #expect(finding.next.contains("factor of 1.004 "), "\(finding.next)")
  }

  @Test func aCommonFactorIsNoMissingClamp() {
    var scaled = evidence(cos: 0.99996, alpha: 1.05, norm: 1.05, residual: 0.009)
    scaled.measures.relL2 = 0.051
    (scaled.changedShare, scaled.grownShare, scaled.changedCount) = (0.2, 1, 800)
    scaled.unchanged = Self.off(by: 0.007)
    scaled.noise = 0.0072
    #expect(Diagnostician.findings(scaled).first?.cause == "repeated-scale")
    #expect(!Diagnostician.findings(scaled).contains { $0.cause == "missing-clamp" })
    // What no factor explains is one still.
    scaled.measures.residual = 0.05
    #expect(Diagnostician.findings(scaled).contains { $0.cause == "missing-clamp" })
  }

  @Test func aMissingClampChangesSomeValuesAndLeavesTheOthers() {
    func isClamp(changed: Int, rest: Double) -> Bool {
      var some = evidence(cos: 0.98, alpha: 1.03, norm: 1.05, residual: 0.15)
      some.measures.relL2 = 0.2
      (some.changedShare, some.grownShare, some.changedCount) = (Double(changed) / 4096, 1, changed)
      some.unchanged = Self.off(by: rest)
      return Diagnostician.findings(some).contains { $0.cause == "missing-clamp" }
    }
    #expect(isClamp(changed: 40, rest: 0.004))
    #expect(!isClamp(changed: 1, rest: 0.004), "one value is no class of values")
    #expect(!isClamp(changed: 40, rest: 0.03), "the others are beyond noise")
    #expect(!isClamp(changed: 40, rest: 0.15), "the others are off by as much")
  }

  private static func off(by distance: Double) -> Agreement {
    Agreement(target: [1, 1 + distance * 2.squareRoot()], reference: [1, 1])
  }

  @Test func onlyANormHasANormsWeight() {
    func causes(_ stage: String, tensor: String = "hidden") -> [String] {
      var columns = evidence(cos: 0.99, alpha: 1.6, norm: 1.6, residual: 0.2)
      columns.key = CaptureKey(layer: 3, stage: stage, tensor: tensor)
      (columns.columnScaleResidual, columns.columnScales) = (0.004, 1.2...2.2)
      return Diagnostician.findings(columns).map(\.cause)
    }
    for stage in ["FfnNorm", "input_layernorm", "ln_1"] {
      #expect(causes(stage).first == "norm-weight-offset", "\(stage)")
    }
    #expect(causes("MLP", tensor: "input").first == "norm-weight-offset")
    for stage in ["OProj", "MLP", "Block"] {
      #expect(!causes(stage).contains("norm-weight-offset"), "\(stage)")
      #expect(causes(stage).contains("repeated-scale"), "\(stage)")
    }
    #expect(!causes("Block", tensor: "input").contains("norm-weight-offset"))
  }

  @Test func halvesThatChangedPlacesOnOneRankAreNamedWithIt() {
    func first(_ change: (inout RowEvidence) -> Void) -> Finding? {
      var evidence = evidence(cos: 0.7, alpha: 0.7, norm: 1, worldSize: 2, kind: .concat)
      change(&evidence)
      return Diagnostician.findings(evidence).first
    }
    func match(_ sources: [Int], axis: Int) -> BlockMatch {
      BlockMatch(axis: axis, sources: sources, residual: 0.004, isByRank: false)
    }
    let foreign = first { $0.foreignSlices = [ForeignSlice(rank: 1, stage: "up", slice: 1, residual: 0.004)] }
    #expect(foreign?.cause == "halves-swapped")
    #expect(foreign?.ranks == [1])
    let other = first { $0.foreignSlices = [ForeignSlice(rank: 1, stage: "up", slice: 0, residual: 0.004)] }
    #expect(other?.cause == "fused-shard-layout")
    for (sources, ranks) in [
      ([0, 3, 2, 1], [1]), ([2, 3, 0, 1], [0, 1]), ([0, 2, 3, 1], [1]), ([2, 0, 3, 1], [0, 1]),
    ] {
      let fused = first { $0.blockMatches = [match(sources, axis: 1)] }
      #expect(fused?.cause == "halves-swapped", "\(sources)")
      #expect(fused?.ranks == ranks, "\(sources)")
      let weight = first {
        ($0.key.stage, $0.isParameter) = ("weights", true)
        $0.blockMatches = [match(sources, axis: 0)]
      }
      #expect(weight?.cause == "halves-swapped", "\(sources)")
      #expect(weight?.ranks == ranks, "\(sources)")
    }
    #expect(first { $0.blockMatches = [match([0, 2, 1, 3], axis: 1)] }?.cause != "halves-swapped")
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
