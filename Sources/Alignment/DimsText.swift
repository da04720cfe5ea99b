/// SGLang's text for the dimensions of a dumped tensor and for how ranks shard them: `t[cp:zigzag] h[tp] # ep:replicated`.
///
/// Grammar (as SGLang 0.5.23's comparator reads it):
/// ```
/// dims := dim (ws dim)* [ "#" decl (ws decl)* ]
/// dim  := "1" | NAME ["[" mod ("," mod)* "]"] | "(" NAME ("*" NAME)+ ")" ["[" mods "]"]
/// mod  := AXIS [":" qualifier ("+" qualifier)*]          qualifier := zigzag | natural | partial | sharded
/// decl := "dp:=" \w+ | AXIS ":replicated"
/// ```
public struct DimsText: Sendable, Hashable, Codable {
  /// One dimension of the tensor as it stands in the file.
  public struct Dimension: Sendable, Hashable, Codable {
    /// One name; several where dimensions are fused into one; none for `1`, a dimension of size 1.
    public var names: [String]
    public var modifiers: [Modifier]

    public init(names: [String], modifiers: [Modifier] = []) {
      self.names = names
      self.modifiers = modifiers
    }

    public var isSqueezed: Bool { names.isEmpty }
  }

  /// One parallel axis on one dimension.
  public struct Modifier: Sendable, Hashable, Codable {
    public var axis: ParallelAxis
    /// Slices in load-balanced order instead of rank order.
    public var isZigzag: Bool
    /// Ranks hold terms of a sum instead of slices.
    public var isPartial: Bool

    public init(axis: ParallelAxis, isZigzag: Bool = false, isPartial: Bool = false) {
      self.axis = axis
      self.isZigzag = isZigzag
      self.isPartial = isPartial
    }
  }

  /// The axes that a dims text may name.
  public enum ParallelAxis: String, Sendable, Hashable, Codable, CaseIterable {
    case tp
    case cp
    case ep
    case sp
    case dp
    case etp
    case edp
    case attnTP = "attn_tp"
    case attnDP = "attn_dp"
    case moeEP = "moe_ep"
    case moeTP = "moe_tp"
    case moeDP = "moe_dp"
    case recomputePseudo = "recompute_pseudo"
  }

  /// As written.
  public var text: String
  public var dimensions: [Dimension]
  /// Axes whose ranks hold the same bytes.
  public var replicated: [ParallelAxis]
  /// The metadata axis that counts as data parallel in place of `dp`.
  public var dataParallelAlias: String?

  /// Reads a text.
  ///
  /// - Throws: `AlignmentError` with code `malformed-dims`: what is wrong, at which column (from 1), and how to mend it.
  public init(_ text: String) throws(AlignmentError) {
    let reader = DimsReader(text)
    self.text = text
    (dimensions, replicated, dataParallelAlias) = ([], [], nil)
    try reader.read(into: &self)
  }

  /// Every axis that shards a dimension, left to right.
  public var sharded: [Modifier] { dimensions.flatMap(\.modifiers) }

  /// The text with those of its dimensions fused that `other` fuses; the order stays.
  func fused(as other: DimsText) -> DimsText {
    var result = self
    for group in other.dimensions.map(\.names) where group.count > 1 {
      let members = result.dimensions.indices.filter { index in
        let names = result.dimensions[index].names
        return names.count == 1 && group.contains(names[0])
      }
      guard members.count == group.count, let first = members.first else { continue }
      result.dimensions[first].names = group
      for index in members.dropFirst().reversed() { result.dimensions.remove(at: index) }
    }
    return result
  }
}

/// Reads a dims text word by word, remembering the columns.
private struct DimsReader {
  private struct Word {
    var text: Substring
    var column: Int
  }

  private let text: String
  /// Longer texts are no dimensions of a tensor.
  private static let limit = 4096

  init(_ text: String) { self.text = text }

  func read(into dims: inout DimsText) throws(AlignmentError) {
    guard text.utf8.count <= Self.limit else {
      throw failure("the text has \(text.utf8.count) bytes; at most \(Self.limit) make sense", column: 1)
    }
    let halves = text.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
    let words = words(halves[0], column: 1)
    guard !words.isEmpty else {
      throw failure("names no dimension: write one name for each, as in t h[tp]", column: 1)
    }
    var names: Set<String> = []
    for word in words {
      let dimension = try dimension(word)
      for name in dimension.names where !names.insert(name).inserted {
        throw failure("the dimension \(name) is there twice; give each its own name", column: word.column)
      }
      dims.dimensions.append(dimension)
    }
    for (index, dimension) in dims.dimensions.enumerated() {
      for modifier in dimension.modifiers {
        guard !modifier.isZigzag || ["t", "s"].contains(dimension.names.first) && dimension.names.count == 1 else {
          throw failure("zigzag orders tokens: only the dimensions t and s can have it", column: words[index].column)
        }
        let earlier = dims.dimensions[..<index].contains { $0.modifiers.contains { $0.axis == modifier.axis } }
        guard !earlier else {
          throw failure(
            "\(modifier.axis.rawValue) shards two dimensions; a rank's slice lies along one",
            column: words[index].column)
        }
      }
    }
    guard halves.count == 2 else { return }
    let column = halves[0].count + 2
    let declarations = self.words(halves[1], column: column)
    guard !declarations.isEmpty else {
      throw failure("nothing stands after #; remove it, or declare tp:replicated or dp:=moe_dp", column: column - 1)
    }
    for word in declarations { try declare(word, &dims) }
  }

  // MARK: words

  private func words(_ part: Substring, column first: Int) -> [Word] {
    var words: [Word] = []
    var column = first
    var start: (index: Substring.Index, column: Int)?
    for index in part.indices {
      if part[index].isWhitespace {
        if let start { words.append(Word(text: part[start.index..<index], column: start.column)) }
        start = nil
      } else if start == nil {
        start = (index, column)
      }
      column += 1
    }
    if let start { words.append(Word(text: part[start.index...], column: start.column)) }
    return words
  }

  private func dimension(_ word: Word) throws(AlignmentError) -> DimsText.Dimension {
    if word.text == "1" { return DimsText.Dimension(names: []) }
    var rest = word
    let names: [String]
    if rest.text.first == "(" {
      guard let end = rest.text.firstIndex(of: ")") else {
        let hint = text.contains(")") ? "no space may stand inside parentheses" : "close them, as in (heads*dim)"
        throw failure("the parentheses of \(word.text) are not closed: \(hint)", column: word.column)
      }
      var parts: [String] = []
      var column = word.column + 1
      let inside = rest.text[rest.text.index(after: rest.text.startIndex)..<end]
      for part in inside.split(separator: "*", omittingEmptySubsequences: false) {
        parts.append(try name(Word(text: part, column: column), in: word))
        column += part.count + 1
      }
      guard parts.count > 1 else {
        throw failure(
          "\(word.text) fuses one dimension only; write \(parts.first ?? "h") without parentheses", column: word.column)
      }
      names = parts
      rest = Word(text: rest.text[rest.text.index(after: end)...], column: column)
    } else {
      let head = rest.text.prefix { $0 != "[" }
      names = [try name(Word(text: head, column: word.column), in: word)]
      rest = Word(text: rest.text.dropFirst(head.count), column: word.column + head.count)
    }
    return DimsText.Dimension(names: names, modifiers: try modifiers(rest, of: word))
  }

  private func name(_ name: Word, in word: Word) throws(AlignmentError) -> String {
    if name.text.first == "1", name.text.count == 1 {
      throw failure("a dimension of size 1 cannot be sharded or fused; write 1 alone", column: name.column)
    }
    if name.text.contains("("), !word.text.hasPrefix("(") {
      let fixed = word.text.replacing("(", with: "[").replacing(")", with: "]")
      throw failure("\(word.text): parallel axes stand in brackets; write \(fixed)", column: name.column)
    }
    guard let first = name.text.first, first.isIdentifierStart, name.text.allSatisfy(\.isIdentifierPart) else {
      throw failure(
        "“\(name.text)” is no name of a dimension: letters, digits and _, not starting with a digit",
        column: name.column)
    }
    return String(name.text)
  }

  private func modifiers(_ rest: Word, of word: Word) throws(AlignmentError) -> [DimsText.Modifier] {
    guard !rest.text.isEmpty else { return [] }
    guard rest.text.first == "[" else {
      throw failure(
        "“\(rest.text)” does not belong after \(word.text.dropLast(rest.text.count)); write [tp]", column: rest.column)
    }
    guard rest.text.last == "]", rest.text.dropFirst().firstIndex(of: "[") == nil else {
      let hint = text.contains("]") ? "no space may stand inside brackets" : "close them, as in h[tp]"
      throw failure("the brackets of \(word.text) are not closed: \(hint)", column: rest.column)
    }
    var result: [DimsText.Modifier] = []
    var column = rest.column + 1
    for part in rest.text.dropFirst().dropLast().split(separator: ",", omittingEmptySubsequences: false) {
      let modifier = try modifier(Word(text: part, column: column))
      guard !result.contains(where: { $0.axis == modifier.axis }) else {
        throw failure("\(modifier.axis.rawValue) is there twice on one dimension; remove one", column: column)
      }
      result.append(modifier)
      column += part.count + 1
    }
    return result
  }

  private func modifier(_ word: Word) throws(AlignmentError) -> DimsText.Modifier {
    let parts = word.text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    var result = DimsText.Modifier(axis: try axis(Word(text: parts[0], column: word.column)))
    guard parts.count == 2 else { return result }
    var ordering: Substring?
    var reduction: Substring?
    var column = word.column + parts[0].count + 1
    for qualifier in parts[1].split(separator: "+", omittingEmptySubsequences: false) {
      switch qualifier {
      case "zigzag", "natural":
        if let ordering {
          throw failure("two orders, \(ordering) and \(qualifier); keep one", column: column)
        }
        ordering = qualifier
      case "partial", "sharded":
        if let reduction {
          throw failure("\(reduction) and \(qualifier) exclude each other; keep one", column: column)
        }
        reduction = qualifier
      case "replicated":
        let name = result.axis.rawValue
        throw failure("replicated is said after #: write “# \(name):replicated” and no [\(name)]", column: column)
      default:
        throw failure(
          "unknown qualifier “\(qualifier)”; one of zigzag, natural, partial, sharded", column: column)
      }
      column += qualifier.count + 1
    }
    result.isZigzag = ordering == "zigzag"
    result.isPartial = reduction == "partial"
    if result.isZigzag, result.isPartial {
      throw failure("zigzag orders slices, and partial has none; keep one", column: word.column)
    }
    return result
  }

  private func axis(_ word: Word) throws(AlignmentError) -> DimsText.ParallelAxis {
    if let axis = DimsText.ParallelAxis(rawValue: String(word.text)) { return axis }
    let known = DimsText.ParallelAxis.allCases.map(\.rawValue).joined(separator: ", ")
    let problem = word.text.isEmpty ? "a parallel axis is missing" : "unknown parallel axis “\(word.text)”"
    throw failure("\(problem); one of \(known)", column: word.column)
  }

  // MARK: declarations

  private func declare(_ word: Word, _ dims: inout DimsText) throws(AlignmentError) {
    if word.text.hasPrefix("dp:=") {
      let alias = word.text.dropFirst(4)
      guard !alias.isEmpty, alias.allSatisfy(\.isIdentifierPart) else {
        throw failure("dp:= names no axis; write it without a space, as in dp:=moe_dp", column: word.column)
      }
      guard dims.dataParallelAlias == nil else {
        throw failure("dp:= is there twice; keep one", column: word.column)
      }
      dims.dataParallelAlias = String(alias)
      return
    }
    let parts = word.text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2, parts[1] == "replicated" else {
      throw failure("“\(word.text)” is no declaration; after # stand tp:replicated or dp:=moe_dp", column: word.column)
    }
    let axis = try axis(Word(text: parts[0], column: word.column))
    guard !dims.sharded.contains(where: { $0.axis == axis }) else {
      throw failure("\(axis.rawValue) shards a dimension and is declared replicated; keep one", column: word.column)
    }
    guard !dims.replicated.contains(axis) else {
      throw failure("\(axis.rawValue):replicated is there twice; remove one", column: word.column)
    }
    dims.replicated.append(axis)
  }

  private func failure(_ message: String, column: Int) -> AlignmentError {
    let shown = text.count > 80 ? text.prefix(80) + "…" : text[...]
    return AlignmentError(code: .malformedDims, place: "dims text “\(shown)”, column \(column)", message: message)
  }
}

extension Character {
  /// As a regular expression's `\w`.
  fileprivate var isIdentifierPart: Bool { isLetter || isNumber || self == "_" }
  fileprivate var isIdentifierStart: Bool { isASCII && isLetter || self == "_" }
}
