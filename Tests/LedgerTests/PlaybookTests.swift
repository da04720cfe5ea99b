import Foundation
import Planning
import TestSupport
import Testing

@testable import Ledger

@Suite struct PlaybookRecordTests {
  private func with(_ body: (SweepLedger, Plan) throws -> Void) async throws {
    try await Scratch.with { scratch in
      let text = "name: small\nrun: {command: \"true\"}\n"
      let plan = try Planner.plan(text: text, path: "/nowhere/small.yaml")
      let ledger = try SweepLedger(store: scratch.path)
      try ledger.create(
        PlaybookRecord(id: "p1", name: "ladder", job: "small", path: "/nowhere/small.yaml", text: text, created: 1),
        fleet: FleetReader.thisMachine())
      try body(ledger, plan)
    }
  }

  private func begin(_ ledger: SweepLedger, _ plan: Plan, number: Int, sweep: String) throws {
    try ledger.begin(
      StepRecord(number: number, experiment: "{}", sweep: sweep), of: "p1", plan: plan,
      runs: [RunRecord(sweep: sweep, name: "only", position: 0, cell: "c", repetition: 1)], now: 2)
  }

  @Test func aStepIsBegunTogetherWithItsSweep() async throws {
    try await with { ledger, plan in
      try begin(ledger, plan, number: 1, sweep: "s1")
      #expect(try ledger.sweep(named: "s1").state == .active)
      // The same step again is refused, and then its sweep is not there either.
      let refused = #expect(throws: LedgerError.self) { try begin(ledger, plan, number: 1, sweep: "s2") }
      #expect(refused?.code == .locked)
      #expect(throws: LedgerError.self) { try ledger.sweep(named: "s2") }
      #expect(try ledger.steps(of: "p1").map(\.outcome) == [nil])
      try ledger.end(step: 1, of: "p1", outcome: "{\"a\": 1}")
      #expect(try ledger.steps(of: "p1").map(\.outcome) == ["{\"a\": 1}"])
    }
  }

  @Test func theConclusionEndsIt() async throws {
    try await with { ledger, _ in
      #expect(try ledger.playbook(named: "last").ended == nil)
      try ledger.conclude(playbook: "p1", conclusion: "{}", now: 9)
      let record = try ledger.playbook(named: "p")
      #expect(record.ended == 9)
      #expect(record.conclusion == "{}")
      #expect(throws: LedgerError.self) { try ledger.playbook(named: "q") }
    }
  }
}
