import Foundation
import TestSupport
import Testing

/// `evaluate` and `harness` over the sample evaluation, as a person runs them.
@Suite(.serialized) struct EvaluationPlaybookTests {
  private func conclusion(_ outcome: RollcallBinary.Outcome) throws -> [String: Any] {
    try #require(try outcome.json()["conclusion"] as? [String: Any], "\(outcome.output) \(outcome.errorOutput)")
  }

  private static let bug = " --bug wrong-scale"

  @Test(.timeLimit(.minutes(10))) func aWrongKernelScoresLessBeyondNoise() async throws {
    try await SampleJob.with("evaluate") { rollcall, scratch in
      let outcome = try await rollcall("playbook", "evaluate", "job.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      #expect(try conclusion(outcome)["kind"] as? String == "worse-wrong")
      #expect(try outcome.json()["runs"] as? Int == 2)

      // The note of the step has the scores; the stored playbook says the same again.
      let id = try #require(try outcome.json()["id"] as? String)
      let note = try #require(scratch.text("store/playbooks/\(id)/notes/01_evaluation.md"))
      #expect(note.contains("| backend=plain | ") && note.contains(" of 240"))
      let shown = try await rollcall("playbook", "show", "last", "--json")
      #expect(shown.status == 1)
      #expect(try conclusion(shown)["summary"] as? String == conclusion(outcome)["summary"] as? String)
    }
  }

  @Test(.timeLimit(.minutes(10)), arguments: [("gibberish", "worse-gibberish"), ("empty", "worse-empty")])
  func theKindOfWrongAnswersIsNamed(_ bug: String, _ kind: String) async throws {
    try await SampleJob.with("evaluate", replacing: [("wrong-scale", bug), ("The planted kernel", "The kernel")]) {
      rollcall, _ in
      let outcome = try await rollcall("playbook", "evaluate", "job.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      #expect(try conclusion(outcome)["kind"] as? String == kind)
    }
  }

  @Test(.timeLimit(.minutes(10))) func whatHasNoBugIsNoBug() async throws {
    for job in ["evaluate", "harness"] {
      let bug = job == "evaluate" ? Self.bug : " --bug no-examples"
      try await SampleJob.with(job, replacing: [(bug, "")]) { rollcall, _ in
        let outcome = try await rollcall("playbook", job, "job.yaml", "--json")
        #expect(outcome.status == 0, "\(outcome.errorOutput) \(outcome.output)")
        #expect(try conclusion(outcome)["kind"] as? String == "no-bug")
        #expect(try outcome.steps() == (job == "evaluate" ? ["evaluation"] : ["reference", "target"]))
      }
    }
  }

  @Test(.timeLimit(.minutes(10))) func aBrokenHarnessIsFoundBeforeTheTargetRuns() async throws {
    try await SampleJob.with("harness") { rollcall, _ in
      let outcome = try await rollcall("playbook", "harness", "job.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      #expect(try conclusion(outcome)["kind"] as? String == "harness")
      #expect(try outcome.json()["runs"] as? Int == 1)
      let evidence = try #require(try conclusion(outcome)["evidence"] as? [String])
      #expect(evidence.contains { $0.contains("meta-text") && $0.contains("prompt's format") })
    }
    // The same bug in the target alone is the target's.
    try await SampleJob.with("harness", replacing: [("no-examples", "meta-text")]) { rollcall, _ in
      let outcome = try await rollcall("playbook", "harness", "job.yaml", "--json")
      #expect(outcome.status == 1, "\(outcome.errorOutput)")
      #expect(try conclusion(outcome)["kind"] as? String == "worse-meta-text")
      #expect(try outcome.json()["runs"] as? Int == 2)
    }
  }

  @Test(.timeLimit(.minutes(10))) func aRunWithoutSamplesIsNoAnswer() async throws {
    try await SampleJob.with("evaluate", replacing: [("}/samples.jsonl", "}/other.jsonl")]) { rollcall, _ in
      let outcome = try await rollcall("playbook", "evaluate", "job.yaml", "--json")
      #expect(outcome.status == 2, "\(outcome.errorOutput)")
      #expect(try conclusion(outcome)["kind"] as? String == "no-samples")
    }
  }

  @Test func refusedAntiPatternsRunNothing() async throws {
    try await SampleJob.with("evaluate", replacing: [(Self.bug, " --fewshot 0")]) { rollcall, scratch in
      let outcome = try await rollcall("playbook", "evaluate", "job.yaml")
      #expect(outcome.status == 65)
      #expect(outcome.errorOutput.contains("[zero-shot-diagnosis]"))
      #expect(!FileManager.default.fileExists(atPath: scratch.path("store/playbooks")))
    }
  }

  @Test func twoFilesAreComparedWithoutAnyRun() async throws {
    try await Scratch.with { scratch in
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      for (name, wrong) in [("a", 5), ("b", 5), ("c", 2)] {
        let lines = (0..<120).map { index in
          #"{"id": \#(index), "prompt": "p\#(index)", "reference": "A", "output": "\#(index % wrong == 0 ? "B" : "A")", "correct": \#(index % wrong != 0)}"#
        }
        try scratch.write("\(name).jsonl", lines.joined(separator: "\n"))
      }
      let same = try await rollcall("playbook", "evaluate", "--reference", "a.jsonl", "--target", "b.jsonl", "--json")
      #expect(same.status == 0, "\(same.errorOutput)")
      #expect(try same.json()["schema"] as? String == "rollcall.evaluation/1")
      let worse = try await rollcall("playbook", "evaluate", "--reference", "a.jsonl", "--target", "c.jsonl")
      #expect(worse.status == 1)
      #expect(worse.output.hasPrefix("FAIL  The target is worse beyond noise"))
      try scratch.write("cut.jsonl", String(try #require(scratch.text("a.jsonl")).dropLast(20)))
      let cut = try await rollcall("playbook", "evaluate", "--reference", "a.jsonl", "--target", "cut.jsonl")
      #expect(cut.status == 2)
      #expect(cut.output.contains("cut.jsonl:120: "))
      try scratch.write("garbage.jsonl", "no sample\nnor this\n")
      let garbage = try await rollcall("playbook", "evaluate", "--reference", "a.jsonl", "--target", "garbage.jsonl")
      #expect(garbage.status == 65)
      #expect(
        garbage.errorOutput.contains("garbage.jsonl:1: ") && garbage.errorOutput.split(separator: "\n").count == 1)
      let missing = try await rollcall("playbook", "evaluate", "--reference", "a.jsonl", "--target", "none.jsonl")
      #expect(missing.status == 65)
      let half = try await rollcall("playbook", "evaluate", "--reference", "a.jsonl")
      #expect(half.status == 64)
    }
  }
}
