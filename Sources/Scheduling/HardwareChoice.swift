/// Picks the hardware class of each comparison that has none yet: hardware must not be the variable.
enum HardwareChoice {
  /// The class that can take the largest gang, then the most runs, then has the most ready hosts and GPUs, then by name.
  static func choose(
    lines: some Collection<RunQueue.Line>, table: HostTable, pinned: [String: String]
  ) -> [String: String] {
    let open = lines.filter { line in line.key.comparison.map { pinned[$0] == nil } ?? false }
    guard !open.isEmpty else { return pinned }
    let classes = Dictionary(grouping: table.hosts.indices) { table.kinds[$0] }.values.compactMap { members in
      members.first.map { HardwareClass(name: table.hosts[$0].hardware, members: members, table) }
    }
    var choice = pinned
    for (comparison, demands) in Dictionary(grouping: open, by: \.key.comparison) {
      guard let comparison else { continue }
      let ranked = classes.map { (name: $0.name, rank: $0.rank(demands, table)) }
      choice[comparison] =
        ranked.min { a, b in a.rank == b.rank ? a.name < b.name : b.rank.lexicographicallyPrecedes(a.rank) }?.name
    }
    return choice
  }

  private struct HardwareClass {
    var name: String
    var members: [Int]
    var ready: [Int]

    init(name: String, members: [Int], _ table: HostTable) {
      self.name = name
      self.members = members
      let ready = members.filter(table.ready.contains)
      self.ready = [
        ready.isEmpty ? 0 : 1, ready.reduce(0) { $0 + (table.hosts[$1].totalGPUs ?? 0) }, ready.count,
      ]
    }

    func rank(_ demands: [RunQueue.Line], _ table: HostTable) -> [Int] {
      let able = demands.filter { line in
        let shape = line.key.shape
        return members.count { Self.canTake(table.hosts[$0], shape) } >= max(1, shape.nodes)
      }
      return [
        able.map { $0.key.shape.gpus * max(1, $0.key.shape.nodes) }.max() ?? -1, able.reduce(0) { $0 + $1.count },
      ] + ready
    }

    /// A host that has not told its GPUs yet may never: the known ones do not wait for it.
    private static func canTake(_ host: Placement.Host, _ shape: Shape) -> Bool {
      shape.canEver(host) && (shape.gpus == 0 || host.totalGPUs != nil)
    }
  }
}
