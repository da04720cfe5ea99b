import Dumps
import Foundation
import Gathering
import Planning
import Playbooks
import Reporting

/// Holds the weights that a sweep gathered against the reference's, tensor by tensor.
struct WeightsProbe {
  let artifacts: ArtifactStore
  let report: SweepReport
  let plan: Plan

  func take() throws -> WeightsEvidence {
    let references = plan.referenceCells()
    guard let target = plan.cells.last(where: { references[$0.id]?.id != $0.id }) else {
      return WeightsEvidence(problem: "The sweep has no cell but the reference.")
    }
    guard let run = run(of: target) else {
      return WeightsEvidence(problem: "No run of \(target.id) succeeded.")
    }
    var damages = try damages(run)
    let reference: String
    if case .path(let path) = plan.compare.reference {
      reference = path.hasPrefix("/") ? path : plan.baseDirectory + "/" + path
    } else if let cell = references[target.id], let run = self.run(of: cell) {
      damages += try self.damages(run)
      reference = try artifacts.runDirectory(sweep: report.id, run: run)
    } else {
      return WeightsEvidence(problem: "No run of the reference succeeded.")
    }
    do throws(DumpError) {
      let schema = try SchemaReport.compare(
        reference: reference, target: try directory(run), values: .require)
      var evidence = WeightsEvidence(schema, dumps: target.dumps)
      evidence.unreadable += damages
      return evidence
    } catch {
      return WeightsEvidence(problem: error.description)
    }
  }

  private func directory(_ run: String) throws(DumpError) -> String {
    do { return try artifacts.runDirectory(sweep: report.id, run: run) } catch {
      throw DumpError(code: .notFound, file: run, message: "\(error)")
    }
  }

  private func run(of cell: Cell) -> String? {
    report.cells.first { $0.id == cell.id }?.runs.first { $0.state == "succeeded" }?.id
  }

  /// What the store no longer holds as it was gathered.
  private func damages(_ run: String) throws -> [String] {
    try artifacts.verify(sweep: report.id, run: run).map { "\(run)/\($0.path): \($0.message)" }
  }
}

extension WeightsEvidence {
  init(_ schema: SchemaReport, dumps: DumpsSpec?) {
    self.init()
    let target = schema.common + schema.onlyTarget
    let seen = Set(target.compactMap(Self.layer)).union(dumps?.expect?.layers ?? [])
    let hasLayerless = target.contains { WeightsEvidence.layer(of: $0) == nil }
    let hasExperts = target.contains(where: Self.isExpert)
    // ATOM dumps the layers that it is asked for, and no experts; what it never dumps is not missing.
    let isPartial = dumps?.layout == DumpLayout.weights.rawValue
    var (absent, layers, experts, layerless): ([String], Set<Int>, Int, Int) = ([], [], 0, 0)
    for name in schema.onlyReference {
      if isPartial, let layer = WeightsEvidence.layer(of: name), !seen.contains(layer) {
        layers.insert(layer)
      } else if isPartial, !hasExperts, Self.isExpert(name) {
        experts += 1
      } else if isPartial, !hasLayerless, WeightsEvidence.layer(of: name) == nil {
        layerless += 1
      } else {
        absent.append("only in the reference: \(name)")
      }
    }
    if !layers.isEmpty {
      notLookedAt.append(
        "Not looked at: layers \(layers.sorted().map(String.init).joined(separator: ", ")), which were not dumped.")
    }
    if experts > 0 { notLookedAt.append("Not looked at: \(experts) weights of experts, which ATOM does not dump.") }
    if layerless > 0 {
      notLookedAt.append("Not looked at: \(layerless) weights of no layer, which ATOM does not dump.")
    }
    self.schema =
      absent + schema.onlyTarget.map { "only in the target: \($0)" }
      + schema.mismatched.filter { $0.field == "shape" }.map { "shape of \($0.name): \($0.reference) and \($0.target)" }
    common = schema.common.count
    byteEqual = schema.byteEqual
    equalAfterCast = schema.equalAfterCast
    unequal = schema.unequal.map(\.name)
    slices = Dictionary(schema.shards.filter(\.isProven).map { ($0.kind, 1) }, uniquingKeysWith: +)
    let missing = Set(schema.onlyReference)
    findings = schema.findings.filter { finding in
      finding.cause != "incomplete-ranks" && !finding.tensors.allSatisfy(missing.contains)
    }.map {
      Finding(
        cause: $0.cause, confidence: Finding.Confidence(rawValue: $0.confidence.rawValue) ?? .possible,
        tensors: $0.tensors, isInTarget: $0.isInTarget, summary: $0.summary, next: $0.next)
    }
    unexplained = schema.unexplained
    // A type that differs, and nothing was said of the values.
    let told = Set(findings.flatMap(\.tensors) + unequal + equalAfterCast)
    let untold = schema.mismatched.filter { $0.field == "dtype" && !told.contains($0.name) }.map(\.name)
    if schema.unreadable.isEmpty { unexplained += untold }
    unreadable = schema.unreadable.map { "\($0.file): \($0.why)" }
  }

  private static func isExpert(_ name: String) -> Bool { name.contains(".experts.") }
}
