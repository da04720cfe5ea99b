/// One compared cell of a sweep: its axes beside what was found.
public struct CellFindings: Sendable, Hashable {
  public var worldSize: Int
  /// Axis → value, world size left out.
  public var values: [String: String]
  public var findings: [Finding]
  public var isFailed: Bool
  public var layer: Int?
  public var stage: String?

  public init(
    worldSize: Int, values: [String: String], findings: [Finding], isFailed: Bool, layer: Int? = nil,
    stage: String? = nil
  ) {
    self.worldSize = worldSize
    self.values = values
    self.findings = findings
    self.isFailed = isFailed
    self.layer = layer
    self.stage = stage
  }
}

/// What the axes of a sweep say that one pair cannot: cells of one strategy or backend fail and the others, alike in
/// everything else, pass.
public enum AxisTrend {
  /// What an all-reduce can do wrong.
  private static let ofCollectives: Set<String> = [
    "rank-absent", "missing-reduce", "replica-divergence", "nondeterminism", "double-reduce", "average-reduce",
    "non-finite", "branch-missing-reduce", "missing-scale", "repeated-scale", "halves-swapped",
  ]

  /// - Parameter cells: the judged cells of one sweep against one reference.
  /// - Returns: the same in the same order, with a finding added where an axis decides.
  public static func refined(_ cells: [CellFindings]) -> [CellFindings] {
    var result = cells
    for axis in Set(cells.flatMap(\.values.keys)).sorted() {
      guard let guilty = guiltyValues(of: axis, cells), !guilty.isEmpty else { continue }
      for index in cells.indices where cells[index].isFailed && guilty.contains(cells[index].values[axis] ?? "") {
        let cell = cells[index]
        let passing = Set(cells.compactMap { $0.values[axis] }).subtracting(guilty).sorted()
        let sizes = Set(cells.filter { $0.isFailed }.map(\.worldSize))
        let isCollective = isOfCollectives(axis, cell.values[axis] ?? "")
        let finding = Finding(
          cause: "strategy-dependent", layer: cell.layer, stage: cell.stage,
          confidence: sizes.count > 1 ? .certain : .likely,
          evidence: ["world_size": Double(cell.worldSize), "world_sizes": Double(sizes.count)],
          summary:
            "Only \(axis)=\(cell.values[axis] ?? "") fails; \(axis)=\(passing.joined(separator: ", ")) passes at the "
            + "same world size with everything else alike: \(isCollective ? "this collective" : "this path") is wrong, "
            + "not the model.",
          next: isCollective
            ? "Run the all-reduce of \(axis)=\(cell.values[axis] ?? "") alone on dumped partials against a plain sum: "
              + "buffer sizes, flags that are not reset, the number of ranks."
            : "Compare the two paths stage by stage, with \(axis)=\(passing.first ?? "") as the reference.")
        let leads =
          isCollective
          && cell.findings.allSatisfy { $0.confidence == .possible || ofCollectives.contains($0.cause) }
        result[index].findings.insert(finding, at: leads ? 0 : result[index].findings.count)
      }
    }
    return result
  }

  /// Values of an axis that fail in every pair of cells that differ in nothing else, while another value passes.
  private static func guiltyValues(of axis: String, _ cells: [CellFindings]) -> Set<String>? {
    var guilty: Set<String> = []
    var innocent: Set<String> = []
    for cell in cells where cell.isFailed {
      guard let value = cell.values[axis] else { return nil }
      let twins = cells.filter { other in
        other.worldSize == cell.worldSize && other.values[axis] != value
          && other.values.filter { $0.key != axis } == cell.values.filter { $0.key != axis }
      }
      guard !twins.isEmpty else { return nil }
      if twins.contains(where: { !$0.isFailed }) { guilty.insert(value) } else { innocent.insert(value) }
    }
    return guilty.isDisjoint(with: innocent) && innocent.isEmpty ? guilty : nil
  }

  private static func isOfCollectives(_ axis: String, _ value: String) -> Bool {
    let name = "\(axis) \(value)".lowercased().replacing("-", with: "_")
    return ["reduce", "strategy", "one_shot", "oneshot", "two_shot", "nccl", "rccl", "comm", "collective", "ring"]
      .contains { name.contains($0) }
  }
}
