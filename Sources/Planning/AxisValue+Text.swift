import OrderedCollections

extension AxisValue: CustomStringConvertible {
  /// As the job file wrote it: `true`, `8`, `0.5`, `eager`.
  public var description: String {
    switch self {
    case .bool(let value): value ? "true" : "false"
    case .int(let value): String(value)
    case .double(let value): "\(value)"
    case .string(let value): value
    }
  }

  /// As the environment holds it: booleans are `1` and `0`.
  public var environmentText: String {
    if case .bool(let value) = self { value ? "1" : "0" } else { description }
  }

  var json: JSONText {
    switch self {
    case .bool(let value): .bool(value)
    case .int(let value): .int(value)
    case .double(let value): .double(value)
    case .string(let value): .string(value)
    }
  }
}

extension Cell {
  /// `world_size=8 backend=eager`; `(single cell)` where there is no matrix.
  public var label: String { Self.label(values) }

  static func label(_ values: OrderedDictionary<String, AxisValue>) -> String {
    values.isEmpty ? "(single cell)" : values.map { "\($0.key)=\($0.value)" }.joined(separator: " ")
  }
}
