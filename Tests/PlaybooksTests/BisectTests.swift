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
    /// Beside the first, every so manyth layer is wrong by itself.
    var every = 0
    /// A layer behind a wrong one is wrong, too, by what comes in.
    var carries = true
    /// Layers with an MLP in the place of the experts.
    var dense: Set<Int> = []
    /// Every layer adds so much of noise; nil: none. The bug then is small beside what the layers carry: its layer's
    /// output passes, and its stage's does not.
    var noise: Double?
    /// What the layer with the bug adds, in units of the noise.
    var excess = 5.0
    /// Tensors of a layout other than ATOM's: what comes in, what goes out.
    var tensors = (input: "input", output: "hidden")

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
          for name in order { rows += self.rows(layer, dense.contains(layer) && name == "MoE" ? "MLP" : name) }
        }
        let verdict = Verdict.combined(rows.map(\.verdict))
        let first = rows.first { $0.verdict == .fail && $0.tensor == "hidden" }
        return Play.outcome(
          experiment, verdict, rows: rows,
          findings: first.map { [Play.finding("double-reduce", layer: $0.layer, stage: $0.stage)] } ?? [])
      }
    }

    func isFaulty(_ layer: Int) -> Bool {
      guard let bug, !dense.contains(layer) else { return false }
      return layer == bug || every > 0 && layer > bug && (layer - bug) % every == 0
    }

    /// What comes in and what goes out; each faulty layer adds 0.3 to what the residual stream carries, others little.
    private func rows(_ layer: Int, _ name: String) -> [Outcome.Row] {
      let before = carries ? Double((0..<layer).count(where: isFaulty)).squareRoot() * 0.3 : 0
      let isLate = name == "Block" || name == stage || stage == "Attention"
      let own = isFaulty(layer) && isLate ? 0.3 : 0.1 * before
      func row(_ tensor: String, _ relL2: Double, isWrong: Bool? = nil) -> Outcome.Row {
        Outcome.Row(
          layer: layer, stage: name, tensor: tensor, verdict: isWrong ?? (relL2 > 0.1) ? .fail : .pass, relL2: relL2)
      }
      if let noise {
        func sum(_ count: Int) -> Double {
          let bug = (bug.map { $0 < count } ?? false) ? excess * excess : 0
          return noise * (Double(count) * (1 + 0.05 * Double(count % 3)) + bug).squareRoot()
        }
        guard name != stage else {
          return [row("input", sum(layer)), row("hidden", isFaulty(layer) ? 0.2 : 0.05, isWrong: isFaulty(layer))]
        }
        return [row(tensors.input, sum(layer), isWrong: false), row(tensors.output, sum(layer + 1), isWrong: false)]
      }
      return [
        row("input_fields.positions", 0), row(tensors.input, before),
        row(tensors.output, (before * before + own * own).squareRoot()),
      ]
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

  private func plays(_ model: Model) throws -> Conclusion {
    let (conclusion, steps) = try model.play()
    let runs = steps.reduce(0) { $0 + $1.outcome.runCount }
    #expect(Double(runs) <= 2 * log2(Double(model.layers)) + 3, "\(steps.map(\.experiment.step))")
    #expect(conclusion.kind == "located")
    #expect(conclusion.layer == model.bug)
    return conclusion
  }

  @Test func oneLayerAloneIsToldFromAClass() throws {
    for bug in 0..<34 {
      let conclusion = try plays(Model(layers: 36, bug: bug))
      #expect(conclusion.subject == nil)
      #expect(
        conclusion.evidence.contains { $0.hasPrefix("Layer \(bug) alone is wrong by itself") }, "\(conclusion.evidence)"
      )
    }
  }

  @Test func everySecondOrThirdWrongLayerIsAClass() throws {
    for (every, name) in [(2, "every second layer"), (3, "every third layer"), (4, "every 4th layer")] {
      for bug in 0..<24 {
        let conclusion = try plays(Model(layers: 36, bug: bug, every: every))
        #expect(conclusion.subject == name, "from \(bug): \(conclusion.evidence)")
        #expect(conclusion.summary.contains(name))
        #expect(conclusion.next.contains("the branch that these layers take"))
      }
    }
  }

  @Test func everyLayerFromOneOnIsTheOtherBranch() throws {
    let conclusion = try plays(Model(layers: 36, bug: 3, every: 1))
    #expect(conclusion.subject == "every layer from 3 on")
    #expect(conclusion.next.contains("the first 3 layers"))
    #expect(try plays(Model(layers: 36, bug: 0, every: 1)).subject == "every layer")
  }

  @Test func layersWithExpertsAreAClassAgainstDenseOnes() throws {
    // Experts in 5, 6, 8, 9, …: no number tells it, the stages do.
    let dense = Set((0..<36).filter { $0 < 5 || $0 == 7 })
    var model = Model(layers: 36, bug: 5, every: 1)
    model.dense = dense
    let conclusion = try plays(model)
    #expect(conclusion.subject == "layers with MoE", "\(conclusion.evidence)")
  }

  @Test func whereRightLayersStandBehindWrongOnesTheClassIsSearched() throws {
    for every in 2...6 {
      for bug in 0..<every {
        var model = Model(layers: 36, bug: bug, every: every)
        model.carries = false
        let (conclusion, steps) = try model.play()
        let runs = steps.reduce(0) { $0 + $1.outcome.runCount }
        #expect(Double(runs) <= 2 * log2(36.0) + 3)
        // Where no probe of the first step is wrong, it is not seen.
        guard conclusion.kind != "no-bug" else { continue }
        #expect(conclusion.kind == "located")
        #expect(model.isFaulty(try #require(conclusion.layer)), "\(every), \(bug)")
      }
    }
    var second = Model(layers: 36, bug: 1, every: 2)
    second.carries = false
    let (conclusion, steps) = try second.play()
    #expect(conclusion.layer == 1, "17 and 35 are wrong, 26 between them is right: the odd ones are searched")
    #expect(steps[1].experiment.hypothesis.contains("every 2 layers"))
    #expect(conclusion.subject == "every second layer")
  }

  /// A wrong stage whose error drowns in the residual stream: no layer's output fails.
  @Test func anErrorSmallerThanWhatTheLayersCarryIsFound() throws {
    for layers in [16, 36, 61] {
      for bug in 0..<layers {
        let (conclusion, steps) = try Model(layers: layers, bug: bug, noise: 0.005).play()
        let runs = steps.reduce(0) { $0 + $1.outcome.runCount }
        #expect(Double(runs) <= 2 * log2(Double(layers)) + 3, "\(steps.map(\.experiment.step))")
        #expect(conclusion.kind == "located", "\(bug) of \(layers): \(steps.map(\.experiment.step))")
        #expect(conclusion.layer == bug)
        #expect(conclusion.stage == "MoE")
        #expect(steps.last?.experiment.hypothesis.contains("though its output passes") == true)
        if bug < layers / 2 {
          #expect(conclusion.evidence.contains { $0.hasPrefix("Layer \(bug) alone is wrong by itself") })
        }
      }
    }
    let (clean, steps) = try Model(layers: 36, bug: nil, noise: 0.005).play()
    #expect(clean.kind == "no-bug" && steps.count == 1)
    #expect(clean.evidence.contains { $0.contains("No layer, and no stretch of layers") })
    // Without finer classes it is no PASS.
    let coarse = try Model(layers: 36, bug: 20, classes: "[[Block]]", noise: 0.005).play().conclusion
    #expect(coarse.kind == "not-resolved" && coarse.verdict == .inconclusive)
  }

  /// Finer classes that no module bears: they show nothing, and that is said.
  @Test func classesOfWhichNothingCameAreNamed() throws {
    var model = Model(layers: 36, bug: 20, classes: "[[Block], [Atention, MoEE]]")
    let (loud, _) = try model.play()
    #expect(loud.kind == "located" && loud.layer == 20)
    #expect(loud.evidence.contains { $0.contains("nothing came of the classes Atention, MoEE") }, "\(loud.evidence)")
    model.noise = 0.005
    let (quiet, _) = try model.play()
    #expect(quiet.kind == "not-resolved" && quiet.verdict == .inconclusive, "what was not looked at is no PASS")
  }

  @Test func whatALayerAddsIsSeenInAnyLayout() throws {
    var model = Model(layers: 36, bug: 3, every: 1)
    model.tensors = ("input_fields.hidden_states", "output.0")
    #expect(try plays(model).subject == "every layer from 3 on")
    model.tensors = ("none", "value")
    let unknown = try plays(model)
    #expect(unknown.subject == nil)
    #expect(unknown.evidence.contains { $0.contains("was not seen") }, "\(unknown.evidence)")
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
