import Foundation
import TestSupport
import Testing

@testable import Dumps

@Suite struct MSProbeLayoutTests {
  private static let root = ScriptFolder.filled(by: "write_msprobe.py")

  private func folder(_ name: String) async throws -> String { "\(try await Self.root.value)/\(name)" }

  @Test func placesModulesAndOperations() async throws {
    let path = try await folder("ranks")
    let set = try DumpSetLoader.load(directory: path, layout: .msprobe)
    #expect(set.unreadable.isEmpty)
    #expect(set.unrecognised.isEmpty)
    let layers = (0...1).flatMap { layer in
      ["input_fields.0", "input_fields.residual", "output.0", "output.1"].map { "\(layer) mlp \($0)" }
    }
    let expected = Set(
      layers + [
        "- norm input_fields.0", "- norm output.0", "- norm parameters.weight", "- Functional.linear.37 input_fields.0",
        "- Functional.linear.37 output.0", "0 mlp[backward] input_fields.0", "0 mlp[grad] parameters.weight",
      ])
    for rank in 0...1 {
      for step in 0...1 {
        #expect(Set(set.captures.filter { $0.rank == rank && $0.call == step }.map(place)) == expected)
      }
    }
    #expect(set.captures.count == 4 * expected.count)
    let output = try #require(
      set.captures.first { $0.rank == 1 && $0.layer == 1 && $0.stage == "mlp" && $0.tensor.name == "output.1" })
    #expect(try numbers(output).allSatisfy { $0 == 33 })
    #expect(output.tensor.dtype == .bfloat16)
    #expect(Set(set.plain.map { "\($0.stage) \($0.name) \($0.value)" }) == ["mlp input_fields.1 double(2.5)"])

    #expect(set.statistics.map(\.shape) == Array(repeating: [0, 4], count: 4))

    // A step's folder, and a rank's, can be given as well.
    let step = try DumpSetLoader.load(directory: path + "/step1", layout: .msprobe)
    #expect(Set(step.captures.map(place)) == expected)
    #expect(step.ranks == [0, 1])
    let rank = try DumpSetLoader.load(directory: path + "/step1/rank1", layout: .msprobe)
    #expect(Set(rank.captures.map(place)) == expected)
    #expect(rank.ranks == [1])
  }

  @Test func aStepWhoseCallsCannotBeCountedIsACallItself() async throws {
    let scratch = try Scratch()
    defer { scratch.remove() }
    try await runPython(
      """
      import numpy, os
      for step, count in ((9223372036854, 900000), (1, 2)):
          folder = f"step{step}/rank0/dump_tensor_data"
          os.makedirs(folder)
          numpy.save(f"{folder}/Module.layers.0.mlp.MLP.forward.{count}.output.0.npy", numpy.ones(2))
      """, directory: scratch.path)
    let set = try DumpSetLoader.load(directory: scratch.path, layout: .msprobe)
    #expect(Set(set.captures.map(\.call)) == [9_223_372_036_854, 1_000_002], "\(set.unreadable)")
  }

  @Test("one step: the n-th run of a module is its call; arrays of NumPy stand for tensors")
  func countsCalls() async throws {
    let set = try DumpSetLoader.load(directory: try await folder("calls"), layout: .msprobe)
    #expect(set.unreadable.isEmpty)
    #expect(set.ranks == [0])
    #expect(Set(set.captures.map(\.call)) == [0, 1, 2])
    let outputs = set.captures.filter { $0.layer == 1 && $0.tensor.name == "output.0" }
    let values = try outputs.sorted { ($0.call ?? 0) < ($1.call ?? 0) }.map { try numbers($0)[0] }
    // Of bfloat16: 2 · (100 · call + 10).
    #expect(values == [20, 220, 420])
    #expect(outputs.allSatisfy { $0.tensor.dtype == .bfloat16 && $0.file.hasSuffix(".npy") })
  }

  @Test func neverTakesStatisticsForTensors() async throws {
    let set = try DumpSetLoader.load(directory: try await folder("statistics"), layout: .msprobe)
    #expect(set.captures.isEmpty)
    #expect(set.statistics.count == 11)
    #expect(set.unreadable.count == 3)
    #expect(
      set.unreadable.allSatisfy { $0.file == "step0/rank0/dump.json" && $0.why.contains("only statistics of") })
    #expect(set.unreadable.first?.why.contains("layer 0 mlp call 0") == true)
    #expect(set.unreadable.first?.why.contains("input_fields.residual") == true)
    let norm = try #require(set.statistics.first { $0.stage == "norm" && $0.tensor == "output.0" })
    #expect(norm.maximum?.isNaN == true)
    #expect(norm.minimum == -.infinity)
    #expect(norm.mean == 10)
    #expect(abs((norm.norm ?? 0) - 10 * 12.0.squareRoot()) < 1e-5)
    #expect(norm.checksum == "5e7b3c3a")
    #expect(norm.shape == [3, 4])
    #expect(norm.dtype == "torch.bfloat16")
  }

  @Test("an index that a crash cut, or that was never written, costs no file", arguments: ["cut", "behind", "absent"])
  func readsFilesByTheirNames(kind: String) async throws {
    let set = try DumpSetLoader.load(directory: try await folder(kind), layout: .msprobe)
    let whole = try DumpSetLoader.load(directory: try await folder("ranks") + "/step0/rank0", layout: .msprobe)
    let known = Set(
      whole.captures.map(place).filter { !$0.contains("Functional") && !$0.contains("[") })
    #expect(Set(set.captures.map(place)) == known)
    #expect(set.unreadable.map(\.file) == ["step0/rank0/dump.json"])
    let why = try #require(set.unreadable.first?.why)
    let words = [
      "cut": "3 files that it does not name", "behind": "is not complete", "absent": "is missing",
    ]
    #expect(why.contains(try #require(words[kind])), "\(why)")
    #expect(why.contains("were read by their names"))
  }

  @Test func namesWhateverContradictsItsIndex() async throws {
    let set = try DumpSetLoader.load(directory: try await folder("wrong"), layout: .msprobe)
    let whys = set.unreadable.map { "\($0.file.split(separator: "/").last ?? ""): \($0.why)" }
    func expect(_ start: String, _ words: String) {
      #expect(whys.contains { $0.hasPrefix(start) && $0.contains(words) }, "\(start) \(words): \(whys)")
    }
    expect("Module.model.layers.0.mlp.Mlp.forward.0.output.0.pt", "its index says shape [4, 3], and it has [3, 4]")
    expect("Module.model.layers.0.mlp.Mlp.forward.0.output.1.pt", "its index says torch.float32")
    expect("dump.json", "layer 1 mlp output.0: its file ../dump.json is not in dump_tensor_data")
    expect("dump.json", "its file lost.pt is not in dump_tensor_data")
    expect("dump.json", "what is this is not the name of an operation")
    expect("dump.json", "2 files that it does not name")
    expect("dump_error_info.log", "met errors")
    expect("Module.model.norm.RMSNorm.forward.0.output.0.pt", "cut")
    #expect(set.unrecognised == ["step0/rank0/dump_tensor_data/notes.txt"])
    // The two files whose index names others are read by their own names.
    #expect(set.captures.count { $0.layer == 1 } == 4)
    #expect(set.captures.count { $0.layer == 0 } == 2)
  }

  @Test func guessesNoRanks() async throws {
    let set = try DumpSetLoader.load(directory: try await folder("processes"), layout: .msprobe)
    #expect(set.captures.isEmpty)
    #expect(set.unreadable.map(\.file) == ["step0/proc11", "step0/proc12"])
    #expect(set.unreadable.allSatisfy { $0.why.contains("rename it rank<n>") })
  }

  @Test func readsWhatWasSavedByHand() async throws {
    let set = try DumpSetLoader.load(directory: try await folder("debug"), layout: .msprobe)
    #expect(set.unreadable.isEmpty)
    #expect(
      Set(set.captures.map { "\($0.rank) \($0.call ?? -1) \(place($0))" }) == [
        "3 0 3 h value", "3 1 3 h value", "3 0 - dict a",
      ])
    #expect(Set(set.plain.map { "\($0.stage) \($0.name)" }) == ["dict b.0", "dict_grad a"])
  }

  @Test func findsTheLayout() async throws {
    for name in ["ranks", "absent", "debug", "ranks/step0/rank1"] {
      #expect(try DumpSetLoader.detectLayout(directory: try await folder(name)) == .msprobe)
    }
    let other = try await Corpus(otherFormat: "layouts")
    #expect(try DumpSetLoader.detectLayout(directory: other.file("safetensors/a")) == .safetensors)
    #expect(try DumpSetLoader.detectLayout(directory: other.file("bundle")) == .atom)
    let scratch = try Scratch()
    defer { scratch.remove() }
    #expect(throws: DumpError.self) { try DumpSetLoader.detectLayout(directory: scratch.path) }
    try scratch.write("step=0___rank=0___dump_index=1___name=a___recompute_status=disabled.pt", [])
    #expect(try DumpSetLoader.detectLayout(directory: scratch.path + "/") == .sglang)
    try scratch.write("weight_rank0_layer0.pt", [])
    let error = #expect(throws: DumpError.self) { try DumpSetLoader.detectLayout(directory: scratch.path) }
    #expect(error?.message.contains("sglang (1, for instance step=0") == true)
    #expect(error?.message.contains("weights (1, for instance weight_rank0_layer0.pt)") == true)
  }

  @Test(arguments: [
    ("Module.layers.1.Block.forward.0.input.1", "1 layer input_fields.1 0"),
    ("Cell.backbone.block.2.attn.Attention.forward.4.output.0", "2 backbone.attn output.0 4"),
    ("Module.Net.forward.0.output.0.hidden", "- model output.0.hidden 0"),
    ("Module.h.3.mlp.Mlp.parameters_grad.0.fc.weight", "3 mlp[grad] parameters.fc.weight 0"),
    ("Torch.linalg.norm.2.backward.input.0", "- Torch.linalg.norm.2[backward] input_fields.0 -"),
    ("x.0.debug", "- x value 0"), ("Module.a.B.forward.x.input.0", "nil"), ("Functional.linear.forward.input.0", "nil"),
    ("Module.forward.0.input.0", "nil"), ("", "nil"),
  ])
  func placesFiles(stem: String, expected: String) {
    let found = MSProbeOperation.file(stem).map { operation, tensor in
      "\(operation.layer.map(String.init) ?? "-") \(operation.stage) \(tensor) "
        + (operation.count.map(String.init) ?? "-")
    }

    #expect((found ?? "nil") == expected)
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
