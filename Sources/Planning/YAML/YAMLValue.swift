import Yams

/// Line and column from 1; columns count Unicode scalars.
struct Place: Sendable, Hashable, Comparable {
  var line: Int
  var column: Int

  static func < (a: Place, b: Place) -> Bool { (a.line, a.column) < (b.line, b.column) }
}

/// A YAML value that remembers where it stood.
struct YAMLValue: Sendable {
  enum Content: Sendable {
    case scalar(YAMLScalar)
    case list([YAMLValue])
    case map([YAMLEntry])
  }

  var place: Place
  var content: Content

  /// The value in words for messages: `a list`, `the text "8"`.
  var described: String {
    switch content {
    case .list: "a list"
    case .map: "a mapping"
    case .scalar(let scalar):
      switch scalar.meaning {
      case .null: "nothing"
      case .bool(let value): "\(value)"
      case .number: "the number \(scalar.text)"
      case .string: "the text \"\(scalar.text.shortened)\""
      }
    }
  }

  /// The value as YAML text, scalars as they were written.
  var yaml: String? { try? Yams.serialize(node: node) }

  private var node: Node {
    switch content {
    case .scalar(let scalar):
      Node(scalar.text, Tag(.implicit), scalar.isPlain ? .plain : .doubleQuoted)
    case .list(let values): Node(values.map(\.node))
    case .map(let entries): Node(entries.map { (Node($0.key), $0.value.node) })
    }
  }

  subscript(key: String) -> YAMLValue? {
    guard case .map(let entries) = content else { return nil }
    return entries.first { $0.key == key }?.value
  }
}

struct YAMLEntry: Sendable {
  var key: String
  var keyPlace: Place
  var value: YAMLValue
}

/// A scalar as written. Only unquoted text can mean something other than text.
struct YAMLScalar: Sendable {
  enum Meaning: Sendable {
    case null
    case bool(Bool)
    case number
    case string
  }

  var text: String
  var isPlain: Bool

  /// YAML 1.2's core schema: `yes`, `no`, `on` and `off` are text.
  var meaning: Meaning {
    guard isPlain else { return .string }
    switch text {
    case "", "~", "null", "Null", "NULL": return .null
    case "true", "True", "TRUE": return .bool(true)
    case "false", "False", "FALSE": return .bool(false)
    default: return Self.isNumber(text) ? .number : .string
    }
  }

  /// The value of an axis or label. A number whose text is not the shortest for it (`2.10`, `010`, `1e5`) stays
  /// text, so that a command gets what the file says. nil for nothing.
  var axisValue: AxisValue? {
    switch meaning {
    case .null: return nil
    case .bool(let value): return .bool(value)
    case .string: return .string(text)
    case .number:
      if let value = Int(text), String(value) == text { return .int(value) }
      if let value = Double(text), value.isFinite, "\(value)" == text { return .double(value) }
      return .string(text)
    }
  }

  private static func isNumber(_ text: String) -> Bool {
    guard let first = text.utf8.first, text.utf8.count <= 64 else { return false }
    guard (0x30...0x39).contains(first) || "+-.".utf8.contains(first) else { return false }
    let allowed = text.utf8.allSatisfy { (0x30...0x39).contains($0) || "+-.eE".utf8.contains($0) }
    return allowed && Double(text) != nil
  }
}

extension String {
  /// At most 60 characters, for messages.
  var shortened: String { count <= 60 ? self : String(prefix(57)) + "..." }
}
