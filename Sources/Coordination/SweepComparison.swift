import Alignment
import Comparison
import Diagnosis
import Dumps
import Foundation
public import Gathering
public import Ledger
import OrderedCollections
import Planning
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

  /// Compares everything that can be compared; what cannot is named in the notes and never counts as PASS.
  public func report(sweep id: String, hostNotes: [String] = [], now: Double) async throws -> SweepReport {
    let sweep = try ledger.sweep(named: id)
    let plan = try ledger.plan(of: id)
    let runs = try ledger.runs(of: id)
    let attempts = Dictionary(grouping: try ledger.attempts(of: id), by: \.run)
    // The gravest first: the sentence takes its reason from the front.
    var notes: [String] = []
    var verdicts: [Verdict] = []
    for run in runs where run.state != .succeeded {
      notes.append("run \(run.name) \(run.state.rawValue): \(run.why ?? "no reason is known")")
    }
    if runs.contains(where: { !$0.missing.isEmpty }) { verdicts.append(.inconclusive) }
    let logs = try LogCheck(rules: plan.logs).violations(
      attempts: runs.filter { $0.state == .succeeded }.compactMap { attempts[$0.name]?.last },
      logs: RunLogs(artifacts: artifacts, sweep: id))
    if !logs.isEmpty {
      notes += logs
      verdicts.append(.inconclusive)
    }

    // A second of grace: files bear the kernel's coarse clock.
    let starts = attempts.compactMapValues { $0.last?.started.map { Int64(($0 - 1) * 1e9) } }
    let loader = await SweepDumps(plan: plan, runs: runs, starts: starts, sweep: id, artifacts: artifacts)
    let (pairs, pairNotes) = try await compare(plan, loader)
    notes += pairNotes
    verdicts += pairs.filter { $0.kind != "repeat" }.map(\.comparison.verdict)
    if !pairNotes.isEmpty { verdicts.append(.inconclusive) }
    notes += hostNotes + plan.warnings

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

  // MARK: Pairs

  private func compare(_ plan: Plan, _ dumps: SweepDumps) async throws -> (pairs: [SweepReport.Pair], notes: [String]) {
    switch plan.compare.mode {
    case .slots: try await slotPairs(plan, dumps)
    case .reference: try await referencePairs(plan, dumps)
    }
  }

  private func slotPairs(_ plan: Plan, _ dumps: SweepDumps) async throws -> ([SweepReport.Pair], [String]) {
    var pairs: [SweepReport.Pair] = []
    var notes: [String] = []
    for (index, cell) in plan.cells.enumerated() {
      progress(.comparing(done: index, of: plan.cells.count, pair: cell.label))
      guard let slots = cell.dumps?.slots, slots > 1 else {
        notes.append("\(cell.label): dumps.slots must be 2 or more to compare slots")
        continue
      }
      for set in dumps.sets(of: cell) {
        switch set {
        case .failure(let why): notes.append("\(cell.label): not compared: \(why.message)")
        case .success(let set):
          let comparison = try await DumpComparer.compareSlots(
            set: set.dumps, slots: slots, selection: dumps.selection(of: cell), worldSize: cell.worldSize,
            label: cell.label, startTime: set.started, expectation: dumps.expectation(of: cell))
          pairs.append(
            SweepReport.Pair(referenceCell: cell.id, targetCell: cell.id, kind: "slots", comparison: comparison))
        }
      }
    }
    return (pairs, notes)
  }

  private func referencePairs(_ plan: Plan, _ dumps: SweepDumps) async throws -> ([SweepReport.Pair], [String]) {
    var pairs: [SweepReport.Pair] = []
    var notes: [String] = []
    let couples: [(target: Cell, reference: SweepDumps.Source)]
    switch ReferencePairing.pair(plan) {
    case .success(let found): couples = found
    case .failure(let why): return ([], [why.message])
    }
    // Cells share their reference: its repeats are measured once.
    var referenceFloors: [String: NoiseFloors] = [:]
    for (index, couple) in couples.enumerated() {
      let label = couple.target.label
      progress(.comparing(done: index, of: couples.count, pair: label))
      let references = dumps.sets(of: couple.reference, selectionOf: couple.target)
      let targets = dumps.sets(of: couple.target)
      guard let first = references.first else {
        notes.append("\(label): not compared: its reference has no run")
        continue
      }
      switch (first, targets.first) {
      case (.failure(let why), _): notes.append("\(label): not compared: the reference: \(why.message)")
      case (_, .failure(let why)): notes.append("\(label): not compared: \(why.message)")
      case (_, nil): notes.append("\(label): not compared: it has no run")
      case (.success(let reference), .success):
        let selection = dumps.selection(of: couple.target)
        let source = "\(couple.reference.name) \(selection)"
        let own: NoiseFloors
        if let known = referenceFloors[source] {
          own = known
        } else {
          own = try await DumpComparer.floors(repeats: references.compactMap(\.dumps), selection: selection)
          referenceFloors[source] = own
        }
        let others = try await DumpComparer.floors(
          repeats: targets.compactMap(\.dumps), worldSize: couple.target.worldSize, selection: selection)
        var floors = own
        floors.merge(others)
        for target in targets {
          guard case .success(let target) = target else { continue }
          let comparison = try await DumpComparer.compare(
            dumps.request(reference: reference, target: target, cell: couple.target, floors: floors))
          pairs.append(
            SweepReport.Pair(
              referenceCell: couple.reference.name, targetCell: couple.target.id, kind: "reference",
              comparison: DumpComparer.noteRepeats(comparison, reference: own, target: others)))
        }
      }
    }
    return (refined(pairs, plan), notes)
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
      let judged = pairs.filter { $0.targetCell == cell.id && $0.kind != "repeat" }
      return SweepReport.Cell(
        id: cell.id, values: cell.values.map { SweepReport.AxisValue(axis: $0.key, value: $0.value.description) },
        runs: own.map { run in
          SweepReport.Run(
            id: run.name, repetition: run.repetition, state: run.state.rawValue,
            attempts: (attempts[run.name] ?? []).map { attempt(of: $0, sweep) }, fileCount: run.fileCount,
            byteCount: run.byteCount, missing: run.missing)
        },
        verdict: judged.isEmpty ? nil : Verdict.combined(judged.map(\.comparison.verdict)),
        isReference: pairs.contains { $0.referenceCell == cell.id && $0.kind == "reference" })
    }
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
