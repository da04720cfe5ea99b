/// A text with `${{ name }}` in it. `$${{` stands for a literal `${{`.
struct Template {
  enum Piece: Equatable {
    case text(String)
    /// `ordinal` counts every `${{` of the text from 0, also escaped ones.
    case name(String, ordinal: Int)
  }

  struct Malformed: Error, Equatable {
    var ordinal: Int
    var message: String
  }

  var pieces: [Piece]

  init(_ text: String) throws(Malformed) {
    pieces = []
    var rest = text[...]
    var literal = ""
    var ordinal = 0
    while let start = rest.firstRange(of: "${{") {
      let before = rest[..<start.lowerBound]
      if before.last == "$" {
        literal += before.dropLast() + "${{"
        rest = rest[start.upperBound...]
      } else {
        literal += before
        let inner = rest[start.upperBound...]
        guard let end = inner.firstRange(of: "}}") else {
          throw Malformed(ordinal: ordinal, message: "${{ without }}")
        }
        let name = inner[..<end.lowerBound].split(whereSeparator: \.isWhitespace).joined(separator: " ")
        guard !name.isEmpty else { throw Malformed(ordinal: ordinal, message: "${{ }} names nothing") }
        guard !name.contains("${{") else { throw Malformed(ordinal: ordinal, message: "${{ without }}") }
        if !literal.isEmpty { pieces.append(.text(literal)) }
        literal = ""
        pieces.append(.name(name, ordinal: ordinal))
        rest = inner[end.upperBound...]
      }
      ordinal += 1
    }
    literal += rest
    if !literal.isEmpty { pieces.append(.text(literal)) }
  }
}
