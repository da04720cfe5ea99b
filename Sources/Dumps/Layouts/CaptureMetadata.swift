/// What a dumper wrote beside one tensor about how it was made.
public struct CaptureMetadata: Sendable, Hashable, Codable {
  /// The text that names the tensor's dimensions and how each is sharded (`t h[tp]`), as written and not parsed; nil
  /// where the producer gave none.
  public var dims: String?
  /// Where the writing rank stood on each parallel axis (`tp`, `attn_dp`, `moe_ep`), without the suffixes `_rank` and
  /// `_size`. An axis whose rank or size is missing or contradicts the other is not here.
  public var parallel: [String: ParallelRank]
  /// Every other plain value by its key path, as text; lists and dictionaries by `rids[0]` and `a.b`.
  public var values: [String: String]

  public init(dims: String? = nil, parallel: [String: ParallelRank] = [:], values: [String: String] = [:]) {
    self.dims = dims
    self.parallel = parallel
    self.values = values
  }
}

extension CaptureMetadata {
  /// Ranks that the run had: its world size, else its longest parallel axis, so many at least. Nil where neither is
  /// stated.
  var statedWorldSize: Int? {
    if let world = values["world_size"].flatMap({ Int($0) }), world > 0 { return world }
    // What was computed again, and the stages that one rank holds, make no ranks.
    return parallel.filter { !["recompute_pseudo", "vpp"].contains($0.key) }.map(\.value.size).max()
  }
}

/// A rank's place on one parallel axis.
public struct ParallelRank: Sendable, Hashable, Codable {
  /// From 0 to `size` - 1.
  public var rank: Int
  public var size: Int

  public init(rank: Int, size: Int) {
    self.rank = rank
    self.size = size
  }
}
