import Gathering
import Planning
import Playbooks
import Reporting

/// The samples that the runs of a sweep wrote, from the store.
struct GatheredSamples {
  private let artifacts: ArtifactStore
  private let report: SweepReport
  private let plan: Plan

  init(_ artifacts: ArtifactStore, _ report: SweepReport, _ plan: Plan) {
    self.artifacts = artifacts
    self.report = report
    self.plan = plan
  }

  /// Of each cell's first run that succeeded; one without the file has an empty set.
  func read() throws -> [RunSamples] {
    guard let spec = plan.playbook?.evaluation else { return [] }
    return try plan.cells.compactMap { cell in
      let runs = report.cells.first { $0.id == cell.id }?.runs ?? []
      guard let run = runs.first(where: { $0.state == "succeeded" }) else { return nil }
      let name = "\(run.id)/\(spec.samples)"
      let entries = try artifacts.manifest(sweep: report.id, run: run.id).entries
      guard let entry = entries.first(where: { $0.path == spec.samples }) else {
        return RunSamples(values: cell.values, set: SampleSet(name: name, samples: []))
      }
      let path = try artifacts.runDirectory(sweep: report.id, run: run.id) + "/" + entry.storedPath
      return RunSamples(values: cell.values, set: try SampleFile.read(path, called: name, EvaluationSettings(spec)))
    }
  }
}
