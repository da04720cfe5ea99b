import Yams

/// The scalars of a YAML text by their dotted paths; lists joined.
enum NestedYAML {
  static func scalars(_ text: String) throws -> [String: String] {
    var found: [String: String] = [:]
    func walk(_ node: Node, _ path: String) {
      switch node {
      case .mapping(let members):
        for (key, value) in members { walk(value, (path.isEmpty ? "" : path + ".") + (key.string ?? "")) }
      case .sequence(let items): found[path] = items.compactMap(\.string).joined(separator: " ")
      case .scalar(let scalar): found[path] = scalar.string
      case .alias: break
      }
    }
    if let node = try Yams.compose(yaml: text) { walk(node, "") }
    return found
  }
}
