import Foundation
import OrderedCollections

extension Shape {
  /// A scalar that `convert` takes; nil from it gives "expected …, found …".
  static func scalar(
    expects: String, schema: JSONText, convert: @escaping (YAMLScalar) -> Value?
  ) -> Shape {
    Shape(
      expects: expects,
      schema: { context in
        guard context.templates else { return schema }
        let template = JSONText.object([("type", .string("string")), ("pattern", .string("\\$\\{\\{.*\\}\\}"))])
        return .object([("anyOf", .array([schema, template]))])
      },
      read: { value, reading in
        guard case .scalar(let scalar) = value.content else {
          reading.report(value.place, "expected \(expects), found \(value.described)")
          return nil
        }
        if scalar.text.contains("${{"), reading.templates != .replaced {
          if reading.templates == .refused {
            reading.report(value.place, "${{ }} is replaced in `run` and `dumps` only")
          }
          return nil
        }
        guard let converted = convert(scalar) else {
          reading.report(value.place, "expected \(expects), found \(value.described)")
          return nil
        }
        return converted
      })
  }
}

extension Shape where Value == Int {
  /// A whole number in `range`.
  static func integer(_ range: ClosedRange<Int>) -> Shape {
    let expects =
      range.upperBound == .max
      ? "a whole number of at least \(range.lowerBound)"
      : "a whole number from \(range.lowerBound) to \(range.upperBound)"
    var schema: [(key: String, value: JSONText)] = [
      ("type", .string("integer")), ("minimum", .int(range.lowerBound)),
    ]
    if range.upperBound != .max { schema.append(("maximum", .int(range.upperBound))) }
    return scalar(expects: expects, schema: .object(schema)) { scalar in
      guard case .number = scalar.meaning, let value = Int(scalar.text), range.contains(value) else { return nil }
      return value
    }
  }
}

extension Shape where Value == Double {
  /// A finite number in `range`.
  static func number(_ range: ClosedRange<Double>) -> Shape {
    scalar(
      expects: "a number from \(range.lowerBound) to \(range.upperBound)",
      schema: .object([
        ("type", .string("number")), ("minimum", .double(range.lowerBound)), ("maximum", .double(range.upperBound)),
      ])
    ) { scalar in
      guard case .number = scalar.meaning, let value = Double(scalar.text), range.contains(value) else { return nil }
      return value
    }
  }

  /// Seconds, from `30m`, `1h30m`, `2d` or a plain number of seconds.
  static var duration: Shape {
    scalar(
      expects: "a duration such as 30m, 10s, 1h30m, 2d or a number of seconds",
      schema: .object([
        (
          "anyOf",
          .array([
            .object([("type", .string("number")), ("exclusiveMinimum", .int(0))]),
            .object([("type", .string("string")), ("pattern", .string("^([0-9]+(\\.[0-9]+)?[smhd])+$"))]),
          ])
        )
      ])
    ) { DurationText.seconds(from: $0.text) }
  }
}

/// Reads durations: `30m`, `1h30m`, `2d` or a plain number of seconds.
public enum DurationText {
  /// Seconds; nil for what is no duration, not positive, or longer than ten years.
  public static func seconds(from text: String) -> Double? {
    var total = 0.0
    var number = ""
    var lastUnit = Double.infinity
    for character in text {
      let unit: Double
      switch character {
      case "0"..."9", ".":
        number.append(character)
        continue
      case "s": unit = 1
      case "m": unit = 60
      case "h": unit = 3_600
      case "d": unit = 86_400
      default: return nil
      }
      guard unit < lastUnit, let count = Double(number) else { return nil }
      lastUnit = unit
      total += count * unit
      number = ""
    }
    if !number.isEmpty {
      guard lastUnit.isInfinite, let count = Double(number) else { return nil }
      total = count
    }
    return total > 0 && total <= 315_360_000 ? total : nil
  }
}

extension Shape where Value == String {
  /// Text, not empty. Numbers and booleans must be quoted, so that nothing is read other than written.
  static var text: Shape {
    scalar(
      expects: "text",
      schema: .object([("type", .string("string")), ("minLength", .int(1))])
    ) { scalar in
      guard case .string = scalar.meaning, !scalar.text.isEmpty else { return nil }
      return scalar.text
    }
  }

  /// A regular expression over names.
  static var pattern: Shape {
    text.map { text, place, reading in
      guard let problem = regexProblem(text) else { return text }
      reading.report(place, "not a regular expression: \(problem)")
      return nil
    }
  }

  /// A regular expression over lines of a log, which another engine looks for (ICU's, which can be stopped).
  static var linePattern: Shape {
    text.map { text, place, reading in
      if (try? NSRegularExpression(pattern: text)) != nil { return text }
      reading.report(
        place,
        "not a regular expression of ICU's syntax, which logs are searched by: \(text.shortened)"
          + (text.contains("(?P<")
            ? "; a named group is (?<name>…)" : "; a { } or [ that is meant as such is \\{ \\} or \\[")
      )
      return nil
    }
  }

  /// One of `words`.
  static func word(_ words: [String]) -> Shape {
    let expects = "one of " + words.joined(separator: ", ")
    let schema = JSONText.object([("enum", .array(words.map { .string($0) }))])
    return scalar(expects: expects, schema: schema) { $0.text }.map { word, place, reading in
      if words.contains(word) { return word }
      reading.report(
        place, "expected \(expects), found \"\(word.shortened)\"",
        suggestion: Spelling.nearest(to: word, in: words))
      return nil
    }
  }
}

extension Shape where Value == Bool {
  /// `true` or `false`; YAML 1.1's yes, no, on and off are text.
  static var boolean: Shape {
    scalar(expects: "true or false", schema: .object([("type", .string("boolean"))])) { scalar in
      if case .bool(let value) = scalar.meaning { value } else { nil }
    }
  }
}

extension Shape where Value == AxisValue {
  /// Text, a number or a boolean.
  static var axisValue: Shape {
    scalar(
      expects: "text, a number, true or false (an empty text is \"\")",
      schema: .object([("type", .array(["string", "number", "boolean"].map { .string($0) }))])
    ) { $0.axisValue }
  }

  /// A value of the axis `world_size`.
  static var worldSize: Shape {
    Shape<Int>.integer(WorldSizeAxis.range).map { size, _, _ in .int(size) }
  }
}

extension Shape {
  /// A mapping whose keys the user chooses; `checkKey` reports bad ones.
  static func dictionary<Element>(
    of element: Shape<Element>, keyPattern: String? = nil,
    checkKey: @escaping (String, Place, inout Reading) -> Void = { _, _, _ in }
  ) -> Shape where Value == OrderedDictionary<String, Element> {
    Shape(
      expects: "a mapping",
      schema: { context in
        var members: [(key: String, value: JSONText)] = [("type", .string("object"))]
        if let keyPattern {
          members.append(("propertyNames", .object([("pattern", .string(keyPattern))])))
        }
        members.append(("additionalProperties", element.schema(context)))
        return .object(members)
      },
      read: { value, reading in
        guard case .map(let entries) = value.content else {
          reading.report(value.place, "expected a mapping, found \(value.described)")
          return nil
        }
        var values: OrderedDictionary<String, Element> = [:]
        for entry in entries {
          reading.within(entry.key) { reading in
            if entry.key.contains("${{") {
              reading.report(entry.keyPlace, "${{ }} cannot be part of a key")
            } else {
              checkKey(entry.key, entry.keyPlace, &reading)
            }
            values[entry.key] = element.read(entry.value, &reading)
          }
        }
        return values.count == entries.count ? values : nil
      })
  }
}

extension Shape where Value == [Int] {
  /// Layer numbers: `0-15`, `0,3`, `[0, 3]`, `[0-3, 7]`; ascending, each once.
  static var layers: Shape {
    let one = Shape<[Int]>.scalar(
      expects: "layers such as 0-15, 0,3 or [0-3, 7]",
      schema: .object([
        (
          "anyOf",
          .array([
            .object([("type", .string("integer")), ("minimum", .int(0))]),
            .object([
              ("type", .string("string")),
              ("pattern", .string("^ *[0-9]+ *(- *[0-9]+ *)?(, *[0-9]+ *(- *[0-9]+ *)?)*$")),
            ]),
          ])
        )
      ])
    ) { LayerRanges.layers(from: $0.text) }
    let list = Shape<[[Int]]>.list(of: one, orOne: true)
    return Shape(expects: one.expects, schema: list.schema) { value, reading in
      list.read(value, &reading).map { Array(Set($0.joined())).sorted() }
    }
  }
}

/// Reads layer ranges.
enum LayerRanges {
  static let maximum = 100_000

  /// nil where `text` is no list of numbers and rising ranges below `maximum`.
  static func layers(from text: String) -> [Int]? {
    var layers: [Int] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { end -> Int? in
        let digits = end.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()
        return digits.allSatisfy { ("0"..."9").contains($0) } ? Int(String(digits)) : nil
      }
      guard (1...2).contains(ends.count), let first = ends[0], let last = ends[ends.count - 1], first <= last,
        last < maximum
      else { return nil }
      layers += Array(first...last)
      guard layers.count <= maximum else { return nil }
    }
    return layers
  }
}

/// Why a text is no regular expression of Swift's; nil where it is one. Some are refused only when they are first used:
/// those that look behind.
func regexProblem(_ text: String) -> String? {
  do {
    _ = try Regex(text).firstMatch(in: "")
    return nil
  } catch {
    return "\(error)"
  }
}
