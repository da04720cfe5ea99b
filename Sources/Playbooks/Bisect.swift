import Comparison
import Diagnosis
import OrderedCollections
import Planning

/// Finds the first wrong layer, then the first wrong stage inside it, by runs that dump a few layers each (seed 002,
/// phases 3 to 5): coarse layers, then those between the last good and the first bad, then finer classes of modules in
/// the one layer that is left.
///
/// With N layers and `width` of them a run it takes about log(N) / log(width − 1) steps and one for each finer list of
/// classes. The first step runs everything twice: a run that does not agree with itself cannot be bisected.
public struct Bisect: Playbook {
  private let subject: Subject
  private let spec: PlaybookSpec.Bisect
  private let layers: [Int]

  /// - Throws: `PlaybookError` where the layers are not known.
  public init(_ subject: Subject) throws(PlaybookError) {
    spec = subject.spec.bisect
    layers = spec.layers ?? subject.plan.cells.first?.dumps?.expect?.layers ?? []
    guard !layers.isEmpty else {
      throw PlaybookError(
        "The job \(subject.plan.name) does not say which layers the model has: add `playbook.bisect.layers`.")
    }
    self.subject = subject
  }

  /// Where four layers or more are dumped at once and there are two lists of classes: 2·log₂(layers) + 3, or 6.
  public var mostRuns: Int {
    var steps = 2
    var gap = layers.count <= spec.width ? 1 : (layers.count - 2) / (spec.width - 1) + 1
    while gap > 1 {
      steps += 1
      gap = (gap - 1) / (spec.width + 1) + 1
    }
    return subject.cells.count * (steps + max(0, spec.classes.count - 1))
  }

  public func next(after steps: [Step]) -> Move {
    // Positions in `layers`: everything up to `good` is right, `bad` is wrong.
    var good = -1
    var bad: Int?
    var remaining = steps[...]

    repeat {
      let looked = positions(after: good, before: bad)
      guard let step = remaining.popFirst() else { return .run(search(looked, good: good, bad: bad)) }
      if let conclusion = refusal(step) { return .conclude(conclusion) }
      let wrong = looked.first { isWrong($0, step.outcome) }
      if let unclear = looked.first(where: { $0 < wrong ?? .max && !isRight($0, step.outcome) }) {
        return .conclude(notDumped(layers[unclear], step))
      }
      if wrong == nil, bad == nil { return .conclude(clean(step)) }
      good = looked.last { $0 < wrong ?? .max } ?? good
      bad = wrong ?? bad
    } while bad.map { $0 - good > 1 } ?? true

    guard let bad else { return .conclude(clean(steps[0])) }
    var located = steps.prefix(steps.count - remaining.count).last
    for classes in spec.classes.dropFirst() {
      guard let step = remaining.popFirst() else { return .run(refine(layers[bad], classes)) }
      if step.outcome.verdict != .fail, let obstacle = obstacle(step.outcome) { return .conclude(obstacle) }
      // Finer classes that are all right leave the answer where it was: the bug is between them.
      if step.outcome.verdict == .fail { located = step }
    }
    return .conclude(found(layers[bad], located ?? steps[steps.count - 1], steps))
  }

  // MARK: Where to look

  /// At most `width` positions, evenly spread; with nothing known the first and the last are among them.
  private func positions(after good: Int, before bad: Int?) -> [Int] {
    let first = good + 1
    let last = (bad ?? layers.count) - 1
    guard last >= first else { return [] }
    let count = min(spec.width, last - first + 1)
    if bad == nil {
      return count == 1 ? [first] : (0..<count).map { first + $0 * (last - first) / (count - 1) }
    }
    // Cuts the gap between two known layers into equal parts.
    return (1...count).map { good + $0 * (last - good + 1) / (count + 1) }.map { max($0, first) }.uniqued
  }

  private func search(_ positions: [Int], good: Int, bad: Int?) -> Experiment {
    let names = positions.map { String(layers[$0]) }.joined(separator: ",")
    let classes = spec.classes.first ?? []
    return Experiment(
      step: "layers-\(layers[positions.first ?? 0])-\(layers[positions.last ?? 0])",
      hypothesis: bad.map {
        "Layer \(layers[$0]) is wrong"
          + (good < 0 ? "; the first wrong one is it or one before it." : " and layer \(layers[good]) is right.")
      } ?? "Some layer is the first whose output is wrong.",
      design: "\(classes.joined(separator: ", ")) of layers \(names)"
        + (bad == nil ? ", everything twice: a run must agree with itself." : "."),
      // The last good layer comes along: its distance is the noise that the others are held against.
      change: change(
        (good < 0 ? [] : [layers[good]]) + positions.map { layers[$0] }, classes, repetitions: bad == nil ? 2 : 1))
  }

  private func refine(_ layer: Int, _ classes: [String]) -> Experiment {
    Experiment(
      step: "layer-\(layer)-\(classes.joined(separator: "-"))",
      hypothesis: "Layer \(layer) is the first wrong one; the bug is in one of its stages.",
      design: "\(classes.joined(separator: ", ")) of layer \(layer) and of the one before it.",
      // The layer before gives the noise that comes in.
      change: change(
        layers.filter { $0 == layer || $0 == layer - 1 }, classes + (spec.classes.first ?? []), repetitions: 1))
  }

  private func change(_ layers: [Int], _ classes: [String], repetitions: Int) -> JobChange {
    JobChange(
      cells: subject.cells, repetitions: repetitions,
      everywhere: [
        RunChange(env: [
          spec.layersVariable: layers.map(String.init).joined(separator: ","),
          spec.classesVariable: classes.joined(separator: ","),
        ])
      ],
      expect: DumpsSpec.Expect(layers: layers, stages: spec.classes.first ?? []))
  }

  // MARK: What was seen

  private func rows(_ position: Int, _ outcome: Outcome) -> [Outcome.Row] {
    (outcome.judged?.rows ?? []).filter { $0.layer == layers[position] }
  }

  private func isWrong(_ position: Int, _ outcome: Outcome) -> Bool {
    rows(position, outcome).contains { $0.verdict == .fail }
  }

  private func isRight(_ position: Int, _ outcome: Outcome) -> Bool {
    let rows = rows(position, outcome)
    return !rows.isEmpty && rows.allSatisfy { $0.verdict == .pass }
  }

  // MARK: Ends

  private func refusal(_ step: Step) -> Conclusion? {
    if let finding = step.outcome.nondeterminism {
      return Conclusion(
        verdict: .inconclusive, kind: "nondeterministic",
        summary: "The same cell gives different results from run to run; a nondeterministic run cannot be bisected.",
        layer: finding.layer, stage: finding.stage, cause: finding.cause, evidence: [finding.summary],
        next: "Make it deterministic first (seeds, atomics, all-reduce strategy); "
          + "rollcall playbook invariance shows where it begins.")
    }
    return step.outcome.verdict == .fail ? nil : obstacle(step.outcome)
  }

  private func clean(_ step: Step) -> Conclusion {
    Conclusion(
      verdict: .pass, kind: "no-bug",
      summary: "No bug: the first and the last layer and those between them give what the reference gives.",
      evidence: [step.outcome.sentence, step.experiment.design],
      next: "What follows the layers was not looked at: add the head's class to the first list of "
        + "playbook.bisect.classes, or compare samples with rollcall playbook evaluate.")
  }

  private func notDumped(_ layer: Int, _ step: Step) -> Conclusion {
    Conclusion(
      verdict: .inconclusive, kind: "not-dumped",
      summary: "Layer \(layer) lies before the first wrong one and was not judged; the bisection cannot go on.",
      layer: layer, evidence: [step.outcome.sentence] + step.outcome.notes,
      next: "See what became of its dumps: rollcall report \(step.outcome.sweep).")
  }

  private func found(_ layer: Int, _ step: Step, _ steps: [Step]) -> Conclusion {
    var conclusion = Conclusion(
      verdict: .fail, kind: "located", summary: "Layer \(layer) is the first wrong one",
      evidence: steps.map { "\($0.experiment.design) \($0.outcome.sentence)" },
      next: "Dump finer classes inside the stage (playbook.bisect.classes), or take its kernel apart."
    ).placed(by: step.outcome, layer: layer)
    if let stage = conclusion.stage { conclusion.summary += ", and in it \(stage)" }
    conclusion.summary += conclusion.cause.map { ": \($0)." } ?? "."
    return conclusion
  }
}

extension [Int] {
  /// Each once; for a sorted list.
  fileprivate var uniqued: [Int] {
    var seen: Set<Int> = []
    return filter { seen.insert($0).inserted }
  }
}
