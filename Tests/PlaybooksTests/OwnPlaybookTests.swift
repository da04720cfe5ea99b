import Comparison
import Foundation
import OrderedCollections
import Planning
import Playbooks
import Testing

@Suite struct OwnPlaybookTests {
  private func move(_ answer: String, steps: [Step] = []) throws -> Move {
    try OwnPlaybook(Subjects.components()).move(Data(answer.utf8), after: steps)
  }

  @Test func aMoveIsRead() throws {
    let answer = """
      {"run": {"step": "one", "hypothesis": "h", "design": "d", "cells": [{"world_size": 4}], "repeat": 2,
       "on": ["fusion"], "env": {"A": "1"}, "arguments": ["-x"], "layers": [3]}}
      """
    guard case .run(let experiment) = try move(answer) else {
      Issue.record("no experiment")
      return
    }
    #expect(experiment.change.cells == [["world_size": .int(4)]])
    #expect(experiment.change.repetitions == 2)
    #expect(experiment.words == ["fusion", "-x"])
    #expect(experiment.change.everywhere == [RunChange(env: ["A": "1"])])
    #expect(experiment.change.expect?.layers == [3])
    let end = #"{"conclude": {"verdict": "fail", "kind": "k", "summary": "s", "next": "n", "layer": 3}}"#
    #expect(
      try move(end)
        == .conclude(Conclusion(verdict: .fail, kind: "k", summary: "s", layer: 3, evidence: [], next: "n")))
  }

  @Test(
    "what is no move is refused",
    arguments: [
      ("", "no move"), ("{}", "one of the keys run and conclude"),
      (#"{"run": {"step": "a", "hypothesis": "h"}}"#, "lacks the key design"),
      (#"{"run": {"step": "../a", "hypothesis": "h", "design": "d"}}"#, "letters, digits and dashes"),
      (#"{"run": {"step": "a", "hypothesis": "h", "design": "d", "on": ["fuzion"]}}"#, "the component \"fuzion\""),
      (#"{"run": {"step": "a", "hypothesis": "h", "design": "d", "cells": [{"tp": 1}]}}"#, "the axis \"tp\""),
      (#"{"run": {"step": "a", "hypothesis": "h", "design": "d", "env": {"ROLLCALL_RUN": "x"}}}"#, "may not set"),
      (#"{"run": {"step": "a", "hypothesis": "h", "design": "d", "argument": ["-x"]}}"#, "Did you mean arguments?"),
      (#"{"run": {"step": "a", "hypothesis": "h", "design": "d"}, "note": 1}"#, "the unknown key \"note\""),
      (
        #"{"conclude": {"verdict": "fail", "kind": "k", "summary": "s", "next": "n", "layr": 3}}"#,
        "Did you mean layer?"
      ),
      (#"{"conclude": {"verdict": "maybe", "kind": "k", "summary": "s", "next": "n"}}"#, "conclude.verdict"),
    ])
  func refused(answer: String, words: String) throws {
    let error = #expect(throws: PlaybookError.self) { try move(answer) }
    #expect(error?.message.contains(words) == true, "\(error?.message ?? "")")
  }

  @Test func theEvidenceIsPlainJSON() throws {
    let subject = try Subjects.components()
    let experiment = Experiment(
      step: "one", hypothesis: "h", design: "d", change: JobChange(cells: subject.cells))
    let row = Outcome.Row(layer: 2, stage: "MoE", tensor: "hidden", verdict: .fail, cos: 0.5, relL2: 0.25)
    let outcome = Play.outcome(
      experiment, .fail, rows: [row], findings: [Play.finding("double-reduce", layer: 2, stage: "MoE")])
    let data = try OwnPlaybook(subject).evidence([Step(experiment: experiment, outcome: outcome)])
    let object = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    #expect(object["schema"] as? String == "rollcall.evidence/1")
    let job = try #require(object["job"] as? [String: Any])
    #expect(job["components"] as? [String] == ["graphs", "fusion", "streams"])
    #expect((job["target"] as? [String: Any])?["world_size"] as? Int == 2)
    let step = try #require((object["steps"] as? [[String: Any]])?.first)
    #expect(step["verdict"] as? String == "fail")
    let pair = try #require((step["pairs"] as? [[String: Any]])?.first)
    #expect((pair["findings"] as? [[String: Any]])?.first?["cause"] as? String == "double-reduce")
    #expect((pair["rows"] as? [[String: Any]])?.first?["rel_l2"] as? Double == 0.25)
  }
}
