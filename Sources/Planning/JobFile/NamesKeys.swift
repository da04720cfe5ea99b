public import Alignment

/// The keys of one rule under `compare.names`.
struct NamesKeys: KeyTable {
  let title = "names"
  let reference = Key(
    "reference", patterns, required: true,
    "Names of the reference as reports print them: layer {n} mlp.output; several for the parts of what the target fuses."
  )
  let target = Key("target", patterns, required: true, "The same for the target.")
  let optional = Key(
    "optional", .boolean, "true: a name that one side alone has is no loss; default false.")

  var keys: [AnyKey] { [reference.erased, target.erased, optional.erased] }

  private static var patterns: Shape<[NamePattern]> {
    .list(
      of: Shape<String>.text.map { text, place, reading in
        do throws(AlignmentError) { return try NamePattern(text) } catch {
          reading.report(place, error.description)
          return nil
        }
      }, orOne: true, minimum: 1)
  }

  private static var rule: Shape<NameRule> {
    .object(NamesKeys()) { fields, keys, reading in
      let reference = fields(keys.reference, &reading)
      let target = fields(keys.target, &reading)
      let isOptional = fields(keys.optional, &reading) ?? false
      guard let reference, let target else { return nil }
      do throws(AlignmentError) {
        return try NameRule(
          reference: reference, target: target, isOptional: isOptional,
          title: "rule at line \(fields.value.place.line)")
      } catch {
        reading.report(fields.value.place, "the rule \(error.message)")
        return nil
      }
    }
  }

  /// A preset's word, or a list of presets and rules.
  static var shape: Shape<NameRules> {
    let preset = Shape<String>.word(NamePreset.allCases.map(\.rawValue))
    let rule = rule
    let entry = Shape<NameRules.Entry>(
      expects: "a preset or a rule",
      schema: { .object([("anyOf", .array([preset.schema($0), rule.schema($0)]))]) },
      read: { value, reading in
        if case .map = value.content { return rule.read(value, &reading).map { .rule($0) } }
        return preset.read(value, &reading).flatMap(NamePreset.init(rawValue:)).map { .preset($0) }
      })
    return Shape<[NameRules.Entry]>.list(of: entry, orOne: true, minimum: 1).map { entries, _, _ in NameRules(entries) }
  }
}

/// Reads a file of name rules: the value of `compare.names` by itself.
public enum NameRulesReader {
  /// - Throws: `PlanningError` with every problem that was found.
  public static func read(path: String) throws(PlanningError) -> NameRules {
    let file = try YAMLFile(text: YAMLFile.read(path), name: path)
    var reading = Reading()
    let rules = NamesKeys.shape.read(file.root, &reading)
    try reading.throwIfAny(file: path)
    guard let rules else {
      throw PlanningError(
        code: .invalid, file: path, problems: [.init(line: 1, column: 1, path: "", message: "holds no name rules")])
    }
    return rules
  }
}
