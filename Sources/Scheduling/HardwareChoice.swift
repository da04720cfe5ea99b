/// Picks the hardware class of each comparison that has none yet: hardware must not be the variable.
enum HardwareChoice {
  /// The class that can take the largest gang, then the most runs, then has the most ready hosts and GPUs, then by name.
  static func choose(
    runs: [Placement.QueuedRun], hosts: [Placement.Host], pinned: [String: String]
  ) -> [String: String] {
    var choice = pinned
    let classes = Dictionary(grouping: hosts, by: \.hardware)
    guard classes.count > 1 else {
      // One class only: nothing to choose, and what is pinned stays.
      if let only = classes.keys.first {
        for run in runs { if let key = run.comparison, choice[key] == nil { choice[key] = only } }
      }
      return choice
    }
    let open = runs.filter { run in run.comparison.map { pinned[$0] == nil } ?? false }
    for (key, group) in Dictionary(grouping: open, by: \.comparison) {
      guard let key else { continue }
      let demands = Dictionary(grouping: group) { Demand(gpus: $0.gpus, labels: $0.labels.map { [$0.key, $0.value] }) }
        .compactMap { demand, runs in runs.first.map { (demand, $0, runs.count) } }
      let ranked = classes.map { name, members in
        (name: name, rank: rank(members, demands))
      }
      choice[key] =
        ranked.min { a, b in a.rank == b.rank ? a.name < b.name : b.rank.lexicographicallyPrecedes(a.rank) }?.name
    }
    return choice
  }

  private struct Demand: Hashable {
    var gpus: Int
    var labels: [[String]]
  }

  private static func rank(_ members: [Placement.Host], _ demands: [(Demand, Placement.QueuedRun, Int)]) -> [Int] {
    let able = demands.filter { _, run, _ in members.contains { canTake($0, run) } }
    let ready = members.filter { $0.state == .ready }
    return [
      able.map(\.1.gpus).max() ?? -1, able.reduce(0) { $0 + $1.2 }, ready.isEmpty ? 0 : 1,
      ready.reduce(0) { $0 + ($1.totalGPUs ?? 0) }, ready.count,
    ]
  }

  private static func canTake(_ host: Placement.Host, _ run: Placement.QueuedRun) -> Bool {
    guard Explanation.labelMismatch(host, run.labels) == nil else { return false }
    return run.gpus == 0 ? host.cpuSlots > 0 : (host.totalGPUs ?? 0) >= run.gpus
  }
}
