import Comparison
import Foundation
import OrderedCollections
import Planning
import Playbooks
import Testing

@Suite struct BisectTests {
  /// A model whose layer `bug` is wrong in `stage`; everything behind is wrong, too.
  private struct Model {
    var layers: Int
    var bug: Int?
    var stage = "MoE"
    var width = 5
    var classes = "[[Block], [Attention, MoE]]"

    func play() throws -> (conclusion: Conclusion, steps: [Step]) {
      let subject = try Subjects.subject(
        playbook: "bisect: {layers: 0-\(layers - 1), width: \(width), classes: \(classes)}")
      return try Play.through(Bisect(subject)) { experiment in
        let env = try #require(experiment.change.everywhere.first?.env)
        let dumped = try #require(env["ATOM_FWD_DUMP_LAYERS"]).split(separator: ",").compactMap { Int($0) }
        let classes = try #require(env["ATOM_FWD_DUMP_BLOCK_CLASS"]).split(separator: ",").map(String.init)
        let order = ["Attention", "MoE", "Block"].filter(classes.contains)
        #expect(dumped.count <= width + 1)
        var rows: [Outcome.Row] = []
        for layer in dumped {
          for name in order { rows.append(row(layer, name, order)) }
        }
        let verdict = Verdict.combined(rows.map(\.verdict))
        let first = rows.first { $0.verdict == .fail }
        return Play.outcome(
          experiment, verdict, rows: rows,
          findings: first.map { [Play.finding("double-reduce", layer: $0.layer, stage: $0.stage)] } ?? [])
      }
    }

    private func row(_ layer: Int, _ name: String, _ order: [String]) -> Outcome.Row {
      let isWrong =
        bug.map {
          layer > $0 || layer == $0 && (name == "Block" || name == stage || stage == "Attention" && name == "MoE")
        } ?? false
      return Outcome.Row(layer: layer, stage: name, tensor: "hidden", verdict: isWrong ? .fail : .pass)
    }
  }

  @Test func everyLayerOfEveryDepthIsFoundWithinTheBound() throws {
    for layers in [1, 2, 3, 4, 5, 7, 12, 24, 36, 61, 80, 128] {
      for bug in 0..<layers {
        let (conclusion, steps) = try Model(layers: layers, bug: bug).play()
        #expect(conclusion.kind == "located")
        #expect(conclusion.layer == bug, "of \(layers)")
        #expect(conclusion.stage == "MoE")
        #expect(conclusion.cause == "double-reduce")
        let runs = steps.reduce(0) { $0 + $1.outcome.runCount }
        // One step over everything twice and one into the layer are the least.
        let bound = max(2 * log2(Double(layers)) + 3, 6)
        #expect(Double(runs) <= bound, "\(layers) layers, bug in \(bug): \(steps.map(\.experiment.step))")
      }
    }
  }

  @Test func theFirstWrongStageOfTheLayerIsNamed() throws {
    let (conclusion, _) = try Model(layers: 36, bug: 17, stage: "Attention").play()
    #expect(conclusion.stage == "Attention")
  }

  @Test func aNarrowDumpTakesMoreStepsAndFindsTheSame() throws {
    for bug in 0..<36 { #expect(try Model(layers: 36, bug: bug, width: 2).play().conclusion.layer == bug) }
  }

  @Test func aCleanModelIsNoBugAfterOneStep() throws {
    let (conclusion, steps) = try Model(layers: 36, bug: nil).play()
    #expect(conclusion.verdict == .pass)
    #expect(conclusion.kind == "no-bug")
    #expect(steps.count == 1)
  }

  @Test func aRunThatDoesNotAgreeWithItselfIsRefused() throws {
    let subject = try Subjects.subject(playbook: "bisect: {layers: 0-35}")
    let (conclusion, steps) = try Play.through(Bisect(subject)) { experiment in
      #expect(experiment.change.repetitions == 2)
      return Play.outcome(experiment, .fail, findings: [Play.finding("nondeterminism", layer: 8, stage: "MoE")])
    }
    #expect(conclusion.kind == "nondeterministic")
    #expect(conclusion.verdict == .inconclusive)
    #expect(steps.count == 1)
  }

  @Test func aLayerThatIsMissingBeforeTheFirstWrongOneEndsIt() throws {
    let subject = try Subjects.subject(playbook: "bisect: {layers: 0-35}")
    let (conclusion, _) = try Play.through(Bisect(subject)) { experiment in
      Play.outcome(
        experiment, .fail,
        rows: [
          Outcome.Row(layer: 0, stage: "Block", tensor: "hidden", verdict: .pass),
          Outcome.Row(layer: 8, stage: "Block", tensor: "hidden", verdict: .inconclusive),
          Outcome.Row(layer: 17, stage: "Block", tensor: "hidden", verdict: .fail),
        ])
    }
    #expect(conclusion.kind == "not-dumped")
    #expect(conclusion.verdict == .inconclusive)
    #expect(conclusion.layer == 8)
  }

  @Test func layersMustBeKnown() throws {
    let subject = try Subjects.subject()
    #expect(throws: PlaybookError.self) { try Bisect(subject) }
  }
}
