import Alignment
import Comparison
import Dumps
import Testing

@Suite("Judging")
struct JudgeTests {
  private func row(
    _ stage: String, relL2: Double, layer: Int = 0, tensor: String = "hidden", dtype: DType = .bfloat16,
    nonfinite: (Int, Int) = (0, 0), tokens: [Double] = [], cos: Double = 1, rel: Double = 0, byteEqual: Double = 0.5,
    divergent: [Int] = [], isParameter: Bool = false
  ) -> JudgedRow {
    JudgedRow(
      key: CaptureKey(layer: layer, stage: stage, tensor: tensor), dtype: dtype,
      measures: Measures(
        cos: cos, maxAbs: relL2, rel: rel, relL2: relL2, alpha: 1, residual: relL2, normRatio: 1, sglangRel: 0,
        byteEqual: byteEqual, nonfiniteReference: nonfinite.0, nonfiniteTarget: nonfinite.1, elementCount: 100,
        worstToken: nil, tokenRelL2: tokens, worstCoordinate: [],
        tokenNorms: Array(repeating: 1, count: tokens.count)), divergentRanks: divergent, isParameter: isParameter)
  }

  private func verdicts(_ rows: [JudgedRow], _ policy: NoisePolicy = .measured(NoiseFloors())) -> [Verdict] {
    Judge(policy: policy).judge(rows).map(\.verdict)
  }

  @Test("honest growth passes, a jump fails and does not hide what follows")
  func onset() {
    let rows = [0.003, 0.005, 0.009, 0.012, 0.05, 0.05, 0.013].enumerated().map { row("S\($0)", relL2: $1) }
    #expect(verdicts(rows) == [.pass, .pass, .pass, .pass, .fail, .fail, .pass])
    let double = [1e-7, 3e-7, 5e-6].enumerated().map { row("S\($0)", relL2: $1, dtype: .float32) }
    #expect(verdicts(double) == [.pass, .pass, .fail])
  }

  @Test("a dump that begins in the middle brings the noise of the layers before")
  func middle() {
    // As measured on 36 layers in bfloat16.
    let honest = [
      row("Block", relL2: 0.0244, layer: 18, tensor: "input"), row("Block", relL2: 0.0255, layer: 18),
      row("Block", relL2: 0.0262, layer: 20, tensor: "input"),
    ]
    #expect(verdicts(honest) == [.pass, .pass, .pass])
    #expect(verdicts([row("Block", relL2: 0.16, layer: 18, tensor: "input")]) == [.fail])
    #expect(verdicts([row("Block", relL2: 0.0244, layer: 0, tensor: "input")]) == [.fail])
  }

  @Test("slow growth ends at the ceiling")
  func ceiling() {
    let rows = [0.008, 0.018, 0.04, 0.09, 0.2, 0.4].enumerated().map { row("S\($0)", relL2: $1) }
    #expect(verdicts(rows).last == .fail)
  }

  @Test(
    "the noise of a few tokens or of narrow ones has few draws, and lies along the values by chance",
    arguments: [(2, 128, Verdict.pass), (21, 128, .pass), (2, 4096, .fail), (21, 4096, .fail)])
  func fewDraws(tokens: Int, width: Int, verdict: Verdict) {
    var row = row("MLP", relL2: 0.0122, layer: 3, tokens: Array(repeating: 0.0122, count: tokens))
    (row.measures.alpha, row.measures.elementCount, row.usualRatio) = (1.006, width * tokens, 1.006)
    #expect(verdicts([self.row("MLP", relL2: 0.0131, layer: 2), row]) == [.pass, verdict])
  }

  @Test("a part of the noise that lies along the values is no factor where stages before had as much")
  func directed() {
    func stage(_ layer: Int, relL2: Double, alpha: Double) -> JudgedRow {
      var row = row("Attention", relL2: relL2, layer: layer)
      (row.measures.alpha, row.measures.elementCount, row.usualRatio) = (alpha, 4096, alpha)
      return row
    }
    let before = [stage(0, relL2: 0.008, alpha: 0.9992), stage(1, relL2: 0.0167, alpha: 1.0018)]
    #expect(verdicts(before + [stage(2, relL2: 0.0184, alpha: 0.9955)]) == [.pass, .pass, .pass])
    #expect(verdicts(before + [stage(2, relL2: 0.021, alpha: 1.01)]) == [.pass, .pass, .fail])
    // Where the noise before had no direction a small factor stands out.
    let plain = [stage(0, relL2: 0.008, alpha: 1.0001), stage(1, relL2: 0.0167, alpha: 1)]
    #expect(verdicts(plain + [stage(2, relL2: 0.0184, alpha: 0.9955)]) == [.pass, .pass, .fail])
  }

  @Test("tokens that are alike share their noise: in a narrow model chance alone may give it a direction")
  func narrow() {
    func last(width: Int) -> Verdict? {
      let before = (0..<2).map { row("Attention", relL2: 0.016, layer: $0) }
      var own = row("Attention", relL2: 0.016, layer: 2)
      own.measures.tokenRelL2 = Array(repeating: 0.016, count: 16)
      (own.measures.alpha, own.measures.elementCount, own.usualRatio) = (0.9945, 16 * width, 0.9942)
      return verdicts(before + [own]).last
    }
    #expect(last(width: 64) == .pass)
    #expect(last(width: 4096) == .fail)
  }

  @Test("float32 stages after bfloat16 ones have bfloat16's noise")
  func mixedTypes() {
    #expect(verdicts([row("A", relL2: 0), row("Router", relL2: 0.004, dtype: .float32)]) == [.pass, .pass])
  }

  @Test(
    "an equal tensor of 8 bits or less excuses nothing after it, nor does a scale that is a power of two",
    arguments: [DType.float8E8M0FNU, .float4E2M1FNx2, .float8E4M3FN, .float8E5M2])
  func quantisedAndEqual(dtype: DType) {
    for tensor in ["input_fields.scale", "output_fields.scale"] {
      let scale = row("Block", relL2: 0, tensor: tensor, dtype: dtype, byteEqual: 1)
      #expect(verdicts([scale, row("Block", relL2: 0.12)]) == [.pass, .fail])
      let tokens = (0..<52).map { $0 == 17 ? 0.4 : 0.004 }
      #expect(verdicts([scale, row("Block", relL2: 0.009, tokens: tokens)]) == [.pass, .fail])
      // What was rounded otherwise brings its noise along; a scale's step is its own.
      let rounded = row("Block", relL2: 0.03, tensor: tensor, dtype: dtype)
      let isScale = dtype == .float8E8M0FNU
      #expect(verdicts([rounded, row("Block", relL2: 0.12)]) == [.pass, isScale ? .fail : .pass])
    }
  }

  @Test("parameters do not flow into each other")
  func parameters() {
    func weight(_ name: String, relL2: Double, layer: Int = 0, dtype: DType) -> JudgedRow {
      row("weights", relL2: relL2, layer: layer, tensor: name, dtype: dtype, isParameter: true)
    }
    let rows = [
      weight("q", relL2: 0.02, dtype: .float8E4M3FN), weight("z", relL2: 0.007, dtype: .float32),
      weight("a", relL2: 0.003, layer: 7, dtype: .bfloat16), weight("b", relL2: 0.005, layer: 7, dtype: .bfloat16),
    ]
    #expect(verdicts(rows) == [.pass, .fail, .pass, .fail])
    // Nor into what was computed, nor the other way round.
    let mixed = [
      row("Block", relL2: 0.004), weight("q", relL2: 0.02, dtype: .float8E4M3FN),
      row("Block", relL2: 0.009, layer: 1), row("Block", relL2: 0.05, layer: 1),
    ]
    #expect(verdicts(mixed) == [.pass, .pass, .pass, .fail])
  }

  @Test("a parameter is loaded, so one rounding is all that it may be off by, in the whole, a row and a value")
  func loadedOnce() {
    func weight(_ relL2: Double, _ rows: [Double] = [], rel: Double = 0, dtype: DType = .bfloat16) -> JudgedRow {
      row("mlp.down_proj", relL2: relL2, dtype: dtype, tokens: rows, rel: rel, isParameter: true)
    }
    let rows = [0.002, 0.009].map { Array(repeating: 0.0, count: 63) + [$0] }
    #expect(verdicts([weight(0.0016), weight(0.006), weight(0.0059), weight(0)]) == [.pass, .fail, .fail, .pass])
    #expect(verdicts([weight(0.0002, rows[0]), weight(0.0012, rows[1])]) == [.pass, .fail])
    #expect(verdicts([weight(0.0002, rel: 0.0039), weight(0.0002, rel: 0.05)]) == [.pass, .fail])
    // A vocabulary has more rows than are kept: the worst of them stands for all.
    var vocabulary = weight(0.0002)
    vocabulary.measures.worstToken = TokenMeasure(index: 700_001, cos: 1, relL2: 0.009)
    let judged = Judge(policy: .measured(NoiseFloors())).judge([vocabulary])
    #expect(judged[0].verdict == .fail && judged[0].tokens == [700_001])
    // A scale's power of two is not rounded, and one code in ten a step off is another quantisation.
    #expect(verdicts([weight(0, dtype: .float8E8M0FNU), weight(0.13, dtype: .float8E8M0FNU)]) == [.pass, .fail])
    #expect(
      verdicts([weight(0.0161, rel: 0.07, dtype: .float8E4M3FN), weight(0.04, dtype: .float8E4M3FN)]) == [.pass, .fail])
    // The same numbers in what was computed are noise, whatever its name.
    #expect(verdicts([row("weights", relL2: 0.006, tensor: "weight", rel: 0.05)]) == [.pass])
  }

  @Test("one garbage token of 2048 fails")
  func token() {
    var tokens = (0..<2048).map { 0.01 + 0.004 * Double($0 % 7) / 7 }
    let honest = row("MoE", relL2: 0.012, tokens: tokens)
    tokens[777] = 1.2
    let bad = row("MoE", relL2: 0.028, tokens: tokens)
    #expect(verdicts([row("A", relL2: 0.009), honest]) == [.pass, .pass])
    let judged = Judge(policy: .measured(NoiseFloors())).judge([row("A", relL2: 0.009), bad])
    #expect(judged[1].verdict == .fail)
    #expect(judged[1].tokens == [777])
  }

  @Test("one garbage token fails also where there are too many to be kept")
  func tokenOfTooMany() {
    var rows = [0.03, 1.4].map { distance in
      var row = row("MoE", relL2: 0.012)
      row.measures.worstToken = TokenMeasure(index: 700_001, cos: 0, relL2: distance)
      return row
    }
    rows.append(row("Block", relL2: 0.012, tokens: [0.01, 0.012]))
    let judged = Judge(policy: .measured(NoiseFloors())).judge(rows)
    #expect(judged.map(\.verdict) == [.pass, .fail, .pass])
    #expect(judged[1].tokens == [700_001] && judged[1].why?.contains("token 700001 is off by 1.4") == true)
  }

  @Test("what is not finite never passes under any policy")
  func nonfinite() {
    for policy in [
      NoisePolicy.measured(NoiseFloors()), .strict, .atom, .triage, .thresholds(cos: nil, rel: nil),
    ] {
      #expect(verdicts([row("A", relL2: .nan, nonfinite: (0, 1), cos: .nan)], policy) == [.fail])
      #expect(verdicts([row("A", relL2: .nan, nonfinite: (1, 1), cos: .nan)], policy) == [.fail])
      #expect(verdicts([row("A", relL2: .nan, nonfinite: (1, 0), cos: .nan)], policy) == [.inconclusive])
      #expect(verdicts([row("A", relL2: 0, divergent: [1])], policy) == [.fail])
    }
  }

  @Test("repeats raise the floor")
  func repeats() {
    let key = CaptureKey(layer: 0, stage: "A", tensor: "hidden")
    #expect(verdicts([row("A", relL2: 0.03)]) == [.fail])
    #expect(verdicts([row("A", relL2: 0.03)], .measured(NoiseFloors(relL2: [key: 0.02]))) == [.pass])
  }

  @Test(
    "the tables as their documents have them",
    arguments: [
      (0.99995, 0.005, "✓", "✓", "correct"), (0.99995, 0.57, "?", "✗✗", "correct"), (0.9995, 0.02, "?", "?", "correct"),
      (0.995, 0.05, "✗", "?", "suspicious"), (0.95, 0.2, "✗✗", "✗", "broken"), (0.5, 0.9, "✗✗", "✗✗", "catastrophic"),
    ])
  func tables(cos: Double, rel: Double, atom: String, skill: String, triage: String) {
    #expect(FixedProfile.atom.flag(cos: cos, rel: rel) == atom)
    #expect(FixedProfile.atomSkill.flag(cos: cos, rel: rel) == skill)
    #expect(FixedProfile.triage.flag(cos: cos, rel: rel) == triage)
    #expect(FixedProfile.atom.flag(cos: .nan, rel: rel) == "??")
  }

  @Test("where cos and rel disagree, rel decides")
  func disagreement() {
    #expect(verdicts([row("A", relL2: 0.01, cos: 0.99995, rel: 0.57)], .atom) == [.fail])
    #expect(verdicts([row("A", relL2: 0.01, cos: 0.9995, rel: 0.02)], .atom) == [.pass])
  }

  @Test("integers that no double tells apart are not equal, under any policy")
  func wideIntegers() {
    for dtype in [DType.int64, .uint64] {
      var accumulator = MeasureAccumulator(shape: [4], valuesPerElement: 1)
      let reference: [UInt64] = [7, 1 << 53, 9, 10]
      var target = reference
      target[1] += 1
      let sides = [target, reference].map { numbers in numbers.withUnsafeBytes { [UInt8]($0) } }
      accumulator.add(dtype, target: sides[0], reference: sides[1])
      let measures = accumulator.measures
      #expect(!measures.isEqual)
      let row = JudgedRow(
        key: CaptureKey(layer: 0, stage: "Ids", tensor: "hidden"), dtype: dtype, measures: measures)
      for policy in [
        NoisePolicy.measured(NoiseFloors()), .strict, .atom, .triage, .thresholds(cos: 0.9, rel: 0.1),
      ] {
        #expect(verdicts([row], policy) == [.fail])
      }
    }
  }

  @Test("strict is byte equality")
  func strict() {
    #expect(
      verdicts([row("A", relL2: 0, byteEqual: 1), row("A", relL2: 1e-9, byteEqual: 0.999)], .strict) == [.pass, .fail])
  }
}
