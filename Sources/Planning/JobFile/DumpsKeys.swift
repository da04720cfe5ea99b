/// The keys of `dumps`.
struct DumpsKeys: KeyTable {
  static let layouts = ["atom", "sglang", "weights", "msprobe", "hf", "safetensors", "npy", "custom"]

  let title = "dumps"
  let layout = Key("layout", .word(layouts), required: true, "How the dump files are named and what they hold.")
  let pattern = Key(
    "pattern", .pattern, "For layout custom: a regular expression over the path, with the named groups rank, layer, …")
  let slots = Key("slots", .integer(1...65_536), "Sequences in one batch.")
  let select = Key("select", selectShape, "The call that is compared: prefill (default), decode, warm-up, or a number.")
  let expect = Key("expect", ExpectKeys.shape, "What must be there; the ranks follow from world_size.")

  var keys: [AnyKey] { [layout.erased, pattern.erased, slots.erased, select.erased, expect.erased] }

  static var shape: Shape<DumpsSpec> {
    .object(DumpsKeys()) { fields, keys, reading in
      let layout = fields(keys.layout, &reading)
      let pattern = fields(keys.pattern, &reading)
      let slots = fields(keys.slots, &reading)
      let select = fields(keys.select, &reading) ?? .prefill
      let expect = fields(keys.expect, &reading)
      guard let layout else { return nil }
      if layout == "custom", !fields.has(keys.pattern) {
        reading.report(fields.place(keys.layout), "layout custom needs the key `pattern`")
      } else if layout != "custom", fields.has(keys.pattern) {
        reading.report(fields.place(keys.pattern), "`pattern` belongs to layout custom, not \(layout)")
      }
      if let pattern, !pattern.contains("(?<rank>"), !pattern.contains("(?P<rank>") {
        reading.report(fields.place(keys.pattern), "`pattern` needs a named group (?<rank>…)")
      }
      return DumpsSpec(layout: layout, pattern: pattern, slots: slots, select: select, expect: expect)
    }
  }

  static var selectShape: Shape<DumpsSpec.Select> {
    let words: [String: DumpsSpec.Select] = ["prefill": .prefill, "decode": .decode, "warm-up": .warmUp]
    let expects = "prefill, decode, warm-up or a call number"
    return Shape<YAMLScalar>.scalar(
      expects: expects,
      schema: .object([
        (
          "anyOf",
          .array([
            .object([("enum", .array(["prefill", "decode", "warm-up"].map { .string($0) }))]),
            .object([("type", .string("integer")), ("minimum", .int(0))]),
          ])
        )
      ])
    ) { $0 }.map { scalar, place, reading in
      if let select = words[scalar.text] { return select }
      if case .number = scalar.meaning, let call = Int(scalar.text), call >= 0 { return .call(call) }
      reading.report(
        place, "expected \(expects), found \"\(scalar.text.shortened)\"",
        suggestion: Spelling.nearest(to: scalar.text, in: words.keys.sorted()))
      return nil
    }
  }
}

/// The keys of `dumps.expect`.
struct ExpectKeys: KeyTable {
  let title = "expect"
  let layers = Key("layers", .layers, "Layer numbers: 0-15, 0,3, [0, 3] or [0-3, 7].")
  let stages = Key("stages", .list(of: .text, orOne: true), "Stage names: for ATOM the module's class.")

  let ranks = Key(
    "ranks", .integer(WorldSizeAxis.range), "Ranks that leave files, from 0 on; default all of world_size.")

  var keys: [AnyKey] { [layers.erased, stages.erased, ranks.erased] }

  static var shape: Shape<DumpsSpec.Expect> {
    .object(ExpectKeys()) { fields, keys, reading in
      let layers = fields(keys.layers, &reading) ?? []
      let stages = fields(keys.stages, &reading) ?? []
      return DumpsSpec.Expect(layers: layers, stages: stages, ranks: fields(keys.ranks, &reading))
    }
  }
}
