import Foundation
import Testing

/// The coordinator's core under crashes, cuts, reboots, full disks, jumping clocks, strangers and rivals.
///
/// `ROLLCALL_SIM_SEED=n` replays one seed with its trace; `ROLLCALL_TEST_LONG=1` tries 10,000.
@Suite struct SimulationTests {
  private static let environment = ProcessInfo.processInfo.environment

  private static var seeds: [ClosedRange<UInt64>] {
    if let seed = environment["ROLLCALL_SIM_SEED"].flatMap(UInt64.init) { return [seed...seed] }
    let count: UInt64 = environment["ROLLCALL_TEST_LONG"] == "1" ? 10_000 : 300
    return stride(from: 1, through: count, by: 50).map { $0...min($0 + 49, count) }
  }

  @Test(arguments: seeds) func nothingIsLostAndNothingRunsTwice(_ seeds: ClosedRange<UInt64>) {
    let isTraced = Self.environment["ROLLCALL_SIM_SEED"] != nil
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
