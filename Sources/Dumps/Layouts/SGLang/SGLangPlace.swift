/// Layer, stage and tensor of a value by the name that it was dumped under.
///
/// - `non_intrusive__{module}.inputs.{argument}` and `….output`: the module's layer and stage (``ModulePath``), tensor
///   `input_fields.{argument}` or `output`.
/// - What a forward pass is given (`input_ids`, `positions`, …): the stage `inputs`.
/// - `param__{path}`: tensor `parameters.{name}` of its module. `grad__{name}`: as that name, stage `…[grad]`.
/// - Any other name is a stage of its own with the tensor `value`, by the rules of ``TensorPlace`` where it has dots.
struct SGLangPlace: Equatable {
  var layer: Int?
  var stage: String
  var tensor: String
  var isGradient = false

  /// The fields of a batch that SGLang's and Megatron's hooks dump without being asked.
  static let batchFields: Set<String> = [
    "input_ids", "positions", "seq_lens", "req_pool_indices", "rids", "position_ids", "cu_seqlens_q", "cu_seqlens_kv",
    "qkv_format",
  ]

  init(_ name: String) {
    var rest = name[...]
    while let inner = rest.without(prefix: "grad__") {
      isGradient = true
      rest = inner
    }
    if Self.batchFields.contains(String(rest)) {
      (stage, tensor) = ("inputs", "input_fields.\(rest)")
    } else if let inner = rest.without(prefix: "non_intrusive__") {
      (layer, stage, tensor) = Self.hooked(ModulePath.components(inner))
    } else if let inner = rest.without(prefix: "param__") {
      let parts = ModulePath.components(inner)
      let module = ModulePath(parts.dropLast())
      (layer, stage, tensor) = (module.layer, module.stage, "parameters.\(parts.last ?? "")")
    } else {
      let place = TensorPlace(stage: String(rest))
      (layer, stage, tensor) = (place.layer, place.stage ?? String(rest), place.tensor)
    }
  }

  /// `{module}.inputs.{argument}[.{key}]` or `{module}.output[.{key}]`; the module of a whole model has no name.
  private static func hooked(_ parts: [String]) -> (layer: Int?, stage: String, tensor: String) {
    let count = parts.count
    let input = parts.lastIndex { $0 == "inputs" }.flatMap { (2...3).contains(count - $0) ? $0 : nil }
    if let input {
      let module = ModulePath(parts[..<input])
      return (module.layer, module.stage, "input_fields." + parts[(input + 1)...].joined(separator: "."))
    }
    if let output = parts.lastIndex(of: "output"), count - output <= 2 {
      let module = ModulePath(parts[..<output])
      return (module.layer, module.stage, parts[output...].joined(separator: "."))
    }
    let module = ModulePath(parts)
    return (module.layer, module.stage, TensorPlace.onlyTensor)
  }
}

extension StringProtocol {
  /// What follows `prefix`; nil where it lacks, or nothing follows.
  fileprivate func without(prefix: String) -> Substring? {
    guard hasPrefix(prefix), count > prefix.count else { return nil }
    return Substring(dropFirst(prefix.count))
  }
}
