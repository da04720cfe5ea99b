import Alignment
import Coordination
import Dumps
import Foundation
import Reporting
import TestSupport
import Testing

@Suite("A capture counts as compared exactly where its numbers count") struct LedgerPropertyTests {
  private func compare(_ dumps: DrawnDumps, _ rank: Int?) async throws -> ComparisonReport {
    try await DumpComparer.compare(
      ComparisonRequest(reference: dumps.reference, target: dumps.target, slots: 2, names: dumps.names, rank: rank))
  }

  /// The same with other numbers in some captures of one side.
  private func compare(_ dumps: DrawnDumps, _ rank: Int?, changing captures: [Capture], isReference: Bool)
    async throws -> ComparisonReport
  {
    var (left, right) = (dumps.reference, dumps.target)
    let ids = Set(captures.map(DrawnDumps.id))
    func changed(_ set: inout DumpSet) {
      for index in set.captures.indices {
        let id = DrawnDumps.id(set.captures[index])
        if ids.contains(id), let other = dumps.others[id] { set.captures[index].tensor.storage = other }
      }
    }
    if isReference { changed(&left.set) } else { changed(&right.set) }
    return try await DumpComparer.compare(
      ComparisonRequest(reference: left, target: right, slots: 2, names: dumps.names, rank: rank))
  }

  @Test(.timeLimit(.minutes(30)), arguments: 0..<4) func overDrawnDumps(part: Int) async throws {
    try await Scratch.with { scratch in
      var seen: Set<CoverageLedger.Reason> = []
      var compared = 0
      for seed in 0..<25 {
        var random = SplitMix64(seed: UInt64(1000 + seed * 4 + part))
        let dumps = try DrawnDumps(seed: UInt64(seed * 4 + part), path: scratch.path("numbers-\(seed)"))
        let rank = Int.random(in: 0..<5, using: &random) == 0 ? 0 : nil
        let report = try await compare(dumps, rank)
        let ledger = try #require(report.coverage.ledger)
        let again = try await compare(dumps, rank)
        #expect(report.json() == again.json(), "seed \(seed * 4 + part): not the same twice")
        for (set, side, isReference) in [
          (dumps.reference.set, ledger.reference, true), (dumps.target.set, ledger.target, false),
        ] {
          let title = "seed \(seed * 4 + part), \(isReference ? "reference" : "target")"
          // Each file and value once: compared, or listed with one reason.
          #expect(side.files == set.files.count, "\(title)")
          let listed = side.entries.flatMap { entry in entry.values.map { "\(entry.file) \($0)" } }
          #expect(Set(listed).count == listed.count, "\(title): listed twice")
          let valueCount = set.captures.count + set.unreadable.count + set.plain.count
          #expect(side.captures == valueCount && side.compared + listed.count == valueCount, "\(title)")
          let counted = side.counts.values.reduce(0, +)
          #expect(counted == side.entries.reduce(0) { $0 + $1.count }, "\(title)")
          seen.formUnion(side.counts.keys)
          var reasons: [String: CoverageLedger.Entry] = [:]
          for entry in side.entries { for value in entry.values { reasons["\(entry.file) \(value)"] = entry } }

          let measured = Set(report.rows.filter { $0.measures != nil })
          let (open, used) = set.captures.reduce(into: ([Capture](), [Capture]())) { lists, capture in
            if reasons["\(capture.file) \(capture.tensor.name)"] == nil {
              lists.1.append(capture)
            } else {
              lists.0.append(capture)
            }
          }
          compared += used.count
          // What the ledger says was compared changes a result.
          for capture in used.shuffled(using: &random).prefix(6) where capture.tensor.dtype == .float32 {
            let other = try await compare(dumps, rank, changing: [capture], isReference: isReference)
            let isUsed = Set(other.rows.filter { $0.measures != nil }) != measured
            #expect(isUsed, "\(title): \(DrawnDumps.id(capture)) is told as compared, and its numbers change nothing")
          }
          // What it lists changes none. Ids decide which call is compared, whatever call they are of.
          let rest = open.filter { $0.tensor.dtype == .float32 }
          let other = try await compare(dumps, rank, changing: rest, isReference: isReference)
          let isUnused = Set(other.rows.filter { $0.measures != nil }) == measured
          #expect(isUnused, "\(title): what is listed as not compared changes a result")
          // Its reason names the call, the rank and the place as they are.
          let calls = Set(report.rows.map { isReference ? $0.call.reference : $0.call.target })
          for capture in open {
            guard let entry = reasons["\(capture.file) \(capture.tensor.name)"] else { continue }
            if entry.reason == .otherCall, entry.why == nil {
              #expect(!calls.contains(capture.call), "\(title): \(DrawnDumps.id(capture)) is of the chosen call")
            }
          }
        }
      }
      #expect(compared > 0)
      let reasons: Set<CoverageLedger.Reason> = [
        .unreadable, .unrecognised, .plain, .stale, .duplicate, .noPartner, .notMeasured, .otherCall,
      ]
      #expect(seen.isSuperset(of: reasons), "never drawn: \(reasons.subtracting(seen))")
    }
  }
}
