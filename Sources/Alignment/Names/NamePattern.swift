/// A pattern for the names of captures as reports print them: `layer {n} mlp.output`, `embed_tokens.output`.
///
/// ```
/// pattern := (text | "{" [NAME] [":" expression] "}")*        NAME = \w+
/// ```
/// Text stands for itself. `{n}` takes one part of the name (no dot, no space), `{n:expression}` what the regular
/// expression matches; what a name took on one side it must take on the other, and wherever it stands again.
/// `{:expression}` takes what the other side need not have.
public struct NamePattern: Sendable, Hashable, CustomStringConvertible {
  enum Part: Sendable, Hashable {
    case text(String)
    case capture(name: String?, expression: String)
  }

  /// As written.
  public let text: String
  let parts: [Part]

  static let onePart = "[^. ]+"

  /// - Throws: `AlignmentError` with `malformed-names`, the column and the reason.
  public init(_ text: String) throws(AlignmentError) {
    let characters = Array(text)
    func malformed(_ column: Int, _ message: String) -> AlignmentError {
      AlignmentError(
        code: .malformedNames, place: "name pattern “\(text)”, column \(column + 1)", message: message)
    }
    guard !text.isEmpty else { throw malformed(0, "is empty") }
    var parts: [Part] = []
    var literal = ""
    var at = 0
    while at < characters.count {
      if characters[at] == "}" { throw malformed(at, "} closes nothing; a literal brace is {:\\}}") }
      guard characters[at] == "{" else {
        literal.append(characters[at])
        at += 1
        continue
      }
      if !literal.isEmpty { parts.append(.text(literal)) }
      literal = ""
      guard let end = Self.closing(characters, from: at) else { throw malformed(at, "{ is never closed") }
      let inside = characters[(at + 1)..<end]
      let name = String(inside.prefix { $0 != ":" })
      guard name.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }) else {
        throw malformed(
          at + 1, "“\(name)” is no name for a capture: letters, digits and _; an expression stands after a colon, {:…}")
      }
      var expression = Self.onePart
      if inside.count > name.count {
        expression = String(inside.dropFirst(name.count + 1))
        do { _ = try Regex(expression).firstMatch(in: "") } catch {
          throw malformed(at + name.count + 2, "“\(expression)” is not a regular expression: \(error)")
        }
        guard !expression.isEmpty else { throw malformed(at + name.count + 2, "the expression is empty") }
      } else if name.isEmpty {
        throw malformed(at, "{} needs a name, {n}, or an expression, {:…}")
      }
      parts.append(.capture(name: name.isEmpty ? nil : name, expression: expression))
      at = end + 1
    }
    if !literal.isEmpty { parts.append(.text(literal)) }
    self.text = text
    self.parts = parts
  }

  /// The brace that closes the one at `start`; those of an expression (`\d{2}`) are its own.
  private static func closing(_ characters: [Character], from start: Int) -> Int? {
    var depth = 0
    var at = start
    while at < characters.count {
      switch characters[at] {
      case "\\": at += 1
      case "{": depth += 1
      case "}":
        depth -= 1
        if depth == 0 { return at }
      default: break
      }
      at += 1
    }
    return nil
  }

  public var description: String { text }

  /// Names of its captures.
  public var names: Set<String> {
    Set(
      parts.compactMap { part in
        if case .capture(let name, _) = part { return name }
        return nil
      })
  }

  /// The pattern that matches one name and nothing else.
  public static func exactly(_ name: String) -> String {
    name.map { $0 == "{" || $0 == "}" ? "{:\\\($0)}" : String($0) }.joined()
  }
}

extension NamePattern: Codable {
  public init(from decoder: any Decoder) throws {
    try self.init(try decoder.singleValueContainer().decode(String.self))
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(text)
  }
}

/// A pattern made ready to be matched against many names.
struct NameMatcher {
  private let regex: Regex<AnyRegexOutput>
  private let groups: [String: String]
  private let head: String
  private let tail: String

  /// - Throws: where the expressions are no regular expression together.
  init(_ pattern: NamePattern) throws(AlignmentError) {
    var source = ""
    var groups: [String: String] = [:]
    for part in pattern.parts {
      switch part {
      case .text(let text): source += text.map(Self.escaped).joined()
      case .capture(nil, let expression): source += "(?:\(expression))"
      case .capture(let name?, let expression):
        if let group = groups[name] {
          source += "\\k<\(group)>"
        } else {
          groups[name] = "group\(groups.count)"
          source += "(?<group\(groups.count - 1)>\(expression))"
        }
      }
    }
    do {
      // Unicode's words contain dots: `model.layers` would be one.
      regex = try Regex(source).matchingSemantics(.unicodeScalar).wordBoundaryKind(.simple)
    } catch {
      throw AlignmentError(
        code: .malformedNames, place: "name pattern “\(pattern.text)”", message: "cannot be matched: \(error)")
    }
    self.groups = groups
    if case .text(let text)? = pattern.parts.first { head = text } else { head = "" }
    if case .text(let text)? = pattern.parts.last { tail = text } else { tail = "" }
  }

  private static func escaped(_ character: Character) -> String {
    let isPlain = !character.isASCII || character.isLetter || character.isNumber || character == "_"
    return isPlain ? String(character) : "\\\(character)"
  }

  /// What the named captures took; nil where the name does not fit.
  func match(_ name: String) -> [String: String]? {
    guard name.hasPrefix(head), name.hasSuffix(tail), let match = try? regex.wholeMatch(in: name) else { return nil }
    return groups.mapValues { match.output[$0]?.substring.map(String.init) ?? "" }
  }
}
