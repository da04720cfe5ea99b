import Alignment
public import Comparison
import Diagnosis

extension Verdict {
  /// `PASS`, `FAIL`, `INCONCLUSIVE`.
  public var word: String { rawValue.uppercased() }
}

enum Names {
  static func place(layer: Int?, stage: String?) -> String {
    switch (layer, stage) {
    case (let layer?, let stage?): "layer \(layer) \(stage)"
    case (let layer?, nil): "layer \(layer)"
    case (nil, let stage?): stage
    case (nil, nil): ""
    }
  }

  static func shard(_ plan: ShardPlan) -> String {
    let axis = plan.axis.map { " axis \($0)" } ?? ""
    return plan.kind == .single ? "single" : "\(plan.kind.rawValue)\(axis) × \(plan.ranks)"
  }
}

extension ComparisonReport.Divergence {
  var text: String { Names.place(layer: layer, stage: stage) }
}

extension ComparisonReport.Side {
  var title: String { label ?? path }
}

extension ComparisonReport.Row {
  /// `nan 3/0`, `slot 2`, and what the seeds' tables say.
  var flags: String {
    var parts: [String] = []
    if let slot { parts.append("slot \(slot)") }
    if let measures, measures.nonfiniteReference != 0 || measures.nonfiniteTarget != 0 {
      parts.append("non-finite \(measures.nonfiniteReference)/\(measures.nonfiniteTarget)")
    }
    if measures?.byteEqual == 1 { parts.append("byte-equal") }
    if measures == nil { parts.append("not measured") }
    parts += profileFlags.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
    return parts.joined(separator: ", ")
  }

  /// Why the row is not PASS, with the count of values that are not finite; nil where there is nothing to say.
  var reason: String? {
    var parts = [why].compactMap { $0 }
    if let measures, measures.nonfiniteReference != 0 || measures.nonfiniteTarget != 0 {
      parts.append(
        "values that are not finite: \(measures.nonfiniteReference) of the reference, "
          + "\(measures.nonfiniteTarget) of the target")
    }
    return parts.isEmpty ? nil : parts.joined(separator: "; ")
  }

  /// Orders rows of one verdict by how far they disagree; what has no number counts as worst.
  var severity: Double {
    guard let value = measures?.relL2, !value.isNaN else { return .infinity }
    return value
  }
}

extension SweepReport.Cell {
  /// `world_size=8 backend=eager`
  var label: String {
    values.isEmpty ? id : values.map { "\($0.axis)=\($0.value)" }.joined(separator: " ")
  }

  func value(of axis: String) -> String? { values.first { $0.axis == axis }?.value }

  /// Hosts of the attempts, each once, in order.
  var hosts: [String] { runs.flatMap(\.attempts).map(\.host).unique() }

  /// `succeeded`, or the states counted where the runs differ.
  var state: String {
    let states = runs.map(\.state)
    let distinct = states.unique()
    if distinct.count < 2 { return distinct.first ?? "no run" }
    return distinct.map { state in "\(states.count { $0 == state }) \(state)" }.joined(separator: ", ")
  }

  var attemptCount: Int { runs.map(\.attempts.count).saturatingSum }

  /// How many, and how often one was tried again.
  var runCount: String {
    let retries = runs.map { run in (run.attempts.map(\.number).max() ?? 1) - 1 }.filter { $0 > 0 }.saturatingSum
    return retries > 0 ? "\(runs.count), retried \(retries) ×" : String(runs.count)
  }

  /// Seconds of all attempts together; nil where none is known. Hosts that work together count once, and by no clock
  /// but their own.
  var duration: Double? {
    let known = runs.flatMap { run in
      run.attempts.map(\.number).unique().compactMap { number in
        run.attempts.filter { $0.number == number }.compactMap(\.duration).max()
      }
    }
    return known.isEmpty ? nil : known.reduce(0, +)
  }

  var verdictWord: String { isReference ? "reference" : verdict?.word ?? "not compared" }
}

extension SweepReport.Attempt {
  var duration: Double? {
    guard let started, let ended else { return nil }
    return ended - started
  }

  /// `exit 1`, `signal 9`, or nothing.
  var exit: String {
    if let signal { return "signal \(signal)" }
    return exitCode.map { "exit \($0)" } ?? ""
  }
}

extension SweepReport {
  /// A run that ended without success, with its cell. A cancelled run is a person's decision, not a failure.
  struct FailedRun {
    var cell: Cell
    var run: Run

    /// The one that its end is told of.
    var last: Attempt? { run.attempts.last { $0.id == run.cause } ?? run.attempts.last }

    /// `attempt 2 on a, exit 1, …`; of one that never began, why.
    var reason: String {
      guard let last else { return run.why ?? "" }
      return ["attempt \(last.number) on \(last.host)", last.exit, last.why ?? ""].filter { !$0.isEmpty }
        .joined(separator: ", ")
    }

    /// The last lines of its log; none where it printed nothing.
    func logTail(lines count: Int) -> [Substring] {
      guard let tail = last?.logTail, tail.contains(where: { !$0.isWhitespace }) else { return [] }
      return tail.split(separator: "\n", omittingEmptySubsequences: false).suffix(count)
    }
  }

  var failedRuns: [FailedRun] {
    cells.flatMap { cell in
      cell.runs.filter { ["failed", "timed-out", "stalled", "lost"].contains($0.state) }
        .map { FailedRun(cell: cell, run: $0) }
    }
  }

  func cell(_ id: String) -> Cell? { cells.first { $0.id == id } }

  func cellLabel(_ id: String) -> String { cell(id)?.label ?? id }

  /// Where the cell first leaves its reference, from the pairs that have it as target.
  func firstDivergence(of cell: Cell) -> String? {
    for pair in pairs where pair.targetCell == cell.id && pair.kind == "reference" {
      if let divergence = pair.comparison.firstDivergence { return divergence.text }
    }
    return nil
  }

  func title(_ pair: Pair) -> String {
    switch pair.kind {
    case "repeat": "\(cellLabel(pair.targetCell)): repeats"
    case "slots": "\(cellLabel(pair.targetCell)): slots"
    default: "\(cellLabel(pair.targetCell)) against \(cellLabel(pair.referenceCell))"
    }
  }

  /// Without the reference, which the reader knows.
  func shortTitle(_ pair: Pair) -> String {
    pair.kind == "reference" ? cellLabel(pair.targetCell) : title(pair)
  }
}

extension Sequence where Element: Hashable {
  /// Each element once, in order of first appearance.
  func unique() -> [Element] {
    var seen: Set<Element> = []
    return filter { seen.insert($0).inserted }
  }
}

extension Finding {
  var heading: String {
    let place = Names.place(layer: layer, stage: stage)
    return place.isEmpty ? "\(cause) (\(confidence.rawValue))" : "\(cause) at \(place) (\(confidence.rawValue))"
  }

  /// `alpha 8, residual 0 · ranks 0, 1 · tokens 17`
  var evidenceText: String {
    var parts: [String] = []
    if !evidence.isEmpty {
      parts.append(
        evidence.sorted { $0.key < $1.key }.map { "\($0.key) \(Figures.short($0.value))" }.joined(separator: ", "))
    }
    if !ranks.isEmpty { parts.append("ranks \(Figures.list(ranks))") }
    if !tokens.isEmpty { parts.append("tokens \(Figures.list(tokens))") }
    return parts.joined(separator: " · ")
  }
}
