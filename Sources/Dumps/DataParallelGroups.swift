/// The captures of one place and call, apart by the rank on a data-parallel axis.
///
/// An engine gives a batch to one of its data-parallel groups, and the ranks of the others dump empty tensors. Groups
/// are no shards of each other: only the one that has elements is the value.
public struct DataParallelGroups: Sendable {
  /// Captures by the rank on the axis.
  public private(set) var groups: [Int: [Capture]]

  /// - Parameters:
  ///   - captures: of one layer, stage, tensor and call.
  ///   - axis: `dp`, or the alias that the dims text names (`# dp:=attn_dp`).
  ///
  /// Nil where no capture's metadata has the axis with a size above 1: then there is nothing to tell apart. A capture
  /// without the axis stands with rank 0, as for SGLang.
  public init?(_ captures: [Capture], axis: String = "dp") {
    guard captures.contains(where: { ($0.metadata?.parallel[axis]?.size ?? 1) > 1 }) else { return nil }
    groups = Dictionary(grouping: captures) { $0.metadata?.parallel[axis]?.rank ?? 0 }
  }

  /// Ranks on the axis whose captures have elements, in order. Exactly one is the rule; several hold different
  /// requests, none holds anything.
  public var active: [Int] {
    groups.filter { $0.value.contains { $0.tensor.elementCount > 0 } }.keys.sorted()
  }

  /// The captures of the one group that has elements, by rank; nil where there is not exactly one.
  public var only: [Capture]? {
    let active = active
    guard active.count == 1, let rank = active.first else { return nil }
    return groups[rank]?.sorted { $0.rank < $1.rank }
  }
}
