import OrderedCollections

/// The keys of `playbook`.
struct PlaybookKeys: KeyTable {
  let title = "playbook"
  let target = Key(
    "target", .axisValues(title: "target"), "Axis values of the cell under suspicion; default the job's last cell.")
  let components = Key(
    "components", .dictionary(of: ComponentKeys.shape, keyPattern: "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"),
    "What can be switched on and off, by name; the job as written has everything on.")
  let ladder = Key("ladder", LadderKeys.shape, "How `rollcall playbook ladder` climbs.")
  let bisect = Key("bisect", BisectKeys.shape, "How `rollcall playbook bisect` narrows the dump.")
  let isolate = Key("isolate", .list(of: .text), "Components in the order in which they are switched on again.")
  let ablate = Key("ablate", .list(of: .text), "Components that are switched off, one a run.")
  let necessity = Key("necessity", .list(of: .text), "Components that are fixes: each is reverted in turn.")
  let quantisation = Key("quantisation", QuantisationKeys.shape, "Components of the quantisation playbook.")
  let evaluation = Key("evaluation", EvaluationKeys.shape, "The evaluation that the runs make, and how it is set up.")
  let triage = Key("triage", TriageKeys.shape, "A served model and what it should answer.")

  let weights = Key("weights", WeightsKeys.shape, "What the engine does to weights on purpose.")
  let commits = Key("commits", CommitsKeys.shape, "The range that the commits playbook bisects.")
  let invariance = Key("invariance", InvarianceKeys.shape, "The batches of the invariance playbook.")

  var keys: [AnyKey] {
    [
      target.erased, components.erased, ladder.erased, bisect.erased, isolate.erased, ablate.erased, necessity.erased,
      quantisation.erased, commits.erased, invariance.erased, weights.erased, evaluation.erased,
      triage.erased,
    ]
  }

  static var shape: Shape<PlaybookSpec> {
    .object(PlaybookKeys()) { fields, keys, reading in
      let target = fields(keys.target, &reading)
      let components = fields(keys.components, &reading) ?? [:]
      let ladder = fields(keys.ladder, &reading) ?? PlaybookSpec.Ladder()
      let bisect = fields(keys.bisect, &reading) ?? PlaybookSpec.Bisect()
      func names(_ key: Key<[String]>) -> [String]? {
        guard let names = fields(key, &reading) else { return nil }
        check(names, components, fields.place(key), &reading)
        return names
      }
      let isolate = names(keys.isolate)
      let ablate = names(keys.ablate)
      let necessity = names(keys.necessity)
      let quantisation = fields(keys.quantisation, &reading)
      let invariance = fields(keys.invariance, &reading)
      let commits = fields(keys.commits, &reading)
      check(ladder.strategies, components, fields.place(keys.ladder), &reading)
      if let quantisation {
        check([quantisation.unquantised, quantisation.fake], components, fields.place(keys.quantisation), &reading)
      }
      return PlaybookSpec(
        target: target.map { OrderedDictionary($0.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 }) },
        components: components, ladder: ladder, bisect: bisect, isolate: isolate, ablate: ablate,
        necessity: necessity, quantisation: quantisation, invariance: invariance, commits: commits,
        evaluation: fields(keys.evaluation, &reading), triage: fields(keys.triage, &reading),
        weights: fields(keys.weights, &reading))
    }
  }

  private static func check(
    _ names: [String], _ components: OrderedDictionary<String, PlaybookSpec.Component>, _ place: Place,
    _ reading: inout Reading
  ) {
    for name in names where components[name] == nil {
      reading.report(
        place, "there is no component `\(name.shortened)` in `playbook.components`",
        suggestion: Spelling.nearest(to: name, in: Array(components.keys)))
    }
  }
}

/// The keys of one component.
struct ComponentKeys: KeyTable {
  let title = "component"
  let on = Key("on", ChangeKeys.shape, "What switches it on, where the job as written does not.")
  let off = Key("off", ChangeKeys.shape, "What switches it off.")

  var keys: [AnyKey] { [on.erased, off.erased] }

  static var shape: Shape<PlaybookSpec.Component> {
    .object(ComponentKeys()) { fields, keys, reading in
      let on = fields(keys.on, &reading)
      let off = fields(keys.off, &reading)
      if on == nil, off == nil { reading.report(fields.value.place, "a component needs `on`, `off` or both") }
      return PlaybookSpec.Component(on: on ?? RunChange(), off: off ?? RunChange())
    }
  }
}

/// The keys of one change of a run.
struct ChangeKeys: KeyTable {
  let title = "change"
  let env = Key(
    "env", .dictionary(of: .variable, keyPattern: EnvironmentName.pattern, checkKey: EnvironmentName.check),
    "Environment variables that are set.")
  let arguments = Key("arguments", .list(of: .text, orOne: true), "Words behind the command, each quoted.")
  let overlay = Key(
    "overlay", .dictionary(of: .mapping),
    "Name of a shipped YAML file, and the keys that are merged into it; a file that is not shipped is made.")

  var keys: [AnyKey] { [env.erased, arguments.erased, overlay.erased] }

  static var shape: Shape<RunChange> {
    .object(ChangeKeys()) { fields, keys, reading in
      let env = fields(keys.env, &reading) ?? [:]
      let arguments = fields(keys.arguments, &reading) ?? []
      let overlays = fields(keys.overlay, &reading) ?? [:]
      for name in overlays.keys where name.contains("/") || name.hasPrefix(".") {
        reading.report(fields.place(keys.overlay), "`\(name.shortened)`: an overlay is named like a file in files/")
      }
      if !fields.has(keys.env), !fields.has(keys.arguments), !fields.has(keys.overlay) {
        reading.report(fields.value.place, "a change needs `env`, `arguments` or `overlay`")
      }
      return RunChange(env: env.mapValues(\.environmentText), arguments: arguments, overlays: overlays)
    }
  }
}

/// The keys of `playbook.ladder`.
struct LadderKeys: KeyTable {
  let title = "ladder"
  let axis = Key("axis", .text, "The axis that is climbed; default world_size.")
  let values = Key("values", .list(of: .variable, minimum: 1), "Its values, from low to high; default the job's.")
  let strategies = Key(
    "strategies", .list(of: .text), "Components that are switched on at the value that breaks: all-reduce strategies.")

  var keys: [AnyKey] { [axis.erased, values.erased, strategies.erased] }

  static var shape: Shape<PlaybookSpec.Ladder> {
    .object(LadderKeys()) { fields, keys, reading in
      let axis = fields(keys.axis, &reading) ?? WorldSizeAxis.name
      let values = fields(keys.values, &reading)
      if axis == WorldSizeAxis.name, values != nil, case .list(let items) = fields.value[keys.values.name]?.content {
        reading.within(keys.values.name) { reading in
          for item in items { _ = Shape<AxisValue>.worldSize.read(item, &reading) }
        }
      }
      return PlaybookSpec.Ladder(axis: axis, values: values, strategies: fields(keys.strategies, &reading) ?? [])
    }
  }
}

/// The keys of `playbook.bisect`.
struct BisectKeys: KeyTable {
  let title = "bisect"
  let layers = Key("layers", .layers, "The model's layers; default those of dumps.expect.")
  let classes = Key(
    "classes", .list(of: .list(of: .text, orOne: true, minimum: 1), minimum: 1),
    "Classes of modules from coarse to fine; default [[Block], [Attention, MLP, MoE]].")
  let layersVariable = Key("layers_env", .text, "Variable that names the layers to dump; default ATOM_FWD_DUMP_LAYERS.")
  let classesVariable = Key(
    "classes_env", .text, "Variable that names the classes to dump; default ATOM_FWD_DUMP_BLOCK_CLASS.")
  let width = Key("width", .integer(2...1_000), "Layers that one run dumps at most; default 5.")

  var keys: [AnyKey] {
    [layers.erased, classes.erased, layersVariable.erased, classesVariable.erased, width.erased]
  }

  static var shape: Shape<PlaybookSpec.Bisect> {
    .object(BisectKeys()) { fields, keys, reading in
      var bisect = PlaybookSpec.Bisect()
      bisect.layers = fields(keys.layers, &reading)
      bisect.classes = fields(keys.classes, &reading) ?? bisect.classes
      bisect.layersVariable = fields(keys.layersVariable, &reading) ?? bisect.layersVariable
      bisect.classesVariable = fields(keys.classesVariable, &reading) ?? bisect.classesVariable
      bisect.width = fields(keys.width, &reading) ?? bisect.width
      for (name, key) in [(bisect.layersVariable, keys.layersVariable), (bisect.classesVariable, keys.classesVariable)]
      {
        EnvironmentName.checkSyntax(name, fields.place(key), &reading)
      }
      return bisect
    }
  }
}

/// The keys of `playbook.quantisation`.
struct QuantisationKeys: KeyTable {
  let title = "quantisation"
  let unquantised = Key("unquantised", .text, required: true, "The component that runs the unquantised model.")
  let fake = Key(
    "fake", .text, required: true, "The component that quantises and dequantises, and multiplies in high precision.")

  var keys: [AnyKey] { [unquantised.erased, fake.erased] }

  static var shape: Shape<PlaybookSpec.Quantisation> {
    .object(QuantisationKeys()) { fields, keys, reading in
      let unquantised = fields(keys.unquantised, &reading)
      let fake = fields(keys.fake, &reading)
      guard let unquantised, let fake else { return nil }
      return PlaybookSpec.Quantisation(unquantised: unquantised, fake: fake)
    }
  }
}

/// The keys of `playbook.weights`.
struct WeightsKeys: KeyTable {
  let title = "weights"
  let shuffled = Key(
    "shuffled", .list(of: .text, orOne: true),
    "Names (* for any characters) of weights and scales that the engine shuffles for its kernels, (16, 16) for instance."
  )
  let rounded = Key(
    "rounded", .list(of: .text, orOne: true),
    "Names of weights that the engine keeps in a type that rounds, or under another type's name.")

  var keys: [AnyKey] { [shuffled.erased, rounded.erased] }

  static var shape: Shape<PlaybookSpec.Weights> {
    .object(WeightsKeys()) { fields, keys, reading in
      PlaybookSpec.Weights(
        shuffled: fields(keys.shuffled, &reading) ?? [], rounded: fields(keys.rounded, &reading) ?? [])
    }
  }
}

/// The keys of `playbook.commits`.
struct CommitsKeys: KeyTable {
  let title = "commits"
  let repository = Key(
    "repository", .text, required: true, "Path of the git repository, the same at the hosts and here.")
  let good = Key("good", .text, required: true, "A commit, tag or branch that is right.")
  let bad = Key("bad", .text, required: true, "A later one that is wrong.")
  let build = Key("build", .text, "Text for /bin/sh -c that builds a work tree, run in it; a failure skips the commit.")
  let trees = Key("trees", .text, "Directory of the work trees at the hosts; default ~/.cache/rollcall/trees.")

  var keys: [AnyKey] { [repository.erased, good.erased, bad.erased, build.erased, trees.erased] }

  static var shape: Shape<PlaybookSpec.Commits> {
    .object(CommitsKeys()) { fields, keys, reading in
      let repository = fields(keys.repository, &reading)
      let good = fields(keys.good, &reading)
      let bad = fields(keys.bad, &reading)
      let build = fields(keys.build, &reading)
      let trees = fields(keys.trees, &reading)
      if let repository, !repository.hasPrefix("/") {
        reading.report(fields.place(keys.repository), "`repository` must be an absolute path: it is used at the hosts")
      }
      guard let repository, let good, let bad else { return nil }
      return PlaybookSpec.Commits(repository: repository, good: good, bad: bad, build: build, trees: trees)
    }
  }
}

/// The keys of `playbook.invariance`.
struct InvarianceKeys: KeyTable {
  let title = "invariance"
  let axis = Key("axis", .text, required: true, "The axis that says which prompts are in the batch.")
  let single = Key("single", .axisValue, required: true, "Its value for the prompt under test alone.")
  let same = Key("same", .axisValue, required: true, "Its value for the prompt in every slot.")
  let positions = Key(
    "positions", .list(of: .axisValue, minimum: 1), required: true,
    "Its values for the prompt in slot 0, 1, and so on, with other prompts in the other slots.")

  var keys: [AnyKey] { [axis.erased, single.erased, same.erased, positions.erased] }

  static var shape: Shape<PlaybookSpec.Invariance> {
    .object(InvarianceKeys()) { fields, keys, reading in
      let axis = fields(keys.axis, &reading)
      let single = fields(keys.single, &reading)
      let same = fields(keys.same, &reading)
      let positions = fields(keys.positions, &reading)
      guard let axis, let single, let same, let positions else { return nil }
      return PlaybookSpec.Invariance(axis: axis, single: single, same: same, positions: positions)
    }
  }
}

extension Shape where Value == String {
  /// A mapping of any content, kept as YAML text.
  static var mapping: Shape {
    Shape(
      expects: "a mapping", schema: { _ in .object([("type", .string("object"))]) },
      read: { value, reading in
        guard case .map = value.content else {
          reading.report(value.place, "expected a mapping, found \(value.described)")
          return nil
        }
        return value.yaml
      })
  }
}
