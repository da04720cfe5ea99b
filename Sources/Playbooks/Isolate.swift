import Comparison
import OrderedCollections
import Planning

/// Strips the target to its minimal configuration, then switches one component on a run, on top of those before it,
/// until it breaks (seed 000, phase 3).
public struct Isolate: Playbook {
  private let subject: Subject
  private let order: [String]

  /// - Throws: `PlaybookError` where the job names no component.
  public init(_ subject: Subject) throws(PlaybookError) {
    self.subject = subject
    order = subject.spec.isolate ?? Array(subject.spec.components.keys)
    guard !order.isEmpty else {
      throw PlaybookError("The job \(subject.plan.name) names nothing to isolate: add `playbook.components`.")
    }
  }

  /// As configured, minimal, all components but the last on top of one another, and one alone.
  public var mostRuns: Int { subject.cells.count * (order.count + 2) }

  public func next(after steps: [Step]) -> Move {
    guard let whole = steps.first else {
      return .run(
        experiment(
          "as-configured", order.count, hypothesis: "The bug shows in the configuration as it is.",
          design: "Everything on, against the reference."))
    }
    switch whole.outcome.verdict {
    case .pass:
      if let obstacle = obstacle(whole.outcome) { return .conclude(obstacle) }
      return .conclude(
        Conclusion(
          verdict: .pass, kind: "no-bug",
          summary: "No bug: with everything on, the target gives what the reference gives.",
          evidence: [whole.outcome.sentence],
          next: "If users see wrong output, reproduce their configuration in this job first."))
    case .inconclusive: return .conclude(obstacle(whole.outcome) ?? core(whole))
    case .fail: break
    }
    guard steps.count > 1 else {
      return .run(
        experiment(
          "minimal", 0, hypothesis: "One of \(order.joined(separator: ", ")) brings the bug.",
          design: "All of them off, against the reference."))
    }
    if steps[1].outcome.verdict == .fail { return .conclude(core(steps[1])) }
    if let obstacle = obstacle(steps[1].outcome) { return .conclude(obstacle) }

    for (index, name) in order.enumerated() {
      // With the last one on, it is the configuration of the first step.
      guard index < order.count - 1 else { return confirm(index, whole, Array(steps.dropFirst(index + 2))) }
      guard index + 2 < steps.count else {
        return .run(
          experiment(
            "with-\(name)", index + 1, hypothesis: "\(name) brings the bug.",
            design: index == 0
              ? "\(name) alone, against the reference."
              : "\(name) on top of \(order[..<index].joined(separator: ", ")), against the reference."))
      }
      let step = steps[index + 2]
      if step.outcome.verdict == .fail { return confirm(index, step, Array(steps.dropFirst(index + 3))) }
      if let obstacle = obstacle(step.outcome) { return .conclude(obstacle) }
    }
    return .conclude(core(whole))
  }

  /// Whether the component breaks it alone, or only together with those before it.
  private func confirm(_ index: Int, _ broken: Step, _ rest: [Step]) -> Move {
    let name = order[index]
    var summary = "\(name) brings the bug: right without it, wrong with it"
    var evidence = ["\(broken.experiment.step): \(broken.outcome.sentence)"]
    if index > 0 {
      guard let alone = rest.first else {
        return .run(
          Experiment(
            step: "only-\(name)", hypothesis: "\(name) brings the bug by itself.",
            design: "\(name) alone, against the reference.", change: change { $0 == index }))
      }
      if alone.outcome.verdict != .fail, let obstacle = obstacle(alone.outcome) { return .conclude(obstacle) }
      evidence.append("\(alone.experiment.step): \(alone.outcome.sentence)")
      summary +=
        alone.outcome.verdict == .fail
        ? ", and wrong with it alone" : ", but only together with \(order[..<index].joined(separator: ", "))"
    }
    return .conclude(
      Conclusion(
        verdict: .fail, kind: "component", summary: summary + ".",
        subject: name, evidence: evidence,
        next: "Look into \(name); rollcall playbook bisect finds the layer with it on."
      ).placed(by: broken.outcome))
  }

  private func core(_ step: Step) -> Conclusion {
    Conclusion(
      verdict: .fail, kind: "core-path",
      summary: "Wrong with everything off: the bug is in a core path (weight loading, attention, KV cache), in none of "
        + "\(order.joined(separator: ", ")).",
      evidence: [step.outcome.sentence], next: "rollcall playbook weights, then rollcall playbook bisect."
    ).placed(by: step.outcome)
  }

  /// The first `count` components on, the others off.
  private func experiment(_ step: String, _ count: Int, hypothesis: String, design: String) -> Experiment {
    Experiment(step: step, hypothesis: hypothesis, design: design, change: change { $0 < count })
  }

  private func change(_ isOn: (Int) -> Bool) -> JobChange {
    JobChange(
      cells: subject.cells, target: order.enumerated().map { subject.change($0.element, on: isOn($0.offset)) })
  }
}
