import ArgumentParser
import Foundation
import OrderedCollections
import Planning
import Scheduling

/// `rollcall plan`: the expanded matrix and where it would go. Contacts no host and starts nothing.
struct PlanCommand: AsyncParsableCommand, HasJSONOutput {
  static let configuration = CommandConfiguration(
    commandName: "plan",
    abstract: "Print the expanded matrix and where it would go; start nothing.",
    discussion: """
      Checks the whole job file and names every problem with its line and column. With a fleet file it says which hosts
      could take each cell. Values of `env` whose names are those of secrets (HF_TOKEN, API_KEY, PGPASSWORD) are
      printed as ***.

      EXAMPLES
        rollcall plan Jobs/tp-sweep.yaml
        rollcall plan Jobs/tp-sweep.yaml --fleet fleet.yaml --verbose
        rollcall plan --json-schema > rollcall.schema.json
      """)

  @Argument(help: "The job file.", completion: .file(extensions: ["yaml", "yml"]))
  var job: String?

  @Flag(help: "Print one JSON document (rollcall.plan/1).")
  var json = false

  var wantsJSON: Bool { json }

  @Flag(help: "Print the JSON Schema of job files, for editors.")
  var jsonSchema = false

  @OptionGroup var fleet: FleetOptions

  @Flag(name: .shortAndLong, help: "Print each cell's command, environment and files as well.")
  var verbose = false

  func validate() throws {
    if job == nil, !jsonSchema { throw ValidationError("Name the job file: rollcall plan JOB") }
  }

  func run() async throws {
    if jsonSchema {
      Console.print(JobFileSchema.json())
      return
    }
    guard let job else { return }
    let plan = try Planner.plan(jobFile: job)
    let sites = try fleet.path.map { Sites(try FleetReader.read(path: $0)) }
    if json {
      Console.print(try PlanDocument(plan, sites).text())
      return
    }
    Console.print(PlanText(plan: plan, sites: sites, isVerbose: verbose).text())
    for warning in plan.warnings {
      FileHandle.standardError.write(Data("warning: \(warning)\n".utf8))
    }
  }
}

/// The hosts of a fleet that could take a cell, by labels and declared GPUs.
private struct Sites {
  enum Answer {
    /// `isCertain` is false where the number of GPUs must be asked of the host.
    case hosts([(name: String, isCertain: Bool)])
    case nowhere(reason: String)
  }

  private let hosts: [Placement.Host]
  /// It places by itself, whatever a run asks for.
  private let isCluster: Bool

  init(_ fleet: Fleet) {
    isCluster = fleet.isCluster
    hosts = fleet.hosts.map { host in
      let gpus: Int? = if case .count(let count) = host.gpus { count } else { nil }
      return Placement.Host(
        name: host.name, labels: host.labels, totalGPUs: gpus, freeGPUs: gpus ?? 0, cpuSlots: host.cpuSlots,
        freeCPUSlots: host.cpuSlots)
    }
  }

  func answer(for cell: Cell) -> Answer {
    let run = Placement.QueuedRun(
      id: cell.id, gpus: isCluster ? 0 : cell.run.gpus, nodes: isCluster ? 1 : cell.run.nodes, labels: cell.run.hosts,
      order: 0)
    var share = run
    share.nodes = 1
    var able: [(name: String, isCertain: Bool)] = []
    for host in hosts {
      switch Placement.decide(.init(runs: [share], hosts: [host])).last {
      case .place: able.append((host.name, true))
      case .wait(_, let reasons) where reasons.allSatisfy { $0.why == .gpusUnknown }: able.append((host.name, false))
      default: break
      }
    }
    if able.count >= max(1, run.nodes) { return .hosts(able) }
    switch Placement.decide(.init(runs: [run], hosts: hosts)).last {
    case .impossible(_, let reason): return .nowhere(reason: reason)
    case .wait(_, let reasons): return .nowhere(reason: Explanation.summary(reasons))
    default: return .nowhere(reason: "no host")
    }
  }
}

/// The plan for people.
private struct PlanText {
  let plan: Plan
  let sites: Sites?
  let isVerbose: Bool
  private let partners: [String: Cell]

  init(plan: Plan, sites: Sites?, isVerbose: Bool) {
    self.plan = plan
    self.sites = sites
    self.isVerbose = isVerbose
    partners = plan.referenceCells()
  }

  func text() -> String {
    let runs = plan.cells.count * plan.repetitions
    var lines = [
      "\(plan.name): \(count(plan.cells.count, "cell")) × \(count(plan.repetitions, "repetition")) = \(count(runs, "run"))"
        + (plan.priority.map { ", priority \($0)" } ?? "")
    ]
    let columns = plan.columns
    var header = ["CELL"] + columns + ["GPUS", "REFERENCE"]
    if sites != nil { header.append("HOSTS") }
    var rows = [header]
    var impossible: [String] = []
    for cell in plan.cells {
      var row = [cell.id] + columns.map { cell.values[$0]?.description ?? "-" } + ["\(cell.run.gpus)", reference(cell)]
      switch sites?.answer(for: cell) {
      case .hosts(let hosts): row.append(hosts.map { $0.isCertain ? $0.name : $0.name + "?" }.joined(separator: ", "))
      case .nowhere(let reason):
        row.append("none")
        impossible.append("\(cell.id): \(reason)")
      case nil: break
      }
      rows.append(row)
    }
    lines += [""] + table(rows)
    if !impossible.isEmpty { lines += ["", "No host can take:"] + impossible.map { "  " + $0 } }
    if isVerbose { lines += plan.cells.flatMap(details) }
    return lines.joined(separator: "\n")
  }

  private func reference(_ cell: Cell) -> String {
    guard plan.compare.mode == .reference else { return "its own slots" }
    switch plan.compare.reference {
    case nil: return "-"
    case .golden: return "golden"
    case .path(let path): return path
    case .lastPass(let job): return "last PASS of \(job)"
    case .cell:
      guard let partner = partners[cell.id] else { return "none" }
      return partner.id == cell.id ? "(is reference)" : partner.id
    }
  }

  private func details(_ cell: Cell) -> [String] {
    let run = cell.run.displayed
    var lines = ["", "\(cell.id)  \(cell.label)"]
    lines += run.command.split(separator: "\n", omittingEmptySubsequences: false).enumerated().map {
      ($0.offset == 0 ? "  command  " : "           ") + $0.element
    }
    lines += run.env.map { "  env      \($0.key)=\($0.value)" }
    lines += run.files.map { "  file     \($0)" }
    if let dumps = cell.dumps { lines.append("  dumps    \(dumps.layout), \(select(dumps.select))") }
    return lines
  }

  private func count(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }

  private func table(_ rows: [[String]]) -> [String] {
    let widths = (rows.first ?? []).indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      let cells = row.enumerated().map { index, text in
        index == row.count - 1 ? text : text + String(repeating: " ", count: widths[index] - text.count)
      }
      return cells.joined(separator: "  ")
    }
  }
}

private func select(_ select: DumpsSpec.Select) -> String {
  switch select {
  case .prefill: "prefill"
  case .decode: "decode"
  case .warmUp: "warm-up"
  case .call(let number): "call \(number)"
  }
}

/// The plan for machines: `rollcall.plan/1`.
private struct PlanDocument: Encodable {
  struct CellDocument: Encodable {
    var id: String
    var values: Members<AxisScalar>
    var worldSize: Int
    var command: String
    var env: Members<String>
    var files: [String]
    var gpus: Int
    var nodes: Int
    var hosts: Members<String>
    var timeout: Double
    var stallTimeout: Double?
    var retries: Int
    var dumps: DumpsDocument?
    /// Id of the reference cell; absent where the reference is no cell.
    var reference: String?
    /// Hosts that could take it; absent without a fleet.
    var candidates: [Candidate]?
    var impossible: String?
  }

  struct DumpsDocument: Encodable {
    var layout: String
    var pattern: String?
    var slots: Int?
    var select: String
    var layers: [Int]
    var stages: [String]
  }

  struct Candidate: Encodable {
    var host: String
    var certain: Bool
  }

  var schema = "rollcall.plan/1"
  var name: String
  var baseDirectory: String
  var axes: [String]
  var `repeat`: Int
  var priority: Int
  var runs: Int
  var mode: String
  var cells: [CellDocument]
  var warnings: [String]

  init(_ plan: Plan, _ sites: Sites?) {
    name = plan.name
    baseDirectory = plan.baseDirectory
    axes = plan.columns
    self.repeat = plan.repetitions
    priority = plan.priority ?? 0
    runs = plan.cells.count * plan.repetitions
    mode = plan.compare.mode.rawValue
    warnings = plan.warnings
    let partners = plan.referenceCells()
    cells = plan.cells.map { cell in
      let run = cell.run.displayed
      var candidates: [Candidate]?
      var impossible: String?
      switch sites?.answer(for: cell) {
      case .hosts(let hosts): candidates = hosts.map { Candidate(host: $0.name, certain: $0.isCertain) }
      case .nowhere(let reason):
        candidates = []
        impossible = reason
      case nil: break
      }
      return CellDocument(
        id: cell.id, values: Members(cell.values.mapValues(AxisScalar.init)), worldSize: cell.worldSize,
        command: run.command, env: Members(run.env), files: run.files, gpus: run.gpus, nodes: run.nodes,
        hosts: Members(run.hosts), timeout: run.timeout, stallTimeout: run.stallTimeout, retries: run.retries,
        dumps: cell.dumps.map { dumps in
          DumpsDocument(
            layout: dumps.layout, pattern: dumps.pattern, slots: dumps.slots, select: select(dumps.select),
            layers: dumps.expect?.layers ?? [], stages: dumps.expect?.stages ?? [])
        },
        reference: partners[cell.id]?.id, candidates: candidates, impossible: impossible)
    }
  }

  func text() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(self), as: UTF8.self)
  }

  enum CodingKeys: String, CodingKey {
    case schema
    case name
    case baseDirectory = "base_directory"
    case axes
    case `repeat`
    case runs
    case mode
    case cells
    case warnings
  }
}

extension PlanDocument.CellDocument {
  fileprivate enum CodingKeys: String, CodingKey {
    case id
    case values
    case worldSize = "world_size"
    case command
    case env
    case files
    case gpus
    case nodes
    case hosts
    case timeout
    case stallTimeout = "stall_timeout"
    case retries
    case dumps
    case reference
    case candidates
    case impossible
  }
}

/// One axis value as a JSON scalar.
private struct AxisScalar: Encodable {
  let value: AxisValue

  func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch value {
    case .bool(let value): try container.encode(value)
    case .int(let value): try container.encode(value)
    case .double(let value): try container.encode(value)
    case .string(let value): try container.encode(value)
    }
  }
}

/// An ordered dictionary as a JSON object.
private struct Members<Value: Encodable>: Encodable {
  struct Name: CodingKey {
    var stringValue: String
    var intValue: Int? { nil }

    init(stringValue: String) { self.stringValue = stringValue }

    init?(intValue: Int) { nil }
  }

  let values: OrderedDictionary<String, Value>

  init(_ values: OrderedDictionary<String, Value>) { self.values = values }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: Name.self)
    for (name, value) in values { try container.encode(value, forKey: Name(stringValue: name)) }
  }
}
