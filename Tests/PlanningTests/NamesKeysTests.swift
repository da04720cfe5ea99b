import Alignment
import Planning
import Testing

@Suite("Name rules of the job file")
struct NamesKeysTests {
  private func plan(_ names: String) throws -> Plan {
    try Planner.plan(
      text: "name: t\nrun: {command: a}\ndumps: {layout: npy}\ncompare: {reference: golden, names: \(names)}\n",
      path: "job.yaml")
  }

  @Test func presetsAndRulesAreRead() throws {
    #expect(try plan("atom-hf").compare.names == NameRules([.preset(.atomHuggingFace)]))
    let names = try #require(
      try plan("[auto, {reference: [\"{n} q\", \"{n} k\"], target: \"{n} qk\", optional: true}]").compare.names)
    #expect(names.entries.first == .preset(.auto))
    guard case .rule(let rule)? = names.entries.last else {
      throw PlanningError(code: .invalid, file: "", problems: [])
    }
    #expect(rule.reference.map(\.text) == ["{n} q", "{n} k"])
    #expect(rule.target.map(\.text) == ["{n} qk"])
    #expect(rule.isOptional)
  }

  @Test(
    "what cannot be read is refused with its place and the right word",
    arguments: [
      ("atom-hff", "4:37", "did you mean `atom-hf`?"), ("[]", "4:37", "at least 1"),
      ("[{refrence: a, target: b}]", "4:39", "did you mean `reference`?"),
      ("[{reference: a}]", "4:38", "needs the key `target`"),
      ("[{reference: \"{n\", target: b}]", "4:50", "column 1: { is never closed"),
      ("[{reference: \"{n} a\", target: b}]", "4:38", "{n} is not in every pattern"),
      ("[{reference: [a, b], target: [c, d]}]", "4:38", "several patterns on both sides"),
    ])
  func refused(text: String, place: String, message: String) {
    let error = #expect(throws: PlanningError.self) { _ = try plan(text) }
    let lines = error?.description.split(separator: "\n").map(String.init) ?? []
    #expect(lines.contains { $0.hasPrefix("job.yaml:\(place): ") && $0.contains(message) }, "\(lines)")
  }
}
