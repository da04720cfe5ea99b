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
      let able = demands.filter { line in members.contains { Self.canTake(table.hosts[$0], line.key.shape) } }
      return [able.map(\.key.shape.gpus).max() ?? -1, able.reduce(0) { $0 + $1.count }] + ready
    }

    private static func canTake(_ host: Placement.Host, _ shape: Shape) -> Bool {
      guard Explanation.labelMismatch(host, shape.labels) == nil else { return false }
      return shape.gpus == 0 ? host.cpuSlots > 0 : (host.totalGPUs ?? 0) >= shape.gpus
    }
  }
}
