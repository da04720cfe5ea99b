/// The order in which the stages of a layer ended.
///
/// A module's hook fires when the module ends, so files' modification times tell the order (an attention before
/// the block that holds it). The stages of a layer are ordered by a majority over all layers and ranks; where
/// times are equal, or were lost in a copy, the names decide: a module ends after those that it holds (`mlp` after
/// `mlp.down_proj`), and else embedding, norms, q/k/v, partial outputs, attention, gate and up, experts, MLP, and what
/// contains the others last.
public struct StageOrder: Sendable {
  /// One file: what was written, and when (nanoseconds since 1970).
  public struct Stamp: Sendable, Hashable {
    public var rank: Int
    public var layer: Int?
    public var stage: String
    public var call: Int?
    public var modified: Int64
    public var file: String

    public init(rank: Int, layer: Int?, stage: String, call: Int?, modified: Int64, file: String) {
      self.rank = rank
      self.layer = layer
      self.stage = stage
      self.call = call
      self.modified = modified
      self.file = file
    }
  }

  private struct Pair: Hashable {
    var before: String
    var after: String
  }

  /// Files in which `before` is older than `after`, less those the other way round.
  private var votes: [Pair: Int] = [:]
  /// False where the times are those of a copy.
  public private(set) var usesTimes: Bool

  /// - Parameters:
  ///   - sides: the stamps of each side, every call; votes of all sides count together.
  ///   - allFiles: every file of each side with its time, to recognise a copy.
  public init(sides: [[Stamp]], allFiles: [[(file: String, modified: Int64)]]) {
    usesTimes = false
    for (index, stamps) in sides.enumerated() {
      if index < allFiles.count, Self.looksCopied(allFiles[index]) { continue }
      usesTimes = true
      struct Group: Hashable {
        var rank: Int
        var layer: Int?
        var call: Int?
      }
      for group in Dictionary(grouping: stamps, by: { Group(rank: $0.rank, layer: $0.layer, call: $0.call) }).values {
        var times: [String: Int64] = [:]
        for stamp in group { times[stamp.stage] = min(stamp.modified, times[stamp.stage] ?? .max) }
        for (left, leftTime) in times {
          for (right, rightTime) in times where leftTime < rightTime {
            votes[Pair(before: left, after: right), default: 0] += 1
            votes[Pair(before: right, after: left), default: 0] -= 1
          }
        }
      }
    }
  }

  /// The stages of one layer, first to last.
  public func ordered(_ stages: [String]) -> [String] {
    let names = Array(Set(stages)).sorted()
    let places = Dictionary(uniqueKeysWithValues: names.map { ($0, Self.place($0)) })
    /// Whether the names put `left` first.
    func isNamedFirst(_ left: String, _ right: String) -> Bool {
      if right.hasPrefix(left + ".") { return false }
      if left.hasPrefix(right + ".") { return true }
      return (places[left] ?? 0, left) < (places[right] ?? 0, right)
    }
    var wins: [String: Int] = [:]
    for left in names {
      for right in names where left != right {
        let vote = votes[Pair(before: left, after: right)] ?? 0
        if vote != 0 ? vote > 0 : isNamedFirst(left, right) { wins[left, default: 0] += 1 }
      }
    }
    return names.sorted {
      let left = wins[$0] ?? 0
      let right = wins[$1] ?? 0
      return left != right ? left > right : isNamedFirst($0, $1)
    }
  }

  /// A run writes call 0 of all stages before call 1; times that rise with the file names are those of a copy.
  private static func looksCopied(_ files: [(file: String, modified: Int64)]) -> Bool {
    guard Set(files.map(\.modified)).count > 1 else { return true }
    let byName = files.sorted { $0.file < $1.file }
    guard byName.count > 2 else { return false }
    return zip(byName, byName.dropFirst()).allSatisfy { $0.modified <= $1.modified }
  }

  /// The place among the stages of a layer, in tenths of ``heuristic(_:)``'s: of a module that an attention holds by its
  /// own name, else by the whole.
  private static func place(_ stage: String) -> Int {
    let parts = Towers.within(stage).lowercased().split(separator: ".").map(String.init)
    // Sub-layers that are numbered (T5's `layer.1.DenseReluDense`).
    if parts.count > 1, parts[0] == "layer", let number = Int(parts[1]) {
      return min(number, 1000) * 10_000 + (parts.count == 2 ? 900 : place(parts.dropFirst(2)))
    }
    return place(parts[...])
  }

  private static func place(_ parts: ArraySlice<String>) -> Int {
    let stage = parts.joined(separator: ".")
    let isCross = ["encoder_attn", "encdecattention", "cross_attn", "crossattn", "crossattention", "cross_attention"]
      .contains { stage.contains($0) }
    guard let last = parts.last else { return 10 * heuristic(stage) }
    let isSecond = ["norm2", "ln2", "ln_2"].contains { last.hasSuffix($0) } || last.contains("final")
    if parts.count == 1, isSecond, last.contains("norm") || last.hasPrefix("ln") { return 500 }
    guard parts.dropLast().contains(where: { $0.contains("attn") || $0.contains("attention") }) else {
      return isCross ? last.contains("norm") ? 410 : 470 : 10 * heuristic(stage)
    }
    let own = withinAttention(last)
    return isCross ? 420 + own : 10 * own
  }

  private static func withinAttention(_ last: String) -> Int {
    // Latent attention projects down, norms, and projects up again.
    if last.contains("_a_") { return last.contains("norm") ? 18 : 17 }
    if last.contains("_b_") { return 20 }
    let own = heuristic(last)
    return (20...35).contains(own) ? own : 30
  }

  /// Whether a module is called `gate` (`mlp.gate`, `block_sparse_moe.gate`): a router, or half of a gated unit, whose
  /// other half is then beside it.
  ///
  /// - Parameter name: UTF-8 in lower case.
  public static func isGate(_ name: [UInt8]) -> Bool {
    name.split(separator: UInt8(ascii: ".")).last?.elementsEqual("gate".utf8) ?? false
  }

  /// Place of a stage by its name alone; larger is later.
  public static func heuristic(_ stage: String) -> Int {
    // Of a stack of layers (`decoder.mlp`, `vision_model.encoder.mlp`) only what follows its name says the place.
    let inside = Towers.within(stage)
    if inside.utf8.count != stage.utf8.count, inside.split(separator: ".").allSatisfy({ $0 == "model" }) { return 90 }
    // Bytes: this is asked for every row, and a search in a String costs a hundred times as much.
    let name = Array(inside.lowercased().utf8)
    func has(_ words: String...) -> Bool {
      words.contains { word in name.indices.contains { name[$0...].starts(with: word.utf8) } }
    }
    if has("embed") { return 0 }
    if has("lm_head", "lmhead", "logits", "sampler") { return 100 }
    if has("final") { return 99 }
    if has("block", "decoder", "layer") && !has("norm") { return 90 }
    if has("qnorm", "knorm", "q_norm", "k_norm") { return 24 }
    if has("post", "ffnnorm", "ffn_norm", "mlpnorm", "mlp_norm") && has("norm") { return 50 }
    if has("norm") { return 10 }
    if has("qkv") { return 20 }
    if has("rope", "rotary") { return 25 }
    if has("attn", "attention") {
      if has("partial", "core", "context", "ctx") { return 30 }
      return 40
    }
    let last = name.split(separator: UInt8(ascii: ".")).last ?? []
    if ["q", "k", "v"].contains(where: { last.elementsEqual($0.utf8) })
      || has("q_proj", "k_proj", "v_proj", "qproj", "kproj", "vproj", "query", "key", "value")
    {
      return 20
    }
    if has("oproj", "o_proj") { return 35 }
    if has("router", "topk", "gating") || isGate(name) { return 55 }
    if has("gate", "up_proj", "upproj") { return 60 }
    if has("activation", "act_fn", "silu", "swiglu") { return 62 }
    if has("down") { return 70 }
    if has("partial") { return 72 }
    if has("shared") { return 75 }
    if has("expert") { return 58 }
    if has("mlp", "moe", "ffn", "feedforward") { return 80 }
    return 45
  }
}
