import Comparison
import Foundation
import OrderedCollections
import Planning
import Playbooks
import Testing

@Suite struct CommitsTests {
  private static func range(_ count: Int) -> [String] {
    (0..<count).map { index in String(repeating: "0", count: 8) + "\(1000 + index)" + String(repeating: "f", count: 28)
    }
  }

  private func play(
    _ count: Int, isBuilt: Bool = false, answer: @escaping (Int) -> Verdict
  ) throws -> (conclusion: Conclusion, steps: [Step]) {
    let range = Self.range(count)
    let subject = try Subjects.subject(playbook: "commits: {repository: /srv/it's here, good: a, bad: b, build: make}")
    return try Play.through(Commits(subject, range: range)) { experiment in
      let index = try #require(range.firstIndex { experiment.step == "commit-\($0.prefix(12))" })
      let before = try #require(experiment.change.everywhere.first?.before)
      #expect(before.contains("ROLLCALL_COMMIT=\(range[index])"))
      #expect(before.contains(#"repository='/srv/it'\''s here'"#))
      let verdict = answer(index)
      return Play.outcome(
        experiment, verdict, failed: verdict == .inconclusive && !isBuilt ? ["run x failed: exit code 125"] : [])
    }
  }

  @Test func theFirstBadCommitIsFoundInLogarithmicSteps() throws {
    for count in [2, 3, 4, 10, 33, 100] {
      for first in 1..<count {
        let (conclusion, steps) = try play(count) { $0 >= first ? .fail : .pass }
        #expect(conclusion.kind == "commit")
        #expect(conclusion.subject == Self.range(count)[first])
        #expect(Double(steps.count) <= log2(Double(count)).rounded(.up) + 2)
      }
    }
  }

  @Test func whatCannotBeBuiltIsSkipped() throws {
    // 5 is the middle of 0...10.
    let (found, _) = try play(11) { $0 == 5 ? .inconclusive : $0 >= 8 ? .fail : .pass }
    #expect(found.subject == Self.range(11)[8])
    // It was built and ran, and gives no answer: skipped, too, neither good nor bad.
    let (unclear, steps) = try play(11, isBuilt: true) { $0 == 5 ? .inconclusive : $0 >= 8 ? .fail : .pass }
    #expect(unclear.subject == Self.range(11)[8])
    #expect(steps.contains { $0.outcome.verdict == .inconclusive && $0.outcome.failedRuns.isEmpty })
    let (range, _) = try play(11) { [6, 7].contains($0) ? .inconclusive : $0 >= 8 ? .fail : .pass }
    #expect(range.kind == "commit-range")
    #expect(range.summary.contains("one of 2 before it"))
  }

  @Test func theEndsMustBeWhatTheJobSays() throws {
    let (clean, steps) = try play(9) { _ in .pass }
    #expect(clean.kind == "no-bug")
    #expect(clean.verdict == .pass)
    #expect(steps.count == 1)
    #expect(try play(9) { _ in .fail }.conclusion.kind == "good-is-bad")
    #expect(try play(9) { $0 == 0 ? .inconclusive : .fail }.conclusion.verdict == .inconclusive)
  }
}
