import Dumps
import Testing

@testable import Alignment

@Suite("Name patterns and joins") struct NameJoinTests {
  private func match(_ pattern: String, _ name: String) throws -> [String: String]? {
    try NameMatcher(NamePattern(pattern)).match(name)
  }

  @Test func patternsTakeWholeNames() throws {
    #expect(try match("layer {n} mlp.output", "layer 12 mlp.output") == ["n": "12"])
    #expect(try match("layer {n} mlp.output", "layer 12 mlp.output.0") == nil)
    #expect(try match("layer {n} mlp.output", "layer 12 mlpxoutput") == nil)
    #expect(try match("layer {n} {m:.+}.{:output(?:\\.0)?}", "layer 1 a.b.output.0") == ["n": "1", "m": "a.b"])
    #expect(try match("layer {n} w.layers.{n}.{t}", "layer 1 w.layers.1.q") == ["n": "1", "t": "q"])
    #expect(try match("layer {n} w.layers.{n}.{t}", "layer 1 w.layers.2.q") == nil)
    // Counts of an expression are no braces of the pattern, and words end at dots.
    #expect(try match(#"{:\w{3}}.{1}"#, "abc.d") == ["1": "d"])
    #expect(try match(#"{:[^ ]*\blayers\.}{x}"#, "model.layers.q") == ["x": "q"])
    #expect(try match(NamePattern.exactly("a{b}.c"), "a{b}.c") == [:])
  }

  @Test(
    "what is no pattern is refused with its column",
    arguments: [
      ("a {n", "column 3", "never closed"), ("a } b", "column 3", "closes nothing"), ("{}", "column 1", "needs a name"),
      ("{a-b}", "column 2", "no name"), ("x{n:(}", "column 5", "not a regular expression"), ("", "column 1", "empty"),
    ])
  func refused(text: String, column: String, why: String) {
    let error = #expect(throws: AlignmentError.self) { _ = try NamePattern(text) }
    #expect(error?.description.contains(column) == true && error?.description.contains(why) == true, "\(error as Any)")
  }

  private func rule(_ reference: [String], _ target: [String], optional: Bool = false) throws -> NameRules.Entry {
    .rule(
      try NameRule(
        reference: reference.map { try NamePattern($0) }, target: target.map { try NamePattern($0) },
        isOptional: optional, title: "rule"))
  }

  private func join(_ rules: [NameRules.Entry], _ reference: [CaptureKey], _ target: [CaptureKey]) throws -> NameJoin {
    func shapes(_ keys: [CaptureKey]) -> [CaptureKey: [Int]] {
      Dictionary(uniqueKeysWithValues: keys.map { ($0, [4, 8]) })
    }
    return try NameJoin(
      rules: NameRules(rules), reference: shapes(reference), target: shapes(target), layouts: (.atom, .sglang))
  }

  private func key(_ layer: Int?, _ stage: String, _ tensor: String) -> CaptureKey {
    CaptureKey(layer: layer, stage: stage, tensor: tensor)
  }

  @Test func captureOfOneSideAloneIsRefused() {
    let error = #expect(throws: AlignmentError.self) { _ = try rule(["layer {n} a"], ["layer {m} b"]) }
    #expect(error?.message.contains("{m}, {n} is not in every pattern") == true)
    #expect(throws: AlignmentError.self) { _ = try rule(["a", "b"], ["c", "d"]) }
  }

  @Test func theTargetsNameStands() throws {
    let (a, b) = (key(3, "MoE", "hidden"), key(3, "mlp", "output"))
    let joined = try join([rule(["layer {n} MoE.hidden"], ["layer {n} mlp.output"])], [a], [b])
    #expect(joined.reference.renamed == [a: b])
    #expect(joined.target.renamed.isEmpty)
    #expect(joined.problems.isEmpty)
  }

  @Test func partsAreFusedInTheirOrderOnEitherSide() throws {
    let parts = ["v", "k", "q"].map { key(0, $0, "weight") }
    let whole = key(0, "qkv", "weight")
    let patterns = ["q", "k", "v"].map { "layer {n} \($0).{t}" }
    let forward = try join([rule(patterns, ["layer {n} qkv.{t}"])], parts, [whole])
    #expect(forward.reference.fused == [whole: parts.reversed()])
    let backward = try join([rule(["layer {n} qkv.{t}"], patterns)], [whole], parts)
    #expect(backward.target.fused == [whole: parts.reversed()])
    #expect(backward.reference.renamed.isEmpty)
    let short = try join([rule(patterns, ["layer {n} qkv.{t}"])], Array(parts.dropLast()), [whole])
    #expect(short.count == 0)
    #expect(short.reference.reasons[parts[0]]?.contains("layer {n} q.{t}") == true)
    #expect(short.target.reasons[whole]?.contains("has no name that fits “layer {n} q.{t}”") == true)
  }

  @Test func twoNamesOnOneAreSaid() throws {
    let two = [key(0, "MLP", "hidden"), key(0, "MoE", "hidden")]
    let one = key(0, "mlp", "output")
    let joined = try join(
      [rule(["layer {n} {:MLP|MoE}.hidden"], ["layer {n} mlp.output"], optional: true)], two, [one])
    #expect(joined.count == 0)
    #expect(joined.reference.reasons[two[0]]?.contains("land on one name") == true)
    #expect(joined.target.reasons[one]?.contains("both fit it") == true)
    // Where the other side has none, there is nothing to be ambiguous about.
    let alone = try join([rule(["layer {n} {:MLP|MoE}.hidden"], ["layer {n} mlp.output"], optional: true)], two, [])
    #expect(alone.reference.outside == Set(two))
  }

  @Test func whatOtherLayersHaveIsNoNameOnOneSide() throws {
    let reference = (0..<3).map { key($0, "MLP", "hidden") } + [key(0, "Gate", "hidden")]
    let target = (0..<2).map { key($0, "mlp", "output") }
    let joined = try join(
      [rule(["layer {n} MLP.hidden"], ["layer {n} mlp.output"], optional: true)], reference, target)
    #expect(joined.reference.reasons[reference[2]]?.contains("compared in other layers") == true)
    #expect(joined.reference.outside == [reference[3]])
  }

  @Test func batchAndTokensBecomeOneDimension() throws {
    let (a, b) = (key(0, "mlp", "output"), key(0, "mlp", "output.0"))
    let rules = NameRules([try rule(["layer {n} mlp.output"], ["layer {n} mlp.output.0"])])
    for (shape, isFlat) in [([1, 6, 8], true), ([2, 3, 8], true), ([2, 4, 8], false), ([6, 8], false)] {
      let joined = try NameJoin(
        rules: rules, reference: [a: shape], target: [b: [6, 8]], layouts: (.huggingFace, .sglang))
      #expect(joined.reference.flattened.contains(a) == isFlat, "\(shape)")
      #expect(joined.target.flattened.isEmpty)
    }
  }

  @Test("hidden state and residual carried apart are not Hugging Face's sum", arguments: [true, false])
  func residuals(isFused: Bool) throws {
    let stages = ["layer", "input_layernorm", "mlp"]
    let huggingFace = (0..<2).flatMap { layer in
      stages.flatMap { [key(layer, $0, "output"), key(layer, $0, "input_fields.0")] }
    }
    var engine = (0..<2).flatMap { layer in
      stages.flatMap { [key(layer, $0, "output.0"), key(layer, $0, "input_fields.0")] }
    }
    if isFused {
      // The first norm of all has no residual yet.
      engine += [key(1, "input_layernorm", "input_fields.1")]
      engine += (0..<2).flatMap { [key($0, "layer", "output.1"), key($0, "input_layernorm", "output.1")] }
    }
    func shapes(_ keys: [CaptureKey]) -> [CaptureKey: [Int]] {
      Dictionary(uniqueKeysWithValues: keys.map { ($0, [4, 8]) })
    }
    let joined = try NameJoin(
      rules: NameRules([.preset(.msprobeHuggingFace)]), reference: shapes(huggingFace), target: shapes(engine),
      layouts: (.huggingFace, .msprobe))
    let apart = [key(0, "layer", "output.0"), key(1, "layer", "output.0")]
    let inputs = (0..<2).map { key($0, "input_layernorm", "input_fields.0") }
    for name in apart + inputs { #expect(joined.target.outside.contains(name) == isFused, "\(name)") }
    for name in inputs + [key(1, "layer", "output")] {
      #expect(joined.reference.outside.contains(name) == isFused, "\(name)")
      #expect(joined.reference.reasons[name] == nil)
    }
    // What both have is compared as before.
    for stage in ["mlp", "input_layernorm"] {
      #expect(joined.reference.renamed[key(1, stage, "output")] == key(1, stage, "output.0"))
    }
  }

  @Test func presetsAreReadableAndKnowTheirFormats() throws {
    let pairs: [(NamePreset, DumpLayout, DumpLayout)] = [
      (.atomSGLang, .atom, .sglang), (.atomHuggingFace, .atom, .huggingFace),
      (.sglangHuggingFace, .sglang, .huggingFace),
      (.msprobeATOM, .msprobe, .atom), (.msprobeSGLang, .msprobe, .sglang),
      (.msprobeHuggingFace, .msprobe, .huggingFace),
      (.weightsATOM, .safetensors, .weights), (.weightsSGLang, .safetensors, .sglang),
    ]
    #expect(pairs.count == NamePreset.allCases.count - 1)
    for (preset, first, second) in pairs {
      let rules = try preset.rules(reference: first, target: second)
      let turned = try preset.rules(reference: second, target: first)
      #expect(!rules.isEmpty && rules.map(\.reference) == turned.map(\.target))
      #expect(try NamePreset.auto.rules(reference: second, target: first) == turned)
      #expect(throws: AlignmentError.self) { _ = try preset.rules(reference: first, target: .npy) }
      for pattern in rules.flatMap({ $0.reference + $0.target }) { _ = try NameMatcher(pattern) }
    }
  }
}
