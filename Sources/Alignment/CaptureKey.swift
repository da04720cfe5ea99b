public import Dumps

/// Where a tensor belongs, without rank and call: the unit that is compared.
public struct CaptureKey: Sendable, Hashable, Codable, Comparable, CustomStringConvertible {
  public var layer: Int?
  public var stage: String
  public var tensor: String

  public init(layer: Int?, stage: String, tensor: String) {
    self.layer = layer
    self.stage = stage
    self.tensor = tensor
  }

  public init(_ capture: Capture) {
    self.init(layer: capture.layer, stage: capture.stage, tensor: capture.tensor.name)
  }

  /// Whether the tensor went into its module or came out of it.
  public var role: TensorRole { TensorRole(tensor: tensor) }

  /// Whether the last part of the name is that of token ids (`input_ids`, `token_ids`, `ids`), not of positions, experts
  /// or types of tokens.
  public var namesTokenIds: Bool {
    let name = tensor.split(separator: ".").last?.lowercased() ?? ""
    return ["ids", "input_id", "input_ids", "inputs_ids", "token_ids", "input_tokens"].contains(name)
  }

  public var description: String {
    let layerText = layer.map { "layer \($0) " } ?? ""
    return "\(layerText)\(stage).\(tensor)"
  }

  public static func < (left: CaptureKey, right: CaptureKey) -> Bool {
    let leftLayer = left.layer ?? -1
    let rightLayer = right.layer ?? -1
    if leftLayer != rightLayer { return leftLayer < rightLayer }
    if left.stage != right.stage { return left.stage < right.stage }
    return left.tensor < right.tensor
  }
}

/// Whether a tensor is an input or an output of the module whose hook wrote it.
///
/// ATOM's forward files name them: `input` and `input_fields.*` went in; everything else came out.
public enum TensorRole: String, Sendable, Hashable, Codable {
  case input
  case output

  public init(tensor: String) {
    self = tensor == "input" || tensor.hasPrefix("input_fields") ? .input : .output
  }
}
