import Alignment
import Comparison
import Coordination
import Diagnosis
import Dumps
import Reporting
import TestSupport
import Testing

/// What honest noise may be: theory, floors, set-aside tokens, classes of layers.
@Suite("Noise")
struct NoiseTests {
  private func row(
    _ stage: String, layer: Int, relL2: Double, tokens: [Double] = [], nonfinite: Int = 0, setAside: SetAside? = nil
  ) -> JudgedRow {
    JudgedRow(
      key: CaptureKey(layer: layer, stage: stage, tensor: "hidden"), dtype: .bfloat16,
      measures: Measures(
        cos: 1, maxAbs: relL2, rel: relL2, relL2: relL2, alpha: 1, residual: relL2, normRatio: 1, sglangRel: 0,
        byteEqual: 0.5, nonfiniteReference: 0, nonfiniteTarget: nonfinite, elementCount: 100, worstToken: nil,
        tokenRelL2: tokens, worstCoordinate: [], tokenNorms: Array(repeating: 1, count: tokens.count)),
      setAside: setAside)
  }

  private func verdicts(_ rows: [JudgedRow], _ floors: NoiseFloors = NoiseFloors()) -> [Verdict] {
    Judge(policy: .measured(floors)).judge(rows).map(\.verdict)
  }

  @Test("the first block of a sweep without history is judged by rounding theory, a bug in it still fails")
  func theory() {
    #expect(verdicts([row("Block", layer: 0, relL2: 0.011)]) == [.pass])
    #expect(verdicts([row("Block", layer: 0, relL2: 0.05)]) == [.fail])
    // A single product right after the embedding has no such depth.
    #expect(verdicts([row("QProj", layer: 0, relL2: 0.0105)]) == [.fail])
  }

  @Test("layers that were left out of the dump may have added noise as the root of the depth")
  func sampledLayers() {
    let sampled = [(0, 0.006), (15, 0.024), (31, 0.034)].map { row("Block", layer: $0, relL2: $1) }
    #expect(verdicts(sampled) == [.pass, .pass, .pass])
    // Neighbours get no such allowance.
    #expect(verdicts([row("Block", layer: 14, relL2: 0.006), row("Block", layer: 15, relL2: 0.06)]) == [.pass, .fail])
  }

  @Test("a known-good pair gives floors for its stage and type, and only so much")
  func knownGood() {
    var floors = NoiseFloors()
    floors.add(
      NoiseFloor(
        stage: "MoE", tensor: "hidden", dtype: .bfloat16, worldSize: 2, relL2: 0.03, captures: 4, source: .knownGood))
    #expect(verdicts([row("MoE", layer: 0, relL2: 0.04)], floors) == [.pass])
    #expect(verdicts([row("QProj", layer: 0, relL2: 0.04)], floors) == [.fail])
    floors.add(
      NoiseFloor(
        stage: "MoE", tensor: "hidden", dtype: .bfloat16, worldSize: 2, relL2: 0.9, captures: 1, source: .knownGood))
    #expect(floors.table.count == 1)
    #expect(verdicts([row("MoE", layer: 0, relL2: 0.9)], floors) == [.fail])
  }

  @Test("what one layer adds to its input stands out; a class of layers, a few tokens and a few layers do not")
  func localGrowth() {
    func point(_ layer: Int, _ growth: Double, tokens: Double? = nil) -> LocalGrowth.Point {
      func measures(_ relL2: Double, _ token: Double) -> Measures {
        row("GateUp", layer: layer, relL2: relL2, tokens: [token, token, token, 8 * token]).measures
      }
      // Layers differ a little, as they do.
      let size = 0.02 * (1 + 0.05 * Double(layer % 3))
      return LocalGrowth.Point(
        layer: layer, input: measures(size, size), output: measures(size * growth, size * (tokens ?? growth)),
        floor: 0.004)
    }
    let honest = (0..<20).map { point($0, 1 + 0.1 * Double($0 % 4)) }
    #expect(LocalGrowth().outliers(honest).isEmpty)
    var wrong = honest
    wrong[13] = point(13, 3.3)
    #expect(LocalGrowth().outliers(wrong).map(\.layer) == [13])
    wrong[13] = point(13, 3.3, tokens: 1)
    #expect(LocalGrowth().outliers(wrong).isEmpty)
    let classes = (0..<20).map { point($0, $0 % 6 == 5 ? 3.3 : 1) }
    #expect(LocalGrowth().outliers(classes).isEmpty)
    #expect(LocalGrowth().outliers([point(0, 1), point(1, 1), point(2, 3.3)]).isEmpty)
  }

  @Test("tokens set aside excuse themselves and nothing else")
  func setAside() {
    var tokens = Array(repeating: 0.004, count: 16)
    tokens[9] = 0.8
    let aside = SetAside(tokens: [9], followers: [10, 11], why: "a near-tie", mayPass: true)
    let worst = (tokens.map { $0 * $0 }.reduce(0, +) / 16).squareRoot()
    #expect(verdicts([row("MoE", layer: 0, relL2: worst, tokens: tokens)]) == [.fail])
    #expect(verdicts([row("MoE", layer: 0, relL2: worst, tokens: tokens, setAside: aside)]) == [.pass])
    // A token before the flip is not excused.
    tokens[2] = 0.8
    #expect(verdicts([row("MoE", layer: 0, relL2: worst, tokens: tokens, setAside: aside)]) == [.fail])
    // What is left when most are set aside says nothing.
    let all = Array(repeating: 0.8, count: 16)
    let most = SetAside(tokens: [0], followers: Set(1..<16), why: "a near-tie", mayPass: true)
    #expect(verdicts([row("MoE", layer: 0, relL2: 0.8, tokens: all, setAside: most)]) == [.inconclusive])
  }

  @Test("tokens set aside, and those that follow them, are excused so far and no further")
  func setAsideBounds() {
    func verdict(_ off: [Int: Double], nonfinite: Int = 0, isPadding: Bool = false, origins: Set<Int> = []) -> Verdict?
    {
      var tokens = Array(repeating: 0.004, count: 16)
      tokens[3] = 0.5
      for (token, distance) in off { tokens[token] = distance }
      let worst = (tokens.map { $0 * $0 }.reduce(0, +) / 16).squareRoot()
      let aside = SetAside(
        tokens: isPadding ? [9] : [3], followers: isPadding ? [] : Set(3..<16), origins: origins, why: "a near-tie",
        mayPass: !isPadding, isPadding: isPadding)
      return verdicts([row("MoE", layer: 0, relL2: worst, tokens: tokens, nonfinite: nonfinite, setAside: aside)]).first
    }
    #expect(verdict([:]) == .pass)
    // What a token may have seen of token 3 is at most what that is off by.
    #expect(verdict([9: 0.4]) == .pass)
    #expect(verdict([9: 0.6]) == .inconclusive)
    // A row of zeros, or another row, beside a token that is further off.
    #expect(verdict([3: 1.4, 9: 1]) == .inconclusive)
    #expect(verdict([3: 1.4, 9: 1.4]) == .inconclusive)
    #expect(verdict([9: 11]) == .fail)
    #expect(verdict([3: 11]) == .inconclusive)
    // It took another expert in a layer before.
    #expect(verdict([9: 1.3], origins: [9]) == .pass)
    #expect(verdict([9: 11], origins: [9]) == .inconclusive)
    // What is not finite is no rounding, wherever it stands, except where no token does.
    for token in [3, 9] { #expect(verdict([token: .nan], nonfinite: 1) == .fail) }
    #expect(verdict([3: 0.004, 9: .nan], nonfinite: 1, isPadding: true) == .inconclusive)
  }

  @Test("what followers may be off by comes from the rows before where no token of this one took another expert")
  func setAsideWalk() {
    func verdict(_ follower: Double) -> Verdict? {
      var tokens = Array(repeating: 0.004, count: 16)
      tokens[3] = 0.5
      let first = SetAside(tokens: [3], followers: Set(3..<16), why: "a near-tie", mayPass: true)
      // One row a sequence.
      let last = SetAside(tokens: [], followers: [0, 1, 2, 3], why: "a near-tie", mayPass: true)
      return verdicts([
        row("MoE", layer: 0, relL2: 0.1, tokens: tokens, setAside: first),
        row("LMHead", layer: 1, relL2: follower / 2, tokens: [0.004, 0.004, 0.004, follower], setAside: last),
      ]).last
    }
    #expect(verdict(0.4) == .pass)
    #expect(verdict(0.6) == .inconclusive)
  }

  @Test("a token of a batch of one is judged by itself", arguments: [false, true])
  func batchOfOne(isWrong: Bool) async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try await runPython(
      """
      import os, torch
      torch.manual_seed(5)
      # So many tokens that the whole is off by less than a stage may add.
      reference = torch.randn(1, 40960, 32)
      target = reference * (1 + 0.002 * torch.randn_like(reference))
      if \(isWrong ? 1 : 0): target[0, 1234] = torch.randn(32)
      for side, hidden in (("reference", reference), ("target", target)):
          os.makedirs(side)
          torch.save({"hidden": hidden.bfloat16()}, f"{side}/layer00_MLP_rank0_call000.pt")
      """, directory: scratch.path)
    let report = try await compare(scratch.path("reference"), scratch.path("target")) { $0.selection = .number(0) }
    #expect(report.verdict == (isWrong ? .fail : .pass), "\(report.notes)")
    if isWrong { #expect(report.rows.first?.why?.contains("token 1234 is off") == true, "\(report.rows)") }
  }

  @Test("classes of layers")
  func layerClasses() {
    func words(_ wrong: Set<Int>, of all: Set<Int>) -> String {
      LayerPattern.describe(stage: "MoE", wrong: wrong, all: all) ?? ""
    }
    #expect(words([3, 4, 5], of: [0, 1, 2, 3, 4, 5]).contains("from layer 3 on"))
    #expect(words([1, 3, 5], of: [0, 1, 2, 3, 4, 5]).contains("every 2th layer"))
    #expect(words([0, 1], of: [0, 1, 2, 3]).contains("only in the first 2 layers"))
    #expect(words([1, 2], of: [1, 2]).contains("in every layer"))
    #expect(words([1], of: [0, 1, 2]).isEmpty)
  }

  // MARK: trends

  /// A divergence whose difference is `factor` times a fixed tensor, or another tensor for another `seed`.
  private func result(_ size: Int, factor: Double, seed: Int = 0, causes: [String]) -> WorldSizeFindings {
    let values: [Double] = (0..<4096).map { place in
      let mixed: Int = place &* 7919 &+ seed &* 104_729 &* (place % 13 + 1)
      return factor * Double(mixed % 211 - 105)
    }
    let evidence = DivergenceEvidence(
      layer: 2, stage: "MoE", tensor: "hidden", worldSize: size, difference: TensorSketch(values),
      relL2: 0.5, alpha: 1, normRatio: 1, noise: 0.004, isContainer: false)
    return WorldSizeFindings(
      worldSize: size,
      findings: causes.map {
        Finding(
          cause: $0, layer: 2, stage: "MoE", confidence: .possible, evidence: [:], summary: "It is so.", next: "")
      }, divergence: (2, "MoE"), evidence: evidence)
  }

  @Test("the difference over the world sizes strikes out what does not follow it")
  func differences() {
    let guesses = ["repeated-scale", "branch-repeated", "missing-clamp"]
    func refined(_ four: Double, seed: Int = 0) -> [String] {
      let results = Trend.refined([
        result(2, factor: 1, causes: guesses), result(4, factor: four, seed: seed, causes: guesses),
      ])
      return results[0].findings.map { "\($0.cause) \($0.confidence.rawValue)" }
    }
    #expect(refined(3) == ["branch-repeated likely"])
    #expect(refined(1) == ["repeated-scale possible", "missing-clamp possible"])
    #expect(refined(1.5) == ["average-reduce likely"])
    #expect(refined(1, seed: 5).isEmpty)
    // Between the laws nothing is said.
    #expect(refined(2.2).count == 3)
  }

  @Test("an axis is guilty only where its twin passes and everything else is alike")
  func axes() {
    func cell(_ backend: String, _ reduce: String, failed: Bool) -> CellFindings {
      CellFindings(
        worldSize: 2, values: ["backend": backend, "allreduce": reduce], findings: [], isFailed: failed, layer: 1,
        stage: "MoE")
    }
    let one = [
      cell("eager", "nccl", failed: false), cell("eager", "one-shot", failed: true),
      cell("split", "nccl", failed: false), cell("split", "one-shot", failed: true),
    ]
    let causes = AxisTrend.refined(one).map { $0.findings.map(\.cause) }
    #expect(causes == [[], ["strategy-dependent"], [], ["strategy-dependent"]])
    // All fail: no axis is to blame.
    let all = one.map { CellFindings(worldSize: 2, values: $0.values, findings: [], isFailed: true) }
    let open = AxisTrend.refined(all).filter { !$0.findings.isEmpty }
    #expect(open.isEmpty)
  }
}
