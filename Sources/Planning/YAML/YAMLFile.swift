import Foundation
import Yams

/// The text of one file and what it parses to, within bounds: aliases are expanded up to `maximumValues`.
struct YAMLFile {
  static let maximumBytes = 1 << 20
  static let maximumValues = 100_000
  static let maximumDepth = 64

  let name: String
  let root: YAMLValue
  private let lines: [[Unicode.Scalar]]

  /// - Throws: `PlanningError` with code unreadable.
  static func read(_ path: String) throws(PlanningError) -> String {
    func failure(_ message: String) -> PlanningError {
      PlanningError(
        code: .unreadable, file: path, problems: [.init(line: 0, column: 0, path: "", message: message)])
    }
    var status = stat()
    guard stat(path, &status) == 0 else {
      throw failure("cannot be read: \(String(cString: strerror(errno)))")
    }
    guard status.st_mode & S_IFMT == S_IFREG else { throw failure("is not a file") }
    guard status.st_size <= maximumBytes else {
      throw failure("is \(status.st_size) bytes; at most \(maximumBytes) are read")
    }
    let data: Data
    do { data = try Data(contentsOf: URL(fileURLWithPath: path)) } catch {
      throw failure("cannot be read: \(error.localizedDescription)")
    }
    guard data.count <= maximumBytes else { throw failure("is more than \(maximumBytes) bytes") }
    guard let text = String(validating: data, as: UTF8.self) else {
      let bad = data.split(separator: 0x0A, omittingEmptySubsequences: false)
        .firstIndex { String(validating: $0, as: UTF8.self) == nil }
      throw failure("is not UTF-8" + (bad.map { " (line \($0 + 1))" } ?? ""))
    }
    return text
  }

  /// - Throws: `PlanningError` with code syntax, or invalid for what this reader does not take.
  init(text: String, name: String) throws(PlanningError) {
    self.name = name
    func failure(_ code: PlanningError.Code, _ place: Place, _ message: String) -> PlanningError {
      PlanningError(
        code: code, file: name,
        problems: [.init(line: place.line, column: place.column, path: "", message: message)])
    }
    guard text.utf8.count <= Self.maximumBytes else {
      throw failure(.unreadable, Place(line: 0, column: 0), "is more than \(Self.maximumBytes) bytes")
    }
    // The mark that some editors put before the first line stands in no column.
    let text = text.unicodeScalars.first == "\u{FEFF}" ? String(text.unicodeScalars.dropFirst()) : text
    lines = text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).map(Array.init)
    let node: Node?
    do {
      if text.contains("&") { try Self.checkKeys(text, lines) }
      node = try Parser(yaml: text, resolver: .basic, encoding: .utf8).singleRoot()
    } catch let problem as ConversionProblem {
      throw failure(.invalid, problem.place, problem.message)
    } catch {
      let (place, message) = Self.syntaxProblem(error, lines)
      throw failure(.syntax, place, message)
    }
    guard let node else {
      throw failure(.invalid, Place(line: 1, column: 1), "the file is empty")
    }
    var budget = Self.maximumValues
    switch Self.convert(node, depth: 0, budget: &budget) {
    case .success(let value): root = value
    case .failure(let problem): throw failure(.invalid, problem.place, problem.message)
    }
  }

  /// Where the `ordinal`-th `${{` at or after `place` stands; `place` itself if there is none.
  func placeOfTemplate(_ ordinal: Int, from place: Place) -> Place {
    var left = ordinal
    var row = place.line - 1
    var column = place.column - 1
    while lines.indices.contains(row) {
      let line = lines[row]
      while column + 2 < line.count {
        if line[column] == "$", line[column + 1] == "{", line[column + 2] == "{" {
          if left == 0 { return Place(line: row + 1, column: column + 1) }
          left -= 1
          column += 3
        } else {
          column += 1
        }
      }
      row += 1
      column = 0
    }
    return place
  }

  /// Refuses keys that are not plain text, on a copy of the text without aliases: the parser hashes every key, and a key
  /// that holds aliases of aliases would take for ever.
  private static func checkKeys(_ text: String, _ lines: [[Unicode.Scalar]]) throws {
    var copy = String.UnicodeScalarView()
    var isAfterStar = false
    for scalar in text.unicodeScalars {
      let isName =
        scalar.properties.isAlphabetic || scalar.properties.numericType != nil || scalar == "_" || scalar == "-"
      if isAfterStar { copy.append(isName ? "_" : "*") }
      isAfterStar = scalar == "*"
      if !isAfterStar { copy.append(scalar) }
    }
    if isAfterStar { copy.append("*") }
    guard let root = try Parser(yaml: String(copy), resolver: .basic, encoding: .utf8).singleRoot() else { return }
    try checkKeys(of: root, lines)
  }

  private static func checkKeys(of node: Node, _ lines: [[Unicode.Scalar]]) throws {
    switch node {
    case .scalar, .alias: return
    case .sequence(let sequence): for element in sequence { try checkKeys(of: element, lines) }
    case .mapping(let mapping):
      for (key, value) in mapping {
        let place = Place(line: key.mark?.line ?? 1, column: key.mark?.column ?? 1)
        let line = lines.indices.contains(place.line - 1) ? lines[place.line - 1] : []
        let isAlias = line.indices.contains(place.column - 1) && line[place.column - 1] == "*"
        guard case .scalar = key, !isAlias else {
          throw ConversionProblem(place: place, message: "a key must be plain text")
        }
        try checkKeys(of: value, lines)
      }
    }
  }

  private struct ConversionProblem: Error {
    var place: Place
    var message: String
  }

  private static func convert(
    _ node: Node, depth: Int, budget: inout Int
  ) -> Result<YAMLValue, ConversionProblem> {
    let place = Place(line: node.mark?.line ?? 1, column: node.mark?.column ?? 1)
    func failure(_ message: String) -> Result<YAMLValue, ConversionProblem> {
      .failure(ConversionProblem(place: place, message: message))
    }
    budget -= 1
    guard budget >= 0 else { return failure("more than \(maximumValues) values once aliases are expanded") }
    guard depth <= maximumDepth else { return failure("nested deeper than \(maximumDepth) levels") }
    switch node {
    case .alias: return failure("an alias that was not resolved")
    case .scalar(let scalar):
      let tag = scalar.tag.rawValue
      guard ["", "!", Tag.Name.str.rawValue].contains(tag) else {
        return failure("the YAML tag \(tag) is not known here; write the value without it")
      }
      guard !scalar.string.unicodeScalars.contains(where: \.isControl) else {
        return failure("the text has control characters")
      }
      let isPlain = scalar.style == .plain && tag.isEmpty
      return .success(YAMLValue(place: place, content: .scalar(.init(text: scalar.string, isPlain: isPlain))))
    case .sequence(let sequence):
      var values: [YAMLValue] = []
      for element in sequence {
        switch convert(element, depth: depth + 1, budget: &budget) {
        case .success(let value): values.append(value)
        case .failure(let problem): return .failure(problem)
        }
      }
      return .success(YAMLValue(place: place, content: .list(values)))
    case .mapping(let mapping):
      var entries: [YAMLEntry] = []
      for (key, value) in mapping {
        let keyPlace = Place(line: key.mark?.line ?? place.line, column: key.mark?.column ?? place.column)
        guard case .scalar(let name) = key, !name.string.unicodeScalars.contains(where: \.isControl) else {
          return .failure(ConversionProblem(place: keyPlace, message: "a key must be plain text"))
        }
        guard name.string != "<<" else {
          return .failure(ConversionProblem(place: keyPlace, message: "merge keys (<<) are not read; use overrides"))
        }
        switch convert(value, depth: depth + 1, budget: &budget) {
        case .success(var value):
          // libYAML puts a missing value where the next token stands; the key is the better place.
          if case .scalar(let scalar) = value.content, scalar.isPlain, scalar.text.isEmpty { value.place = keyPlace }
          entries.append(YAMLEntry(key: name.string, keyPlace: keyPlace, value: value))
        case .failure(let problem): return .failure(problem)
        }
      }
      return .success(YAMLValue(place: place, content: .map(entries)))
    }
  }

  private static func syntaxProblem(_ error: any Error, _ lines: [[Unicode.Scalar]]) -> (Place, String) {
    guard let error = error as? YamlError else { return (Place(line: 1, column: 1), "\(error)") }
    switch error {
    case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _),
      .composer(let context, let problem, let mark, _):
      let place = Place(line: mark.line, column: mark.column)
      if case .composer = error, problem.contains("another document") {
        return (place, "a second document starts here; one file holds one document")
      }
      let line = lines.indices.contains(mark.line - 1) ? lines[mark.line - 1] : []
      if line.prefix(while: { $0 == " " || $0 == "\t" }).contains("\t") {
        return (place, "a tab cannot indent YAML; use spaces")
      }
      let said = context.map { $0.text.isEmpty ? problem : "\(problem) (\($0.text) from line \($0.mark.line))" }
      return (place, "not valid YAML: \(said ?? problem)")
    case .reader(let problem, let offset, _, let yaml):
      let before = yaml.prefix(offset ?? 0).unicodeScalars
      let line = before.count { $0 == "\n" } + 1
      let column = before.reversed().prefix { $0 != "\n" }.count + 1
      return (Place(line: line, column: column), "not valid YAML: \(problem)")
    case .duplicatedKeysInMapping(let keys, let context):
      let first = Place(line: context.mark.line, column: context.mark.column)
      let key = keys.first ?? ""
      let second = repeatedKey(after: first, lines)
      return (
        second ?? first, "the key `\(key)` appears twice" + (second == nil ? "" : "; first on line \(first.line)")
      )
    default: return (Place(line: 1, column: 1), "not valid YAML: \(error)")
    }
  }

  /// The next line of the same block mapping that begins with the same key.
  private static func repeatedKey(after first: Place, _ lines: [[Unicode.Scalar]]) -> Place? {
    guard lines.indices.contains(first.line - 1), first.column >= 1 else { return nil }
    let indent = first.column - 1
    let key = lines[first.line - 1].dropFirst(indent).prefix { $0 != ":" }
    for row in lines.indices.dropFirst(first.line) {
      let line = lines[row]
      guard let start = line.firstIndex(where: { $0 != " " }), line[start] != "#" else { continue }
      if start < indent { return nil }
      if start == indent, line.dropFirst(indent).starts(with: key), line.dropFirst(indent + key.count).first == ":" {
        return Place(line: row + 1, column: indent + 1)
      }
    }
    return nil
  }
}

extension Unicode.Scalar {
  fileprivate var isControl: Bool { (value < 0x20 && self != "\n" && self != "\t" && self != "\r") || value == 0x7F }
}
