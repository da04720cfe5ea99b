import Comparison
import Diagnosis
import OrderedCollections
import Planning
import Reporting

/// The first axis value that breaks.
enum FirstAxisValue {
  /// Along the axes that the reference fixes: the smallest value, in the job's order, that fails while every earlier
  /// one passes; else the first other axis of which one value fails wherever it occurs and another never does.
  static func find(plan: Plan, pairs: [SweepReport.Pair]) -> SweepReport.AxisValue? {
    let cells = Dictionary(uniqueKeysWithValues: plan.cells.map { ($0.id, $0) })
    let judged = pairs.filter { $0.kind != "repeat" }.compactMap { pair -> (Cell, Verdict)? in
      cells[pair.targetCell].map { ($0, pair.comparison.verdict) }
    }
    guard judged.contains(where: { $0.1 == .fail }) else { return nil }
    var fixed: [String] = []
    if case .cell(let values) = plan.compare.reference { fixed = Array(values.keys) }
    for axis in plan.axes.filter(fixed.contains) + plan.axes.filter({ !fixed.contains($0) }) {
      var order: [AxisValue] = []
      for cell in plan.cells {
        if let value = cell.values[axis], !order.contains(value) { order.append(value) }
      }
      let failing = order.filter { value in judged.contains { $0.0.values[axis] == value && $0.1 == .fail } }
      guard let first = failing.first else { continue }
      if fixed.contains(axis) || failing.count < order.count {
        return SweepReport.AxisValue(axis: axis, value: first.description)
      }
    }
    return nil
  }
}

/// The answer in one sentence.
enum SweepSentence {
  static func write(_ report: SweepReport) -> String {
    let compared = report.pairs.filter { $0.kind != "repeat" }
    switch report.verdict {
    case .pass:
      let isBitwise = compared.allSatisfy { $0.kind == "slots" }
      let how = isBitwise ? "agree bit for bit" : "agree with their reference within noise"
      return compared.count == 1
        ? "The comparison \(how.replacing("agree", with: "agrees").replacing("their", with: "its"))."
        : "All \(compared.count) comparisons \(how)."
    case .fail:
      let failing = compared.filter { $0.comparison.verdict == .fail }
      if failing.isEmpty {
        let divergence = report.pairs.first { $0.comparison.verdict == .fail }?.comparison.firstDivergence
        let place = divergence.map { d in ", first at \(d.layer.map { "layer \($0), " } ?? "")\(d.stage)" } ?? ""
        return "The same run does not give the same bytes twice\(place)."
      }
      var sentence =
        compared.count == 1 ? "The comparison fails" : "\(failing.count) of \(compared.count) comparisons fail"
      if let first = report.firstAxisValue { sentence += ", from \(first.axis)=\(first.value) on" }
      if let divergence = failing.first?.comparison.firstDivergence {
        let layer = divergence.layer.map { "layer \($0), " } ?? ""
        sentence += "; first at \(layer)\(divergence.stage)"
      }
      if let finding = failing.lazy.flatMap(\.comparison.findings).first {
        sentence += ": \(finding.cause) (\(finding.confidence.rawValue))"
      }
      return sentence + "."
    case .inconclusive:
      let failed = report.cells.flatMap(\.runs).count { $0.state != "succeeded" }
      let runs = failed == 0 ? "" : "\(failed) of \(report.cells.flatMap(\.runs).count) runs did not succeed; "
      let missing = report.cells.lazy.flatMap(\.runs).compactMap { run in
        run.missing.first.map { "\(run.id): \($0)" }
      }.first
      if compared.isEmpty {
        let why = report.notes.first ?? "the job names no dumps or no comparison"
        return ended("Nothing was compared: \(runs)\(why.replacing(": nothing is compared", with: ""))")
      }
      guard let open = compared.first(where: { $0.comparison.verdict == .inconclusive })?.comparison else {
        return ended(
          "The comparisons agree, but not everything was compared: \(runs)"
            + "\(missing ?? report.notes.first ?? "see the coverage")")
      }
      let count = compared.count { $0.comparison.verdict == .inconclusive }
      return ended(
        "\(count) of \(compared.count) comparisons cannot be decided: \(runs)"
          + "\(open.findings.first?.summary ?? open.notes.first ?? "see the coverage")")
    }
  }

  /// With the mark at its end that every sentence has, which what it cites may bring along.
  private static func ended(_ sentence: String) -> String {
    sentence.last.map(".!?…".contains) == true ? sentence : sentence + "."
  }
}
