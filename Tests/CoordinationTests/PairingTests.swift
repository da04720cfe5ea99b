import Ledger
import Planning
import Testing

@testable import Coordination

@Suite struct PairingTests {
  private func plan(_ matrix: String, reference: String) throws -> Plan {
    try Planner.plan(
      text: """
        name: pairs
        matrix: \(matrix)
        run: {command: "true"}
        dumps: {layout: atom}
        compare: {reference: \(reference)}
        """, path: "/nowhere/pairs.yaml")
  }

  private func couples(_ plan: Plan) throws -> [String] {
    guard case .success(let couples) = try ReferencePairing.pair(plan) else { return ["no pairs"] }
    return couples.map { couple in
      guard case .cell(let reference) = couple.reference else { return "\(couple.target.label) < path" }
      return "\(couple.target.label) < \(reference.label)"
    }
  }

  @Test func everyCellIsComparedWithTheOneThatDiffersInTheReferenceAxisOnly() throws {
    let plan = try plan("{world_size: [1, 2], backend: [a, b]}", reference: "{world_size: 1}")
    #expect(
      try couples(plan) == [
        "world_size=2 backend=a < world_size=1 backend=a", "world_size=2 backend=b < world_size=1 backend=b",
      ])
  }

  @Test func aReferenceCellThatTheMatrixLacksIsNamed() throws {
    let plan = try plan(
      "{world_size: [1, 2], backend: [a, b], exclude: [{world_size: 1, backend: b}]}", reference: "{world_size: 1}")
    guard case .failure(let why) = try ReferencePairing.pair(plan) else {
      Issue.record("the pairing must be refused")
      return
    }
    #expect(why.message.contains("world_size=1 backend=b"))
  }

  @Test func runNamesAreUniqueAndSafe() throws {
    let plan = try plan(#"{tag: ["a b", "a/b", "a-b"]}"#, reference: #"{tag: "a b"}"#)
    let names = Naming.runs(of: plan, sweep: "s").map(\.name)
    #expect(Set(names).count == 3)
    for name in names {
      #expect(name.allSatisfy { $0.isLetter || $0.isNumber || "-_.=".contains($0) }, "\(name)")
    }
  }

  @Test func sweepNamesSortByTimeAndSuitLaunchers() {
    let early = Naming.sweep(job: "tp sweep.v2", now: 1_000_000_000, random: 1)
    let late = Naming.sweep(job: "tp sweep.v2", now: 1_000_000_001, random: 0)
    #expect(early < late)
    #expect(early.allSatisfy { $0.isLetter || $0.isNumber || "-_".contains($0) })
    #expect(Naming.attempt(sweep: early, position: 0, number: 2) == early + "-run1-try2")
  }
}
