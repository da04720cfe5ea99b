/// Key paths (`layers.0.q.weight`, `a.c[1][0]`) as a tree; what has one branch stays on one line.
struct KeyPathTree {
  private final class Node {
    var children: [(key: Substring, node: Node)] = []
    var places: [Substring: Int] = [:]
    /// Lines of the value that stands here.
    var lines: [String] = []

    func child(_ key: Substring) -> Node {
      if let place = places[key] { return children[place].node }
      let node = Node()
      places[key] = children.count
      children.append((key, node))
      return node
    }
  }

  private let root = Node()

  var isEmpty: Bool { root.children.isEmpty }

  mutating func add(_ path: String, _ lines: [String]) {
    // A name from a file may be as deep as it is long; the tree is not.
    var node = root
    for part in Self.parts(path) { node = node.child(part) }
    node.lines += lines
  }

  var lines: [String] {
    var result: [String] = []
    draw(root, indent: "", into: &result)
    return result
  }

  private func draw(_ parent: Node, indent: String, into result: inout [String]) {
    for (place, branch) in parent.children.enumerated() {
      let isLast = place == parent.children.count - 1
      var (label, node) = (String(branch.key), branch.node)
      while node.lines.isEmpty, node.children.count == 1 {
        let only = node.children[0]
        label += (only.key.hasPrefix("[") ? "" : ".") + only.key
        node = only.node
      }
      let below = indent + (isLast ? "   " : "│  ")
      result.append(indent + (isLast ? "└─ " : "├─ ") + label + (node.lines.first.map { "  \($0)" } ?? ""))
      let bar = node.children.isEmpty ? "   " : "│  "
      result += node.lines.dropFirst().map { below + bar + $0 }
      draw(node, indent: below, into: &result)
    }
  }

  private static let depthLimit = 32

  /// Cut at dots and before brackets; the rest beyond the limit stays whole.
  private static func parts(_ path: String) -> [Substring] {
    var parts: [Substring] = []
    var start = path.startIndex
    for index in path.indices where path[index] == "." || path[index] == "[" {
      guard parts.count < depthLimit - 1 else { break }
      if index > start { parts.append(path[start..<index]) }
      start = path[index] == "." ? path.index(after: index) : index
    }
    if start < path.endIndex || parts.isEmpty { parts.append(path[start...]) }
    return parts
  }
}
