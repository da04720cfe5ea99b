import Dumps

/// Rules for a pair of formats whose names are known; either may be the reference.
///
/// A preset's rules are optional: what one side alone dumped is named in the coverage ledger. Layers of engines that
/// carry hidden state and residual apart are joined with those of Hugging Face only by their parts (attention, MLP,
/// norms): the hidden state alone is another quantity.
public enum NamePreset: String, Sendable, Hashable, Codable, CaseIterable {
  /// By the layouts of the two sides.
  case auto
  case atomSGLang = "atom-sglang"
  case atomHuggingFace = "atom-hf"
  case sglangHuggingFace = "sglang-hf"
  case msprobeATOM = "msprobe-atom"
  case msprobeSGLang = "msprobe-sglang"
  case msprobeHuggingFace = "msprobe-hf"
  /// Checkpoints in safetensors with ATOM's weight dumps.
  case weightsATOM = "weights-atom"
  /// Checkpoints in safetensors with the parameters that SGLang's dumper wrote.
  case weightsSGLang = "weights-sglang"

  private var layouts: (DumpLayout, DumpLayout)? {
    switch self {
    case .auto: nil
    case .atomSGLang: (.atom, .sglang)
    case .atomHuggingFace: (.atom, .huggingFace)
    case .sglangHuggingFace: (.sglang, .huggingFace)
    case .msprobeATOM: (.msprobe, .atom)
    case .msprobeSGLang: (.msprobe, .sglang)
    case .msprobeHuggingFace: (.msprobe, .huggingFace)
    case .weightsATOM: (.safetensors, .weights)
    case .weightsSGLang: (.safetensors, .sglang)
    }
  }

  /// The pair's rules, turned round where the reference is the second of the pair.
  func rules(reference: DumpLayout, target: DumpLayout) throws(AlignmentError) -> [NameRule] {
    if self == .auto {
      let known = Self.allCases.first { preset in
        preset.layouts.map { $0 == (reference, target) || $0 == (target, reference) } ?? false
      }
      if let known { return try known.rules(reference: reference, target: target) }
      if reference == target { return [] }
      throw AlignmentError(
        code: .malformedNames, place: "names: auto",
        message: "names: there is no preset for \(reference.rawValue) and \(target.rawValue); write rules")
    }
    guard let (first, second) = layouts else { return [] }
    let isTurned: Bool
    if (reference, target) == (first, second) {
      isTurned = false
    } else if (reference, target) == (second, first) {
      isTurned = true
    } else {
      throw AlignmentError(
        code: .malformedNames, place: "names: \(rawValue)",
        message: "names: the preset \(rawValue) joins \(first.rawValue) with \(second.rawValue), and these dumps are "
          + "\(reference.rawValue) and \(target.rawValue)")
    }
    var result: [NameRule] = []
    for (left, right) in pairs(first, second) {
      let (left, right) = (try left.map(Self.pattern), try right.map(Self.pattern))
      result.append(
        try NameRule(
          reference: isTurned ? right : left, target: isTurned ? left : right, isOptional: true,
          title: "preset \(rawValue)"))
    }
    return result
  }

  private static func pattern(_ text: String) throws(AlignmentError) -> NamePattern { try NamePattern(text) }

  private func pairs(_ first: DumpLayout, _ second: DumpLayout) -> [([String], [String])] {
    if first == .safetensors { return second == .weights ? Self.checkpointATOM : Self.checkpointSGLang }
    var result: [([String], [String])] = []
    for concept in Concept.allCases {
      guard let left = concept.pattern(first, beside: second), let right = concept.pattern(second, beside: first) else {
        continue
      }
      result.append(([left], [right]))
    }
    return result
  }

  /// What a forward dump of each format calls the same quantity.
  private enum Concept: CaseIterable {
    case layer
    case attention
    case mlp
    /// Any other module inside a layer, and outside.
    case module
    case outerModule
    case moduleInput
    case tokens

    func pattern(_ layout: DumpLayout, beside other: DumpLayout) -> String? {
      let output = #"{:output(?:\.0)?}"#
      let isATOM = layout == .atom
      // Transformers' debugger keeps what modules without children give: of attention its last projection.
      let last = layout == .huggingFace ? #"(?:\.(?:o_proj|out_proj|dense|down_proj|fc2))?"# : ""
      switch self {
      case .layer:
        if isATOM { return #"layer {n} {:Block|\w*(?:DecoderLayer|TransformerLayer)}.hidden"# }
        // A pair of hidden state and residual (output.0, output.1) is not what Hugging Face's layer gives.
        return layout == .sglang && other == .huggingFace ? "layer {n} layer.output" : "layer {n} layer.\(output)"
      case .attention:
        return isATOM
          ? #"layer {n} {:\w*(?:Attention|Attn|MLA)\.hidden|attn_out\.hidden}"#
          : #"layer {n} {:(?:self_attn|self_attention|attention|attn)\#(last)\.output(?:\.0)?|attn_output\.value}"#
      case .mlp:
        return isATOM
          ? #"layer {n} {:\w*(?:MLP|Mlp|MoE|MoeBlock|MoEBlock|FeedForward|FFN)\.hidden|mlp_out\.hidden}"#
          : #"layer {n} {:(?:mlp|moe|block_sparse_moe|feed_forward|ffn)\#(last)\.output(?:\.0)?|(?:mlp|moe)_output\.value}"#
      case .module: return isATOM || other == .atom ? nil : #"layer {n} {m:(?!layer\.).+?}."# + output
      case .outerModule: return isATOM || other == .atom ? nil : "{m:[^ ]+?}.\(output)"
      case .moduleInput:
        return isATOM || other == .atom ? nil : #"layer {n} {m:(?!layer\.).+?}.{:input_fields\.(?:0|hidden_states|x)}"#
      case .tokens:
        return isATOM
          ? #"{:embed\.input_ids\.hidden|inputs\.input_ids}"#
          : #"{:(?:inputs|model|embed_tokens)}.input_fields.{:input_ids|0|input}"#
      }
    }
  }

  /// A checkpoint's names: `layer 0 model.self_attn.q_proj.weight`.
  private static let checkpoint = #"layer {n} {:(?:[^ ]*\bmodel\.)?}"#

  private static let fused: [(parts: [String], whole: String)] = [
    (["{m:[^ ]+}.q_proj.{t}", "{m:[^ ]+}.k_proj.{t}", "{m:[^ ]+}.v_proj.{t}"], "{m:[^ ]+}.qkv_proj"),
    (["{m:[^ ]+}.gate_proj.{t}", "{m:[^ ]+}.up_proj.{t}"], "{m:[^ ]+}.gate_up_proj"),
  ]

  private static var checkpointATOM: [([String], [String])] {
    let weights = #"layer {n} weights.{:[^ ]*?\blayers\.\d+\.}"#
    return fused.map { rule in (rule.parts.map { checkpoint + $0 }, [weights + rule.whole + ".{t}"]) }
      + [([checkpoint + "{p:[^ ]+}"], [weights + "{p:[^ ]+}"])]
  }

  private static var checkpointSGLang: [([String], [String])] {
    fused.map { rule in (rule.parts.map { checkpoint + $0 }, ["layer {n} \(rule.whole).parameters.{t}"]) } + [
      ([checkpoint + "{m:[^ ]+}.{t}"], ["layer {n} {m:[^ ]+}.parameters.{t}"]),
      ([#"{:(?:[^ ]*\bmodel\.)?}{m:[^ ]+}.{t}"#], ["{m:[^ ]+}.parameters.{t}"]),
    ]
  }
}
