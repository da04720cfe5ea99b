import Alignment
import Comparison
import Coordination
import Dumps
import Reporting
import TestSupport
import Testing

/// Dumps of a model with several stacks of layers, each counted from 0.
@Suite("Several stacks of layers")
struct TowerTests {
  /// An encoder of six layers whose noise grows to 0.02, and a language model that reads it.
  ///
  /// - Parameter fault: layer of the encoder from which on the target is off by a tenth.
  private func report(fault: Int?) async throws -> ComparisonReport {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import os, torch
        from safetensors.torch import save_file
        torch.manual_seed(5)
        fault = \(fault.map(String.init) ?? "None")
        a, b = {}, {}

        def put(name, distance):
            values = torch.randn(48, 64)
            a[name + ".output"] = values.bfloat16()
            b[name + ".output"] = (values + distance * torch.randn(48, 64)).bfloat16()

        put("vision_model.embeddings.patch_embedding", 0)
        noise = 0.003
        for layer in range(6):
            noise = 0.1 if fault is not None and layer >= fault else noise + 0.003
            for stage in ("layer_norm1", "self_attn", "layer_norm2", "mlp"):
                put(f"vision_model.encoder.layers.{layer}.{stage}", noise)
        put("multi_modal_projector", noise)
        for layer in range(3):
            for stage in ("input_layernorm", "self_attn", "post_attention_layernorm", "mlp"):
                put(f"language_model.layers.{layer}.{stage}", noise)
        put("language_model.norm", noise)
        for side, tensors in (("a", a), ("b", b)):
            os.makedirs(side)
            save_file(tensors, f"{side}/rank0.safetensors")
        """, directory: scratch.path)
      func side(_ name: String) throws -> ComparisonSide {
        ComparisonSide(set: try DumpSetLoader.load(directory: scratch.path(name), layout: .safetensors), worldSize: 1)
      }
      return try await DumpComparer.compare(ComparisonRequest(reference: try side("a"), target: try side("b")))
    }
  }

  @Test("the noise that an encoder hands on is none of the first layer behind it")
  func clean() async throws {
    let report = try await report(fault: nil)
    #expect(report.verdict == .pass, "\(report.rows.filter { $0.verdict != .pass })")
  }

  @Test("a fault in the encoder's last layers stands before the language model's first")
  func fault() async throws {
    let report = try await report(fault: 4)
    #expect(report.verdict == .fail)
    #expect(report.firstDivergence?.layer == 4)
    #expect(report.firstDivergence?.stage == "vision_model.encoder.layer_norm1")
  }
}
