import Comparison

/// One planted bug, and what must be found.
struct PlantedBug: Sendable {
  /// The cause that is planted, and that the first finding must name.
  var bug: String
  var model = Workload.Model.sample
  /// The layer that is named; nil where none is.
  var layer: Int?
  /// Where it is planted; nil: in the layer that is named.
  var at: Int?
  /// The stage or module that bears it; nil: the workload's own choice.
  var site: String?
  var sizes = [2, 4, 8]
  /// Arguments of the reference and of the run, and of the run alone.
  var both = ""
  var own = ""
  /// Whether it must also be among the first three findings where only a few classes are dumped: whole stages leave
  /// several causes possible.
  var isCoarseToo = false
  var verdict = Verdict.fail

  var name: String {
    [model.rawValue + ":", bug, layer.map { "layer \($0)" }, site, both, own].compactMap { $0 }.filter { !$0.isEmpty }
      .joined(separator: " ")
  }

  var reference: Workload.Run { model.run(both, ranks: 1) }

  /// The run at a world size.
  func run(ranks: Int) -> Workload.Run {
    let place = site.map { " --\(model == .llama ? "site" : "stage") \($0)" } ?? ""
    return model.run("--bug \(bug) --layer \(at ?? layer ?? 1)\(place) \(both) \(own)", ranks: ranks)
  }

  /// Where it shows first with every stage dumped; empty where no stage is named.
  var stage: String {
    if ["incomplete-ranks", "stale-dump"].contains(bug) { return "" }
    let site = site ?? Self.ownSite[model == .llama ? .llama : .sample]?[bug] ?? model.feedForward(layer ?? 1)
    let inside = Self.inside[bug]?[site] ?? site
    return model.classes.contains(inside) ? inside : site
  }

  /// The site that a workload takes where none is asked for, if it is not the feed-forward.
  private static let ownSite: [Workload.Model: [String: String]] = [
    .sample: [
      "bias-repeated": "Attention", "head-map": "Attention", "shard-local-statistics": "Attention",
      "rope-style": "Attention", "position-offset": "Attention", "chunk-state": "Attention",
      "vocabulary-padding": "LMHead", "input-mismatch": "Embedding",
    ],
    .llama: [
      "bias-repeated": "o_proj", "fused-shard-layout": "gate_proj", "halves-swapped": "gate_proj",
      "rank-order": "q_proj", "head-map": "k_proj", "rope-style": "q_rope", "position-offset": "q_rope",
      "norm-weight-offset": "post_attention_layernorm", "quantisation-rounding": "gate_proj",
      "input-mismatch": "embed_tokens",
    ],
  ]

  private static let rowWeight = ["Attention": "OProj", "MLP": "DownProj", "MoE": "RoutedExperts"]
  private static let columns = ["Attention": "QProj", "MLP": "GateUp", "MoE": "GateUp"]

  /// The first stage that shows a bug of a site, where it is not the site itself.
  private static let inside: [String: [String: String]] = [
    "bias-repeated": rowWeight, "duplicate-shard": rowWeight, "float8-variant": rowWeight, "weight-shuffle": rowWeight,
    "missing-weight": rowWeight, "divisibility": rowWeight, "fused-shard-layout": columns, "halves-swapped": columns,
    "rank-order": columns, "head-map": ["Attention": "KProj"], "shard-local-statistics": ["Attention": "QNorm"],
    "rope-style": ["Attention": "QRope"], "position-offset": ["Attention": "QRope"],
    "chunk-state": ["Attention": "AttnContext"], "missing-scale": ["MoE": "Router"],
    "repeated-scale": ["MoE": "Router"],
    "missing-clamp": ["MLP": "Activation", "MoE": "Activation"],
    "norm-weight-offset": ["Attention": "QProj", "MLP": "FfnNorm", "MoE": "FfnNorm"],
    "quantisation-rounding": ["Attention": "QProj", "MLP": "GateUp", "MoE": "Router"],
  ]
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

  /// The stage of the tiny transformer, or the module of the Llama, that follows a layer's attention.
  func feedForward(_ layer: Int) -> String {
    switch self {
    case .sample: layer == 0 ? "MLP" : "MoE"
    case .deep: "MLP"
    case .llama: "down_proj"
    }
  }

  var block: Set<String> { self == .llama ? ["decoder_layer"] : ["Block"] }
}

extension PlantedBug {
  /// Several bugs at one site of one layer.
  private static func these(
    _ bugs: String, _ model: Workload.Model, layer: Int, site: String? = nil, sizes: [Int] = [2, 4, 8],
    both: String = "", isCoarseToo: Bool = false
  ) -> [PlantedBug] {
    bugs.split(separator: " ").map {
      PlantedBug(
        bug: String($0), model: model, layer: layer, site: site, sizes: sizes, both: both, isCoarseToo: isCoarseToo)
    }
  }

  static let sample: [PlantedBug] =
    these(
      "missing-reduce double-reduce average-reduce branch-repeated branch-missing-reduce residual-repeated "
        + "bias-repeated rank-absent duplicate-shard fused-shard-layout halves-swapped head-map "
        + "shard-local-statistics missing-scale repeated-scale float8-variant missing-weight rope-style "
        + "position-offset norm-weight-offset missing-clamp quantisation-rounding token-corruption row-shift "
        + "chunk-order non-finite replica-divergence", .sample, layer: 1, isCoarseToo: true)
    + these("double-reduce fused-shard-layout", .sample, layer: 1, site: "Attention", isCoarseToo: true)
    + these("rank-order", .sample, layer: 1, site: "Attention")
    // With 64 columns a rank of eight has one tile, and nothing to shuffle.
    + these("weight-shuffle", .sample, layer: 1, both: "--expert-width 128", isCoarseToo: true)
    + these("divisibility", .sample, layer: 1, both: "--expert-width 96")
    + these("chunk-state", .sample, layer: 1, both: "--prefill-chunks 2", isCoarseToo: true)
    + these("vocabulary-padding", .sample, layer: 2) + [
      PlantedBug(
        bug: "uninitialised-padding", layer: 1, both: "--pad-rows 4", isCoarseToo: true, verdict: .inconclusive),
      PlantedBug(bug: "input-mismatch", layer: 0, at: 1, isCoarseToo: true, verdict: .inconclusive),
      PlantedBug(bug: "incomplete-ranks", isCoarseToo: true, verdict: .inconclusive),
      PlantedBug(bug: "stale-dump", layer: 1, isCoarseToo: true, verdict: .inconclusive),
      PlantedBug(bug: "stage-mismatch", layer: 1, verdict: .pass),
    ]

  /// A layer of its own for each, deep among 36.
  static let deep: [PlantedBug] =
    [
      ("missing-reduce", 30), ("average-reduce", 25), ("residual-repeated", 33), ("bias-repeated", 12),
      ("duplicate-shard", 9), ("fused-shard-layout", 28), ("halves-swapped", 31), ("float8-variant", 27),
      ("rope-style", 24), ("position-offset", 16), ("norm-weight-offset", 22), ("missing-clamp", 29),
      ("token-corruption", 32), ("chunk-order", 26), ("non-finite", 23),
    ].map { PlantedBug(bug: $0, model: .deep, layer: $1, sizes: [2, 4]) }
    + [("rank-absent", 21), ("rank-order", 19), ("weight-shuffle", 15), ("row-shift", 11)].map {
      PlantedBug(bug: $0, model: .deep, layer: $1, site: "Attention", sizes: [2, 4])
    }
    + [("double-reduce", 17), ("replica-divergence", 18)].map {
      PlantedBug(bug: $0, model: .deep, layer: $1, site: "Attention")
    } + [
      // Eight ranks share four heads.
      PlantedBug(bug: "head-map", model: .deep, layer: 14, sizes: [4, 8]),
      PlantedBug(bug: "quantisation-rounding", model: .deep, layer: 20, sizes: [2, 4], isCoarseToo: true),
      PlantedBug(bug: "quantisation-rounding", model: .deep, layer: 20, sizes: [4], both: "--dtype f32"),
      PlantedBug(bug: "stage-mismatch", model: .deep, layer: 13, site: "Attention", sizes: [2, 4], verdict: .pass),
    ]

  static let llama: [PlantedBug] =
    these(
      "missing-reduce double-reduce average-reduce rank-absent residual-repeated bias-repeated non-finite "
        + "token-corruption chunk-order replica-divergence float8-variant weight-shuffle rope-style position-offset",
      .llama, layer: 2, isCoarseToo: true)
    + these(
      "duplicate-shard fused-shard-layout halves-swapped rank-order head-map norm-weight-offset quantisation-rounding",
      .llama, layer: 2)
    + these("missing-reduce row-shift", .llama, layer: 1, site: "o_proj", isCoarseToo: true)
    + these("fused-shard-layout", .llama, layer: 1, site: "q_proj") + [
      PlantedBug(bug: "stage-mismatch", model: .llama, layer: 2, verdict: .pass),
      PlantedBug(bug: "input-mismatch", model: .llama, layer: 0, at: 2, verdict: .inconclusive),
      PlantedBug(bug: "incomplete-ranks", model: .llama, at: 2, verdict: .inconclusive),
    ]

  /// Other seeds, layers and stages than above: held out until the rules were frozen, and no longer.
  static let second: [PlantedBug] =
    these(
      "missing-reduce average-reduce residual-repeated rank-absent duplicate-shard float8-variant weight-shuffle "
        + "token-corruption row-shift chunk-order replica-divergence non-finite quantisation-rounding",
      .sample, layer: 2, site: "Attention", both: "--seed 7")
    + these(
      "halves-swapped missing-clamp fused-shard-layout rank-order double-reduce", .sample, layer: 0, site: "MLP",
      both: "--seed 7")
    + these("rank-order", .sample, layer: 2, site: "LMHead", both: "--seed 7")
    + [
      ("missing-reduce", 5), ("average-reduce", 8), ("residual-repeated", 20), ("duplicate-shard", 29),
      ("float8-variant", 23), ("token-corruption", 28), ("chunk-order", 34), ("non-finite", 26),
    ].map { PlantedBug(bug: $0, model: .deep, layer: $1, site: "Attention", sizes: [4], both: "--seed 4") }
    + [
      ("double-reduce", 34), ("rank-absent", 3), ("fused-shard-layout", 6), ("halves-swapped", 10),
      ("rank-order", 13), ("weight-shuffle", 2), ("rope-style", 33), ("position-offset", 30), ("missing-clamp", 7),
      ("row-shift", 17), ("replica-divergence", 1),
    ].map { PlantedBug(bug: $0, model: .deep, layer: $1, sizes: [4], both: "--seed 4") }
    + [
      PlantedBug(
        bug: "quantisation-rounding", model: .deep, layer: 32, sizes: [4], both: "--seed 4", isCoarseToo: true)
    ]
    + these(
      "double-reduce average-reduce rank-absent residual-repeated non-finite token-corruption chunk-order "
        + "replica-divergence duplicate-shard float8-variant weight-shuffle", .llama, layer: 3, site: "o_proj",
      both: "--seed 3")
    + these("rank-order", .llama, layer: 1, site: "gate_proj", both: "--seed 3")
    + these("norm-weight-offset", .llama, layer: 3, site: "input_layernorm", both: "--seed 3")
    + these("rope-style", .llama, layer: 0, both: "--seed 3")
    + these("position-offset", .llama, layer: 1, both: "--seed 3")
}
