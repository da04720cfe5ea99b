import Alignment
import Testing

@Suite("Stacks of layers")
struct TowersTests {
  private func towers(_ stages: [String]) -> Towers {
    Towers(stages.map { CaptureKey(layer: 0, stage: $0, tensor: "output") })
  }

  @Test("what encodes runs first, a draft last; the rest of the names say nothing")
  func order() {
    #expect(
      towers(["language_model.mlp", "vision_model.encoder.mlp"]).all == ["vision_model.encoder", "language_model"])
    #expect(towers(["mlp", "visual.attn", "draft_model.mlp"]).all == ["visual", nil, "draft_model"])
    #expect(towers(["decoder.encoder_attn.o_proj", "encoder.mlp"]).all == ["encoder", "decoder"])
    #expect(
      towers(["vision_tower.mlp", "language_model.encoder.mlp", "language_model.decoder.mlp"]).all
        == ["vision_tower", "language_model.encoder", "language_model.decoder"])
  }

  @Test("one stack is none, and a class of that name is no stack")
  func one() {
    #expect(towers(["model.decoder.mlp", "model.decoder.self_attn", "model.decoder"]).all.isEmpty)
    #expect(towers(["decoder", "attn", "mlp"]).all.isEmpty)
    #expect(towers(["DecoderLayer", "MLP"]).all.isEmpty)
  }

  @Test("what stands outside of the layers belongs to the stack that its path names")
  func loose() {
    let towers = towers(["vision_model.encoder.mlp", "language_model.mlp"])
    #expect(towers.place(ofLoose: "vision_model.embeddings", isLate: false) == 0)
    #expect(towers.place(ofLoose: "language_model.norm", isLate: true) == 1)
    #expect(towers.place(ofLoose: "multi_modal_projector", isLate: true) == nil)
    #expect(towers.tower(ofLayered: "language_model.self_attn.o_proj") == "language_model")
  }

  @Test("a stack's name says nothing of a stage's place in its layer")
  func places() {
    #expect(StageOrder.heuristic("decoder.mlp") == StageOrder.heuristic("mlp"))
    #expect(StageOrder.heuristic("decoder") == 90 && StageOrder.heuristic("language_model.model") == 90)
    let order = StageOrder(sides: [], allFiles: [])
    let whisper = [
      "decoder.self_attn_layer_norm", "decoder.self_attn.o_proj", "decoder.self_attn",
      "decoder.encoder_attn_layer_norm", "decoder.encoder_attn.q_proj", "decoder.encoder_attn.o_proj",
      "decoder.encoder_attn", "decoder.final_layer_norm", "decoder.mlp", "decoder",
    ]
    #expect(order.ordered(whisper.reversed()) == whisper)
    let t5 = [
      "decoder.layer.0.layer_norm", "decoder.layer.0.SelfAttention", "decoder.layer.0",
      "decoder.layer.1.layer_norm", "decoder.layer.1.EncDecAttention", "decoder.layer.1",
      "decoder.layer.2.layer_norm", "decoder.layer.2.DenseReluDense", "decoder.layer.2", "decoder",
    ]
    #expect(order.ordered(t5.reversed()) == t5)
    let clip = ["encoder.layer_norm1", "encoder.self_attn", "encoder.layer_norm2", "encoder.mlp", "encoder"]
    #expect(order.ordered(clip.reversed()) == clip)
  }
}
