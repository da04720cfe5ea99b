import Alignment
import Comparison
import Dumps
import Foundation
import Gathering
import Ledger
import OrderedCollections
import Planning
import Scheduling

/// Why a cell or a reference has nothing to compare.
struct NothingToCompare: Error {
  var message: String

  init(message: String) { self.message = message }

  /// Takes an error of reading dumps; throws any other on.
  init(_ error: any Error) throws {
    switch error {
    case let error as NothingToCompare: self = error
    case is DumpError, is GatheringError: message = "\(error)"
    default: throw error
    }
  }
}

/// The dump sets of a sweep's cells as they stand in the store.
struct SweepDumps {
  /// One run's dumps, not yet read.
  struct Loaded {
    var source: DumpSource
    var label: String
    var worldSize: Int?
    /// As `AttemptStart.time`; nil outside of sweeps.
    var started: Int64?
  }

  /// Where a reference comes from.
  enum Source {
    case cell(Cell)
    case path(String)
    case earlier(EarlierSweep, Cell)

    var name: String {
      switch self {
      case .cell(let cell): cell.id
      case .path(let path): path
      case .earlier(let sweep, let cell): "\(sweep.id)/\(cell.id)"
      }
    }
  }

  let plan: Plan
  private let runs: [RunRecord]
  /// Run → its dumps, read and checked once, when they are first asked for.
  private let loaded: [String: Result<Loaded, NothingToCompare>]

  /// - Parameter attempts: run → its last attempt, one a host.
  init(
    plan: Plan, runs: [RunRecord], attempts: [String: [AttemptRecord]], sweep: String, artifacts: ArtifactStore
  ) {
    self.plan = plan
    self.runs = runs
    let cells = Dictionary(uniqueKeysWithValues: plan.cells.map { ($0.id, $0) })
    var loaded: [String: Result<Loaded, NothingToCompare>] = [:]
    for run in runs {
      guard let cell = cells[run.cell] else { continue }
      loaded[run.name] = Self.find(
        run, cell, attempts[run.name] ?? [], sweep, artifacts, verifyChecksums: plan.compare.mode == .slots)
    }
    self.loaded = loaded
  }

  /// Reads all runs at once, for when all will be needed; what fails says so where it is used.
  func readAll() async {
    await withTaskGroup(of: Void.self) { group in
      for case .success(let run) in loaded.values { group.addTask { _ = try? await run.source.loaded() } }
    }
  }

  /// A cell's repetitions in order; a failed run gives its reason.
  func sets(of cell: Cell) -> [Result<Loaded, NothingToCompare>] {
    runs.filter { $0.cell == cell.id }.compactMap { loaded[$0.name] }
  }

  func sets(of source: Source, selectionOf target: Cell) -> [Result<Loaded, NothingToCompare>] {
    switch source {
    case .cell(let cell): return sets(of: cell)
    case .earlier(let sweep, let cell):
      return sweep.dumps.sets(of: cell).map { set in
        set.map { loaded in
          var loaded = loaded
          loaded.label = "\(loaded.label) of \(sweep.id)"
          return loaded
        }
      }
    case .path(let path):
      let full = path.hasPrefix("/") ? path : plan.baseDirectory + "/" + path
      do {
        // With name rules it may be of another format.
        var layout = Self.layout(of: target)
        if plan.compare.names != nil { layout = (try? DumpSetLoader.detectLayout(directory: full)) ?? layout }
        let source = try DumpSource(directory: full, layout: layout, pattern: target.dumps?.pattern)
        return [.success(Loaded(source: source, label: path, worldSize: source.worldSize, started: nil))]
      } catch {
        return [.failure(NothingToCompare(message: "\(error)"))]
      }
    }
  }

  private static func find(
    _ run: RunRecord, _ cell: Cell, _ attempts: [AttemptRecord], _ sweep: String, _ artifacts: ArtifactStore,
    verifyChecksums: Bool
  ) -> Result<Loaded, NothingToCompare> {
    guard run.state == .succeeded else {
      return .failure(NothingToCompare(message: end(of: run)))
    }
    guard cell.dumps != nil else { return .failure(NothingToCompare(message: "the job names no dumps")) }
    guard run.fileCount > 0 else {
      return .failure(
        NothingToCompare(
          message: "run \(run.name) left no dumps: no file came from its dump directory ($ROLLCALL_DUMP_DIR)"))
    }
    do {
      let start = try AttemptStart(attempts)
      let source = try DumpSource(
        artifacts, sweep: sweep, run: run.name, layout: layout(of: cell), pattern: cell.dumps?.pattern,
        offsets: try start.offsets(artifacts, sweep: sweep, run: run.name), verifyChecksums: verifyChecksums)
      return .success(Loaded(source: source, label: cell.label, worldSize: cell.dumpingRanks, started: start.time))
    } catch let why as NothingToCompare {
      return .failure(why)
    } catch {
      return .failure(NothingToCompare(message: "\(error)"))
    }
  }

  /// `run r failed: its command ended with exit code 1`, of one that did not succeed.
  static func end(of run: RunRecord) -> String {
    let why = run.why ?? "no reason is known"
    // `cancelled before it started` says both.
    let state = why.hasPrefix(run.state.rawValue) ? "" : "\(run.state.rawValue): "
    return "run \(run.name) \(state)\(why)"
  }

  private static func layout(of cell: Cell) -> DumpLayout {
    DumpLayout(rawValue: cell.dumps?.layout ?? "") ?? .atom
  }

  /// A side whose captures are still to be read.
  func side(_ loaded: Loaded) -> ComparisonSide {
    ComparisonSide(
      set: loaded.source.emptySet, label: loaded.label, worldSize: loaded.worldSize, startTime: loaded.started)
  }

  func expectation(of cell: Cell) -> CaptureExpectation? {
    cell.dumps?.expect.map { CaptureExpectation(layers: $0.layers, stages: $0.stages) }
  }

  func request(reference: Loaded, target: Loaded, cell: Cell, floors: NoiseFloors) -> ComparisonRequest {
    ComparisonRequest(
      reference: side(reference), target: side(target), expectation: expectation(of: cell),
      selection: selection(of: cell), slots: cell.dumps?.slots, shardRule: Self.rule(plan.compare.shard),
      shardRules: plan.compare.shardByStage.map { ($0.key, Self.rule($0.value)) },
      policy: Self.policy(plan.compare.noise, floors), names: plan.compare.names ?? NameRules())
  }

  private static func policy(_ noise: CompareSpec.Noise, _ floors: NoiseFloors) -> NoisePolicy {
    switch noise {
    case .measured: .measured(floors)
    case .strict: .strict
    case .atom: .atom
    case .triage: .triage
    case .thresholds(let cos, let rel): .thresholds(cos: cos, rel: rel)
    }
  }

  private static func rule(_ rule: CompareSpec.ShardRule) -> ShardRule {
    switch rule {
    case .auto: return .auto
    case .concat(let axis): return .concat(axis: axis)
    case .partial: return .partial
    case .replicated: return .replicated
    case .blocks(let sizes): return .blocks(sizes: sizes, axis: -1)
    case .heads(let heads):
      func number(_ key: String) -> Int? {
        if case .int(let value) = heads[key] { return value }
        return nil
      }
      return .heads(HeadRule(query: number("q"), keyValue: number("kv"), axis: number("axis") ?? -1))
    case .dims(let text):
      // The plan has checked the text; a plan of another version may hold one that is refused today.
      if let dims = try? DimsText(text) { return .dims(dims) }
      return .unsupported(text)
    }
  }

  func selection(of cell: Cell) -> CallSelection {
    switch cell.dumps?.select {
    case .decode: .decode
    case .warmUp: .warmUp
    case .call(let number): .number(number)
    case .prefill, nil: .prefill
    }
  }
}

/// A sweep that came before, whose dumps a cell may be compared with.
struct EarlierSweep {
  let id: String
  /// `the golden baseline`, `last night`, …
  let name: String
  let dumps: SweepDumps

  /// The cell with the same values of the axes.
  func cell(like cell: Cell) -> Cell? {
    dumps.plan.cells.first { $0.id == cell.id }
  }
}

/// Which cell is compared with which.
enum ReferencePairing {
  /// - Parameter earlier: Where the reference is an earlier sweep.
  static func pair(
    _ plan: Plan, earlier: () throws -> EarlierSweep? = { nil }
  ) throws -> Result<[(target: Cell, reference: SweepDumps.Source)], NothingToCompare> {
    switch plan.compare.reference {
    case nil: return .failure(NothingToCompare(message: "the job names no reference: add compare.reference"))
    case .golden, .lastPass:
      guard let earlier = try earlier() else {
        if case .lastPass(let job) = plan.compare.reference {
          return .failure(NothingToCompare(message: "no earlier PASS of \(job) is known to this store"))
        }
        return .failure(
          NothingToCompare(
            message: "no golden baseline is set for \(plan.name); pin one with: rollcall golden set SWEEP --why TEXT"))
      }
      var couples: [(target: Cell, reference: SweepDumps.Source)] = []
      for cell in plan.cells {
        guard let partner = earlier.cell(like: cell) else {
          return .failure(
            NothingToCompare(message: "\(cell.label) has no reference: \(earlier.id) has no such cell"))
        }
        couples.append((cell, .earlier(earlier, partner)))
      }
      return .success(couples)
    case .path(let path): return .success(plan.cells.map { ($0, .path(path)) })
    case .cell(let values):
      var couples: [(target: Cell, reference: SweepDumps.Source)] = []
      for cell in plan.cells {
        guard let reference = plan.referenceCell(for: cell) else {
          let wanted = Cell(id: "", values: cell.values.merging(values) { $1 }, run: cell.run).label
          return .failure(NothingToCompare(message: "\(cell.label) has no reference: the matrix has no cell \(wanted)"))
        }
        if reference.id != cell.id { couples.append((cell, .cell(reference))) }
      }
      return .success(couples)
    }
  }
}
