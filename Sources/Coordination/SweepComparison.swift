import Alignment
import Comparison
import Diagnosis
import Dumps
import Foundation
public import Gathering
public import Ledger
import OrderedCollections
public import Planning
public import Reporting
import Scheduling

/// Turns a sweep's gathered files into its report: pairs, comparisons, the first axis value that breaks.
public struct SweepComparison: Sendable {
  private let ledger: SweepLedger
  private let artifacts: ArtifactStore
  private let progress: @Sendable (Progress) -> Void

  public init(
    ledger: SweepLedger, artifacts: ArtifactStore, progress: @escaping @Sendable (Progress) -> Void = { _ in }
  ) {
    self.ledger = ledger
    self.artifacts = artifacts
    self.progress = progress
  }

  /// How an earlier comparison is done again.
  public struct Repetition: Sendable {
    /// Rules in the place of the job's own; nil: as they were.
    public var rules: CompareSpec?
    /// Reads the dumps even where stored measures would do.
    public var readsDumps: Bool

    public init(rules: CompareSpec? = nil, readsDumps: Bool = false) {
      self.rules = rules
      self.readsDumps = readsDumps
    }
  }

  /// Compares everything that can be compared; what cannot is named in the notes and never counts as PASS.
  ///
  /// Measures are kept beside the runs. A repetition judges them again and opens no dump, unless files or the rules
  /// for calls and ranks changed: then it measures again, and the notes say why.
  ///
  /// - Parameter again: nil for the first comparison.
  public func report(
    sweep id: String, hostNotes: [String] = [], now: Double, again: Repetition? = nil
  ) async throws -> SweepReport {
    let sweep = try ledger.sweep(named: id)
    var plan = try ledger.plan(of: id)
    if let rules = again?.rules { plan.compare = rules }
    let runs = try ledger.runs(of: id)
    let runLogs = RunLogs(artifacts: artifacts, sweep: id)
    let attempts = Dictionary(grouping: try ledger.attempts(of: id).map(runLogs.withEnvironment), by: \.run)
    // The gravest first: the sentence takes its reason from the front.
    var notes: [String] = []
    var verdicts: [Verdict] = []
    for run in runs where run.state != .succeeded {
      notes.append(SweepDumps.end(of: run))
    }
    if runs.contains(where: { !$0.missing.isEmpty }) { verdicts.append(.inconclusive) }
    let logs = try LogCheck(rules: plan.logs).violations(
      attempts: runs.filter { $0.state == .succeeded }.flatMap { Self.last(attempts[$0.name]) },
      logs: RunLogs(artifacts: artifacts, sweep: id))
    if !logs.isEmpty {
      notes += logs
      verdicts.append(.inconclusive)
    }

    let dumps = SweepDumps(
      plan: plan, runs: runs, attempts: attempts.mapValues(Self.last), sweep: id, artifacts: artifacts)
    let usesStored = again.map { !$0.readsDumps } ?? false
    if !usesStored { await dumps.readAll() }
    let archive = MeasureArchive(
      directory: MeasureArchive.path(store: artifacts.root, sweep: id), usesStored: usesStored, now: now)
    let (pairs, pairNotes, origins) = try await compare(plan, dumps, archive, sweep)
    notes += pairNotes
    verdicts += pairs.map(\.comparison.verdict)
    if !pairNotes.isEmpty { verdicts.append(.inconclusive) }
    if again == nil { notes += try await EarlierNights(self, plan, dumps, sweep).notes(pairs) }
    notes += EnvironmentDifferences.notes(pairs, plan, runs, attempts)
    notes += Contention.notes(plan, runs, attempts)
    notes += plan.warnings + hostNotes
    if again != nil { notes += originNotes(origins) }

    let hasFailedRuns = runs.contains { $0.state != .succeeded }
    if hasFailedRuns { verdicts.append(.inconclusive) }
    let verdict = Verdict.combined(verdicts)
    let first = FirstAxisValue.find(plan: plan, pairs: pairs)
    var report = SweepReport(
      id: id, job: plan.name, verdict: verdict, hasFailedRuns: hasFailedRuns, sentence: "", started: sweep.created,
      ended: now, axes: plan.axes, cells: cells(plan, runs, attempts, pairs, id), pairs: pairs,
      firstAxisValue: first, notes: notes)
    report.sentence = SweepSentence.write(report)
    return report
  }

  /// The dumps of a sweep that has ended.
  func earlier(_ id: String, name: String) throws -> EarlierSweep {
    let attempts = Dictionary(grouping: try ledger.attempts(of: id), by: \.run)
    return EarlierSweep(
      id: id, name: name,
      dumps: SweepDumps(
        plan: try ledger.plan(of: id), runs: try ledger.runs(of: id), attempts: attempts.mapValues(Self.last),
        sweep: id, artifacts: artifacts))
  }

  /// Of the job: the sweep before this one, and its golden baseline where that is not the reference itself.
  func earlierSweeps(_ plan: Plan, _ sweep: SweepRecord) throws -> [EarlierSweep] {
    var found: [EarlierSweep] = []
    if let last = try ledger.ended(job: sweep.job, limit: 1, before: sweep.created).first {
      found.append(try earlier(last.id, name: "the sweep before it"))
    }
    if plan.compare.reference != .golden, let golden = try ledger.goldens(of: sweep.job).first,
      golden.sweep != sweep.id, golden.sweep != found.first?.id
    {
      found.append(try earlier(golden.sweep, name: "the golden baseline"))
    }
    return found
  }

  /// The sweep that the job names as its reference; nil where there is none yet.
  private func reference(_ plan: Plan, _ sweep: SweepRecord) throws -> EarlierSweep? {
    switch plan.compare.reference {
    case .golden:
      try ledger.goldens(of: plan.name).first.map { try earlier($0.sweep, name: "the golden baseline") }
    case .lastPass(let job):
      try ledger.lastPass(job: job, before: sweep.created).map { try earlier($0.id, name: "the last PASS of \(job)") }
    default: nil
    }
  }

  /// Of a run's last attempt: one a host.
  private static func last(_ attempts: [AttemptRecord]?) -> [AttemptRecord] {
    let number = attempts?.last?.number
    return attempts?.filter { $0.number == number } ?? []
  }

  // MARK: Pairs

  private typealias Compared = (pairs: [SweepReport.Pair], notes: [String], origins: [MeasureArchive.Origin])

  private func compare(
    _ plan: Plan, _ dumps: SweepDumps, _ archive: MeasureArchive, _ sweep: SweepRecord
  ) async throws -> Compared {
    switch plan.compare.mode {
    case .slots: try await slotPairs(plan, dumps)
    case .reference: try await referencePairs(plan, dumps, archive, sweep)
    }
  }

  /// Slots are judged bitwise: there is no rule that could change, so their measures are not kept.
  private func slotPairs(_ plan: Plan, _ dumps: SweepDumps) async throws -> Compared {
    var pairs: [SweepReport.Pair] = []
    var notes: [String] = []
    for (index, cell) in plan.cells.enumerated() {
      progress(.comparing(done: index, of: plan.cells.count, pair: cell.label))
      if cell.id == plan.compare.single { continue }
      guard let slots = cell.dumps?.slots, slots > 1 else {
        notes.append("\(cell.label): dumps.slots must be 2 or more to compare slots")
        continue
      }
      let alone = plan.compare.single.flatMap { id in plan.cells.first { $0.id == id } }
      try await repeats(of: cell, dumps, &pairs, &notes)
      for set in dumps.sets(of: cell) {
        do {
          let set = try set.get()
          var single: (side: ComparisonSide, slot: Int)?
          if let alone, let slot = cell.dumps?.slot {
            guard let other = dumps.sets(of: alone).first else {
              throw NothingToCompare(message: "there is no run of the prompt alone")
            }
            var side = dumps.side(try other.get())
            side.set = try await other.get().source.dumps()
            single = (side, slot)
          }
          let loaded = try await set.source.dumps()
          let comparison = try await DumpComparer.compareSlots(
            set: loaded, slots: slots, selection: dumps.selection(of: cell), worldSize: cell.dumpingRanks,
            label: cell.label, startTime: set.started, expectation: dumps.expectation(of: cell), single: single)
          pairs.append(
            SweepReport.Pair(
              referenceCell: single == nil ? cell.id : alone?.id ?? cell.id, targetCell: cell.id, kind: "slots",
              comparison: comparison.withShortLedger))
        } catch {
          notes.append("\(cell.label): not compared: \(try NothingToCompare(error).message)")
        }
      }
    }
    return (pairs, notes, pairs.map { _ in .dumps(why: "slots are compared bitwise, from the dumps") })
  }

  /// A cell's runs against its first, bitwise: whether a run agrees with itself.
  private func repeats(
    of cell: Cell, _ dumps: SweepDumps, _ pairs: inout [SweepReport.Pair], _ notes: inout [String]
  ) async throws {
    let sets = dumps.sets(of: cell)
    guard let first = sets.first, sets.count > 1 else { return }
    for other in sets.dropFirst() {
      do {
        let (reference, target) = (try first.get(), try other.get())
        var request = dumps.request(reference: reference, target: target, cell: cell, floors: NoiseFloors())
        request.reference.set = try await reference.source.dumps()
        request.target.set = try await target.source.dumps()
        request.policy = .strict
        pairs.append(
          SweepReport.Pair(
            referenceCell: cell.id, targetCell: cell.id, kind: "repeat",
            comparison: try await DumpComparer.compare(request).withShortLedger))
      } catch {
        notes.append("\(cell.label): its repeats were not compared: \(try NothingToCompare(error).message)")
      }
    }
  }

  private func referencePairs(
    _ plan: Plan, _ dumps: SweepDumps, _ archive: MeasureArchive, _ sweep: SweepRecord
  ) async throws -> Compared {
    var compared: Compared = ([], [], [])
    let couples: [(target: Cell, reference: SweepDumps.Source)]
    switch try ReferencePairing.pair(plan, earlier: { try reference(plan, sweep) }) {
    case .success(let found): couples = found
    case .failure(let why): return ([], [why.message], [])
    }
    // Cells share their reference: its repeats are measured once.
    var referenceFloors: [String: NoiseFloors] = [:]
    var known = NoiseFloors()
    do {
      known = try KnownGood.floors(
        (plan.compare.knownGood ?? []).map { $0.hasPrefix("/") ? $0 : plan.baseDirectory + "/" + $0 })
      compared.notes += known.notes.map { "known_good: \($0)" }
      known.notes = []
    } catch {
      compared.notes.append("known_good: \(error)")
    }
    for (index, couple) in couples.enumerated() {
      let label = couple.target.label
      progress(.comparing(done: index, of: couples.count, pair: label))
      let references = dumps.sets(of: couple.reference, selectionOf: couple.target)
      let targets = dumps.sets(of: couple.target)
      guard let first = references.first else {
        compared.notes.append("\(label): not compared: its reference has no run")
        continue
      }
      if targets.isEmpty { compared.notes.append("\(label): not compared: it has no run") }
      let reference: SweepDumps.Loaded
      switch first {
      case .failure(let why):
        compared.notes.append("\(label): not compared: the reference: \(why.message)")
        continue
      case .success(let loaded): reference = loaded
      }
      let selection = dumps.selection(of: couple.target)
      let source = "\(couple.reference.name) \(selection)"
      let own: NoiseFloors
      if let known = referenceFloors[source] {
        own = known
      } else {
        own = try await floors(references, "the reference", label, selection, nil, archive, &compared)
        referenceFloors[source] = own
      }
      let others = try await floors(targets, "it", label, selection, couple.target.worldSize, archive, &compared)
      var floors = own
      floors.merge(others)
      floors.merge(known)
      for target in targets {
        do {
          let target = try target.get()
          var (comparison, origin) = try await archive.report(
            dumps.request(reference: reference, target: target, cell: couple.target, floors: floors),
            reference: reference.source, target: target.source, purpose: "pair")
          if archive.usesStored, let note = origin.note { comparison.notes.append(note) }
          compared.origins.append(origin)
          compared.pairs.append(
            SweepReport.Pair(
              referenceCell: couple.reference.name, targetCell: couple.target.id, kind: "reference",
              comparison: DumpComparer.noteRepeats(comparison, reference: own, target: others).withShortLedger))
        } catch {
          compared.notes.append("\(label): not compared: \(try NothingToCompare(error).message)")
        }
      }
    }
    compared.pairs = refined(compared.pairs, plan)
    return compared
  }

  /// What the repeats of one side differ by; one that cannot be read is named.
  private func floors(
    _ repeats: [Result<SweepDumps.Loaded, NothingToCompare>], _ side: String, _ label: String,
    _ selection: CallSelection, _ worldSize: Int?, _ archive: MeasureArchive, _ compared: inout Compared
  ) async throws -> NoiseFloors {
    var sources: [DumpSource] = []
    for result in repeats {
      switch result {
      case .success(let loaded): sources.append(loaded.source)
      // As many others as there are may show less noise than there is, and its own comparison, if it has one, is lost.
      // The only one is no repeat.
      case .failure where repeats.count == 1: break
      case .failure(let why):
        compared.notes.append("\(label): a repeat of \(side) is missing from the noise: \(why.message)")
      }
    }
    let byRoot = Dictionary(sources.map { ($0.root, $0) }, uniquingKeysWith: { first, _ in first })
    var origins: [MeasureArchive.Origin] = []
    do {
      let floors = try await DumpComparer.floors(
        repeats: sources.map(\.emptySet), worldSize: worldSize, selection: selection
      ) { request in
        guard let reference = byRoot[request.reference.set.root], let target = byRoot[request.target.set.root] else {
          throw NothingToCompare(message: "a repeat is not known")
        }
        let (report, origin) = try await archive.report(
          request, reference: reference, target: target, purpose: "repeats", keepsEvidence: false)
        origins.append(origin)
        return report
      }
      compared.origins += origins
      return floors
    } catch {
      let why = try NothingToCompare(error).message
      compared.notes.append("\(label): the repeats of \(side) were not compared: \(why)")
      return NoiseFloors(notes: [why])
    }
  }

  /// Whether stored measures were judged again or dumps were read, and why.
  private func originNotes(_ origins: [MeasureArchive.Origin]) -> [String] {
    let stored = origins.count { if case .stored = $0 { true } else { false } }
    var notes: [String] = []
    if stored > 0 {
      notes.append(
        "\(stored) of \(origins.count) comparisons, repeats included, were judged from stored measures; no dump file "
          + "was opened for them")
    }
    var reasons: [String: Int] = [:]
    for case .dumps(let why) in origins { reasons[why ?? "asked for", default: 0] += 1 }
    notes += reasons.sorted { $0.key < $1.key }.map { "\($0.value) measured again from the dumps: \($0.key)" }
    return notes
  }

  /// The trend over world sizes settles what one pair leaves open: pairs that differ in nothing else are judged
  /// together.
  private func refined(_ pairs: [SweepReport.Pair], _ plan: Plan) -> [SweepReport.Pair] {
    let cells = Dictionary(uniqueKeysWithValues: plan.cells.map { ($0.id, $0) })
    let families = Dictionary(grouping: pairs.indices) { index in
      var values = cells[pairs[index].targetCell]?.values ?? [:]
      values["world_size"] = nil
      return values.map { "\($0.key)=\($0.value)" }.joined(separator: " ")
    }
    var refined = pairs
    for indices in families.values {
      let reports = indices.map { index in
        (worldSize: cells[pairs[index].targetCell]?.worldSize ?? 1, report: pairs[index].comparison)
      }
      for (index, result) in zip(indices, DumpComparer.refine(reports)) { refined[index].comparison = result.report }
    }
    // What one strategy or backend alone does wrong: over all axes, all pairs with a verdict.
    let judged = refined.indices.filter {
      refined[$0].kind == "reference" && refined[$0].comparison.verdict != .inconclusive
    }
    let reports = judged.map { index in
      let values = cells[refined[index].targetCell]?.values ?? [:]
      return (
        worldSize: cells[refined[index].targetCell]?.worldSize ?? 1,
        values: Dictionary(
          uniqueKeysWithValues: values.filter { $0.key != "world_size" }.map { ($0.key, $0.value.description) }),
        report: refined[index].comparison
      )
    }
    for (index, report) in zip(judged, DumpComparer.refine(axes: reports)) { refined[index].comparison = report }
    return refined
  }

  // MARK: Cells

  private func cells(
    _ plan: Plan, _ runs: [RunRecord], _ attempts: [String: [AttemptRecord]], _ pairs: [SweepReport.Pair],
    _ sweep: String
  ) -> [SweepReport.Cell] {
    plan.cells.map { cell in
      let own = runs.filter { $0.cell == cell.id }
      let judged = pairs.filter { $0.targetCell == cell.id }
      return SweepReport.Cell(
        id: cell.id, values: cell.values.map { SweepReport.AxisValue(axis: $0.key, value: $0.value.description) },
        runs: own.map { run in
          SweepReport.Run(
            id: run.name, repetition: run.repetition, state: run.state.rawValue, why: run.why,
            attempts: (attempts[run.name] ?? []).map { attempt(of: $0, sweep) },
            cause: Self.cause(of: run, attempts[run.name] ?? []), fileCount: run.fileCount,
            byteCount: run.byteCount, missing: run.missing)
        },
        verdict: judged.isEmpty ? nil : Verdict.combined(judged.map(\.comparison.verdict)),
        isReference: pairs.contains { $0.referenceCell == cell.id && $0.kind == "reference" })
    }
  }

  /// The share of a gang's last attempt that its end is told of (`CoordinatorCore.gathered`, `lose`).
  private static func cause(of run: RunRecord, _ attempts: [AttemptRecord]) -> String? {
    guard let last = attempts.last, last.share != nil, let why = run.why else { return nil }
    let shares = attempts.filter { $0.number == last.number }
    return (shares.first { $0.why == why } ?? shares.first { why.hasSuffix(", on \($0.host)") })?.id
  }

  private func attempt(of record: AttemptRecord, _ sweep: String) -> SweepReport.Attempt {
    let succeeded = record.state == .gathered && record.exitCode == 0 && record.reason == nil
    let state = record.state == .gathered ? Transition.ending(of: record).state.rawValue : record.state.rawValue
    return SweepReport.Attempt(
      id: record.id, number: record.number, host: record.host, state: state, exitCode: record.exitCode,
      signal: record.signal, started: record.started, ended: record.ended, fingerprint: record.facts,
      why: record.why ?? (succeeded ? nil : Transition.ending(of: record).why),
      logTail: succeeded ? nil : RunLogs(artifacts: artifacts, sweep: sweep).tail(of: record))
  }
}
