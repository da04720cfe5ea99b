import Comparison
import Diagnosis
import OrderedCollections
import Planning

/// Finds the first wrong layer, then the first wrong stage inside it, by runs that dump a few layers each (seed 002,
/// phases 3 to 5): coarse layers, then those between the last good and the first bad, then finer classes of modules in
/// the one layer that is left.
///
/// Layers of one class may be wrong and the others right (every n-th, those with experts). Where a right layer stands
/// behind a wrong one, the search goes on among the layers of that class; and with the stages of the first wrong layer
/// come some layers behind it, which show whether they are wrong by themselves (`LayerClass`).
///
/// An error in one stage may be small beside what the layers carry. Where all layers are right and some add clearly more
/// than the others, the search goes on there, and the answer is that of their stages (`LayerGrowth`).
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
    // Between two of the first probes, or over one class: every second layer.
    var gap =
      layers.count <= spec.width ? 1 : max((layers.count - 2) / (spec.width - 1), (layers.count - 1) / 2) + 1
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
    // The layers that are searched: all, or those of one class.
    var pool = Array(layers.indices)
    // No layer is wrong as a whole: what is searched are those that add more than the others.
    var suspect: LayerGrowth.Suspect?

    repeat {
      let looked = positions(pool, after: good, before: bad)
      guard let step = remaining.popFirst() else {
        return .run(search(looked, good: good, bad: bad, pool, isQuiet: suspect != nil))
      }
      if let conclusion = refusal(step) { return .conclude(conclusion) }
      let wrong = looked.first { isWrong($0, step.outcome) }
      if let unclear = looked.first(where: { $0 < wrong ?? .max && !isRight($0, step.outcome) }) {
        return .conclude(notDumped(layers[unclear], step))
      }
      if wrong == nil, bad == nil || suspect != nil {
        let growth = LayerGrowth(layers, stages: coarse, steps.prefix(steps.count - remaining.count))
        guard let found = growth?.suspect(within: suspect) else { return .conclude(clean(steps, growth)) }
        suspect = found
        (good, bad) = (found.after, found.upTo)
        continue
      }
      suspect = nil
      if bad == nil { pool = members(looked, step.outcome) ?? pool }
      good = looked.last { $0 < wrong ?? .max && pool.contains($0) } ?? good
      bad = wrong ?? bad
    } while bad.map { bad in pool.contains { $0 > good && $0 < bad } } ?? true

    guard let bad else { return .conclude(clean(steps, nil)) }
    var located = steps.prefix(steps.count - remaining.count).last
    // Classes of which nothing came of that layer.
    var absent: [String] = []
    for (index, classes) in spec.classes.dropFirst().enumerated() {
      guard let step = remaining.popFirst() else {
        return .run(refine(bad, classes, showsClass: index == 0, Array(steps), isQuiet: suspect != nil))
      }
      if step.outcome.verdict != .fail, let obstacle = obstacle(step.outcome) { return .conclude(obstacle) }
      let stages = (step.outcome.judged?.rows ?? []).filter { $0.layer == layers[bad] && !coarse.contains($0.stage) }
      if stages.isEmpty { absent += classes }
      // Finer classes that are all right leave the answer where it was: the bug is between them.
      if step.outcome.verdict == .fail { located = step }
    }
    if suspect != nil, located?.outcome.verdict != .fail {
      if spec.classes.count < 2 || !absent.isEmpty { return .conclude(unresolved(layers[bad], absent, steps)) }
      return .conclude(clean(steps, LayerGrowth(layers, stages: coarse, steps)))
    }
    let layer = suspect == nil ? layers[bad] : located?.outcome.firstFailure?.layer ?? layers[bad]
    var conclusion = found(layer, located ?? steps[steps.count - 1], steps)
    if !absent.isEmpty { conclusion.evidence.append(Self.nothingCame(absent, layer)) }
    return .conclude(conclusion)
  }

  /// What is dumped of every layer that is looked at.
  private var coarse: [String] { spec.classes.first ?? [] }

  // MARK: Where to look

  /// At most `width` positions of the pool, evenly spread; with nothing known the first and the last are among them.
  private func positions(_ pool: [Int], after good: Int, before bad: Int?) -> [Int] {
    let open = pool.filter { $0 > good && $0 < bad ?? .max }
    let count = min(spec.width, open.count)
    guard count > 0 else { return [] }
    if bad == nil {
      return count == 1 ? [open[0]] : (0..<count).map { open[$0 * (open.count - 1) / (count - 1)] }
    }
    // Cuts the gap between two known layers into equal parts.
    return (1...count).map { open[max($0 * (open.count + 1) / (count + 1) - 1, 0)] }.uniqued
  }

  /// The positions of the class that the verdicts follow: a right layer behind a wrong one is of another class.
  private func members(_ looked: [Int], _ outcome: Outcome) -> [Int]? {
    let wrong = looked.filter { isWrong($0, outcome) }.map { layers[$0] }
    let right = looked.filter { isRight($0, outcome) }.map { layers[$0] }
    guard let period = LayerClass.period(wrong, right), let first = wrong.first else { return nil }
    return layers.indices.filter { (layers[$0] - first) % period == 0 }
  }

  private func search(_ positions: [Int], good: Int, bad: Int?, _ pool: [Int], isQuiet: Bool) -> Experiment {
    let names = positions.map { String(layers[$0]) }.joined(separator: ",")
    let classes = coarse
    var hypothesis =
      bad.map {
        "Layer \(layers[$0]) is wrong"
          + (good < 0 ? "; the first wrong one is it or one before it." : " and layer \(layers[good]) is right.")
      } ?? "Some layer is the first whose output is wrong."
    if isQuiet, let bad {
      hypothesis =
        "No layer is wrong as a whole, but those from \(layers[good + 1]) to \(layers[bad]) add more than the others: a "
        + "stage of one of them may be."
    }
    if pool.count < layers.count, pool.count > 1 {
      hypothesis += " Right layers stand behind it: a class, every \(layers[pool[1]] - layers[pool[0]]) layers."
    }
    return Experiment(
      step: "layers-\(layers[positions.first ?? 0])-\(layers[positions.last ?? 0])", hypothesis: hypothesis,
      design: "\(classes.joined(separator: ", ")) of layers \(names)"
        + (bad == nil ? ", everything twice: a run must agree with itself." : "."),
      // The last good layer comes along: its distance is the noise that the others are held against.
      change: change(
        (good < 0 ? [] : [layers[good]]) + positions.map { layers[$0] }, classes, repetitions: bad == nil ? 2 : 1))
  }

  /// - Parameter showsClass: dumps layers behind it, too, as many as a run of this playbook dumps.
  private func refine(_ bad: Int, _ classes: [String], showsClass: Bool, _ steps: [Step], isQuiet: Bool)
    -> Experiment
  {
    let layer = layers[bad]
    let probes = showsClass ? layers.dropFirst(bad + 1).prefix(spec.width - 1) : []
    let known = LayerClass(first: layer, stages: coarse, steps)
    return Experiment(
      step: "layer-\(layer)-\(classes.joined(separator: "-"))",
      hypothesis: isQuiet
        ? "Layer \(layer) adds more than the others, though its output passes: a stage of it is wrong."
        : "Layer \(layer) is the first wrong one; the bug is in one of its stages."
          + (known.map { " " + $0.sentence } ?? ""),
      design: "\(classes.joined(separator: ", ")) of layer \(layer) and of the one before it"
        + (probes.isEmpty
          ? "."
          : "; layers \(probes.map(String.init).joined(separator: ",")) show whether it is a class of layers."),
      // The layer before gives the noise that comes in.
      change: change(
        layers.filter { $0 == layer || $0 == layer - 1 } + probes, classes + coarse,
        repetitions: 1))
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
      expect: DumpsSpec.Expect(layers: layers, stages: coarse))
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

  /// - Parameter growth: nil where inputs and outputs of too few layers were measured.
  private func clean(_ steps: [Step], _ growth: LayerGrowth?) -> Conclusion {
    let looked = steps.map { "\($0.experiment.design) \($0.outcome.sentence)" }
    let more =
      growth == nil
      ? "What each layer adds was not seen (that takes input and output of three layers): an error in one stage that is "
        + "small beside what the layers carry would not show."
      : steps.count > 1
        ? "The layers that add more than the others have no stage that is wrong."
        : "No layer, and no stretch of layers, adds clearly more than the others."
    return Conclusion(
      verdict: .pass, kind: "no-bug",
      summary: "No bug: the first and the last layer and those between them give what the reference gives.",
      evidence: looked + [more],
      next: "What follows the layers was not looked at: add the head's class to the first list of "
        + "playbook.bisect.classes, or compare samples with rollcall playbook evaluate.")
  }

  /// A layer adds too much, and there is nothing finer to look at.
  private func unresolved(_ layer: Int, _ absent: [String], _ steps: [Step]) -> Conclusion {
    Conclusion(
      verdict: .inconclusive, kind: "not-resolved",
      summary: "The output of layer \(layer) passes, but it adds clearly more than the other layers do.",
      layer: layer,
      evidence: steps.map { "\($0.experiment.design) \($0.outcome.sentence)" }
        + (absent.isEmpty ? [] : [Self.nothingCame(absent, layer)]),
      next: absent.isEmpty
        ? "Add a list of finer classes to playbook.bisect.classes: one of its stages may be wrong."
        : "Correct the names in playbook.bisect.classes: one of its stages may be wrong.")
  }

  private static func nothingCame(_ classes: [String], _ layer: Int) -> String {
    "Of layer \(layer) nothing came of the classes \(classes.joined(separator: ", ")): the engine has none of that name "
      + "there (playbook.bisect.classes)."
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
    if let pattern = LayerClass(first: layer, stages: coarse, steps) {
      conclusion.evidence.append(pattern.sentence)
      if let name = pattern.name {
        conclusion.subject = name
        conclusion.summary += " A class of layers: \(name)."
      }
      if let next = pattern.next { conclusion.next += " " + next }
    } else if layers.last != layer {
      conclusion.evidence.append(
        "Whether it is a class of layers was not seen: what it and the layers behind it add to "
          + "\(coarse.joined(separator: ", ")) could not be told.")
    }
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
