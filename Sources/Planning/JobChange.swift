public import OrderedCollections
import Yams

/// What one component or one experiment changes about a run.
public struct RunChange: Sendable, Hashable, Codable {
  public var env: OrderedDictionary<String, String>
  /// Words behind the command.
  public var arguments: [String]
  /// Name of a shipped YAML file → YAML mapping that is merged into it, key by key; a file that the job does not ship
  /// is made of the mapping alone.
  public var overlays: OrderedDictionary<String, String>
  /// Shell text in front of the command.
  public var before: String?

  public init(
    env: OrderedDictionary<String, String> = [:], arguments: [String] = [],
    overlays: OrderedDictionary<String, String> = [:], before: String? = nil
  ) {
    self.before = before
    self.env = env
    self.arguments = arguments
    self.overlays = overlays
  }
}

/// What one experiment of a playbook changes about its job.
public struct JobChange: Sendable, Hashable, Codable {
  /// The cells to run, by the values of all axes, in the place of the job's matrix.
  public var cells: [OrderedDictionary<String, AxisValue>]
  /// Runs of each cell.
  public var repetitions: Int
  /// For all cells, in order.
  public var everywhere: [RunChange]
  /// For all cells but the reference.
  public var target: [RunChange]
  /// In the place of the job's own.
  public var expect: DumpsSpec.Expect?
  /// Compares slots: the first cell holds the prompt under test alone, and these slots of the others hold it, too.
  public var positions: [Int]?

  public init(
    cells: [OrderedDictionary<String, AxisValue>], repetitions: Int = 1, everywhere: [RunChange] = [],
    target: [RunChange] = [], expect: DumpsSpec.Expect? = nil, positions: [Int]? = nil
  ) {
    self.positions = positions
    self.cells = cells
    self.repetitions = repetitions
    self.everywhere = everywhere
    self.target = target
    self.expect = expect
  }
}

extension Planner {
  /// Plans the text of a job file with a playbook's change.
  ///
  /// - Throws: `PlanningError` with every problem that was found.
  public static func plan(text: String, path: String, change: JobChange) throws(PlanningError) -> Plan {
    var plan = try plan(text: text, path: path, cells: change.cells)
    plan.repetitions = change.repetitions
    // What the job schedules and whom it tells is the sweep's own affair.
    plan.schedule = nil
    plan.notify = []
    let references = plan.referenceCells()
    for index in plan.cells.indices {
      let cell = plan.cells[index]
      for part in change.everywhere { try plan.cells[index].run.apply(part, plan.baseDirectory, file: path) }
      if references[cell.id]?.id != cell.id {
        for part in change.target { try plan.cells[index].run.apply(part, plan.baseDirectory, file: path) }
      }
      if var expect = change.expect {
        expect.ranks = expect.ranks ?? cell.dumps?.expect?.ranks
        plan.cells[index].dumps?.expect = expect
      }
    }
    if let positions = change.positions, let single = plan.cells.first {
      plan.compare.mode = .slots
      plan.compare.single = single.id
      plan.cells[0].dumps?.slots = 1
      for (index, slot) in zip(plan.cells.indices.dropFirst(), positions) { plan.cells[index].dumps?.slot = slot }
    }
    return plan
  }
}

extension RunSpec {
  /// - Throws: `PlanningError` where an overlay cannot be merged.
  mutating func apply(_ change: RunChange, _ directory: String, file: String) throws(PlanningError) {
    for (name, value) in change.env { env[name] = value }
    for word in change.arguments { command += " " + ShellQuoting.word(word) }
    if let before = change.before { command = before + "\n" + command }
    for (name, text) in change.overlays {
      var base = written?[name]
      if base == nil, let path = files.first(where: { ShippedFiles.name($0) == name }) {
        base = try YAMLFile.read(directory + "/" + path)
      }
      var all = written ?? [:]
      all[name] = try Overlay.merge(text, into: base ?? "", file: "\(name) (overlay of \(file))")
      written = all
    }
  }
}

/// Merges YAML mappings.
enum Overlay {
  static func merge(_ change: String, into base: String, file: String) throws(PlanningError) -> String {
    do {
      guard let change = try Yams.compose(yaml: change) else { return base }
      let merged = try Yams.compose(yaml: base).map { merge($0, change) } ?? change
      return try Yams.serialize(node: merged)
    } catch {
      throw PlanningError(
        code: .invalid, file: file,
        problems: [.init(line: 1, column: 1, path: "", message: "cannot be merged: \(error)")])
    }
  }

  private static func merge(_ base: Node, _ change: Node) -> Node {
    guard case .mapping(var members) = base, case .mapping(let changes) = change else { return change }
    for (key, value) in changes { members[key] = members[key].map { merge($0, value) } ?? value }
    return .mapping(members)
  }
}
