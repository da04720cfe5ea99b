import Foundation
import OrderedCollections

/// The way from a decoded job file to its plan: cells, overrides, substitution, then the checks that need them.
struct Expansion {
  let file: YAMLFile
  let job: JobSource
  let baseDirectory: String
  var reading: Reading
  private var warnings: [String] = []

  init(file: YAMLFile, job: JobSource, baseDirectory: String, reading: Reading) {
    self.file = file
    self.job = job
    self.baseDirectory = baseDirectory
    self.reading = reading
  }

  /// nil where a problem in `reading` prevents a plan.
  /// - Parameter given: cells in the place of the matrix.
  mutating func plan(cellLimit: Int, given: [Matrix.Values]? = nil) -> Plan? {
    // Without the matrix, names and values cannot be judged.
    guard job.hasMatrix == (job.matrix != nil), !reading.hasMisspelt(section: "matrix"),
      let values = given ?? expandMatrix(cellLimit)
    else { return nil }
    let before = reading.problems.count
    checkNames(values)
    let namesAreKnown = reading.problems.count == before
    checkOverrides(values)
    guard namesAreKnown, let name = job.name, let cells = makeCells(values) else { return nil }
    var plan = Plan(
      name: name, baseDirectory: baseDirectory, axes: job.matrix?.axes.map(\.name) ?? [], cells: cells,
      repetitions: job.repetitions, compare: job.compare?.spec ?? CompareSpec(), logs: job.logs,
      schedule: job.schedule, notify: job.notify, playbook: job.playbook)
    plan.priority = job.priority
    // A step of a playbook may run one side alone; its job was checked whole.
    if given == nil { checkCompare(plan) }
    warn(about: plan)
    plan.warnings = warnings
    return plan
  }

  private mutating func expandMatrix(_ limit: Int) -> [Matrix.Values]? {
    guard let matrix = job.matrix else { return [[:]] }
    return reading.within("matrix") { reading in
      Matrix.expand(matrix, limit: limit, warnings: &warnings, &reading)
    }
  }

  private mutating func checkNames(_ cells: [Matrix.Values]) {
    let known = Self.knownValues(cells)
    let names = TemplateNames(file: file, known: Array(known.keys))
    if let run = job.run { reading.within("run") { names.check(run: run, &$0) } }
    if let dumps = job.dumps { reading.within("dumps") { names.check(dumps: dumps, &$0) } }
    for (index, override) in job.overrides.enumerated() {
      reading.within("overrides[\(index)]") { reading in
        if let run = override.run { reading.within("run") { names.check(run: run, &$0) } }
        if let dumps = override.dumps { reading.within("dumps") { names.check(dumps: dumps, &$0) } }
      }
    }
  }

  private mutating func checkOverrides(_ cells: [Matrix.Values]) {
    let known = Self.knownValues(cells)
    for (index, override) in job.overrides.enumerated() {
      let before = reading.problems.count
      reading.within("overrides[\(index)]") { reading in
        reading.within("when") { reading in
          for entry in override.when { reading.within(entry.name) { Matrix.check(entry, known: known, &$0) } }
        }
      }
      if reading.problems.count == before, !cells.contains(where: { Self.matches(override, $0) }) {
        warnings.append("line \(override.place.line): this override matches no cell")
      }
    }
  }

  private mutating func makeCells(_ all: [Matrix.Values]) -> [Cell]? {
    let runShape = RunKeys.shape
    let dumpsShape = DumpsKeys.shape
    var files = ShippedFiles(directory: baseDirectory)
    var cells: [Cell] = []
    reading.templates = .replaced
    defer { reading.templates = .refused }
    guard let baseRun = job.run else { return nil }
    for values in all {
      let overrides = job.overrides.filter { Self.matches($0, values) }
      let rawRun = overrides.compactMap(\.run).reduce(baseRun, Self.merge)
      let rawDumps = overrides.compactMap(\.dumps).reduce(job.dumps) { base, change in
        base.map { Self.merge($0, change) } ?? change
      }
      let substitution = Substitution(file: file, values: values)
      let run = reading.within("run") { reading -> RunSpec? in
        let value = substitution.run(rawRun, &reading)
        guard var run = runShape.read(value, &reading) else { return nil }
        if let list = value["files"] {
          reading.within("files") { files.check(run.files, list, &$0) }
        }
        for (axis, value) in values { run.env[EnvironmentName.of(axis: axis)] = value.environmentText }
        run.checkSizes(in: value, &reading)
        return run
      }
      let dumps = rawDumps.flatMap { raw in
        reading.within("dumps") { dumpsShape.read(substitution.dumps(raw, &$0), &$0) }
      }
      guard let run else { continue }
      cells.append(Cell(id: Cell.id(of: values), values: values, run: run, dumps: dumps))
    }
    return cells.count == all.count ? cells : nil
  }

  private mutating func checkCompare(_ plan: Plan) {
    guard let compare = job.compare else { return }
    reading.within("compare") { reading in
      // What writes samples is compared by these.
      if job.dumps == nil, !reading.hasMisspelt(section: "dumps"), job.playbook?.evaluation == nil,
        plan.cells.allSatisfy({ $0.dumps == nil })
      {
        reading.report(compare.place, "`compare` needs the section `dumps`")
      }
      if compare.spec.mode == .slots, let cell = plan.cells.first(where: { ($0.dumps?.slots ?? 1) < 2 }) {
        reading.report(compare.place, "`mode: slots` needs `dumps.slots` of 2 or more (cell \(cell.label))")
      }
      Self.checkKnownGood(compare, in: baseDirectory, &reading)
      guard case .cell(let reference) = compare.spec.reference, case .map(let entries) = compare.reference?.content
      else {
        if case .path(let path) = compare.spec.reference, let place = compare.reference?.place {
          switch ShippedFiles.kind(path, in: baseDirectory) {
          case S_IFDIR: break
          case nil: reading.report(place, "the reference \(path.shortened) does not exist")
          default: reading.report(place, "the reference \(path.shortened) is not a directory")
          }
        }
        return
      }
      let before = reading.problems.count
      let known = Self.knownValues(plan.cells.map(\.values))
      reading.within("reference") { reading in
        for entry in entries {
          guard let value = reference[entry.key] else { continue }
          let entry = MatrixEntry(name: entry.key, namePlace: entry.keyPlace, value: value, place: entry.value.place)
          reading.within(entry.name) { Matrix.check(entry, known: known, &$0) }
        }
        if reading.problems.count == before, let place = compare.reference?.place,
          plan.referenceCells().isEmpty
        {
          reading.report(place, "no cell has these values; there is nothing to compare with")
        }
      }
    }
  }

  private static func checkKnownGood(_ compare: CompareKeys.Source, in directory: String, _ reading: inout Reading) {
    guard let value = compare.knownGood else { return }
    var places = [value.place]
    if case .list(let items) = value.content { places = items.map(\.place) }
    reading.within("known_good") { reading in
      for (path, place) in zip(compare.spec.knownGood ?? [], places) {
        switch ShippedFiles.kind(path, in: directory) {
        case S_IFREG: break
        case nil: reading.report(place, "the report \(path.shortened) does not exist")
        case S_IFDIR: reading.report(place, "\(path.shortened) is a directory; name a report's file")
        default: reading.report(place, "\(path.shortened) is not a file")
        }
      }
    }
  }

  private mutating func warn(about plan: Plan) {
    if let compare = job.compare {
      if case .cell = compare.spec.reference {
        let partners = plan.referenceCells()
        let lonely = plan.cells.filter { partners[$0.id] == nil }
        for cell in lonely.prefix(10) {
          warnings.append("the cell \(cell.label) has no reference cell: it is not compared")
        }
        if lonely.count > 10 { warnings.append("\(lonely.count - 10) more cells have no reference cell") }
        if partners.allSatisfy({ $0.key == $0.value.id }) {
          warnings.append("every cell is its own reference: nothing is compared")
        }
      }
    } else {
      warnings.append("there is no `compare`: dumps are gathered and nothing is judged")
    }
    warnings += OneShotCheck.warnings(plan)
    if let cell = plan.cells.last(where: { $0.dumpingRanks < $0.worldSize }) {
      warnings.append(
        "\(cell.label): of \(cell.worldSize) ranks the first \(cell.dumpingRanks) leave dumps, as `expect.ranks` says; "
          + "what the others hold is not compared")
    }
    for axis in job.matrix?.axes ?? [] {
      let words = axis.values.compactMap { value -> String? in
        guard case .string(let text) = value.value else { return nil }
        return ["yes", "no", "on", "off"].contains(text.lowercased()) ? text : nil
      }
      if let word = words.first {
        warnings.append(
          "line \(axis.place.line): `\(word)` in the axis `\(axis.name)` is text; booleans are true and false")
      }
    }
  }

  /// Every key that some cell has, with the values it takes.
  static func knownValues(_ cells: [Matrix.Values]) -> OrderedDictionary<String, [AxisValue]> {
    var sets: OrderedDictionary<String, OrderedSet<AxisValue>> = [:]
    for cell in cells {
      for (name, value) in cell { sets[name, default: []].append(value) }
    }
    return sets.mapValues(\.elements)
  }

  private static func matches(_ override: OverrideSource, _ cell: Matrix.Values) -> Bool {
    override.when.allSatisfy { cell[$0.name] == $0.value }
  }

  /// Mappings key by key, anything else replaced.
  private static func merge(_ base: YAMLValue, _ change: YAMLValue) -> YAMLValue {
    guard case .map(var entries) = base.content, case .map(let changes) = change.content else { return change }
    for change in changes {
      if let index = entries.firstIndex(where: { $0.key == change.key }) {
        entries[index].value = merge(entries[index].value, change.value)
        entries[index].keyPlace = change.keyPlace
      } else {
        entries.append(change)
      }
    }
    return YAMLValue(place: base.place, content: .map(entries))
  }
}
