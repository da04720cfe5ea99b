import TestSupport

extension PlantedBug {
  /// What can be drawn: where a bug can stand, and what it needs.
  private struct Kind {
    var bug: String
    /// The sites of each model; an empty name: the workload's own choice.
    var sites: [Workload.Model: [String]]
    var both = ""
    /// Whether all sizes belong together.
    var isSweep = false

    init(_ bug: String, _ sites: [Workload.Model: [String]], both: String = "", isSweep: Bool = false) {
      self.bug = bug
      self.sites = sites
      self.both = both
      self.isSweep = isSweep
    }
  }

  private static let kinds: [Kind] = {
    let reduced: [Workload.Model: [String]] = [
      .sample: ["Attention", "MLP", "MoE"], .deep: ["Attention", "MLP"], .llama: ["o_proj", "down_proj"],
    ]
    let feedForward: [Workload.Model: [String]] = [.sample: ["MLP", "MoE"], .deep: ["MLP"]]
    let own: [Workload.Model: [String]] = [.sample: [""], .deep: [""], .llama: [""]]
    let columns: [Workload.Model: [String]] = [
      .sample: ["Attention", "MLP", "MoE"], .deep: ["Attention", "MLP"], .llama: ["gate_proj", "q_proj"],
    ]
    let experts: [Workload.Model: [String]] = [.sample: ["MoE"]]
    return [
      "missing-reduce", "double-reduce", "average-reduce", "residual-repeated", "rank-absent", "duplicate-shard",
      "float8-variant", "missing-weight", "token-corruption", "row-shift", "chunk-order", "non-finite",
      "replica-divergence",
    ].map { Kind($0, reduced) }
      + [
        "branch-repeated", "branch-missing-reduce", "missing-scale", "repeated-scale",
      ].map { Kind($0, experts) }
      + ["bias-repeated", "head-map", "rope-style", "position-offset"].map { Kind($0, own) }
      + ["fused-shard-layout", "rank-order"].map { Kind($0, columns) } + [
        Kind("halves-swapped", feedForward.merging([.llama: ["gate_proj"]]) { $1 }),
        Kind("missing-clamp", feedForward),
        Kind("shard-local-statistics", [.sample: [""]]),
        Kind("weight-shuffle", reduced, both: "--expert-width 128"),
        Kind(
          "norm-weight-offset",
          reduced.merging([.llama: ["input_layernorm", "post_attention_layernorm"]]) { $1 }),
        Kind("quantisation-rounding", reduced.merging([.llama: ["gate_proj"]]) { $1 }),
        Kind("chunk-state", [.sample: [""], .deep: [""]], both: "--prefill-chunks 2"),
        Kind("divisibility", experts, both: "--expert-width 96", isSweep: true),
      ]
  }()

  /// As many of each kind as there are rounds, everything else by chance: model, site, layer, seed of the weights, type,
  /// length of the prompts, token or rank at fault, world sizes.
  static func drawn(seed: UInt64, rounds: Int = 2) -> [PlantedBug] {
    var random = SplitMix64(seed: seed)
    return (0..<rounds).flatMap { _ in kinds.map { drawn($0, seed: seed, &random) } }
  }

  private static func drawn(_ kind: Kind, seed: UInt64, _ random: inout SplitMix64) -> PlantedBug {
    let models = kind.sites.keys.sorted { $0.rawValue < $1.rawValue }
    let model = models.randomElement(using: &random) ?? .sample
    let site = kind.sites[model]?.randomElement(using: &random) ?? ""
    let layers =
      switch (model, site) {
      case (.sample, "MLP"): 0...0
      case (.sample, "MoE"): 1...2
      case (.sample, _): 0...2
      case (.deep, _): 0...35
      case (.llama, _): 0...3
      }
    let all = [2, 4, 8]
    var sizes = all.filter { _ in Bool.random(using: &random) }
    if sizes.isEmpty || kind.isSweep { sizes = kind.isSweep ? all : [all.randomElement(using: &random) ?? 4] }
    // Ranks that share key and value heads have no fused weight to cut.
    if model == .deep, site == "Attention", kind.bug == "fused-shard-layout" {
      sizes = sizes.filter { $0 < 8 }.isEmpty ? [4] : sizes.filter { $0 < 8 }
    }
    var both = "--seed \(seed + UInt64.random(in: 1...3, using: &random))"
    if Int.random(in: 0..<4, using: &random) == 0 { both += " --dtype f32" }
    if model != .llama {
      both += " --prompt-length \([6, 8, 11].randomElement(using: &random) ?? 8)"
      if !kind.both.isEmpty { both += " \(kind.both)" }
    }
    var bug = PlantedBug(
      bug: kind.bug, model: model, layer: Int.random(in: layers, using: &random), site: site.isEmpty ? nil : site,
      sizes: sizes, both: both)
    if ["token-corruption", "non-finite"].contains(kind.bug) {
      bug.own = "--\(model == .llama ? "token" : "bug-token") \(Int.random(in: 0..<24, using: &random))"
    }
    if kind.bug == "rank-absent", model != .llama {
      bug.own = "--bug-rank \(Int.random(in: 0..<(sizes.min() ?? 2), using: &random))"
    }
    return bug
  }
}
