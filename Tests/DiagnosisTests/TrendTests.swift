import Diagnosis
import Testing

/// The trend over world sizes separates a reduce from a factor.
@Suite struct TrendTests {
  /// What one pair says of an output that is `alpha` times the reference.
  private func result(_ size: Int, _ alpha: Double, _ causes: [String]) -> WorldSizeFindings {
    WorldSizeFindings(
      worldSize: size,
      findings: causes.map {
        Finding(
          cause: $0, layer: 2, stage: "MoE", confidence: .possible, evidence: ["alpha": alpha, "residual": 0.001],
          summary: "", next: "")
      }, divergence: (2, "MoE"))
  }

  private let atTwo = ["double-reduce", "repeated-scale", "float8-variant"]

  @Test func aFactorThatFollowsTheWorldSizeIsADoubleReduce() {
    let refined = Trend.refined([result(2, 2, atTwo), result(8, 8, ["double-reduce"])])
    for result in refined {
      #expect(result.findings.map(\.cause) == ["double-reduce"])
      #expect(result.findings.first?.confidence == .certain)
      #expect(result.findings.first?.evidence["world_sizes"] == 2)
    }
  }

  @Test func aFactorOfTwoEverywhereIsNoReduce() {
    let refined = Trend.refined([result(2, 2, atTwo), result(8, 2, ["float8-variant", "repeated-scale"])])
    for result in refined {
      #expect(result.findings.map(\.cause) == ["float8-variant", "repeated-scale"])
      #expect(result.findings.map(\.confidence) == [.likely, .possible])
    }
  }

  @Test func aConstantFactorIsAScale() {
    let refined = Trend.refined([result(2, 2.5, ["repeated-scale"]), result(8, 2.5, ["repeated-scale"])])
    for result in refined {
      #expect(result.findings.map(\.cause) == ["repeated-scale"])
      #expect(result.findings.first?.confidence == .certain)
    }
  }

  @Test func aCauseOfAllWorldSizesStandsBeforeThoseOfOne() {
    let open = [("duplicate-shard", "weight-shuffle"), ("duplicate-shard", "rank-order")]
    let results = zip([2, 8], open).map { size, causes in
      result(size, 0.3, [causes.1, causes.0, "head-map"])
    }
    for refined in Trend.refined(results) {
      #expect(refined.findings.prefix(2).map(\.cause) == ["duplicate-shard", "head-map"])
      #expect(refined.findings.count == 3)
    }
  }

  @Test func oneWorldSizeDecidesNothing() {
    let alone = [result(2, 2, atTwo)]
    #expect(Trend.refined(alone).map(\.findings) == alone.map(\.findings))
  }
}
