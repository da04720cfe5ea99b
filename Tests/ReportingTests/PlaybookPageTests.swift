import Comparison
import OrderedCollections
import Planning
import Playbooks
import Reporting
import Testing

@Suite struct PlaybookPageTests {
  private func report(name hostile: String = "MoE") -> PlaybookReport {
    let row = Outcome.Row(layer: 22, stage: hostile, tensor: "hidden", verdict: .fail, cos: 0.5, relL2: 0.25, alpha: 2)
    let outcome = Outcome(
      sweep: "sweep-1", verdict: .fail, sentence: "The comparison fails.", runCount: 2,
      pairs: [Outcome.Pair(kind: "reference", reference: [:], target: [:], verdict: .fail, rows: [row])])
    let experiment = Experiment(
      step: "layers-0-35", hypothesis: "Some layer is wrong.", design: "Block of layers 0,35.",
      change: JobChange(cells: []))
    return PlaybookReport(
      id: "bisect-1", name: "bisect", job: "job", steps: [Step(experiment: experiment, outcome: outcome)],
      conclusion: Conclusion(
        verdict: .fail, kind: "located", summary: "Layer 22 is the first wrong one.", layer: 22, stage: hostile,
        cause: "double-reduce", evidence: ["It is twice the reference."], next: "Look for a second all-reduce."))
  }

  @Test func thePathAndTheAnswerAreOnThePage() throws {
    let page = report().html(sweeps: "../../sweeps")
    for text in [
      "Layer 22 is the first wrong one.", "Some layer is wrong.", "Block of layers 0,35.", "2 runs", "double-reduce",
      "It is twice the reference.", "Look for a second all-reduce.", "href=\"../../sweeps/sweep-1/report.html\"",
      "layer 22 MoE",
    ] { #expect(page.contains(text), "\(text)") }
    #expect(!report().html().contains("href="), "without a place there is no link")
  }

  @Test func namesOutOfDumpsAreNoMarkup() throws {
    let page = report(name: "<script>alert(1)</script>\" onload=\"x").html(sweeps: "../../sweeps")
    #expect(!page.contains("<script>") && !page.contains("\" onload=\""))
  }
}
