import Comparison
import Foundation
import Planning

/// `git bisect` with the job's verdict as the oracle: PASS is good, FAIL is bad, and a commit that cannot be built or
/// gives no answer is skipped.
///
/// Each step runs the job's cells in a work tree of one commit at the host; `ROLLCALL_TREE` names it. With n commits it
/// takes about log₂(n) + 2 steps.
public struct Commits: Playbook {
  /// How a build says that the commit cannot be tested; git's own number.
  public static let skip = 125

  private let subject: Subject
  private let spec: PlaybookSpec.Commits
  /// From the good one to the bad one, both included, the oldest first.
  private let range: [String]

  /// - Parameter range: full hashes, from the good commit to the bad one.
  /// - Throws: `PlaybookError` where the job names no range, or there is nothing between its ends.
  public init(_ subject: Subject, range: [String]) throws(PlaybookError) {
    guard let spec = subject.spec.commits else {
      throw PlaybookError(
        "The job \(subject.plan.name) names no commits: add `playbook.commits` with `repository`, `good` and `bad`.")
    }
    guard range.count > 1 else {
      throw PlaybookError("There is no commit between `good` (\(spec.good)) and `bad` (\(spec.bad)).")
    }
    self.subject = subject
    self.spec = spec
    self.range = range
  }

  private enum Answer { case good, bad, skipped }

  /// Where every build between the ends fails; without one that fails, log₂(n) + 2 steps.
  public var mostRuns: Int { subject.cells.count * range.count }

  public func next(after steps: [Step]) -> Move {
    let last = range.count - 1
    guard let bad = steps.first else { return .run(experiment(last, "The last commit of the range is bad.")) }
    guard answer(bad) == .bad else { return .conclude(end(bad, "bad", spec.bad)) }
    guard steps.count > 1 else { return .run(experiment(0, "The first commit of the range is good.")) }
    guard answer(steps[1]) == .good else { return .conclude(end(steps[1], "good", spec.good)) }

    var answers = [0: Answer.good, last: .bad]
    for step in steps.dropFirst(2) {
      guard let index = range.firstIndex(where: { Self.name($0) == step.experiment.step }) else { continue }
      answers[index] = answer(step)
    }
    let firstBad = answers.filter { $0.value == .bad }.keys.min() ?? last
    let lastGood = answers.filter { $0.value == .good && $0.key < firstBad }.keys.max() ?? 0
    let open = (lastGood..<firstBad).dropFirst().filter { answers[$0] == nil }
    let middle = (lastGood + firstBad) / 2
    // The nearest to the middle that was not skipped.
    if let next = open.min(by: { (abs($0 - middle), $0) < (abs($1 - middle), $1) }) {
      return .run(
        experiment(
          next,
          "\(short(lastGood)) is good and \(short(firstBad)) is bad; \(firstBad - lastGood - 1) commits lie between."))
    }
    return .conclude(found(lastGood, firstBad, answers.filter { $0.value == .skipped }.keys.sorted(), steps))
  }

  private func answer(_ step: Step) -> Answer {
    switch step.outcome.verdict {
    case .fail: .bad
    case .pass where step.outcome.failedRuns.isEmpty: .good
    default: .skipped
    }
  }

  // MARK: Running a commit

  private static func name(_ commit: String) -> String { "commit-\(commit.prefix(12))" }

  private func short(_ index: Int) -> String { String(range[index].prefix(12)) }

  private func experiment(_ index: Int, _ hypothesis: String) -> Experiment {
    Experiment(
      step: Self.name(range[index]), hypothesis: hypothesis,
      design: "The job at commit \(short(index)), number \(index + 1) of \(range.count).",
      change: JobChange(cells: subject.cells, everywhere: [RunChange(before: checkout(range[index]))]))
  }

  /// Shell text: a work tree of the commit, made and built once a host. The lock is held while it is made; a build that
  /// failed once is not tried again.
  private func checkout(_ commit: String) -> String {
    let tree = #""$trees/\#(commit)""#
    return """
      repository=\(ShellQuoting.word(spec.repository))
      trees=\(spec.trees.map(ShellQuoting.word) ?? #""${XDG_CACHE_HOME:-$HOME/.cache}/rollcall/trees""#)
      mkdir -p "$trees" || exit \(Self.skip)
      export ROLLCALL_COMMIT=\(commit) ROLLCALL_TREE=\(tree)
      (
        flock 9 || exit \(Self.skip)
        [ -e "$ROLLCALL_TREE.built" ] && exit 0
        [ -e "$ROLLCALL_TREE.failed" ] && { echo "the build of \(commit) failed before" >&2; exit \(Self.skip); }
        git -C "$repository" worktree prune
        [ -e "$ROLLCALL_TREE" ] || git -C "$repository" worktree add --detach "$ROLLCALL_TREE" \(commit) >&2 ||
          exit \(Self.skip)
        cd "$ROLLCALL_TREE" || exit \(Self.skip)
        ( \(spec.build ?? ":")
        ) >&2 || { : >"$ROLLCALL_TREE.failed"; exit \(Self.skip); }
        : >"$ROLLCALL_TREE.built"
      ) 9>>"$ROLLCALL_TREE.lock" || exit \(Self.skip)
      """
  }

  // MARK: Ends

  /// One of the ends is not what the job says it is.
  private func end(_ step: Step, _ word: String, _ reference: String) -> Conclusion {
    if answer(step) == .skipped {
      return obstacle(step.outcome)
        ?? Conclusion(
          verdict: .inconclusive, kind: "inconclusive", summary: "The \(word) end \(reference) gives no answer.",
          evidence: [step.outcome.sentence], next: "See rollcall report \(step.outcome.sweep).")
    }
    return Conclusion(
      verdict: word == "bad" ? .pass : .fail, kind: word == "bad" ? "no-bug" : "good-is-bad",
      summary: word == "bad"
        ? "No bug: \(reference), the bad end, passes."
        : "\(reference), the good end, is wrong already: the bug is older, or it is not in this repository.",
      evidence: [step.outcome.sentence],
      next: word == "bad"
        ? "Check the environment: it may be the build or the host." : "Take an older commit as `good`.")
  }

  private func found(_ lastGood: Int, _ firstBad: Int, _ skipped: [Int], _ steps: [Step]) -> Conclusion {
    let between = skipped.filter { $0 > lastGood && $0 < firstBad }
    let step = steps.first { $0.experiment.step == Self.name(range[firstBad]) } ?? steps[0]
    let evidence = steps.map { "\($0.experiment.step): \($0.outcome.verdict.rawValue)" }
    guard between.isEmpty else {
      return Conclusion(
        verdict: .fail, kind: "commit-range",
        summary: "The first bad commit is \(short(firstBad)) or one of \(between.count) before it that were skipped.",
        subject: range[firstBad],
        evidence: evidence + ["Skipped: " + between.map(short).joined(separator: ", ") + "."],
        next: "Mend the build of the skipped commits, or read their changes."
      ).placed(by: step.outcome, keepsNext: true)
    }
    return Conclusion(
      verdict: .fail, kind: "commit",
      summary: "\(short(firstBad)) is the first bad commit; \(short(lastGood)) is good.",
      subject: range[firstBad], evidence: evidence, next: "git show \(range[firstBad])"
    ).placed(by: step.outcome, keepsNext: true)
  }
}
