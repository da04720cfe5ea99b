import OrderedCollections
import Planning
import Testing

@Suite("Shard rules of the job file")
struct ShardKeysTests {
  private func plan(_ shard: String) throws -> Plan {
    try Planner.plan(
      text: "name: t\nrun: {command: a}\ndumps: {layout: npy}\ncompare: {reference: golden, shard: \(shard)}\n",
      path: "job.yaml")
  }

  @Test(
    "rules are read",
    arguments: [
      ("{heads: {kv: 2}}", .heads(["kv": .int(2)])),
      ("{heads: {q: 32, kv: 8}}", .heads(["q": .int(32), "kv": .int(8)])),
      ("\"t[cp:zigzag] (n*d)[tp] # ep:replicated\"", .dims("t[cp:zigzag] (n*d)[tp] # ep:replicated")),
      ("{dims: t}", .dims("t")), ("{blocks: [4096, 1024, 1024]}", .blocks([4096, 1024, 1024])),
    ] as [(String, CompareSpec.ShardRule)])
  func rules(text: String, rule: CompareSpec.ShardRule) throws {
    #expect(try plan(text).compare.shard == rule)
    #expect(try plan("{QKV: \(text)}").compare.shardByStage == ["QKV": rule])
  }

  @Test(
    "what cannot be read is refused before anything runs, with its place",
    arguments: [
      ("\"t h[tpp]\"", "4:37", "dims text “t h[tpp]”, column 5: unknown parallel axis “tpp”"),
      ("{dims: \"t h(tp)\"}", "4:44", "column 3: h(tp): parallel axes stand in brackets; write h[tp]"),
      ("{MoE: {dims: \"t t\"}}", "4:50", "the dimension t is there twice"),
      ("{heads: {}}", "4:45", "`heads` needs `q`, `kv`, or both"),
      ("{heads: {query: 8}}", "4:46", "unknown key `query`"), ("{heads: {kv: 0}}", "4:50", "whole number"),
      ("{heads: {kv: 2, axis: 99}}", "4:59", "whole number"), ("{blocks: [0]}", "4:47", "whole number"),
    ])
  func refused(text: String, place: String, message: String) {
    let error = #expect(throws: PlanningError.self) { _ = try plan(text) }
    let problems = error?.problems.map { "\($0.line):\($0.column): \($0.message)" } ?? []
    #expect(problems.contains { $0.hasPrefix(place) && $0.contains(message) }, "\(problems)")
  }
}
