import Alignment
import OrderedCollections

/// The keys of `compare`.
struct CompareKeys: KeyTable {
  let title = "compare"
  let mode = Key(
    "mode", .word(["reference", "slots"]),
    "reference (default): every cell against its reference; slots: slot 0 against the others of each run, bitwise.")
  let reference = Key(
    "reference", referenceShape,
    "Axis values of the reference cell (all other axes equal); or golden; or a path with a /; or {last_pass: job}.")
  let noise = Key(
    "noise", noiseShape, "What difference is honest: measured (default), strict (bitwise), atom, triage or thresholds.")
  let shard = Key(
    "shard", ShardKeys.shape,
    "How ranks make up a tensor: auto (default), one rule, or rules per stage (regular expression).")
  let sameHardware = Key(
    "same_hardware", .boolean, "All runs that are compared go to hosts of one hardware class; default true.")

  let names = Key(
    "names", NamesKeys.shape, "How names of two formats are joined: a preset, or a list of presets and rules.")

  let knownGood = Key(
    "known_good", .list(of: .text, orOne: true, minimum: 1),
    "Reports (compare --json, report --format json) of comparisons that are known to be right: what they differ by is "
      + "honest noise.")

  var keys: [AnyKey] {
    [mode.erased, reference.erased, noise.erased, shard.erased, sameHardware.erased, names.erased, knownGood.erased]
  }

  static var shape: Shape<Source> {
    .object(CompareKeys()) { fields, keys, reading in
      let mode = fields(keys.mode, &reading).flatMap(CompareSpec.Mode.init(rawValue:)) ?? .reference
      let reference = fields(keys.reference, &reading)
      let noise = fields(keys.noise, &reading) ?? .measured
      let shard = fields(keys.shard, &reading)
      let sameHardware = fields(keys.sameHardware, &reading) ?? true
      let names = fields(keys.names, &reading)
      let knownGood = fields(keys.knownGood, &reading)
      if fields.has(keys.knownGood), noise != .measured {
        reading.report(fields.place(keys.knownGood), "`known_good` gives floors to `noise: measured` alone; remove one")
      }
      switch mode {
      case .reference where !fields.has(keys.reference):
        reading.report(fields.value.place, "`compare` needs the key `reference` (or `mode: slots`)")
      case .slots where fields.has(keys.names):
        reading.report(fields.place(keys.names), "`mode: slots` compares within a run; remove `names`")
      case .slots where fields.has(keys.knownGood):
        reading.report(fields.place(keys.knownGood), "`mode: slots` is bitwise and knows no noise; remove `known_good`")
      case .slots where fields.has(keys.reference):
        reading.report(fields.place(keys.reference), "`mode: slots` compares within a run; remove `reference`")
      default: break
      }
      return Source(
        spec: CompareSpec(
          mode: mode, reference: reference?.reference, noise: noise, shard: shard?.rule ?? .auto,
          shardByStage: shard?.byStage ?? [:], sameHardware: sameHardware, names: names,
          knownGood: knownGood),
        place: fields.value.place, reference: fields.value[keys.reference.name],
        knownGood: fields.value[keys.knownGood.name])
    }
  }

  /// The decoded section with the places that later checks need.
  struct Source {
    var spec: CompareSpec
    var place: Place
    var reference: YAMLValue?
    var knownGood: YAMLValue?
  }

  struct ReferenceSource {
    var reference: CompareSpec.Reference
  }

  static var referenceShape: Shape<ReferenceSource> {
    let cell = Shape<OrderedDictionary<String, AxisValue>>.dictionary(of: .axisValue)
    return Shape(
      expects: "axis values, golden, or a path",
      schema: { context in
        .object([
          (
            "anyOf",
            .array([
              .object([("const", .string("golden"))]),
              .object([("type", .string("string")), ("pattern", .string("/"))]),
              .object([
                ("type", .string("object")), ("minProperties", .int(1)),
                ("additionalProperties", Shape<AxisValue>.axisValue.schema(context)),
              ]),
            ])
          )
        ])
      },
      read: { value, reading in
        switch value.content {
        case .map(let entries):
          guard !entries.isEmpty else {
            reading.report(value.place, "`reference` names no axis value")
            return nil
          }
          guard let values = cell.read(value, &reading) else { return nil }
          if entries.count == 1, let job = values["last_pass"] {
            guard case .string(let name) = job else {
              reading.report(entries[0].value.place, "`last_pass` must name a job")
              return nil
            }
            return ReferenceSource(reference: .lastPass(job: name))
          }
          return ReferenceSource(reference: .cell(values))
        default:
          guard let text = Shape<String>.text.read(value, &reading) else { return nil }
          if text == "golden" { return ReferenceSource(reference: .golden) }
          if text.contains("/") { return ReferenceSource(reference: .path(text)) }
          reading.report(
            value.place,
            "expected axis values, golden, or a path with a / (./\(text.shortened)), found \"\(text.shortened)\"",
            suggestion: Spelling.nearest(to: text, in: ["golden"]))
          return nil
        }
      })
  }

  static var noiseShape: Shape<CompareSpec.Noise> {
    let words: [(String, CompareSpec.Noise)] = [
      ("measured", .measured), ("strict", .strict), ("atom", .atom), ("triage", .triage),
    ]
    let word = Shape<String>.word(words.map(\.0))
    let thresholds = ThresholdKeys.shape
    return Shape(
      expects: word.expects + " or {cos: …, rel: …}",
      schema: { .object([("anyOf", .array([word.schema($0), thresholds.schema($0)]))]) },
      read: { value, reading in
        if case .map = value.content { return thresholds.read(value, &reading) }
        return word.read(value, &reading).flatMap { text in words.first { $0.0 == text }?.1 }
      })
  }
}

/// The keys of `compare.noise` with thresholds of one's own.
struct ThresholdKeys: KeyTable {
  let title = "noise"
  let cos = Key("cos", .number(-1...1), "The least cosine that passes.")
  let rel = Key("rel", .number(0...1e30), "The largest max|a−b| / max|b| that passes.")

  var keys: [AnyKey] { [cos.erased, rel.erased] }

  static var shape: Shape<CompareSpec.Noise> {
    .object(ThresholdKeys()) { fields, keys, reading in
      let cos = fields(keys.cos, &reading)
      let rel = fields(keys.rel, &reading)
      if !fields.has(keys.cos), !fields.has(keys.rel) {
        reading.report(fields.value.place, "`noise` needs `cos`, `rel` or both")
        return nil
      }
      return .thresholds(cos: cos, rel: rel)
    }
  }
}

/// The keys of one shard rule; a mapping with other keys holds rules per stage.
struct ShardKeys: KeyTable {
  let title = "shard"
  let axis = Key("axis", .integer(-16...15), "Ranks hold consecutive slices of this dimension.")
  let blocks = Key(
    "blocks", .list(of: .integer(1...Int(Int32.max)), minimum: 1),
    "Ranks hold a slice of each fused block (qkv, gate_up) of the last dimension; the whole blocks' sizes, in any unit."
  )
  let heads = Key("heads", HeadKeys.shape, "Grouped-query heads, some of them on several ranks.")
  let dims = Key("dims", .dims, "SGLang's text for the dimensions: t h[tp].")

  var keys: [AnyKey] { [axis.erased, blocks.erased, heads.erased, dims.erased] }

  struct Source {
    var rule: CompareSpec.ShardRule?
    var byStage: OrderedDictionary<String, CompareSpec.ShardRule>
  }

  static var shape: Shape<Source> {
    let rule = ruleShape
    let byStage = Shape<OrderedDictionary<String, CompareSpec.ShardRule>>.dictionary(of: rule) { key, place, reading in
      if let problem = regexProblem(key) { reading.report(place, "`\(key)` is not a regular expression: \(problem)") }
    }
    let names = ShardKeys().keys.map(\.name)
    return Shape(
      expects: rule.expects,
      schema: { .object([("anyOf", .array([rule.schema($0), byStage.schema($0)]))]) },
      read: { value, reading in
        guard case .map(let entries) = value.content, !entries.contains(where: { names.contains($0.key) }) else {
          return rule.read(value, &reading).map { Source(rule: $0, byStage: [:]) }
        }
        return byStage.read(value, &reading).map { Source(rule: nil, byStage: $0) }
      })
  }

  static var ruleShape: Shape<CompareSpec.ShardRule> {
    let words = ["auto", "partial", "replicated"]
    let mapping = Shape<CompareSpec.ShardRule>.object(ShardKeys()) { fields, keys, reading in
      let axis = fields(keys.axis, &reading)
      let blocks = fields(keys.blocks, &reading)
      let heads = fields(keys.heads, &reading)
      let dims = fields(keys.dims, &reading)
      guard case .map(let entries) = fields.value.content, entries.count == 1 else {
        reading.report(fields.value.place, "a shard rule has exactly one of the keys axis, blocks, heads, dims")
        return nil
      }
      if let axis { return .concat(axis: axis) }
      if let blocks { return .blocks(blocks) }
      if let heads { return .heads(heads) }
      return dims.map { .dims($0) }
    }
    return Shape(
      expects: "auto, partial, replicated, a rule or SGLang's dims text",
      schema: { context in
        .object([
          (
            "anyOf",
            .array([
              .object([("enum", .array(words.map { .string($0) }))]),
              .object([("type", .string("string")), ("pattern", .string("[ \\[(#]"))]),
              mapping.schema(context),
            ])
          )
        ])
      },
      read: { value, reading in
        if case .map = value.content { return mapping.read(value, &reading) }
        guard let text = Shape<String>.text.read(value, &reading) else { return nil }
        switch text {
        case "auto": return .auto
        case "partial": return .partial
        case "replicated": return .replicated
        case _ where text.contains { "[ (#".contains($0) }:
          return Shape<String>.dims.read(value, &reading).map { .dims($0) }
        default:
          reading.report(
            value.place,
            "expected auto, partial, replicated, {axis: …}, {blocks: …}, {heads: …} or dims text such as \"t h[tp]\", "
              + "found \"\(text.shortened)\"",
            suggestion: Spelling.nearest(to: text, in: words))
          return nil
        }
      })
  }
}

/// The keys of a rule for heads.
struct HeadKeys: KeyTable {
  let title = "heads"
  let axis = Key("axis", .integer(-16...15), "The dimension that holds the heads; default the last.")
  let query = Key("q", .integer(1...Int(Int32.max)), "Query heads of the whole model; none for keys or values alone.")
  let keyValue = Key("kv", .integer(1...Int(Int32.max)), "Key/value heads of the whole model; none for queries alone.")

  var keys: [AnyKey] { [axis.erased, query.erased, keyValue.erased] }

  /// The entries as written.
  static var shape: Shape<OrderedDictionary<String, AxisValue>> {
    .object(HeadKeys()) { fields, keys, reading in
      guard fields.has(keys.query) || fields.has(keys.keyValue) else {
        reading.report(fields.value.place, "`heads` needs `q`, `kv`, or both for a fused qkv")
        return nil
      }
      var result: OrderedDictionary<String, AxisValue> = [:]
      guard case .map(let entries) = fields.value.content else { return nil }
      let values = [
        keys.axis.name: fields(keys.axis, &reading), keys.query.name: fields(keys.query, &reading),
        keys.keyValue.name: fields(keys.keyValue, &reading),
      ]
      for entry in entries {
        if let value = values[entry.key] ?? nil { result[entry.key] = .int(value) }
      }
      return result
    }
  }
}

extension Shape where Value == String {
  /// SGLang's text for the dimensions, checked here so that no run starts with one that cannot be read.
  static var dims: Shape {
    Shape.text.map { text, place, reading in
      do throws(AlignmentError) {
        _ = try DimsText(text)
        return text
      } catch {
        reading.report(place, error.description)
        return nil
      }
    }
  }
}
