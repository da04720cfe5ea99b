import Foundation
import TestSupport
import Testing

@testable import Dumps

@Suite struct SGLangLayoutTests {
  private static let root = ScriptFolder.filled(by: "write_sglang.py")

  private func folder(_ name: String) async throws -> String { "\(try await Self.root.value)/\(name)" }

  @Test func readsThePassesOfTheOlderHooks() async throws {
    let folder = try await folder("hooks")
    #expect(try DumpSetLoader.detectLayout(directory: folder) == .sglang)
    let set = try DumpSetLoader.load(directory: folder, layout: .sglang)
    #expect(set.ranks == [0, 1])
    let places = set.captures.filter { $0.rank == 1 && $0.call == 0 }.map(place)
    #expect(
      Set(places) == [
        "0 self_attn output", "0 mlp output", "0 layer output[0]", "0 layer output[1]", "1 self_attn output",
        "1 mlp output", "1 layer output[0]", "1 layer output[1]", "- model pp_proxy_tensors.hidden_states",
        "- inputs input_fields.input_ids", "- inputs input_fields.positions", "- logits_processor output",
      ])
    #expect(set.captures.count == 4 * places.count)
    let second = try #require(
      set.captures.first { $0.rank == 1 && $0.call == 1 && $0.layer == 1 && $0.tensor.name == "output[1]" })
    #expect(try numbers(second) == [114, 114, 114, 114])
    #expect(
      set.unreadable.map(\.file).sorted() == ["TP0_PP0_Rank0_pid700/Pass00002.pt", "TP1_PP0_Rank1_pid701/Pass00002.pt"])
    #expect(set.unrecognised == ["TP0_PP0_Rank0_pid700/Pass2.pt"])
  }

  @Test func placesWhatTwoRanksDumped() async throws {
    let set = try DumpSetLoader.load(directory: try await folder("tp2"), layout: .sglang)
    #expect(set.unreadable.isEmpty)
    // One file of request ids for each rank and step: said, though no tensor.
    #expect(set.unrecognised.isEmpty)
    #expect(Set(set.plain.map(\.file)).count { $0.contains("name=rids") } == 4)
    let places = Set(set.captures.filter { $0.rank == 1 && $0.call == 1 }.map(place))
    #expect(
      places
        == [
          "- inputs input_ids", "- embed_tokens output", "- repeated[head=0] value",
          "- repeated[head=0,duplicate_index=1] value", "- repeated[head=0,duplicate_index=2] value",
          "1 mlp.gate_up_proj parameters.weight",
          "0 mlp input_fields.0", "0 mlp input_fields.residual", "0 mlp output", "0 mlp_output value",
          "0 layer output.1",
          "1 mlp input_fields.0", "1 mlp input_fields.residual", "1 mlp output", "1 mlp_output value",
          "1 layer output.1",
        ].map { $0.replacing("inputs input_ids", with: "inputs input_fields.input_ids") }.reduce(into: []) {
          $0.insert($1)
        })
    // Two ranks, two steps, and nothing twice.
    #expect(set.captures.count == 4 * places.count)
    #expect(set.ranks == [0, 1])
    #expect(Set(set.captures.map(\.call)) == [0, 1])

    let output = try #require(
      set.captures.first { $0.rank == 1 && $0.call == 0 && $0.layer == 1 && $0.stage == "mlp_output" })
    #expect(output.tensor.shape == [5, 4])
    #expect(try numbers(output).allSatisfy { $0 == 11 })
    let metadata = try #require(output.metadata)
    #expect(metadata.dims == "t h[tp:partial]")
    #expect(
      metadata.parallel == ["tp": ParallelRank(rank: 1, size: 2), "pp": ParallelRank(rank: 0, size: 1)])
    #expect(metadata.values["layer_id"] == "1")
    #expect(metadata.values["world_size"] == "2")
    #expect(metadata.values["sglang_parallel_info.attn_dp_enabled"] == "False")
    #expect(metadata.values["step"] == nil)

    // By dump_index, not by the order of the text: 10 comes after 9.
    let repeated = set.captures.filter { $0.stage.hasPrefix("repeated") && $0.rank == 0 && $0.call == 0 }
    #expect(try repeated.sorted { $0.stage.count < $1.stage.count }.map { try numbers($0)[0] }.sorted() == [7, 8, 9])
    let last = try #require(repeated.first { $0.stage.contains("duplicate_index=2") })
    #expect(try numbers(last) == [9, 9])

    let rids = set.plain.filter { $0.rank == 0 && $0.call == 0 }
    #expect(rids.map(\.name) == ["input_fields.rids[0]", "input_fields.rids[1]"])
    #expect(rids.map(\.value) == [.string("a"), .string("b")])
    #expect(set.plain.count == 8)
  }

  @Test func losesNoOddNameAndNoOddValue() async throws {
    let set = try DumpSetLoader.load(directory: try await folder("edges"), layout: .sglang)
    func capture(_ count: Int) -> String? {
      set.captures.first { $0.tensor.elementCount == count }.map(place)
    }
    #expect(capture(1) == "- cut___inside value")
    #expect(capture(2) == "- cut___like=tag value")
    #expect(capture(3) == "- moe/experts/up value")
    #expect(
      Set(set.captures.filter { $0.tensor.elementCount == 4 }.map(place)) == [
        "- again[recompute_status=original] value", "- again[recompute_status=recompute] value",
      ])
    let again = try #require(set.captures.first { $0.stage.contains("recompute_status=recompute") })
    #expect(again.metadata?.parallel["recompute_pseudo"] == ParallelRank(rank: 1, size: 2))
    #expect(capture(5) == "- again[grad] value")
    #expect(capture(6) == "- nested value.a")
    #expect(capture(7) == "- nested value.b[0]")
    #expect(capture(8) == "- bare value")
    #expect(capture(9) == "- bare_dict value.x")
    #expect(set.captures.first { $0.stage == "bare" }?.metadata == nil)
    #expect(
      Set(set.captures.filter { $0.tensor.elementCount == 14 }.map(place)) == [
        "- window[window=[0, 4]] value", "- window[window=[4, 8]] value",
      ])

    let odd = try #require(set.captures.first { $0.stage == "odd_meta" }?.metadata)
    #expect(odd.parallel.isEmpty)
    #expect(odd.values["ratio"] == "0.5")
    #expect(odd.values["what"]?.hasPrefix("opaque ") == true)
    #expect(set.captures.first { $0.stage == "two_engines" }?.metadata?.parallel == [:])
    #expect(
      set.captures.first { $0.stage == "no_engine" }?.metadata?.parallel == ["dp": ParallelRank(rank: 1, size: 4)])

    #expect(
      set.plain.map { "\($0.stage) \($0.name) \($0.value)" } == ["nested value.b[1] int(3)", "nothing value none"])
    let unreadable = Dictionary(grouping: set.unreadable) { unreadable in
      unreadable.file.split(separator: "___").first { $0.hasPrefix("name=") }.map(String.init) ?? unreadable.file
    }.mapValues { $0.map(\.why).joined(separator: "; ") }
    #expect(unreadable.count == 6)
    #expect(unreadable["name=hollow"]?.contains("holds nothing") == true)
    #expect(unreadable["name=foreign"]?.contains("Foreign") == true)
    #expect(unreadable["name=odd_meta.pt"]?.contains("rank 2 of 2 on the axis tp") == true)
    #expect(unreadable["name=two_engines.pt"]?.contains("megatron_parallel_info") == true)
    #expect(unreadable["name=moved"]?.contains("its name says rank 1, and its meta 0") == true)
    #expect(unreadable["name=broken"] != nil)
    #expect(
      set.unrecognised == [
        "notes.txt", "step=0___rank=0___name=no_index.pt", "step=x___rank=0___dump_index=1___name=n.pt",
      ])
  }

  @Test func tellsTheDataParallelGroupThatHasTheBatch() async throws {
    let set = try DumpSetLoader.load(directory: try await folder("dp"), layout: .sglang)
    #expect(DataParallelGroups(set.captures) == nil)
    let groups = try #require(DataParallelGroups(set.captures, axis: "attn_dp"))
    #expect(groups.active == [1])
    #expect(groups.only?.map(\.rank) == [2, 3])
    var other = set.captures
    for i in other.indices { other[i].tensor.shape = [0, 4] }
    #expect(DataParallelGroups(other, axis: "attn_dp")?.only == nil)
    for i in other.indices { other[i].tensor.shape = [1, 4] }
    #expect(DataParallelGroups(other, axis: "attn_dp")?.active == [0, 1])
  }

  @Test("two experiments under one root are never mixed")
  func namesASecondExperiment() async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    let files = FileManager.default
    let source = "\(try await folder("tp2"))/dump_x"
    for name in ["dump_a", "dump_b"] { try files.copyItem(atPath: source, toPath: scratch.path(name)) }
    let error = #expect(throws: DumpError.self) {
      try DumpSetLoader.load(directory: scratch.path, layout: .sglang)
    }
    #expect(error?.code == .severalRuns && error?.message.hasPrefix("dump_a and dump_b hold") == true)
    let one = try DumpSetLoader.load(directory: scratch.path("dump_b"), layout: .sglang)
    #expect(one.captures.count == 64 && one.unreadable.isEmpty)
  }

  @Test func saysWhereNoDumpIs() async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try scratch.write("layer0_Block_rank0.pt", [])
    let error = #expect(throws: DumpError.self) {
      try DumpSetLoader.load(directory: scratch.path, layout: .sglang)
    }
    #expect(error?.code == .noDumps)
    #expect(error?.message.contains("no file of SGLang's dumper") == true)
  }

  @Test(arguments: [
    ("non_intrusive__inputs.input_embeds", "- model input_fields.input_embeds"),
    ("non_intrusive__output.hidden", "- model output.hidden"),
    ("non_intrusive__encoder.layer.2.output.dense.output", "2 encoder.output.dense output"),
    ("non_intrusive__encoder.layer.2.output.output", "2 encoder.output output"),
    ("non_intrusive__model.layers.3.attn.inputs.output", "3 attn input_fields.output"),
    ("non_intrusive__visual.blocks.7.attn.inputs.x.0", "7 visual.attn input_fields.x.0"),
    ("non_intrusive__module.module.decoder.layers.0.output", "0 decoder output"),
    ("grad__param__model.layers.4.w", "4 layer parameters.w"), ("layer3.attn_out", "3 attn_out value"),
    ("a.b", "- a.b value"), ("positions", "- inputs input_fields.positions"), ("param__w", "- model parameters.w"),
  ])
  func placesNames(name: String, expected: String) {
    let place = SGLangPlace(name)
    #expect("\(place.layer.map(String.init) ?? "-") \(place.stage) \(place.tensor)" == expected)
  }

  private func place(_ capture: Capture) -> String {
    "\(capture.layer.map(String.init) ?? "-") \(capture.stage) \(capture.tensor.name)"
  }

  private func numbers(_ capture: Capture) throws -> [Double] {
    let reader = try TensorReader(capture.tensor)
    var values: [Double] = []
    try reader.readDoubles(0..<reader.elementCount, into: &values)
    return values
  }
}
