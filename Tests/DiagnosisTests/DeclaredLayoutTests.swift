import Alignment
import Comparison
import Coordination
import Diagnosis
import Dumps
import Reporting
import Testing

@Suite("Layouts that are declared")
struct DeclaredLayoutTests {
  @Test("rules for blocks, heads and dims text join an honest sweep", arguments: [2, 4])
  func honest(worldSize: Int) async throws {
    let reference = try await Workload.shared.dumps("--nproc 1 --dtype bf16")
    let target = try await Workload.shared.dumps("--nproc \(worldSize) --dtype bf16")
    let dims = try (DimsText("t h[tp]"), DimsText("t h[tp:partial]"), DimsText("t h # tp:replicated"))
    let report = try await compare(reference, target) {
      $0.shardRules = [
        ("GateUp", .blocks(sizes: [1, 1], axis: -1)), ("KProj", .heads(HeadRule(keyValue: 8))),
        ("QProj", .dims(dims.0)), ("OProj", .dims(dims.1)), ("Attention", .dims(dims.2)),
      ]
    }
    let bad = report.rows.filter { $0.verdict != .pass }.map { "\($0.stage).\($0.tensor): \($0.why ?? "")" }
    #expect(bad.filter { !$0.contains(".input") }.isEmpty, "\(bad)")
    func plans(_ stage: String) -> [ShardPlan] {
      report.rows.filter { $0.stage == stage && $0.tensor == "hidden" }.map(\.shard)
    }
    #expect(Set(plans("GateUp").map(\.kind)) == [.blocks])
    #expect(Set(plans("OProj").map(\.kind)) == [.partial])
    #expect(Set(plans("Attention").map(\.kind)) == [.replicated])
    for stage in ["GateUp", "KProj", "QProj", "OProj", "Attention"] {
      #expect(!plans(stage).isEmpty && plans(stage).allSatisfy { $0.why.hasPrefix("rule: ") && !$0.isContradicted })
    }
  }

  @Test("the dump's own metadata decide, and a false statement fails with what the data say")
  func metadata() async throws {
    let reference = try await Workload.shared.dumps("--nproc 1 --dtype bf16")
    let target = try await Workload.shared.dumps("--nproc 2 --dtype bf16")
    func stated(_ text: String) throws -> DumpSet {
      var set = try load(target)
      for index in set.captures.indices
      where set.captures[index].stage == "QProj" && set.captures[index].tensor.name == "hidden" {
        set.captures[index].metadata = CaptureMetadata(
          dims: text, parallel: ["tp": ParallelRank(rank: set.captures[index].rank, size: 2)])
      }
      return set
    }
    let right = try stated("t h[tp]")
    let honest = try await compare(reference, target) { $0.target = ComparisonSide(set: right) }
    #expect(honest.verdict == .pass)
    let rows = honest.rows.filter { $0.stage == "QProj" && $0.tensor == "hidden" }
    #expect(!rows.isEmpty && rows.allSatisfy { $0.shard.why.contains("metadata: dims “t h[tp]”") })
    let wrong = try stated("t h")
    let refused = try await compare(reference, target) { $0.target = ComparisonSide(set: wrong) }
    #expect(refused.verdict != .pass)
    #expect(refused.rows.contains { $0.why?.contains("says nothing of it") == true })
    let other = try stated("t[tp] h")
    let failed = try await compare(reference, target) { $0.target = ComparisonSide(set: other) }
    #expect(failed.verdict == .fail)
  }

  @Test("copies that differ are not dropped")
  func copies() async throws {
    let reference = try await Workload.shared.dumps("--nproc 1 --dtype bf16")
    let target = try await Workload.shared.dumps("--nproc 2 --dtype bf16 --bug replica-divergence --layer 1")
    let text = try DimsText("t h # tp:replicated")
    let report = try await compare(reference, target) { $0.shardRules = [("MoE", .dims(text))] }
    #expect(report.verdict == .fail)
    #expect(report.findings.first?.cause == "replica-divergence")
  }
}
