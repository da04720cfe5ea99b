import Comparison

/// One planted bug, and what must be found.
struct PlantedBug: Sendable {
  var bug: String
  var arguments = ""
  /// The first finding's cause with every stage dumped.
  var cause: String
  /// Where it shows with every stage dumped.
  var stage: String
  /// With a few classes dumped: the cause must be among the first findings. nil: as with every stage.
  var coarse: String?
  /// How many of them: whole stages leave several causes possible.
  var coarseFindings = 3
  var verdict = Verdict.fail
  /// The layer that is named.
  var layer: Int? = 1
  /// Where it is planted; nil: in the layer that is named.
  var at: Int?
  /// Arguments of the reference beside the usual ones.
  var reference = ""
  var model = Workload.Model.sample
  var sizes = [2, 4, 8]

  var name: String { "\(bug)\(arguments.isEmpty ? "" : " \(arguments)")" }

  /// The run at a world size.
  func run(ranks: Int) -> Workload.Run {
    model.run("--bug \(bug) --layer \(at ?? layer ?? 1) \(arguments)", ranks: ranks)
  }
}

extension Workload.Model {
  /// A run of the matrix: every stage dumped, faults only where there are ranks.
  func run(_ arguments: String, ranks: Int) -> Workload.Run {
    let type = arguments.contains("--dtype") ? "" : "--dtype bf16 "
    let own = self == .llama ? "" : "--prompt-length 8 --decode-steps 0 --bug-from-world-size 2 "
    return Workload.Run(
      arguments: "--nproc \(ranks) \(type)\(own)\(arguments)", classes: classes.joined(separator: ","), model: self)
  }

  /// Every stage, in the order in which they run.
  var classes: [String] {
    switch self {
    case .sample:
      [
        "Embedding", "QProj", "KProj", "VProj", "QNorm", "KNorm", "QRope", "KRope", "AttnContext", "OProj",
        "Attention", "FfnNorm", "Router", "GateUp", "Activation", "RoutedExperts", "SharedExpert", "MLP", "MoE",
        "Block", "LMHead",
      ]
    case .deep:
      [
        "Embedding", "QProj", "KProj", "VProj", "QRope", "KRope", "AttnContext", "OProj", "Attention", "FfnNorm",
        "GateUp", "Activation", "DownProj", "MLP", "Block", "LMHead",
      ]
    case .llama:
      [
        "embed_tokens", "input_layernorm", "q_proj", "k_proj", "v_proj", "q_rope", "k_rope", "o_proj", "self_attn",
        "post_attention_layernorm", "gate_proj", "up_proj", "act_fn", "down_proj", "mlp", "decoder_layer",
        "final_norm", "lm_head",
      ]
    }
  }

  /// What a first, coarse dump has.
  var coarse: Set<String> {
    self == .llama
      ? ["embed_tokens", "self_attn", "mlp", "decoder_layer"] : ["Embedding", "Attention", "MLP", "MoE", "Block"]
  }

  var block: Set<String> { self == .llama ? ["decoder_layer"] : ["Block"] }
}

extension PlantedBug {
  static let sample: [PlantedBug] = [
    PlantedBug(bug: "missing-reduce", cause: "missing-reduce", stage: "MoE"),
    PlantedBug(bug: "double-reduce", cause: "double-reduce", stage: "MoE"),
    PlantedBug(bug: "double-reduce", arguments: "--stage Attention", cause: "double-reduce", stage: "Attention"),
    PlantedBug(bug: "average-reduce", cause: "average-reduce", stage: "MoE"),
    PlantedBug(bug: "branch-repeated", cause: "branch-repeated", stage: "MoE"),
    PlantedBug(bug: "branch-missing-reduce", cause: "branch-missing-reduce", stage: "MoE"),
    PlantedBug(bug: "residual-repeated", cause: "residual-repeated", stage: "MoE"),
    PlantedBug(bug: "bias-repeated", cause: "bias-repeated", stage: "OProj", coarse: "bias-repeated"),
    PlantedBug(bug: "rank-absent", cause: "rank-absent", stage: "MoE"),
    PlantedBug(bug: "duplicate-shard", cause: "duplicate-shard", stage: "RoutedExperts"),
    PlantedBug(bug: "fused-shard-layout", cause: "fused-shard-layout", stage: "GateUp", coarse: "fused-shard-layout"),
    PlantedBug(
      bug: "fused-shard-layout", arguments: "--stage Attention", cause: "fused-shard-layout", stage: "QProj",
      coarse: "fused-shard-layout", coarseFindings: 4),
    PlantedBug(bug: "halves-swapped", cause: "halves-swapped", stage: "GateUp"),
    PlantedBug(bug: "head-map", cause: "head-map", stage: "KProj"),
    PlantedBug(bug: "rank-order", arguments: "--stage Attention", cause: "rank-order", stage: "QProj", coarse: ""),
    PlantedBug(bug: "shard-local-statistics", cause: "shard-local-statistics", stage: "QNorm"),
    PlantedBug(bug: "missing-scale", cause: "missing-scale", stage: "Router"),
    PlantedBug(bug: "repeated-scale", cause: "repeated-scale", stage: "Router"),
    PlantedBug(bug: "float8-variant", cause: "float8-variant", stage: "RoutedExperts", coarse: "float8-variant"),
    // With 64 columns a rank of eight has one tile, and nothing to shuffle.
    PlantedBug(
      bug: "weight-shuffle", arguments: "--expert-width 128", cause: "weight-shuffle", stage: "RoutedExperts",
      reference: "--expert-width 128"),
    PlantedBug(
      bug: "missing-weight", cause: "missing-weight", stage: "RoutedExperts"),
    PlantedBug(bug: "rope-style", cause: "rope-style", stage: "QRope"),
    PlantedBug(bug: "position-offset", cause: "position-offset", stage: "QRope"),
    PlantedBug(bug: "norm-weight-offset", cause: "norm-weight-offset", stage: "FfnNorm"),
    PlantedBug(bug: "missing-clamp", cause: "missing-clamp", stage: "Activation"),
    PlantedBug(bug: "quantisation-rounding", cause: "quantisation-rounding", stage: "Router"),
    PlantedBug(bug: "token-corruption", cause: "token-corruption", stage: "MoE"),
    PlantedBug(bug: "row-shift", cause: "row-shift", stage: "MoE"),
    PlantedBug(bug: "chunk-order", cause: "chunk-order", stage: "MoE"),
    PlantedBug(
      bug: "chunk-state", arguments: "--prefill-chunks 2", cause: "chunk-state", stage: "AttnContext",
      reference: "--prefill-chunks 2"),
    PlantedBug(
      bug: "uninitialised-padding", arguments: "--pad-rows 4", cause: "uninitialised-padding", stage: "MoE",
      verdict: .inconclusive, reference: "--pad-rows 4"),
    PlantedBug(bug: "non-finite", cause: "non-finite", stage: "MoE"),
    PlantedBug(bug: "replica-divergence", cause: "replica-divergence", stage: "MoE"),
    PlantedBug(
      bug: "vocabulary-padding", cause: "vocabulary-padding", stage: "LMHead", coarse: "", layer: 2),
    PlantedBug(
      bug: "input-mismatch", cause: "input-mismatch", stage: "Embedding", verdict: .inconclusive, layer: 0),
    PlantedBug(
      bug: "incomplete-ranks", cause: "incomplete-ranks", stage: "", verdict: .inconclusive, layer: nil),
    PlantedBug(bug: "stale-dump", cause: "stale-dump", stage: "", verdict: .inconclusive),
    PlantedBug(bug: "stage-mismatch", cause: "stage-mismatch", stage: "MoE", coarse: "", verdict: .pass),
    PlantedBug(
      bug: "divisibility", arguments: "--expert-width 96", cause: "divisibility", stage: "RoutedExperts", coarse: "",
      reference: "--expert-width 96"),
  ]

  static let deep: [PlantedBug] = [
    PlantedBug(
      bug: "missing-reduce", cause: "missing-reduce", stage: "MLP", coarse: "", layer: 30, model: .deep, sizes: [2, 4]),
    PlantedBug(
      bug: "double-reduce", arguments: "--stage Attention", cause: "double-reduce", stage: "Attention", coarse: "",
      layer: 17, model: .deep),
    PlantedBug(
      bug: "average-reduce", cause: "average-reduce", stage: "MLP", coarse: "", layer: 25, model: .deep, sizes: [2, 4]),
    PlantedBug(
      bug: "residual-repeated", cause: "residual-repeated", stage: "MLP", coarse: "", layer: 33, model: .deep,
      sizes: [2, 4]),
    PlantedBug(
      bug: "bias-repeated", cause: "bias-repeated", stage: "OProj", coarse: "", layer: 12, model: .deep, sizes: [2, 4]),
    PlantedBug(
      bug: "rank-absent", arguments: "--stage Attention", cause: "rank-absent", stage: "Attention", coarse: "",
      layer: 21, model: .deep, sizes: [2, 4]),
    PlantedBug(
      bug: "duplicate-shard", cause: "duplicate-shard", stage: "DownProj", coarse: "", layer: 9, model: .deep,
      sizes: [2, 4]),
    PlantedBug(
      bug: "fused-shard-layout", cause: "fused-shard-layout", stage: "GateUp", coarse: "", layer: 28, model: .deep,
      sizes: [2, 4]),
    PlantedBug(
      bug: "halves-swapped", cause: "halves-swapped", stage: "GateUp", coarse: "", layer: 31, model: .deep,
      sizes: [2, 4]),
    PlantedBug(bug: "head-map", cause: "head-map", stage: "KProj", coarse: "", layer: 14, model: .deep, sizes: [4, 8]),
    PlantedBug(
      bug: "rank-order", arguments: "--stage Attention", cause: "rank-order", stage: "QProj", coarse: "", layer: 19,
      model: .deep, sizes: [2, 4]),
    PlantedBug(
      bug: "float8-variant", cause: "float8-variant", stage: "DownProj", coarse: "", layer: 27, model: .deep,
      sizes: [2, 4]),
    PlantedBug(
      bug: "weight-shuffle", arguments: "--stage Attention", cause: "weight-shuffle", stage: "OProj", coarse: "",
      layer: 15, model: .deep, sizes: [2, 4]),
    PlantedBug(
      bug: "rope-style", cause: "rope-style", stage: "QRope", coarse: "", layer: 24, model: .deep, sizes: [2, 4]),
    PlantedBug(
      bug: "position-offset", cause: "position-offset", stage: "QRope", coarse: "", layer: 16, model: .deep,
      sizes: [2, 4]),
    PlantedBug(
      bug: "norm-weight-offset", cause: "norm-weight-offset", stage: "FfnNorm", coarse: "", layer: 22, model: .deep,
      sizes: [2, 4]),
    PlantedBug(
      bug: "missing-clamp", cause: "missing-clamp", stage: "Activation", coarse: "", layer: 29, model: .deep,
      sizes: [2, 4]),
    // In bfloat16 this is below the noise of 20 layers, and stands out of the stage's other layers alone.
    PlantedBug(
      bug: "quantisation-rounding", cause: "quantisation-rounding", stage: "MLP", coarse: "", layer: 20,
      model: .deep, sizes: [2]),
    PlantedBug(
      bug: "quantisation-rounding", arguments: "--dtype f32", cause: "quantisation-rounding", stage: "GateUp",
      coarse: "", layer: 20, reference: "--dtype f32", model: .deep, sizes: [4]),
    PlantedBug(
      bug: "token-corruption", cause: "token-corruption", stage: "MLP", coarse: "", layer: 32, model: .deep,
      sizes: [2, 4]),
    PlantedBug(
      bug: "row-shift", arguments: "--stage Attention", cause: "row-shift", stage: "Attention", coarse: "", layer: 11,
      model: .deep, sizes: [2, 4]),
    PlantedBug(
      bug: "chunk-order", cause: "chunk-order", stage: "MLP", coarse: "", layer: 26, model: .deep, sizes: [2, 4]),
    PlantedBug(
      bug: "replica-divergence", arguments: "--stage Attention", cause: "replica-divergence", stage: "Attention",
      coarse: "", layer: 18, model: .deep),
    PlantedBug(
      bug: "non-finite", cause: "non-finite", stage: "MLP", coarse: "", layer: 23, model: .deep, sizes: [2, 4]),
    PlantedBug(
      bug: "stage-mismatch", arguments: "--stage Attention", cause: "stage-mismatch", stage: "Attention", coarse: "",
      verdict: .pass, layer: 13, model: .deep, sizes: [2, 4]),
  ]

  static let llama: [PlantedBug] = [
    PlantedBug(bug: "missing-reduce", cause: "missing-reduce", stage: "down_proj", layer: 2, model: .llama),
    PlantedBug(
      bug: "missing-reduce", arguments: "--site o_proj", cause: "missing-reduce", stage: "o_proj", layer: 1,
      model: .llama),
    PlantedBug(bug: "double-reduce", cause: "double-reduce", stage: "down_proj", layer: 2, model: .llama),
    PlantedBug(bug: "average-reduce", cause: "average-reduce", stage: "down_proj", layer: 2, model: .llama),
    PlantedBug(bug: "rank-absent", cause: "rank-absent", stage: "down_proj", layer: 2, model: .llama),
    PlantedBug(bug: "residual-repeated", cause: "residual-repeated", stage: "down_proj", layer: 2, model: .llama),
    PlantedBug(bug: "bias-repeated", cause: "bias-repeated", stage: "o_proj", layer: 2, model: .llama),
    PlantedBug(bug: "non-finite", cause: "non-finite", stage: "down_proj", layer: 2, model: .llama),
    PlantedBug(bug: "token-corruption", cause: "token-corruption", stage: "down_proj", layer: 2, model: .llama),
    PlantedBug(
      bug: "row-shift", arguments: "--site o_proj", cause: "row-shift", stage: "o_proj", layer: 1, model: .llama),
    PlantedBug(bug: "chunk-order", cause: "chunk-order", stage: "down_proj", layer: 2, model: .llama),
    PlantedBug(bug: "replica-divergence", cause: "replica-divergence", stage: "down_proj", layer: 2, model: .llama),
    PlantedBug(
      bug: "stage-mismatch", cause: "stage-mismatch", stage: "down_proj", coarse: "", verdict: .pass, layer: 2,
      model: .llama),
    PlantedBug(
      bug: "duplicate-shard", cause: "duplicate-shard", stage: "down_proj", coarse: "", layer: 2, model: .llama),
    PlantedBug(bug: "float8-variant", cause: "float8-variant", stage: "down_proj", layer: 2, model: .llama),
    PlantedBug(bug: "weight-shuffle", cause: "weight-shuffle", stage: "down_proj", layer: 2, model: .llama),
    PlantedBug(
      bug: "fused-shard-layout", cause: "fused-shard-layout", stage: "gate_proj", coarse: "", layer: 2, model: .llama),
    PlantedBug(
      bug: "fused-shard-layout", arguments: "--site q_proj", cause: "fused-shard-layout", stage: "q_proj", coarse: "",
      layer: 1, model: .llama),
    PlantedBug(bug: "halves-swapped", cause: "halves-swapped", stage: "gate_proj", coarse: "", layer: 2, model: .llama),
    PlantedBug(bug: "rank-order", cause: "rank-order", stage: "q_proj", coarse: "", layer: 2, model: .llama),
    PlantedBug(bug: "head-map", cause: "head-map", stage: "k_proj", coarse: "", layer: 2, model: .llama),
    PlantedBug(bug: "rope-style", cause: "rope-style", stage: "q_rope", layer: 2, model: .llama),
    PlantedBug(bug: "position-offset", cause: "position-offset", stage: "q_rope", layer: 2, model: .llama),
    PlantedBug(
      bug: "norm-weight-offset", cause: "norm-weight-offset", stage: "post_attention_layernorm", coarse: "", layer: 2,
      model: .llama),
    PlantedBug(
      bug: "quantisation-rounding", cause: "quantisation-rounding", stage: "gate_proj", coarse: "", layer: 2,
      model: .llama),
    PlantedBug(
      bug: "input-mismatch", cause: "input-mismatch", stage: "embed_tokens", coarse: "", verdict: .inconclusive,
      layer: 0, at: 2, model: .llama),
    PlantedBug(
      bug: "incomplete-ranks", cause: "incomplete-ranks", stage: "", coarse: "", verdict: .inconclusive, layer: nil,
      at: 2, model: .llama),
  ]
}
