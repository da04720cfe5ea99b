import Comparison
import Ledger
import OrderedCollections
import Planning
import Reporting
import Scheduling
import Testing

@testable import Coordination

/// What a report says of the hosts beside its figures.
@Suite struct SideNotesTests {
  private let plan = Plan(
    name: "j", baseDirectory: "/", axes: ["world_size"],
    cells: [1, 2].map { Cell(id: "c\($0)", values: ["world_size": .int($0)], run: RunSpec(command: "true")) })
  private let runs = [1, 2].map { RunRecord(sweep: "s", name: "r\($0)", position: $0, cell: "c\($0)", repetition: 1) }

  private func attempt(
    _ run: String, _ number: Int, facts: [String: String] = [:], reason: String? = nil
  ) -> AttemptRecord {
    var attempt = AttemptRecord(
      id: "\(run)a\(number)", sweep: "s", run: run, number: number, host: "gpu-\(number)", token: "t", gpus: 1, now: 0)
    attempt.state = .gathered
    attempt.facts = facts
    attempt.reason = reason
    return attempt
  }

  private func differences(_ reference: [String: String], _ target: [String: String]) throws -> [String] {
    let comparison = ComparisonReport(
      verdict: .pass, reference: .init(path: "a", worldSize: 1), target: .init(path: "b", worldSize: 2),
      coverage: .init(expected: 0, compared: 0, unmatched: [], unreadable: [], otherCalls: 0), rows: [],
      firstDivergence: nil, findings: [], notes: [])
    let pair = SweepReport.Pair(referenceCell: "c1", targetCell: "c2", kind: "reference", comparison: comparison)
    return EnvironmentDifferences.notes(
      [pair], plan, runs,
      ["r1": [attempt("r1", 1, facts: reference)], "r2": [attempt("r2", 1, facts: target)]])
  }

  @Test func differencesOfTheHostsAreToldAndEqualOnesAreNot() throws {
    let base = ["gpu": "NVIDIA H200", "gpu_driver": "570.1", "torch": "2.9.0", "commit": "abc"]
    func changed(_ key: String, _ value: String?) throws -> [String] {
      var other = base
      other[key] = value
      return try differences(base, other)
    }
    #expect(try differences(base, base) == [])
    // More GPUs of one model are the world size.
    #expect(try changed("gpu", "NVIDIA H200, NVIDIA H200") == [])
    let models = try changed("gpu", "AMD MI300X")
    #expect(
      models == [
        "environment: GPUs differs: NVIDIA H200 on the reference's side, AMD MI300X on the other (world_size=2)"
      ])
    let mixed = try changed("gpu", "NVIDIA H200, NVIDIA H100")
    #expect(mixed.count == 1 && mixed[0].contains("NVIDIA H100 and NVIDIA H200 on the other"))
    for (key, word) in [("gpu_driver", "GPU driver"), ("torch", "torch"), ("commit", "commit")] {
      let notes = try changed(key, "1.2.3")
      #expect(notes.count == 1 && notes[0].hasPrefix("environment: \(word) differs: "), "\(notes)")
      let absent = try changed(key, nil)
      #expect(absent.count == 1 && absent[0].contains("not recorded on the other"), "\(absent)")
    }
  }

  @Test func sharedGPUsAreToldOfTheAttemptThatCounts() {
    let clean = attempt("r1", 1)
    let shared = attempt("r2", 2, reason: "contended")
    #expect(
      Contention.notes(plan, runs, ["r1": [clean], "r2": [attempt("r2", 1), shared]]) == [
        "contended: somebody else used the GPUs of r2 (world_size=2) on gpu-2 while it ran"
      ])
    #expect(Contention.notes(plan, runs, ["r1": [clean], "r2": [shared, attempt("r2", 3)]]) == [])
    var succeeded = shared
    succeeded.exitCode = 0
    #expect(Transition.ending(of: succeeded).state == .succeeded)
    #expect(Transition.ending(of: succeeded).why?.contains("somebody else") == true)
  }
}
