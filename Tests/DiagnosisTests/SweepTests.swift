import Alignment
import Comparison
import Coordination
import Diagnosis
import Dumps
import Foundation
import Reporting
import Testing

@Suite("Comparing world sizes of the sample workload")
struct SweepTests {
  @Test(
    "an honest sweep passes, with every sharded stage joined",
    arguments: [("--dtype bf16", 2), ("--dtype bf16", 8), ("--dtype f32", 2)])
  func honest(dtype: String, worldSize: Int) async throws {
    let reference = try await Workload.shared.dumps("--nproc 1 \(dtype)")
    let target = try await Workload.shared.dumps("--nproc \(worldSize) \(dtype)")
    let report = try await compare(reference, target)
    #expect(report.verdict == .pass, "\(report.notes) \(report.rows.filter { $0.verdict != .pass }.map(\.why))")
    #expect(report.findings.isEmpty)
    #expect(report.firstDivergence == nil)
    #expect(report.coverage.compared == report.coverage.expected)
    #expect(report.coverage.unmatched.isEmpty)
    #expect(report.coverage.otherCalls > 0)
    func kinds(_ stage: String) -> Set<ShardKind> {
      Set(report.rows.filter { $0.stage == stage && $0.tensor == "hidden" }.map(\.shard.kind))
    }
    #expect(kinds("QProj") == [.concat])
    #expect(kinds("GateUp") == [.blocks])
    #expect(kinds("OProj") == [.partial])
    #expect(kinds("Attention") == [.replicated])
    #expect(report.rows.allSatisfy { $0.call.target == 1 && $0.call.reference == 1 })
    // Attention's hook fires before that of the block that holds it.
    let layer = report.rows.filter { $0.layer == 1 && $0.tensor == "hidden" }.map(\.stage)
    let attention = try #require(layer.firstIndex(of: "Attention"))
    let moe = try #require(layer.firstIndex(of: "MoE"))
    #expect(attention < moe)
    #expect(layer.last == "Block")
  }

  struct Planted: Sendable, CustomTestStringConvertible {
    var bug: String
    var cause: String
    var stage: String
    var worldSize = 2
    var arguments = ""
    var testDescription: String { "\(bug) at \(worldSize) \(arguments)" }
  }

  @Test(
    "a planted bug fails at its layer and stage, with its cause first",
    arguments: [
      Planted(bug: "double-reduce", cause: "double-reduce", stage: "MoE"),
      Planted(bug: "double-reduce", cause: "double-reduce", stage: "MoE", worldSize: 8),
      Planted(bug: "average-reduce", cause: "average-reduce", stage: "MoE"),
      Planted(bug: "missing-reduce", cause: "missing-reduce", stage: "MoE"),
      Planted(bug: "rank-absent", cause: "rank-absent", stage: "MoE"),
      Planted(bug: "branch-repeated", cause: "branch-repeated", stage: "MoE"),
      Planted(bug: "branch-missing-reduce", cause: "branch-missing-reduce", stage: "MoE"),
      Planted(bug: "missing-scale", cause: "missing-scale", stage: "Router"),
      Planted(bug: "token-corruption", cause: "token-corruption", stage: "MoE"),
      Planted(bug: "row-shift", cause: "row-shift", stage: "MoE"),
      Planted(bug: "replica-divergence", cause: "replica-divergence", stage: "MoE"),
      Planted(bug: "non-finite", cause: "non-finite", stage: "MoE"),
      Planted(bug: "rank-order", cause: "rank-order", stage: "QProj", arguments: "--stage Attention"),
      Planted(bug: "head-map", cause: "head-map", stage: "KProj", worldSize: 8),
      Planted(bug: "position-offset", cause: "position-offset", stage: "QRope"),
      Planted(bug: "norm-weight-offset", cause: "norm-weight-offset", stage: "FfnNorm"),
    ])
  func planted(_ planted: Planted) async throws {
    let reference = try await Workload.shared.dumps("--nproc 1 --dtype bf16")
    let target = try await Workload.shared.dumps(
      "--nproc \(planted.worldSize) --dtype bf16 --bug \(planted.bug) --layer 1 \(planted.arguments)")
    let report = try await compare(reference, target)
    #expect(report.verdict == .fail)
    #expect(report.firstDivergence == ComparisonReport.Divergence(layer: 1, stage: planted.stage))
    let finding = try #require(report.findings.first)
    #expect(finding.cause == planted.cause)
    #expect(finding.layer == 1)
    if planted.cause == "double-reduce" {
      let alpha = try #require(finding.evidence["alpha"])
      #expect(abs(alpha - Double(planted.worldSize)) < 0.05 * Double(planted.worldSize))
    }
  }

  @Test("a dump taken before the reduce is no bug and is not silent")
  func stageMismatch() async throws {
    let reference = try await Workload.shared.dumps("--nproc 1 --dtype bf16")
    let target = try await Workload.shared.dumps("--nproc 2 --dtype bf16 --bug stage-mismatch --layer 1")
    let report = try await compare(reference, target)
    #expect(report.verdict != .fail)
    #expect(report.findings.map(\.cause) == ["stage-mismatch"])
    #expect(report.findings.first?.layer == 1)
  }

  @Test("world sizes 2 and 8 compare with each other")
  func shardedReference() async throws {
    let reference = try await Workload.shared.dumps("--nproc 2 --dtype bf16")
    let target = try await Workload.shared.dumps("--nproc 8 --dtype bf16")
    let report = try await compare(reference, target)
    #expect(report.verdict == .pass, "\(report.notes) \(report.rows.filter { $0.verdict != .pass }.map(\.why))")
  }

  @Test("the trend over world sizes makes a double reduce certain")
  func trend() async throws {
    let reference = try await Workload.shared.dumps("--nproc 1 --dtype bf16")
    var reports: [(worldSize: Int, report: ComparisonReport)] = []
    for size in [2, 8] {
      let target = try await Workload.shared.dumps("--nproc \(size) --dtype bf16 --bug double-reduce --layer 1")
      reports.append((size, try await compare(reference, target)))
    }
    #expect(reports[0].report.findings.first?.confidence != .certain)
    let refined = DumpComparer.refine(reports)
    #expect(refined.map { $0.report.findings.first?.cause } == ["double-reduce", "double-reduce"])
    #expect(refined.allSatisfy { $0.report.findings.first?.confidence == .certain })
  }

  @Test("repeats give floors, and a deterministic cell has none")
  func floors() async throws {
    let directory = try await Workload.shared.dumps("--nproc 2 --dtype bf16")
    let floors = try await DumpComparer.floors(repeats: [try load(directory), try load(directory)], slots: 4)
    #expect(floors.nondeterministic.isEmpty)
    #expect(floors.relL2.values.allSatisfy { $0 == 0 })
    #expect(!floors.relL2.isEmpty)
  }
}
