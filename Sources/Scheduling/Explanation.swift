import OrderedCollections

/// Says in words why a run waits or cannot run, from the predicates that decided it.
public enum Explanation {
  /// One line a host: `gpu1: 2 GPUs free, needs 8`.
  public static func lines(_ reasons: [Placement.HostReason]) -> [String] {
    if reasons.isEmpty { return ["no hosts"] }
    return reasons.map { "\($0.host): \(text($0.why))" }
  }

  /// One sentence for a table: the reasons with the hosts that share them.
  public static func summary(_ reasons: [Placement.HostReason]) -> String {
    if reasons.isEmpty { return "no hosts" }
    let groups = OrderedDictionary(grouping: reasons, by: \.why)
    return groups.map { why, members in
      let names = members.prefix(3).map(\.host).joined(separator: ", ")
      return "\(text(why)) (\(names)\(members.count > 3 ? " and \(members.count - 3) more" : ""))"
    }.joined(separator: "; ")
  }

  public static func text(_ why: Placement.Why) -> String {
    switch why {
    case .unreachable: "unreachable"
    case .draining: "draining, takes nothing new"
    case .noDiskRoom: "no room on its disk"
    case .label(let name, let wanted, let found):
      "label \(name) is \(found ?? "missing"), needs \(wanted)"
    case .hardware(let wanted, let found):
      "hardware is \(found.isEmpty ? "unknown" : found); the other runs of the comparison use "
        + "\(wanted.isEmpty ? "hosts of unknown hardware" : wanted)"
    case .failedHere: "failed this run before; another host will do"
    case .tooFewGPUs(let wanted, let total): "has \(gpus(total)), needs \(wanted)"
    case .gpusUnknown: "has not told how many GPUs it has"
    case .gpusBusy(let wanted, let free): "\(gpus(free)) free, needs \(wanted)"
    case .noCPUSlots: "takes no runs without GPUs (cpu_slots: 0)"
    case .cpuSlotsBusy: "all CPU slots are busy"
    case .taken: "exclusive, and has a run"
    case .reserved(let run): "kept free for run \(run)"
    case .waitsForOthers(let nodes): "has room for its share; \(nodes) hosts at once are needed"
    }
  }

  /// Why no host can ever take the request.
  static func impossible(_ request: Shape, hosts: [Placement.Host]) -> String {
    if hosts.isEmpty { return "the fleet has no hosts" }
    for (name, value) in request.labels where !hosts.contains(where: { $0.labels[name] == value }) {
      let found = Set(hosts.compactMap { $0.labels[name] }).sorted()
      return "no host has the label \(name)=\(value)"
        + (found.isEmpty ? "" : "; there is \(found.map { "\(name)=\($0)" }.joined(separator: ", "))")
    }
    let labelled = hosts.filter { labelMismatch($0, request.labels) == nil }
    if labelled.isEmpty {
      return "no host has all of the labels \(request.labels.map { "\($0.key)=\($0.value)" }.joined(separator: ", "))"
    }
    let matching = labelled.filter { host in request.hardware.map { $0 == host.hardware } ?? true }
    let hardware = request.hardware.map { " of the comparison's hardware (\($0.isEmpty ? "unknown" : $0))" } ?? ""
    if matching.isEmpty {
      return "no host with these labels is\(hardware); `compare.same_hardware: false` lifts this"
    }
    let fitting = matching.filter { request.canEver($0) }
    if request.gpus == 0, fitting.isEmpty { return "no host that matches takes runs without GPUs (cpu_slots: 0)" }
    if request.nodes > 1 {
      let share = request.gpus == 0 ? "a CPU slot" : gpus(request.gpus)
      return "needs \(request.nodes) hosts of one kind with \(share) each; "
        + (fitting.isEmpty ? "none has as many" : "only \(fitting.map(\.name).joined(separator: ", ")) would do")
    }
    let largest = matching.max { ($0.totalGPUs ?? 0, $1.name) < ($1.totalGPUs ?? 0, $0.name) }
    let mostAnywhere = labelled.compactMap(\.totalGPUs).max() ?? 0
    return "needs \(gpus(request.gpus)); the largest host that matches has \(largest?.totalGPUs ?? 0)"
      + (largest.map { " (\($0.name))" } ?? "")
      + (mostAnywhere >= request.gpus ? "; larger ones are not\(hardware)" : "")
  }

  static func labelMismatch(_ host: Placement.Host, _ labels: OrderedDictionary<String, String>) -> Placement.Why? {
    for (name, value) in labels where host.labels[name] != value {
      return .label(name: name, wanted: value, found: host.labels[name])
    }
    return nil
  }

  private static func gpus(_ count: Int) -> String { count == 1 ? "1 GPU" : "\(count) GPUs" }
}
