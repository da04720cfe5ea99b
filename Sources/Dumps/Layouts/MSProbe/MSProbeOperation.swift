/// One call of a module or of an API as msprobe names it, and so the stage that its tensors belong to.
///
/// - `Module.{path}.{Class}.{forward|backward}.{count}` (`Cell` in MindSpore): layer and stage of the path.
/// - `Module.{path}.{Class}.parameters_grad.{count}`.
/// - `{family}.{api}.{count}.{forward|backward}`: the n-th use of an API in a step is a place in the model, so the
///   count is part of the stage (`Functional.linear.37`).
/// - `{variable}.{count}.debug`: what a caller saved by hand.
///
/// Backward passes and gradients are stages of their own: `mlp[backward]`, `mlp[grad]`.
struct MSProbeOperation: Equatable {
  var layer: Int?
  var stage: String
  /// The n-th time that the stage ran in its step; nil where the name does not count that.
  var count: Int?
  /// Whether the tensors are parameters by their own names (`weight`).
  var holdsParameters = false

  /// An operation by its key; nil where the text is none.
  init?(_ key: String) {
    let parts = ModulePath.components(key)
    guard let (operation, rest) = Self.split(parts), rest.isEmpty else { return nil }
    self = operation
  }

  /// An operation and its tensor by a file's name without the extension: `{operation}.{input|output|…}.{…}`.
  static func file(_ stem: String) -> (operation: MSProbeOperation, tensor: String)? {
    guard let (operation, rest) = split(ModulePath.components(stem)) else { return nil }
    if operation.holdsParameters {
      return rest.isEmpty ? nil : (operation, "parameters." + rest.joined(separator: "."))
    }
    return (operation, tensor(rest))
  }

  /// What a tensor at this key path of an operation is called: `input_fields.0`, `output.1`, `parameters.weight`.
  static func tensor(_ path: [String]) -> String {
    switch path.first {
    case nil: TensorPlace.onlyTensor
    case "input", "input_args", "input_kwargs": (["input_fields"] + path.dropFirst()).joined(separator: ".")
    default: path.joined(separator: ".")
    }
  }

  private init(layer: Int?, stage: String, count: Int?, holdsParameters: Bool = false) {
    self.layer = layer
    self.stage = stage
    self.count = count
    self.holdsParameters = holdsParameters
  }

  /// The operation at the start of a dotted name, and what follows it.
  private static func split(_ parts: [String]) -> (operation: MSProbeOperation, rest: [String])? {
    func number(_ at: Int) -> Int? {
      guard parts.indices.contains(at), !parts[at].isEmpty, parts[at].utf8.allSatisfy(\.isDigit) else { return nil }
      return Int(parts[at])
    }
    if ["Module", "Cell"].contains(parts.first) {
      for at in parts.indices.dropFirst(2) {
        let mark: String
        switch parts[at] {
        case "forward": mark = ""
        case "backward": mark = "[backward]"
        case "parameters_grad": mark = "[grad]"
        default: continue
        }
        let isGradient = mark == "[grad]"
        let count = number(at + 1)
        guard count != nil || isGradient else { continue }
        let module = ModulePath(parts[1..<(at - 1)])
        return (
          MSProbeOperation(
            layer: module.layer, stage: module.stage + mark, count: count ?? 0, holdsParameters: isGradient),
          Array(parts[(at + (count == nil ? 1 : 2))...])
        )
      }
      return nil
    }
    for at in parts.indices.dropFirst(2) where number(at - 1) != nil {
      let rest = Array(parts[(at + 1)...])
      switch parts[at] {
      case "forward":
        return (MSProbeOperation(layer: nil, stage: parts[..<at].joined(separator: "."), count: nil), rest)
      case "backward":
        return (
          MSProbeOperation(layer: nil, stage: parts[..<at].joined(separator: ".") + "[backward]", count: nil), rest
        )
      case "debug": break
      default: continue
      }
      let place = TensorPlace(stage: parts[..<(at - 1)].joined(separator: "."))
      return (MSProbeOperation(layer: place.layer, stage: place.stage ?? "value", count: number(at - 1)), rest)
    }
    return nil
  }
}
