import Comparison
import Ledger
import Planning
import Reporting

/// A sweep that does not pass, held against the same cells of the sweep before it and of the golden baseline: whether
/// the target has changed since, or its reference, or neither.
struct EarlierNights {
  private let comparison: SweepComparison
  private let plan: Plan
  private let dumps: SweepDumps
  private let sweep: SweepRecord

  init(_ comparison: SweepComparison, _ plan: Plan, _ dumps: SweepDumps, _ sweep: SweepRecord) {
    self.comparison = comparison
    self.plan = plan
    self.dumps = dumps
    self.sweep = sweep
  }

  /// Cells looked at; the others tell the same.
  private static let most = 4

  func notes(_ pairs: [SweepReport.Pair]) async throws -> [String] {
    let failing = pairs.filter { $0.kind == "reference" && $0.comparison.verdict == .fail }
    guard !failing.isEmpty else { return [] }
    let cells = Dictionary(plan.cells.map { ($0.id, $0) }) { first, _ in first }
    var wanted: [Cell] = []
    for pair in failing.prefix(Self.most) {
      for id in [pair.targetCell, pair.referenceCell] {
        guard let cell = cells[id], !wanted.contains(where: { $0.id == id }) else { continue }
        wanted.append(cell)
      }
    }
    var notes: [String] = []
    for earlier in try comparison.earlierSweeps(plan, sweep) {
      var parts: [String] = []
      for cell in wanted { parts.append("\(cell.label) \(try await change(of: cell, since: earlier))") }
      notes.append("against \(earlier.name) (\(earlier.id)): \(parts.joined(separator: "; "))")
    }
    return notes
  }

  private func change(of cell: Cell, since earlier: EarlierSweep) async throws -> String {
    guard let partner = earlier.cell(like: cell) else { return "has no counterpart there" }
    do {
      guard let now = dumps.sets(of: cell).first,
        let then = dumps.sets(of: .earlier(earlier, partner), selectionOf: cell).first
      else { return "has no run to compare" }
      let (target, reference) = (try now.get(), try then.get())
      var request = dumps.request(reference: reference, target: target, cell: cell, floors: NoiseFloors())
      request.reference.set = try await reference.source.dumps()
      request.target.set = try await target.source.dumps()
      let report = try await DumpComparer.compare(request)
      let isEqual = !report.rows.isEmpty && report.rows.allSatisfy { $0.measures?.byteEqual == 1 }
      switch report.verdict {
      case .pass: return isEqual ? "is byte for byte the same" : "is the same but for noise"
      case .inconclusive: return "cannot be compared with it"
      case .fail:
        let place = report.firstDivergence.map { divergence in
          " from " + (divergence.layer.map { "layer \($0) " } ?? "") + divergence.stage + " on"
        }
        return "has changed\(place ?? "")"
      }
    } catch {
      return "was not compared with it: \(try NothingToCompare(error).message)"
    }
  }
}
