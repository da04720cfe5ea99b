import Foundation
import Testing

/// The coordinator's core under crashes, cuts, reboots, full disks, jumping clocks, strangers and rivals.
///
/// `ROLLCALL_SIM_SEED=n` replays one seed with its trace, `n-m` tries a range; `ROLLCALL_TEST_LONG=1` tries 10,000.
@Suite struct SimulationTests {
  private static let environment = ProcessInfo.processInfo.environment

  private static var seeds: [ClosedRange<UInt64>] {
    let named = (environment["ROLLCALL_SIM_SEED"] ?? "").split(separator: "-").compactMap { UInt64($0) }
    let first = named.first ?? 1
    let last = max(first, named.last ?? (environment["ROLLCALL_TEST_LONG"] == "1" ? 10_000 : 2_000))
    return stride(from: first, through: last, by: 50).map { $0...min($0 + 49, last) }
  }

  @Test(arguments: seeds) func nothingIsLostAndNothingRunsTwice(_ seeds: ClosedRange<UInt64>) {
    let isTraced = seeds.count == 1
    for seed in seeds {
      do {
        try Simulation(seed: seed, traced: isTraced).run()
      } catch let failure as Simulation.Failure {
        for line in failure.trace { print(line) }
        Issue.record(failure)
      } catch {
        Issue.record(error)
      }
    }
  }

  @Test func aSeedGivesTheSameCourseEveryTime() throws {
    func course(_ seed: UInt64) throws -> [String] {
      let simulation = Simulation(seed: seed, traced: true)
      try simulation.run()
      return simulation.trace
    }
    for seed in UInt64(1)...10 {
      let first = try course(seed)
      let second = try course(seed)
      #expect(first == second)
      #expect(!first.isEmpty)
    }
  }
}
