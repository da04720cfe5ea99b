/// A JSON value that keeps the order of its keys, for documents whose bytes must not change.
enum JSONText {
  case null
  case bool(Bool)
  case int(Int)
  case double(Double)
  case string(String)
  case array([JSONText])
  case object([(key: String, value: JSONText)])

  /// Without `indent`: one line, no spaces.
  func text(indent: Int? = nil) -> String {
    var out = ""
    write(to: &out, indent: indent, depth: 0)
    return out
  }

  private func write(to out: inout String, indent: Int?, depth: Int) {
    func newLine(_ depth: Int) {
      if let indent { out += "\n" + String(repeating: " ", count: indent * depth) }
    }
    switch self {
    case .null: out += "null"
    case .bool(let value): out += value ? "true" : "false"
    case .int(let value): out += String(value)
    case .double(let value): out += value.isFinite ? "\(value)" : "null"
    case .string(let value): Self.quote(value, to: &out)
    case .array(let values):
      out += "["
      for (index, value) in values.enumerated() {
        if index > 0 { out += "," }
        newLine(depth + 1)
        value.write(to: &out, indent: indent, depth: depth + 1)
      }
      if !values.isEmpty { newLine(depth) }
      out += "]"
    case .object(let members):
      out += "{"
      for (index, member) in members.enumerated() {
        if index > 0 { out += "," }
        newLine(depth + 1)
        Self.quote(member.key, to: &out)
        out += indent == nil ? ":" : ": "
        member.value.write(to: &out, indent: indent, depth: depth + 1)
      }
      if !members.isEmpty { newLine(depth) }
      out += "}"
    }
  }

  private static func quote(_ text: String, to out: inout String) {
    out += "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": out += "\\\""
      case "\\": out += "\\\\"
      case "\n": out += "\\n"
      case "\r": out += "\\r"
      case "\t": out += "\\t"
      case _ where scalar.value < 0x20:
        let hex = String(scalar.value, radix: 16)
        out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
      default: out.unicodeScalars.append(scalar)
      }
    }
    out += "\""
  }
}
