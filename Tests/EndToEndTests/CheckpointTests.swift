import Foundation
import TestSupport
import Testing

/// Checkpoints are judged as loaded, activations as computed, whatever either is called.
@Suite struct CheckpointTests {
  /// Each case gives two directories, `a` and `b`, of safetensors.
  private func compared(_ change: String) async throws -> (status: Int, first: String) {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import os, torch
        from safetensors.torch import save_file
        torch.manual_seed(0)
        def tensors():
            held = {}
            for layer in range(2):
                place = f"model.layers.{layer}"
                held[f"{place}.self_attn.q_proj.weight"] = torch.randn(128, 64).bfloat16()
                held[f"{place}.mlp.experts.gate_up_proj"] = torch.randn(8, 64, 32).bfloat16()
                held[f"{place}.mixer.A_log"] = torch.randn(16).bfloat16()
                held[f"{place}.norm.weight"] = torch.ones(64).bfloat16()
            return held
        def steps():
            return {f"layers.{layer}.{stage}.{name}": torch.randn(24, 64).bfloat16() for layer in range(3)
                    for stage, name in (("attn", "out"), ("router", "weight"), ("mlp", "out"))}
        frequencies = 1 / 1e6 ** (torch.arange(0, 64, 2).float() / 64)
        def table(f, start=0):
            angles = torch.arange(start, start + 8192).float()[:, None] * f
            return {"layers.0.rotary_emb.cos_sin_cache": torch.cat([angles.cos(), angles.sin()], 1),
                    "layers.0.norm.weight": torch.ones(64)}
        noise = lambda held: {name: (value * (1 + 0.006 * torch.randn(value.shape))).bfloat16()
                              for name, value in held.items()}
        \(change)
        for side, held in (("a", a), ("b", b)):
            os.makedirs(f"\(scratch.path)/{side}")
            save_file({name: value.contiguous() for name, value in held.items()},
                      f"\(scratch.path)/{side}/model.safetensors")
        """)
      let outcome = try await RollcallBinary(store: scratch.path("store"), directory: scratch.path)(
        "compare", "a", "b", "--json")
      let findings = try outcome.json()["findings"] as? [[String: Any]] ?? []
      return (outcome.status, findings.first?["cause"] as? String ?? "")
    }
  }

  private static let wrong = [
    "a = table(frequencies); b = table(frequencies, 1)", "a = table(frequencies); b = table(frequencies * 1.0001)",
    "a = table(frequencies); b = {n: v.clone() for n, v in a.items()};"
      + " b['layers.0.rotary_emb.cos_sin_cache'][5, 3] += 0.01",
    "a = table(frequencies); b = {n: v.clone() for n, v in a.items()};"
      + " b['layers.0.rotary_emb.cos_sin_cache'][900] *= 1.002",
    "b['model.layers.1.mlp.experts.gate_up_proj'] = a['model.layers.1.mlp.experts.gate_up_proj'] * 1.009",
    "b['model.layers.1.mlp.experts.gate_up_proj'] = a['model.layers.1.mlp.experts.gate_up_proj'].clone();"
      + " b['model.layers.1.mlp.experts.gate_up_proj'][3] *= 1.025",
    "b['model.layers.0.mixer.A_log'] = a['model.layers.0.mixer.A_log'] * 1.009",
    "b['model.layers.0.self_attn.q_proj.weight'] = a['model.layers.0.self_attn.q_proj.weight'].clone();"
      + " b['model.layers.0.self_attn.q_proj.weight'][5] *= 1.03",
    "b['model.layers.0.norm.weight'] = a['model.layers.0.norm.weight'].clone();"
      + " b['model.layers.0.norm.weight'][7] = 1.2",
  ]

  @Test(arguments: wrong)
  func aParameterThatIsALittleOffFails(_ change: String) async throws {
    let outcome = try await compared("a = tensors(); b = dict(a); \(change)")
    #expect(outcome.status == 1)
    #expect(outcome.first == "weight-differs")
  }

  @Test(arguments: [
    "a = tensors(); b = dict(a)",
    // Stored in float32 and loaded as bfloat16 or float16.
    "a = {n: torch.randn(v.shape) for n, v in tensors().items()}; b = {n: v.bfloat16() for n, v in a.items()}",
    "a = {n: torch.randn(v.shape) for n, v in tensors().items()}; b = {n: v.half() for n, v in a.items()}",
    // Quantised in bfloat16's arithmetic and in float32's.
    """
    w = torch.randn(256, 128).bfloat16(); s = (w.abs().max() / 448).bfloat16()
    a = {"layers.0.q.weight": (w / s).to(torch.float8_e4m3fn), "layers.0.norm.weight": torch.ones(64)}
    b = {**a, "layers.0.q.weight": (w.float() / s.float()).to(torch.float8_e4m3fn)}
    """,
    // A table that each side computed, from frequencies an ulp apart.
    "a, b = (table(f) for f in (frequencies, torch.nextafter(frequencies, torch.tensor(2.0))))",
    "a, b = table(frequencies), {n: v.bfloat16() for n, v in table(frequencies).items()}",
    // What a router gives is computed, though it is called a weight.
    "a = steps(); b = noise(a)",
  ])
  func whatIsHonestPasses(_ sides: String) async throws {
    #expect(try await compared(sides).status == 0)
  }

  /// Python for `a`, a module in float8 with scales by blocks, and `b`, its codes kept as the other variant.
  private static let conversion = """
    w = torch.randn(256, 128); q = (w * 100).to(torch.float8_e4m3fn).view(torch.uint8); q[q == 0x80] = 0
    kept = q.view(torch.float8_e4m3fnuz); q = q.view(torch.float8_e4m3fn); s = torch.rand(2, 1) + 0.1
    def sides(name, scale, codes=kept):
        rest = {"layers.0.norm.weight": torch.ones(64), "layers.0.q.input_scale": torch.tensor(0.3)}
        return ({**rest, "layers.0.q.weight": q, "layers.0.q." + name: s},
                {**rest, "layers.0.q.weight": codes, "layers.0.q." + name: scale})

    """

  @Test(arguments: [
    "a, b = sides('weight_scale', s * 2)", "a, b = sides('weight_scale_inv', s * 2)", "a, b = sides('scale', s * 2)",
    "b, a = sides('weight_scale', s * 2)",
    "a, b = sides('weight_scale', s * 2); b['layers.0.q.input_scale'] = torch.tensor(0.3) * 2",
  ])
  func codesKeptAsTheOtherVariantPassByTheirScale(_ sides: String) async throws {
    #expect(try await compared(Self.conversion + sides).status == 0)
  }

  @Test(arguments: [
    ("a, b = sides('weight_scale', s)", "float8-variant"),
    // In one of the two blocks.
    ("a, b = sides('weight_scale', s * torch.tensor([[2.0], [1.0]]))", "float8-variant"),
    ("a, b = sides('weight_scale', s / 2)", "float8-variant"), ("a, b = sides('zoom', s * 2)", "float8-variant"),
    ("a, b = sides('weight_scale', s * 2); b['layers.0.q.weight'] = q.clone()", ""),
    // One code besides.
    (
      "k = kept.view(torch.uint8).clone(); k[3, 5] ^= 1; a, b = sides('weight_scale', s * 2, k.view(kept.dtype))", ""
    ),
    // What shares the scale was not converted.
    ("a, b = sides('scale', s * 2); a['layers.0.q.other_weight'] = b['layers.0.q.other_weight'] = q.clone()", ""),
    ("a, b = sides('weight_scale', s * 2); b['layers.0.q.input_scale'] = torch.tensor(0.3) / 2", ""),
  ])
  func codesKeptAsTheOtherVariantFail(_ sides: String, _ cause: String) async throws {
    let outcome = try await compared(Self.conversion + sides)
    #expect(outcome.status == 1)
    #expect(cause.isEmpty || outcome.first == cause, "\(outcome.first)")
  }

  @Test func aScaleOfTwoIsNoNormWeightAndNamesMoveNoCursor() async throws {
    try await Scratch.with { scratch in
      try await runPython(
        """
        import torch
        s = torch.tensor([1.0, 2.0, 4.0, 8.0]).to(torch.float8_e8m0fnu)
        double = torch.tensor([1.0, 4.0, 4.0, 8.0]).to(torch.float8_e8m0fnu)
        for name, value in (("a", s), ("b", double)):
            torch.save({"_tp_rank": 0, "_tp_size": 1, "layers.0.q\\x1b[2J.weight_scale": value},
                       f"\(scratch.path)/{name}.pt")
        """)
      let rollcall = RollcallBinary(store: scratch.path("store"), directory: scratch.path)
      for words in [["schema", "a.pt", "b.pt"], ["inspect", "a.pt"]] {
        let outcome = try await rollcall.run(words)
        #expect(outcome.output.contains("weight_scale"))
        #expect(!outcome.output.contains("\u{1B}"))
        #expect(!outcome.output.contains("norm-weight-offset"))
        #expect(outcome.status == (words[0] == "schema" ? 2 : 0), "\(outcome.output) \(outcome.errorOutput)")
      }
    }
  }
}
