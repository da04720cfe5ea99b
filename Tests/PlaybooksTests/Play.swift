import Comparison
import Diagnosis
import OrderedCollections
import Planning
import Playbooks
import Testing

/// Plays a playbook against an answer for every experiment.
enum Play {
  struct Endless: Error {}

  static func through(
    _ playbook: any Playbook, answer: (Experiment) throws -> Outcome
  ) throws -> (conclusion: Conclusion, steps: [Step]) {
    var steps: [Step] = []
    while steps.count < 100 {
      switch playbook.next(after: steps) {
      case .conclude(let conclusion):
        let runs = steps.reduce(0) { $0 + $1.outcome.runCount }
        #expect(runs <= playbook.mostRuns, "\(steps.map(\.experiment.step))")
        return (conclusion, steps)
      case .run(let experiment): steps.append(Step(experiment: experiment, outcome: try answer(experiment)))
      }
    }
    throw Endless()
  }

  static func outcome(
    _ experiment: Experiment, _ verdict: Verdict, rows: [Outcome.Row] = [], findings: [Finding] = [],
    failed: [String] = []
  ) -> Outcome {
    Outcome(
      sweep: "sweep-\(experiment.step)", verdict: verdict, sentence: "\(experiment.step): \(verdict)",
      runCount: experiment.change.cells.count * experiment.change.repetitions, failedRuns: failed,
      pairs: [
        Outcome.Pair(
          kind: "reference", reference: experiment.change.cells.first ?? [:],
          target: experiment.change.cells.last ?? [:], verdict: verdict, findings: findings, rows: rows)
      ])
  }

  static func finding(_ cause: String, layer: Int? = nil, stage: String? = nil) -> Finding {
    Finding(
      cause: cause, layer: layer, stage: stage, confidence: .likely, evidence: [:], summary: "It looks like \(cause).",
      next: "Look at \(cause).")
  }
}

/// Jobs as a user writes them.
enum Subjects {
  static func subject(
    matrix: String = "{world_size: [1, 2]}", reference: String = "{world_size: 1}", playbook: String = ""
  ) throws -> Subject {
    let section = playbook.isEmpty ? "" : "playbook:\n  " + playbook.replacing("\n", with: "\n  ")
    let text = """
      name: sample
      matrix: \(matrix)
      run: {command: engine}
      dumps: {layout: atom}
      compare: {reference: \(reference)}
      \(section)
      """
    return try Subject(Planner.plan(text: text, path: "/job.yaml"))
  }

  static func ladder(strategies: [String] = []) throws -> Subject {
    try subject(
      matrix: "{world_size: [1, 2, 4, 8]}",
      playbook: """
        components:
          one-shot: {on: {arguments: [--one-shot]}}
          tree: {on: {arguments: [--tree]}}
        ladder: {strategies: [\(strategies.joined(separator: ", "))]}
        """)
  }

  /// Three components, each with a word of its own behind the command.
  static func components(_ more: String = "") throws -> Subject {
    try subject(
      playbook: """
        components:
          graphs: {on: {arguments: graphs}}
          fusion: {on: {arguments: fusion}}
          streams: {on: {arguments: streams}}
        \(more)
        """)
  }
}

extension Experiment {
  /// Words that the target's command gets.
  var words: Set<String> { Set(change.target.flatMap(\.arguments)) }
}
