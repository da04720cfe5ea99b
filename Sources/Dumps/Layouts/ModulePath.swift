/// Layer and stage of a module by its dotted path, in layouts that dump by module.
///
/// The layer is found as in ``TensorPlace``; the stage is the rest without the components `model` and `module`, by
/// which engines and wrappers name the whole: `model.layers.3.mlp` is stage `mlp` of layer 3, `visual.blocks.2.attn`
/// stage `visual.attn` of layer 2. A layer itself is the stage `layer`, the whole model the stage `model`.
struct ModulePath: Equatable {
  var layer: Int?
  var stage: String

  init(_ path: some Collection<String>) {
    var parts = Array(path)
    layer = TensorPlace.takeLayer(&parts)
    let rest = parts.filter { !["model", "module", ""].contains($0) }
    stage = rest.isEmpty ? (layer == nil ? "model" : "layer") : rest.joined(separator: ".")
  }

  /// Components of a dotted path.
  static func components(_ path: some StringProtocol) -> [String] {
    path.split(separator: "." as Character, omittingEmptySubsequences: false).map { String($0) }
  }
}
