import Comparison
import Coordination
import Foundation
import Gathering
import Ledger
import Planning
import Playbooks
import Reporting

/// Drives one playbook under this process: asks it for the next experiment, runs that as a sweep, until it concludes.
struct PlaybookSession {
  let session: SweepSession
  private var ledger: SweepLedger { session.ledger }

  /// Runs to the end; nil when Ctrl-C detached it.
  func drive(_ record: PlaybookRecord) async throws -> PlaybookReport? {
    let method = try PlaybookMethod(record)
    var report = try Self.report(record, ledger)
    if report.conclusion == nil { try keepFiles(of: record) }
    if let most = method.mostRuns { Console.error("\(record.name): at most \(most) runs") }
    // What a driver before us did not come to.
    try writeNotes(report)
    while report.conclusion == nil {
      if let open = try ledger.steps(of: record.id).first(where: { $0.outcome == nil }) {
        guard let step = try await finish(open, of: record) else { return nil }
        try ledger.end(step: open.number, of: record.id, outcome: JSONDocument.encode(step.outcome))
        report.steps.append(step)
        continue
      }
      switch try await method.next(after: report.steps) {
      case .run(let experiment):
        do {
          try begin(experiment, number: report.steps.count + 1, of: record)
        } catch let error as LedgerError where error.code == .locked {
          // Where `serve` has the store, nothing keeps two from driving one playbook: both follow what is there.
          report = try Self.report(try ledger.playbook(named: record.id), ledger)
        }
      case .conclude(let conclusion):
        report.conclusion = conclusion
        try ledger.conclude(
          playbook: record.id, conclusion: JSONDocument.encode(conclusion), now: Date().timeIntervalSince1970)
      }
      try writeNotes(report)
    }
    return report
  }

  /// Keeps the job's files once for all steps, whose verdicts are held against each other.
  private func keepFiles(of record: PlaybookRecord) throws {
    guard try session.artifacts.jobFiles(of: record.id) == nil else { return }
    try SweepFiles.keep(
      try Planner.plan(text: record.text, path: record.path), of: record.id, in: session.artifacts)
  }

  private func begin(_ experiment: Experiment, number: Int, of record: PlaybookRecord) throws {
    func tell() { Console.error("step \(number) \(experiment.step): \(experiment.design)") }
    guard experiment.look == nil else {
      let name = "\(record.id)/\(number)"
      try ledger.begin(
        StepRecord(number: number, experiment: try JSONDocument.encode(experiment), sweep: name), of: record.id)
      return tell()
    }
    let plan = try Planner.plan(text: record.text, path: record.path, change: experiment.change)
    let now = Date().timeIntervalSince1970
    let sweep = Naming.sweep(job: "\(record.job)-\(experiment.step)", now: now, random: .random(in: 0...UInt16.max))
    try SweepFiles.keep(plan, of: sweep, stepOf: record.id, in: session.artifacts) {
      try ledger.begin(
        StepRecord(number: number, experiment: try JSONDocument.encode(experiment), sweep: sweep), of: record.id,
        plan: plan, runs: Naming.runs(of: plan, sweep: sweep), now: now)
    }
    tell()
  }

  private func finish(_ open: StepRecord, of playbook: PlaybookRecord) async throws -> Step? {
    let experiment = try JSONDocument.decode(Experiment.self, from: open.experiment)
    if let look = experiment.look {
      guard let outcome = try await take(look, number: open.number, of: playbook) else { return nil }
      Console.error("step \(open.number): \(outcome.verdict.rawValue.uppercased()) \(outcome.sentence)")
      return Step(experiment: experiment, outcome: outcome)
    }
    let record = try ledger.sweep(named: open.sweep)
    let isOver = record.state == .done || record.state == .cancelled
    guard
      let report = isOver
        ? try ReportCommand.stored(record, ledger) : try await SweepOutcome.report(session, open.sweep)
    else { return nil }
    let plan = try ledger.plan(of: open.sweep)
    var outcome = Outcome(report, plan: plan)
    if PlaybookName(rawValue: playbook.name)?.readsSamples == true {
      outcome = outcome.evaluated(try GatheredSamples(session.artifacts, report, plan).read())
    }
    Console.error("step \(open.number): \(outcome.word) \(outcome.sentence)")
    return Step(experiment: experiment, outcome: outcome)
  }

  /// A look at what is served, or at what the step before it gathered; nil when Ctrl-C detached it.
  private func take(_ look: Experiment.Look, number: Int, of playbook: PlaybookRecord) async throws -> Outcome? {
    if look == .schema {
      guard let before = try ledger.steps(of: playbook.id).first(where: { $0.number == number - 1 }) else {
        throw PlaybookError("The playbook looks at weights, and no step has gathered any.")
      }
      let report = try ReportCommand.stored(try ledger.sweep(named: before.sweep), ledger)
      let probe = WeightsProbe(artifacts: session.artifacts, report: report, plan: try ledger.plan(of: before.sweep))
      return Outcome(try probe.take())
    }
    let plan = try Planner.plan(text: playbook.text, path: playbook.path)
    guard let spec = plan.playbook?.triage else { throw PlaybookError("The job names no served model any more.") }
    let probe = TriageProbe(spec: spec, directory: plan.baseDirectory)
    do {
      return try await Interruption.race { Outcome(look, try await probe.take(look)) }
    } catch is Interruption {
      return nil
    }
  }

  /// `<store>/playbooks/<id>/notes/NN_<step>.md`; each is written again when the step after it is known.
  private func writeNotes(_ report: PlaybookReport) throws {
    guard !report.steps.isEmpty || report.conclusion != nil else { return }
    let directory = "\(session.storeDirectory)/playbooks/\(report.id)"
    try FileManager.default.createDirectory(
      atPath: "\(session.storeDirectory)/playbooks", withIntermediateDirectories: true,
      attributes: [.posixPermissions: 0o700])
    try FileManager.default.createDirectory(atPath: directory + "/notes", withIntermediateDirectories: true)
    for number in report.steps.indices.map({ $0 + 1 }) {
      try Console.write(report.note(number), to: "\(directory)/notes/\(report.noteName(number))")
    }
    guard report.conclusion != nil else { return }
    try Console.write(report.markdown(), to: directory + "/report.md")
    try Console.write(try report.json(), to: directory + "/report.json")
    try Console.write(report.html(sweeps: "../../sweeps"), to: directory + "/report.html")
  }

  // MARK: Reading

  /// Whether a `weights` playbook, among the latest of the store, ended with PASS.
  static func hasRightWeights(_ ledger: SweepLedger) throws -> Bool {
    try ledger.playbooks(limit: 200).contains { record in
      guard record.name == PlaybookName.weights.rawValue, let conclusion = record.conclusion else { return false }
      return try JSONDocument.decode(Conclusion.self, from: conclusion).verdict == .pass
    }
  }

  static func report(_ record: PlaybookRecord, _ ledger: SweepLedger) throws -> PlaybookReport {
    let steps = try ledger.steps(of: record.id).compactMap { stored in
      try stored.outcome.map {
        Step(
          experiment: try JSONDocument.decode(Experiment.self, from: stored.experiment),
          outcome: try JSONDocument.decode(Outcome.self, from: $0))
      }
    }
    return PlaybookReport(
      id: record.id, name: record.name, job: record.job, steps: steps,
      conclusion: try record.conclusion.map { try JSONDocument.decode(Conclusion.self, from: $0) })
  }
}
