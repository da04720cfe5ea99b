import Foundation
import TestSupport
import Testing

/// Files that safetensors, NumPy and PyTorch wrote, by the folder of their kind.
struct LayoutSeeds {
  /// Name and bytes, by name.
  var files: [(name: String, data: [UInt8])] = []

  /// Writes them with the tests' Python.
  init(_ kind: String) async throws {
    files = try await Scratch.with { scratch in
      let script = URL(filePath: #filePath).deletingLastPathComponent()
        .appending(path: "Python/write_layout_seeds.py").path
      try await runTool(warmPython, ["-B", "-W", "ignore", script, scratch.path])
      return try FileManager.default.contentsOfDirectory(atPath: scratch.path(kind)).sorted().map { name in
        (name, Array(try #require(FileManager.default.contents(atPath: scratch.path("\(kind)/\(name)")))))
      }
    }
    try #require(!files.isEmpty)
  }

  func data(_ suffix: String) -> [[UInt8]] { files.filter { $0.name.hasSuffix(suffix) }.map(\.data) }
}

/// What safetensors headers, their indexes and msprobe's JSON give a meaning to.
let jsonWords: [[UInt8]] = [
  "{", "}", "[", "]", "\"", ":", ",", "{}", "[]", "null", "true", "NaN", "Infinity", "-Infinity", "-0", "1e999", "0.5",
  "9223372036854775807", "9223372036854775808", "18446744073709551616", "-1", "00", "\\u0000", "\\ud800", "\\\"", "\\x",
  "\"__metadata__\":", "\"data_offsets\":[0,8]", "\"dtype\":\"F32\"", "\"F4\"", "\"F8_E8M0\"", "\"BOOL\"",
  "\"shape\":[0]", "\"shape\":[4294967296,4294967296]", "\"weight_map\":", "\"../x.safetensors\"", "\"/dev/zero\"",
  "\"type\":\"torch.Tensor\",", "\"data_name\":\"../dump.json\",", "\"data_name\":null,", "\"md5\":\"\",", "\"value\":",
  "\"Module.a.B.forward.0\":", "\"Module.a.B.forward.99999999999999999999\":", "\"Tensor.add.0.backward\":",
  "[[[[[[[[[[[[[[[[", "{\"a\":{\"a\":{\"a\":", "\u{FEFF}", "é", "\u{0}",
].map { Array($0.utf8) }

/// What the tree of transformers' debugger gives a meaning to.
let treeWords: [[UInt8]] = [
  "\"module_path\": ", "\"module_path\": \"A\",", "\"inputs\": ", "\"outputs\": ", "\"children\": [", "\"args\": [",
  "\"kwargs\": {", "\"shape\": \"torch.Size([1])\",", "torch.Size([", "torch.Size([])", "torch.Size([-1])",
  "torch.Size([9223372036854775808])", "torch.Size([4294967296, 4294967296])", "torch.bfloat16", "\"dtype\": \"\",",
  "\"value\": \"./../x.safetensors\",", "\"value\": \"./\",", "\"value\": [\"tensor(\"],", "./", ".safetensors",
  "tensor(1e999)", "tensor(nan", "\"mean\": \"(\"", ".layers.", ".layers.99999999999999999999.", "..",
  "rank_99999999999",
].map { Array($0.utf8) }

/// What the name of a file of transformers' debugger gives a meaning to.
let placeWords: [[UInt8]] = [
  "_inputs_args_", "_inputs_kwargs_", "_outputs", "_outputs_", "_outputs_outputs", ".safetensors", "LlamaForCausalLM",
  ".model.layers.", ".layers.", "99999999999999999999", "-1", ".", "..", "_", "é", "\u{202E}",
  "_debug_tree_SUMMARY.json",
].map { Array($0.utf8) }

/// What the literal of an `.npy` header gives a meaning to.
let npyWords: [[UInt8]] = [
  "{'descr': ", "'<f4'", "'>f8'", "'|O'", "'|V1'", "'V2'", "'<U2'", "[('a', '<f4')]", "'fortran_order': ", "True",
  "False", "'shape': ", "(", ")", "(,)", "(4294967296, 4294967296)", "(-1,)", "(1L,)", "()", "__import__('os')", ", ",
  "}", "\\x27", "\"", "0x10", "1_000", "9223372036854775808", "\u{93}NUMPY",
].map { Array($0.utf8) }

/// What the name of a file of SGLang's dumper gives a meaning to.
let tagWords: [[UInt8]] = [
  "___", "____", "_______", "=", "==", "step=", "rank=", "dump_index=", "name=", "recompute_status=", "layer_id=",
  "layer_id=-1", "99999999999999999999", "-1", "/", "..", "/../", ".pt", ".pt.pt", "non_intrusive__", "grad__",
  "grad__grad__", "param__", "model.layers.", "layers.99999999999999999999.", ".inputs.", ".output", "input_ids", "\0",
  "\n", "é", "\u{202E}", "[", ",", " ", "tp_rank=0",
].map { Array($0.utf8) }
