extension PlantedBug {
  /// Other seeds, layers and stages, chosen after the rules were frozen; what was right at the first look stands in the
  /// README.
  static let heldOut: [PlantedBug] = [
    PlantedBug(
      bug: "missing-reduce", arguments: "--seed 7 --stage Attention", cause: "missing-reduce", stage: "Attention",
      coarse: "", layer: 2, reference: "--seed 7"),
    PlantedBug(
      bug: "average-reduce", arguments: "--seed 7 --stage Attention", cause: "average-reduce", stage: "Attention",
      coarse: "", layer: 2, reference: "--seed 7"),
    PlantedBug(
      bug: "residual-repeated", arguments: "--seed 7 --stage Attention", cause: "residual-repeated", stage: "Attention",
      coarse: "", layer: 2, reference: "--seed 7"),
    PlantedBug(
      bug: "rank-absent", arguments: "--seed 7 --stage Attention", cause: "rank-absent", stage: "Attention", coarse: "",
      layer: 2, reference: "--seed 7"),
    PlantedBug(
      bug: "duplicate-shard", arguments: "--seed 7 --stage Attention", cause: "duplicate-shard", stage: "OProj",
      coarse: "", layer: 2, reference: "--seed 7"),
    PlantedBug(
      bug: "float8-variant", arguments: "--seed 7 --stage Attention", cause: "float8-variant", stage: "OProj",
      coarse: "", layer: 2, reference: "--seed 7"),
    PlantedBug(
      bug: "weight-shuffle", arguments: "--seed 7 --stage Attention", cause: "weight-shuffle", stage: "OProj",
      coarse: "", layer: 2, reference: "--seed 7"),
    PlantedBug(
      bug: "token-corruption", arguments: "--seed 7 --stage Attention", cause: "token-corruption", stage: "Attention",
      coarse: "", layer: 2, reference: "--seed 7"),
    PlantedBug(
      bug: "row-shift", arguments: "--seed 7 --stage Attention", cause: "row-shift", stage: "Attention", coarse: "",
      layer: 2, reference: "--seed 7"),
    PlantedBug(
      bug: "chunk-order", arguments: "--seed 7 --stage Attention", cause: "chunk-order", stage: "Attention", coarse: "",
      layer: 2, reference: "--seed 7"),
    PlantedBug(
      bug: "replica-divergence", arguments: "--seed 7 --stage Attention", cause: "replica-divergence",
      stage: "Attention", coarse: "", layer: 2, reference: "--seed 7"),
    PlantedBug(
      bug: "non-finite", arguments: "--seed 7 --stage Attention", cause: "non-finite", stage: "Attention", coarse: "",
      layer: 2, reference: "--seed 7"),
    PlantedBug(
      bug: "quantisation-rounding", arguments: "--seed 7 --stage Attention", cause: "quantisation-rounding",
      stage: "QProj", coarse: "", layer: 2, reference: "--seed 7"),
    PlantedBug(
      bug: "halves-swapped", arguments: "--seed 7 --stage MLP", cause: "halves-swapped", stage: "GateUp", coarse: "",
      layer: 0, reference: "--seed 7"),
    PlantedBug(
      bug: "missing-clamp", arguments: "--seed 7 --stage MLP", cause: "missing-clamp", stage: "Activation", coarse: "",
      layer: 0, reference: "--seed 7"),
    PlantedBug(
      bug: "fused-shard-layout", arguments: "--seed 7 --stage MLP", cause: "fused-shard-layout", stage: "GateUp",
      coarse: "", layer: 0, reference: "--seed 7"),
    PlantedBug(
      bug: "rank-order", arguments: "--seed 7 --stage MLP", cause: "rank-order", stage: "GateUp", coarse: "", layer: 0,
      reference: "--seed 7"),
    PlantedBug(
      bug: "double-reduce", arguments: "--seed 7 --stage MLP", cause: "double-reduce", stage: "MLP", coarse: "",
      layer: 0, reference: "--seed 7"),
    PlantedBug(
      bug: "rank-order", arguments: "--seed 7 --stage LMHead", cause: "rank-order", stage: "LMHead", coarse: "",
      layer: 2, reference: "--seed 7"),
    PlantedBug(
      bug: "missing-reduce", arguments: "--seed 4 --stage Attention", cause: "missing-reduce", stage: "Attention",
      coarse: "", layer: 5, reference: "--seed 4", model: .deep, sizes: [4]),
    PlantedBug(
      bug: "double-reduce", arguments: "--seed 4", cause: "double-reduce", stage: "MLP", coarse: "", layer: 34,
      reference: "--seed 4", model: .deep, sizes: [4]),
    PlantedBug(
      bug: "average-reduce", arguments: "--seed 4 --stage Attention", cause: "average-reduce", stage: "Attention",
      coarse: "", layer: 8, reference: "--seed 4", model: .deep, sizes: [4]),
    PlantedBug(
      bug: "residual-repeated", arguments: "--seed 4 --stage Attention", cause: "residual-repeated", stage: "Attention",
      coarse: "", layer: 20, reference: "--seed 4", model: .deep, sizes: [4]),
    PlantedBug(
      bug: "rank-absent", arguments: "--seed 4", cause: "rank-absent", stage: "MLP", coarse: "", layer: 3,
      reference: "--seed 4", model: .deep, sizes: [4]),
    PlantedBug(
      bug: "duplicate-shard", arguments: "--seed 4 --stage Attention", cause: "duplicate-shard", stage: "OProj",
      coarse: "", layer: 29, reference: "--seed 4", model: .deep, sizes: [4]),
    PlantedBug(
      bug: "fused-shard-layout", arguments: "--seed 4", cause: "fused-shard-layout", stage: "GateUp", coarse: "",
      layer: 6, reference: "--seed 4", model: .deep, sizes: [4]),
    PlantedBug(
      bug: "halves-swapped", arguments: "--seed 4", cause: "halves-swapped", stage: "GateUp", coarse: "", layer: 10,
      reference: "--seed 4", model: .deep, sizes: [4]),
    PlantedBug(
      bug: "rank-order", arguments: "--seed 4 --stage MLP", cause: "rank-order", stage: "GateUp", coarse: "", layer: 13,
      reference: "--seed 4", model: .deep, sizes: [4]),
    PlantedBug(
      bug: "float8-variant", arguments: "--seed 4 --stage Attention", cause: "float8-variant", stage: "OProj",
      coarse: "", layer: 23, reference: "--seed 4", model: .deep, sizes: [4]),
    PlantedBug(
      bug: "weight-shuffle", arguments: "--seed 4", cause: "weight-shuffle", stage: "DownProj", coarse: "", layer: 2,
      reference: "--seed 4", model: .deep, sizes: [4]),
    PlantedBug(
      bug: "rope-style", arguments: "--seed 4", cause: "rope-style", stage: "QRope", coarse: "", layer: 33,
      reference: "--seed 4", model: .deep, sizes: [4]),
    PlantedBug(
      bug: "position-offset", arguments: "--seed 4", cause: "position-offset", stage: "QRope", coarse: "", layer: 30,
      reference: "--seed 4", model: .deep, sizes: [4]),
    PlantedBug(
      bug: "missing-clamp", arguments: "--seed 4", cause: "missing-clamp", stage: "Activation", coarse: "", layer: 7,
      reference: "--seed 4", model: .deep, sizes: [4]),
    // In bfloat16, as it was held out, it is below the noise of 32 layers and passes.
    PlantedBug(
      bug: "quantisation-rounding", arguments: "--seed 4 --dtype f32", cause: "quantisation-rounding", stage: "GateUp",
      coarse: "", layer: 32, reference: "--seed 4 --dtype f32", model: .deep, sizes: [4]),
    PlantedBug(
      bug: "token-corruption", arguments: "--seed 4 --stage Attention", cause: "token-corruption", stage: "Attention",
      coarse: "", layer: 28, reference: "--seed 4", model: .deep, sizes: [4]),
    PlantedBug(
      bug: "row-shift", arguments: "--seed 4", cause: "row-shift", stage: "MLP", coarse: "", layer: 17,
      reference: "--seed 4", model: .deep, sizes: [4]),
    PlantedBug(
      bug: "chunk-order", arguments: "--seed 4 --stage Attention", cause: "chunk-order", stage: "Attention", coarse: "",
      layer: 34, reference: "--seed 4", model: .deep, sizes: [4]),
    PlantedBug(
      bug: "replica-divergence", arguments: "--seed 4", cause: "replica-divergence", stage: "MLP", coarse: "", layer: 1,
      reference: "--seed 4", model: .deep, sizes: [4]),
    PlantedBug(
      bug: "non-finite", arguments: "--seed 4 --stage Attention", cause: "non-finite", stage: "Attention", coarse: "",
      layer: 26, reference: "--seed 4", model: .deep, sizes: [4]),
    PlantedBug(
      bug: "double-reduce", arguments: "--seed 3 --site o_proj", cause: "double-reduce", stage: "o_proj", coarse: "",
      layer: 3, reference: "--seed 3", model: .llama),
    PlantedBug(
      bug: "average-reduce", arguments: "--seed 3 --site o_proj", cause: "average-reduce", stage: "o_proj", coarse: "",
      layer: 3, reference: "--seed 3", model: .llama),
    PlantedBug(
      bug: "rank-absent", arguments: "--seed 3 --site o_proj", cause: "rank-absent", stage: "o_proj", coarse: "",
      layer: 3, reference: "--seed 3", model: .llama),
    PlantedBug(
      bug: "residual-repeated", arguments: "--seed 3 --site o_proj", cause: "residual-repeated", stage: "o_proj",
      coarse: "", layer: 3, reference: "--seed 3", model: .llama),
    PlantedBug(
      bug: "non-finite", arguments: "--seed 3 --site o_proj", cause: "non-finite", stage: "o_proj", coarse: "",
      layer: 3, reference: "--seed 3", model: .llama),
    PlantedBug(
      bug: "token-corruption", arguments: "--seed 3 --site o_proj", cause: "token-corruption", stage: "o_proj",
      coarse: "", layer: 3, reference: "--seed 3", model: .llama),
    PlantedBug(
      bug: "chunk-order", arguments: "--seed 3 --site o_proj", cause: "chunk-order", stage: "o_proj", coarse: "",
      layer: 3, reference: "--seed 3", model: .llama),
    PlantedBug(
      bug: "replica-divergence", arguments: "--seed 3 --site o_proj", cause: "replica-divergence", stage: "o_proj",
      coarse: "", layer: 3, reference: "--seed 3", model: .llama),
    PlantedBug(
      bug: "duplicate-shard", arguments: "--seed 3 --site o_proj", cause: "duplicate-shard", stage: "o_proj",
      coarse: "", layer: 3, reference: "--seed 3", model: .llama),
    PlantedBug(
      bug: "float8-variant", arguments: "--seed 3 --site o_proj", cause: "float8-variant", stage: "o_proj", coarse: "",
      layer: 3, reference: "--seed 3", model: .llama),
    PlantedBug(
      bug: "weight-shuffle", arguments: "--seed 3 --site o_proj", cause: "weight-shuffle", stage: "o_proj", coarse: "",
      layer: 3, reference: "--seed 3", model: .llama),
    PlantedBug(
      bug: "rank-order", arguments: "--seed 3 --site gate_proj", cause: "rank-order", stage: "gate_proj", coarse: "",
      layer: 1, reference: "--seed 3", model: .llama),
    PlantedBug(
      bug: "norm-weight-offset", arguments: "--seed 3 --site input_layernorm", cause: "norm-weight-offset",
      stage: "input_layernorm", coarse: "", layer: 3, reference: "--seed 3", model: .llama),
    PlantedBug(
      bug: "rope-style", arguments: "--seed 3", cause: "rope-style", stage: "q_rope", coarse: "", layer: 0,
      reference: "--seed 3", model: .llama),
    PlantedBug(
      bug: "position-offset", arguments: "--seed 3", cause: "position-offset", stage: "q_rope", coarse: "", layer: 1,
      reference: "--seed 3", model: .llama),
  ]
}
